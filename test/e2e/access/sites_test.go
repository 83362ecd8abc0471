// The sites of the shared Caddy, and the certificates of the one with TLS.

package access

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/caddy-veeam/veeam-auth/test/harness/certs"
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
		Account: "account second {\n\t\t\tusername " + second + "\n\t\t\tpassword {file." +
			filepath.Join(dir, "monitor") + "}\n\t\t\ttotp_secret " + secondSecret + "\n\t\t}",
	})
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
	authority, stranger := certs.Authority("ca"), certs.Authority("strange-ca")
	err := certs.Write(dir, "ca", authority)
	for _, c := range []struct {
		file, name string
		issuer     *tls.Certificate
	}{
		{"server", "server", authority},
		{"exporter", "exporter", authority},
		{"exporter2", "exporter", authority},
		{"other", "other", authority},
		{"forged", "exporter", stranger},
	} {
		err = errors.Join(err, certs.Write(dir, c.file, certs.Issue(c.issuer, &x509.Certificate{
			Subject: pkix.Name{CommonName: c.name, Organization: []string{"Lab"}}, DNSNames: []string{c.file + ".test", "sidecar.test"},
		})))
	}
	return err
}
