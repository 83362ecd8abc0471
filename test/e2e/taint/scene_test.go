// The scene: a server of each product, one Caddy that logs everything in three forms, and
// the secrets that each of them has.

package taint

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/harness/certs"
	"github.com/caddy-veeam/veeam-auth/test/harness/otlp"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// scene is everything that runs.
type scene struct {
	*harness.World
	t       *testing.T
	servers map[string]*veeamtest.Server
	sites   map[string]string // product → URL of the sidecar

	configured  []canary // must come out nowhere at all
	sent        []canary // by clients; the server may echo them to the client
	client      canary
	manager     string    // URL of the site of Enterprise Manager
	passthrough string    // URL of a site where clients log in with credentials of their own
	user        [2]canary // password of a passthrough user, and of one with a second factor
	userSeed    canary
	received    strings.Builder // by clients
	scratch     []string        // codes that clients got from a server
	admin       strings.Builder
	approvals   string // URL of a site whose requests an operator approves
	coded       string // the site of an account that waits for a code
	code        string // that is entered for it
	spans       *otlp.Receiver
	idp         *rsa.PrivateKey
}

func (s *scene) secret(c canary) string {
	s.configured = append(s.configured, c)
	path := filepath.Join(s.Dir, "secrets", fmt.Sprintf("%02d", len(s.configured)))
	if err := os.WriteFile(path, []byte(c.text+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return "{file." + path + "}"
}

const (
	providerUID = "7d1a3c52-0c1f-4d5e-8a54-3b1f0c9d2e11"
	tenantUID   = "3f2b8a10-6f0d-4f3a-9a41-5c7e1d2f3a44"
)

// start puts the scene up.
func start(t *testing.T) *scene {
	t.Helper()
	s := &scene{World: harness.New(t), t: t, servers: map[string]*veeamtest.Server{}, sites: map[string]string{}}
	if err := os.MkdirAll(filepath.Join(s.Dir, "secrets"), 0o700); err != nil {
		t.Fatal(err)
	}
	vbr, azure, aws := newCanary("vbr password"), newCanary("azure password"), newCanary("aws password")
	azureSeed, awsSeed := newSeed("azure TOTP seed"), newSeed("aws TOTP seed")
	apiKey, passphrase, parent := newToken("API key"), newCanary("PKCS#12 passphrase"), newCanary("parent password")
	s.client = newCanary("client password")
	wrong, next, wrongNext := newCanary("wrong password"), newCanary("next password"), newCanary("wrong next password")

	key, container := s.keyPair(passphrase)
	s.serve("vbr", veeamtest.New(veeamtest.VBR13, account("svc-monitor", vbr.text, "")))
	coded := newCanary("password of an account without a seed")
	s.serve("azure", veeamtest.New(veeamtest.Azure, account("svc-mfa", azure.text, azureSeed.text), account("svc-code", coded.text, newSeed("seed of a person").text)))
	s.user, s.userSeed = [2]canary{newCanary("user's password"), newCanary("password of a user with codes")}, newSeed("user's TOTP seed")
	s.serve("aws", veeamtest.New(veeamtest.AWS, account("svc-mfa", aws.text, awsSeed.text),
		account("user", s.user[0].text, ""), account("user-mfa", s.user[1].text, s.userSeed.text)))
	s.serve("vspc", veeamtest.New(veeamtest.VSPC,
		veeamtest.WithAccount(veeamtest.Account{Username: "provider", Password: parent.text, UID: providerUID}),
		veeamtest.WithAccount(veeamtest.Account{Username: "tenant", Password: newCanary("unused").text, UID: tenantUID}),
		veeamtest.WithAPIKey("provider", apiKey.text, false),
		veeamtest.WithPublicKey("provider", []byte(veeamtest.PublicKeyXML(&key.PublicKey)), false),
	))
	assertion := newToken("VB365 assertion")
	s.serve("vb365", veeamtest.New(veeamtest.VB365, veeamtest.WithTokenLimits(0, 0, 0),
		veeamtest.WithAccount(veeamtest.Account{Username: "restore", Password: newCanary("unused").text, ClientID: "application", Assertion: assertion.text})))
	gcp, gcpSeed, one := newCanary("gcp password"), newSeed("gcp TOTP seed"), newCanary("one password")
	s.serve("gcp", veeamtest.New(veeamtest.GCP, account("svc-mfa", gcp.text, gcpSeed.text)))
	s.serve("one", veeamtest.New(veeamtest.ONE, account("svc-monitor", one.text, "")))
	manager := newCanary("em password")
	s.serve("em", veeamtest.New(veeamtest.EM13, account("svc-monitor", manager.text, "")))
	harness.HasEveryProduct(t, slices.Collect(maps.Keys(s.servers)), "vspc35") // which is a version
	s.servers["refused"], s.servers["passthrough"] = s.servers["vbr"], s.servers["aws"]
	s.servers["coded"], s.servers["approvals"] = s.servers["azure"], s.servers["vbr"]

	hash, err := bcrypt.GenerateFromPassword([]byte(s.client.text), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	s.configured = append(s.configured, s.client)
	bound := ""
	if harness.Binary == "" { // another one has no handler of events
		bound = `events {
		on * exec /bin/sh -c "printf '%s\n' \"$@\" >> \"$0\"" ` + s.Dir + `/events {event.name} {event.data}
	}`
	}
	config := &strings.Builder{}
	fmt.Fprintf(config, `{
	debug
	metrics
	order tracing first
	%[2]s
	veeam_auth {
		page
	}
	log svc {
		include http.handlers.veeam_auth.svc
		output file %[1]s/svc.log
		format svc_resapi {
			request_id
		}
	}
	log json {
		include http.handlers.veeam_auth.svc
		output file %[1]s/svc.json
		format json
	}
}
`, s.Dir, bound)
	seed := "otpauth://totp/x?digits=6&period=30&secret=" + azureSeed.text
	cache := "\t\tcache {\n\t\t\tencryption_key " + s.cacheKey() + "\n\t\t\tstorage file_system " + filepath.Join(s.Dir, "cache") + "\n\t\t}\n"
	site := func(name, product string, body string) {
		ports, err := harness.FreePorts(1)
		if err != nil {
			t.Fatal(err)
		}
		s.sites[name] = fmt.Sprintf("http://127.0.0.1:%d", ports[0])
		if name != "one" && name != "vspc" { // of their sessions, Caddy's own storage has records
			body += cache
		}
		fmt.Fprintf(config, "%s {\n\tbind 127.0.0.1\n\ttracing {\n\t\tspan site\n\t}\n\tlog {\n\t\toutput file %s/access.log\n\t}\n\tveeam_auth %s {\n\t\tproduct %s\n\t\ttls_pin %s\n\t\tlog_all_bodies\n%s\t}\n}\n",
			s.sites[name], s.Dir, s.servers[name].URL(), product, harness.Pin(s.servers[name]), body)
	}
	client := "\t\tclient grafana " + string(hash) + "\n"
	site("vbr", "vbr", client+s.trust()+"\t\taccount svc-monitor "+s.secret(vbr)+" {\n\t\t\tnext_password "+s.secret(next)+"\n\t\t}\n")
	site("refused", "vbr", "\t\taccount svc-monitor "+s.secret(wrong)+" {\n\t\t\tnext_password "+s.secret(wrongNext)+"\n\t\t}\n")
	site("azure", "azure", client+"\t\taccount svc-mfa "+s.secret(azure)+" {\n\t\t\ttotp_secret "+s.secret(canary{"otpauth URI", seed})+"\n\t\t}\n")
	site("aws", "aws", client+"\t\taccount svc-mfa "+s.secret(aws)+" {\n\t\t\ttotp_secret "+s.secret(awsSeed)+"\n\t\t}\n")
	site("vspc", "vspc", client+"\t\taccount provider "+s.secret(parent)+"\n"+
		"\t\taccount tenant {\n\t\t\tgrant as\n\t\t\tparent provider\n\t\t\tuser_uid "+tenantUID+"\n\t\t}\n"+
		"\t\taccount by-key {\n\t\t\tgrant public_key\n\t\t\tkey "+container+" "+s.secret(passphrase)+"\n\t\t}\n"+
		"\t\taccount by-api-key "+s.secret(apiKey)+" {\n\t\t\tgrant api_key\n\t\t}\n"+
		"\t\tact_as {http.request.header.X-Account}\n")
	site("vb365", "vb365", client+"\t\taccount restore {\n\t\t\tgrant jwt-bearer\n\t\t\tclient_id application\n\t\t\tassertion "+s.secret(assertion)+"\n\t\t}\n\t\tpace off\n")
	site("gcp", "gcp", client+"\t\taccount svc-mfa "+s.secret(gcp)+" {\n\t\t\ttotp_secret "+s.secret(gcpSeed)+"\n\t\t}\n")
	site("one", "one", client+"\t\taccount svc-monitor "+s.secret(one)+"\n")
	site("em", "em", client+"\t\taccount svc-monitor "+s.secret(manager)+"\n")
	s.manager = s.sites["em"]
	delete(s.sites, "em") // its clients log in by other requests
	site("passthrough", "aws", "\t\tpassthrough\n")
	s.passthrough = s.sites["passthrough"]
	site("approvals", "vbr", client+"\t\taccount svc-monitor "+s.secret(vbr)+"\n"+approve)
	s.approvals = s.sites["approvals"]
	delete(s.sites, "approvals") // what it is asked for waits
	site("coded", "azure", "\t\taccount svc-code "+s.secret(coded)+"\n")
	s.coded, s.code = s.sites["coded"], fmt.Sprintf("9%09d", mathrand.IntN(1e9))
	delete(s.sites, "coded")       // it has no session until a code is entered
	delete(s.sites, "passthrough") // it has no account that would serve the others' requests
	s.configured = append(s.configured, azureSeed, s.userSeed)

	s.spans, s.Env = otlp.Receive(t)
	s.Layout = config.String
	s.Run(t)
	return s
}

func account(name, password, seed string) veeamtest.Option {
	return veeamtest.WithAccount(veeamtest.Account{Username: name, Password: password, TOTPSecret: seed})
}

func (s *scene) serve(product string, server *veeamtest.Server) {
	if err := server.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(server.Close)
	s.servers[product] = server
}

// cacheKey is a keyset in a file. What must not come out of it are its text, the key
// of the names, and the keys that seal.
func (s *scene) cacheKey() (placeholder string) {
	keys, err := sealed.NewKeyset()
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := keys.Text()
	if err != nil {
		s.t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		s.t.Fatal(err)
	}
	var parts struct {
		Names []byte
		Seal  json.RawMessage
	}
	if err := json.Unmarshal(raw, &parts); err != nil {
		s.t.Fatal(err)
	}
	value := regexp.MustCompile(`"value":"([^"]{40,})"`).FindSubmatch(parts.Seal)
	if len(parts.Names) < 16 || value == nil {
		s.t.Fatal("the keyset is not made as it was")
	}
	s.configured = append(s.configured, canary{"cache key, names", string(parts.Names)}, canary{"cache key, seal", string(value[1])})
	return s.secret(canary{"cache key", text})
}

// keyPair makes a key in a PKCS#12 file. What must not come out of it are the
// lines of its PEM form and its numbers.
func (s *scene) keyPair(passphrase canary) (key *rsa.PrivateKey, file string) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		s.t.Fatal(err)
	}
	certificate := certs.Sign(nil, &x509.Certificate{Subject: pkix.Name{CommonName: "key"}}, key)
	container, err := pkcs12.Modern.Encode(key, certificate.Leaf, nil, passphrase.text)
	if err != nil {
		s.t.Fatal(err)
	}
	file = filepath.Join(s.Dir, "key.p12")
	if err := os.WriteFile(file, container, 0o600); err != nil {
		s.t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	lines := strings.Split(string(text), "\n")
	s.configured = append(s.configured,
		canary{"private key, a line", lines[12]}, canary{"private key, exponent", key.D.String()}, canary{"private key, prime", key.Primes[0].Text(16)})
	return key, file
}
