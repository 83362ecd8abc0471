// The sites of the shared Caddy, and the certificates of the one with TLS.

package access

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

const (
	// The password is "builder".
	bcryptHash = "$2a$04$JtdEpqxBUnUBxy6T63cbHuSlRHPPn3KyHsnKHhEZpitVgk.9a0g/u"
	argonHash  = "$argon2id$v=19$m=47104,t=1,p=1$ZpfJpqJVyd6x0ktuvcMZQQ$NOW9h7aa7MAcEAF6cIgCh9WILZeJhB5DW9B7KGj5AD4"
	password   = "builder"
)

// twoClients are a client for each kind of hash; the second acts as the second
// account.
var twoClients = "client grafana " + bcryptHash + "\n\t\tclient nightly " + argonHash + " " + operator

const jobID = "6745a759-2205-4cd2-b172-8ec8f7e60ef8"

func sharedSites(dir string) []*site {
	sites := []*site{
		{Name: "plain"},
		{Name: "rules", Options: twoClients + `
		deny /api/v1/credentials*
		deny {
			method DELETE
		}
		allow {
			method POST
			path /api/v1/echo
		}
		deny operation run secret
		allow @get`, Before: "@get method GET"},
		{Name: "denials", Options: "deny {\n\t\t\tmethod POST\n\t\t\tpath /api/v1/jobs/*/start\n\t\t}\n\t\tdeny operation secret\n\t\tallow operation unknown\n\t\tdefault allow"},
		{Name: "shadow", Options: "deny shadow operation run\n\t\tallow *"},
		{Name: "default", Options: "default deny"},
		{Name: "monitor", Options: "allow preset monitor"},
		{Name: "operate", Options: "allow preset operate"},
		{Name: "classes", Options: "allow operation read change"},
		{Name: "cel", Options: twoClients + "\n\t\tallow `{http.veeam_auth.client} == \"grafana\" && {http.veeam_auth.via} == \"client\"`"},
		{Name: "unknown", Options: twoClients + "\n\t\tallow unknown_callers path /api/v1/echo /api/v1/serverTime /api/v1/jobs\n\t\tdeny unknown_callers *"},
		{Name: "headers", Before: accessLog(dir), Options: twoClients + `
		header_up X-Client {http.veeam_auth.client}
		header_up X-Via {http.veeam_auth.via}
		header_up X-Operation {http.veeam_auth.operation}
		header_up X-Class {http.veeam_auth.class}
		header_up X-Rule {http.veeam_auth.rule}
		header_up X-Decision {http.veeam_auth.decision}
		header_up X-Source {http.veeam_auth.source}
		header_up X-Account {http.veeam_auth.account}
		deny operation secret
		allow operation unknown
		allow *`},
		{Name: "parallel", Options: "max_parallel 2"},
		{Name: "act_as", Before: "map {header.X-Team} {team} {\n\t\tgreen svc-operator\n\t\tdefault svc-monitor\n\t}", Options: "act_as {team}"},
		{Name: "wrong", Account: "account " + monitor + " not-its-password"},
		{
			Name: "basic", Before: "basic_auth {\n\t\tgrafana " + bcryptHash + "\n\t\tbob " + bcryptHash + "\n\t}",
			Options: "allow `{http.auth.user.id} == \"grafana\"`",
		},
		{
			Name: "tls", Address: "https://sidecar.test",
			Before: "tls " + filepath.Join(dir, "server.pem") + " " + filepath.Join(dir, "server.key") +
				" {\n\t\tclient_auth {\n\t\t\tmode verify_if_given\n\t\t\ttrust_pool file " + filepath.Join(dir, "ca.pem") + "\n\t\t}\n\t}",
			Options: "deny {\n\t\t\texpression `{http.veeam_auth.client} != \"certificate:CN=exporter,O=Lab\"`\n\t\t\tpath */jobs\n\t\t}",
		},
		{
			Name: "tls em", Product: "em", Address: "https://sidecar.test",
			Before: "tls " + filepath.Join(dir, "server.pem") + " " + filepath.Join(dir, "server.key") +
				" {\n\t\tclient_auth {\n\t\t\tmode verify_if_given\n\t\t\ttrust_pool file " + filepath.Join(dir, "ca.pem") + "\n\t\t}\n\t}",
			Options: "deny {\n\t\t\texpression `{http.veeam_auth.client} != \"certificate:CN=exporter,O=Lab\"`\n\t\t\tpath */jobs\n\t\t}",
		},
		{Name: "plain em", Product: "em"},
		{Name: "wrong em", Product: "em", Account: "account " + monitor + " not-its-password"},
		{
			Name: "tls passthrough", Address: "https://sidecar.test",
			Before: "tls " + filepath.Join(dir, "server.pem") + " " + filepath.Join(dir, "server.key") +
				" {\n\t\tclient_auth {\n\t\t\tmode verify_if_given\n\t\t\ttrust_pool file " + filepath.Join(dir, "ca.pem") + "\n\t\t}\n\t}",
			Options: "passthrough\n\t\tdeny {\n\t\t\texpression `{http.veeam_auth.client} != \"certificate:CN=exporter,O=Lab\"`\n\t\t\tpath */jobs\n\t\t}",
		},
		{
			Name: "tls names", Address: "https://sidecar.test",
			Before: "tls " + filepath.Join(dir, "server.pem") + " " + filepath.Join(dir, "server.key") +
				" {\n\t\tclient_auth {\n\t\t\ttrust_pool file " + filepath.Join(dir, "ca.pem") + "\n\t\t}\n\t}",
			Options: "allow {\n\t\t\texpression `{http.request.tls.client.san.dns_names.0} == \"exporter.test\"`\n\t\t\tpath */serverInfo\n\t\t}\n\t\t" +
				"allow {\n\t\t\texpression `{http.veeam_auth.certificate.spki} == \"" + keyHash(dir, "other") + "\"`\n\t\t\tpath */jobs\n\t\t}",
		},
		{
			Name: "unix", Address: "http://unix.localhost", Bind: "unix/" + filepath.Join(dir, "s"),
			Options: "header_up X-Peer {http.veeam_auth.peer.uid}/{http.veeam_auth.peer.gid}/{http.veeam_auth.peer.pid}\n\t\t" +
				"deny `{http.veeam_auth.peer.uid} != " + strconv.Itoa(os.Getuid()) + "`\n\t\tallow `{http.veeam_auth.via} == \"unix\"`",
		},
	}
	for _, product := range products {
		sites = append(sites, &site{Name: "clients " + product, Product: product, Options: twoClients}, &site{Name: "rate " + product, Product: product, Options: "client grafana " + bcryptHash + "\n\t\tclient nightly " + bcryptHash + "\n\t\trate_limit 0.01 3"})
	}
	for _, product := range products {
		sites = append(sites,
			&site{Name: "passthrough " + product, Product: product, Account: "passthrough"},
			&site{Name: "both " + product, Product: product, Options: twoClients + "\n\t\tpassthrough\n\t\tact_as " + monitor})
	}
	sites = append(sites, &site{
		Name: "second factor aws", Product: "aws", Options: "passthrough",
		Account: "account second {\n\t\t\tusername " + veeamtest.DefaultMFAUser + "\n\t\t\tpassword {file." +
			filepath.Join(dir, "monitor") + "}\n\t\t\ttotp_secret " + veeamtest.DefaultTOTPSecret + "\n\t\t}",
	})
	for _, product := range formed {
		sites = append(sites, &site{Name: "exposed " + product, Product: product, Account: "passthrough", Options: "expose_upstream_tokens"})
	}
	for _, product := range products {
		sites = append(sites, &site{Name: "deny " + product, Product: product, Options: "default deny"})
	}
	return sites
}

// accessLog is Caddy's own log of requests, with what was decided.
func accessLog(dir string) string {
	return "log {\n\t\toutput file " + filepath.Join(dir, "access.log") + "\n\t}\n\t" +
		"log_append rule {http.veeam_auth.rule}\n\tlog_append source {http.veeam_auth.source}"
}

// keyHash is the SHA-256 of the public key of a certificate.
func keyHash(dir, name string) string {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"))
	if err != nil {
		return err.Error()
	}
	key, err := x509.MarshalPKIXPublicKey(pair.PrivateKey.(*ecdsa.PrivateKey).Public())
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%x", sha256.Sum256(key))
}

// newPKI makes an authority, the certificate of the site, that of a client, and
// one that claims the same name and was issued by somebody else.
func newPKI(dir string) error {
	ca, err := newCertificate(dir, "ca", nil)
	if err != nil {
		return err
	}
	_, server := newCertificate(dir, "server", ca)
	_, exporter := newCertificate(dir, "exporter", ca)
	_, exporter2 := newCertificate(dir, "exporter2", ca)
	_, other := newCertificate(dir, "other", ca)
	stranger, err := newCertificate(dir, "strange-ca", nil)
	_, forged := newCertificate(dir, "forged", stranger)
	return errors.Join(err, server, exporter, exporter2, other, forged)
}

func newCertificate(dir, name string, issuer *tls.Certificate) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	common := name
	if name == "forged" || name == "exporter2" {
		common = "exporter"
	}
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<60))
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: common, Organization: []string{"Lab"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		DNSNames: []string{name + ".test", "sidecar.test"}, BasicConstraintsValid: true,
	}
	parent, signer := template, any(key)
	if issuer == nil {
		template.IsCA, template.KeyUsage, template.ExtKeyUsage, template.DNSNames = true, x509.KeyUsageCertSign, nil, nil
	} else {
		parent, signer = issuer.Leaf, issuer.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, errors.Join(err,
		os.WriteFile(filepath.Join(dir, name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(filepath.Join(dir, name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
}
