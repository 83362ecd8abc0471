// Tokens are good where they would have been issued, and nowhere else: several sites
// on one port, with the same server behind them.

package access

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/harness"
)

// The password is "builder", with another salt than bcryptHash.
const otherHash = "$2a$04$kmyyxlyQ1ucecrFh0Ky0k.BAUiq96O4gIPrzu/UFMOa4SuWcUu3L2"

// neighbour is a site of which all share one port and one server.
type neighbour struct {
	host    string // of its requests
	address string // of its connections
	team    string // a header
	block   string // the whole site; %s stands for the beginning of the options of veeam_auth
	user    string // to log in with, empty if nobody can
}

// neighbours starts one Caddy with the sites and returns a client of each, who is
// known by nothing but its tokens.
func neighbours(t *testing.T, product string, sites []neighbour) (*world, []*client) {
	t.Helper()
	w := newWorld(t.TempDir(), &site{Name: "site", Product: product})
	t.Cleanup(w.stop)
	if err := w.serve(); err != nil {
		t.Fatal(err)
	}
	w.Layout = func() string { return w.neighbourhood(sites) }
	if err := w.start(); err != nil {
		t.Fatal(err)
	}
	clients := make([]*client, len(sites))
	for i, s := range sites {
		c := w.client(t, "site").relayed()
		if s.address != "" {
			c.base = fmt.Sprintf("http://%s:%d", s.address, w.port("site")) //nolint:nosprintfhostport // the address has its brackets
		}
		c.edits = append(c.edits, func(r *http.Request) {
			if s.host != "" {
				r.Host = s.host
			}
			if s.team != "" {
				r.Header.Set("X-Team", s.team)
			}
		})
		clients[i] = c
	}
	return w, clients
}

func (w *world) neighbourhood(sites []neighbour) string {
	server := w.site("site").Server
	begin := fmt.Sprintf("veeam_auth %s {\n\t\tproduct %s\n\t\ttls_pin %s", server.URL(), w.site("site").Product, harness.Pin(server))
	var b strings.Builder
	b.WriteString(w.Preamble())
	for _, s := range sites {
		b.WriteString(strings.NewReplacer(
			"SERVER", strings.TrimPrefix(server.URL(), "https://"), "CHOSEN", strings.Replace(begin, server.URL()+" {", "{server} {\n\t\ttransport http {\n\t\t\ttls\n\t\t}", 1),
			"PORT", fmt.Sprint(w.port("site")), "VEEAM", begin, "MATCHED", strings.Replace(begin, "veeam_auth", "veeam_auth @red", 1),
			"MONITOR", fmt.Sprintf("account %s {file.%s}", monitor, filepath.Join(w.Dir, "monitor")),
			"OPERATOR", fmt.Sprintf("account %s {file.%s}", operator, filepath.Join(w.Dir, "operator")),
			"HASH2", otherHash, "HASH", bcryptHash,
		).Replace(s.block))
	}
	return b.String()
}

// differing are sites each of which differs from the first in one thing.
func differing() []neighbour {
	site := func(name, options string) neighbour {
		return neighbour{host: name + ".test", block: "http://" + name + ".test:PORT {\n\tbind 127.0.0.1\n\tVEEAM\n\t\t" + options + "\n\t}\n}\n", user: "grafana"}
	}
	bound := func(address string) neighbour {
		return neighbour{
			host: "bound.test", address: address, user: "grafana",
			block: "http://:PORT {\n\tbind " + address + "\n\tVEEAM\n\t\tMONITOR\n\t\tclient grafana HASH\n\t}\n}\n",
		}
	}
	nobody := site("nobody", "MONITOR\n\t\tclient other HASH")
	nobody.user = ""
	users := site("passthrough", "MONITOR\n\t\tpassthrough\n\t\tclient grafana HASH")
	users.user = operator
	red := site("teams", "")
	red.team, red.block = "red", "http://teams.test:PORT {\n\tbind 127.0.0.1\n\t@red header X-Team red\n\tMATCHED\n\t\tMONITOR\n\t\tclient grafana HASH\n\t}\n\tVEEAM\n\t\tMONITOR\n\t\tclient grafana HASH\n\t}\n}\n"
	blue := neighbour{host: "teams.test", user: "grafana"}
	first := site("first", "MONITOR\n\t\tclient grafana HASH")
	first.block = "(shared) {\n\tbind 127.0.0.1\n\tVEEAM\n\t\tMONITOR\n\t\tclient grafana HASH\n\t}\n}\nhttp://first.test:PORT {\n\timport shared\n}\n"
	same := site("same", "")
	same.block = "http://same.test:PORT {\n\timport shared\n}\n"
	return []neighbour{
		first, same,
		site("rules", "MONITOR\n\t\tclient grafana HASH\n\t\tallow preset monitor"),
		site("account", "OPERATOR\n\t\tclient grafana HASH"),
		site("second", "MONITOR\n\t\tOPERATOR\n\t\tclient grafana HASH "+operator),
		site("hash", "MONITOR\n\t\tclient grafana HASH2"),
		site("acts", "MONITOR\n\t\tclient grafana HASH\n\t\tact_as "+monitor),
		nobody, users, red, blue, bound("127.0.0.2"), bound("127.0.0.3"),
	}
}

func (n neighbour) tokens(c *client) pair {
	c.Helper()
	if n.user == operator {
		return c.tokens(operator, "operator-pass-1")
	}
	return c.tokens(n.user, password)
}

// code asks for an authorization code.
func (c *client) code(token string) string {
	c.Helper()
	var answer struct{ Code string }
	c.do(http.MethodPost, "/api/oauth2/authorization_code", "", bearer(token)).want(http.StatusOK).into(&answer)
	return answer.Code
}

func TestATokenIsGoodAtNoSiblingSite(t *testing.T) {
	for _, product := range kinds {
		t.Run(product, func(t *testing.T) { goodAtNoSibling(t, product) })
	}
}

func goodAtNoSibling(t *testing.T, product string) {
	t.Helper()
	sites := differing()
	_, clients := neighbours(t, product, sites)
	path, renewable := map[string]string{"vbr": "/api/v1/serverInfo", "em": "/api/jobs"}[product], !facts[product].basic
	for i, s := range sites {
		if s.user == "" {
			continue
		}
		mine := s.tokens(clients[i])
		clients[i].get(path, bearer(mine.Access)).want(http.StatusOK)
		for j, other := range clients {
			if i == j {
				continue
			}
			other = other.from(fmt.Sprintf("127.0.9.%d", i+1)) // refused requests are braked by address
			what := fmt.Sprintf("of %s%s%s at %s%s%s", s.host, s.team, s.address, sites[j].host, sites[j].team, sites[j].address)
			if a := other.get(path, bearer(mine.Access)); a.status != http.StatusUnauthorized {
				t.Errorf("an access token %s: %v", what, a)
			}
			if !renewable {
				continue
			}
			if a := other.form("grant_type", "refresh_token", "refresh_token", mine.Refresh); a.status != http.StatusUnauthorized {
				t.Errorf("a refresh token %s: %v", what, a)
			}
			if a := other.form("grant_type", "authorization_code", "code", clients[i].code(mine.Access)); a.status != http.StatusUnauthorized {
				t.Errorf("a code %s: %v", what, a)
			}
		}
		if !renewable {
			clients[i].get(path, bearer(mine.Access)).want(http.StatusOK)
			continue
		}
		next := clients[i].form("grant_type", "refresh_token", "refresh_token", mine.Refresh).tokens()
		clients[i].get(path, bearer(next.Access)).want(http.StatusOK)
		clients[i].form("grant_type", "authorization_code", "code", clients[i].code(next.Access)).tokens()
	}
}

func TestSitesWithOneAudienceAcceptEachOthersTokensByTheirOwnClientsAndRules(t *testing.T) {
	sites := []neighbour{
		{host: "one.test", block: "http://one.test:PORT {\n\tbind 127.0.0.1\n\tVEEAM\n\t\taudience joined\n\t\tMONITOR\n\t\tclient grafana HASH\n\t\tclient nightly HASH\n\t}\n}\n"},
		{host: "two.test", block: "http://two.test:PORT {\n\tbind 127.0.0.1\n\tVEEAM\n\t\taudience joined\n\t\tMONITOR\n\t\tOPERATOR\n\t\tclient grafana HASH " + operator + "\n\t\tdeny /api/v1/jobs\n\t}\n}\n"},
		{host: "three.test", block: "http://three.test:PORT {\n\tbind 127.0.0.1\n\tVEEAM\n\t\taudience joined\n\t\tMONITOR\n\t\tclient grafana HASH2\n\t}\n}\n"},
		{host: "four.test", block: "http://four.test:PORT {\n\tbind 127.0.0.1\n\tVEEAM\n\t\taudience others\n\t\tMONITOR\n\t\tclient grafana HASH\n\t}\n}\n"},
	}
	_, clients := neighbours(t, "vbr", sites)
	one, two, three, four := clients[0], clients[1], clients[2], clients[3]
	grafana, nightly := one.tokens("grafana", password), one.tokens("nightly", password)
	if e := one.echo(bearer(grafana.Access)); e.Subject != monitor {
		t.Errorf("at home it acts as %s", e.Subject)
	}
	if e := two.echo(bearer(grafana.Access)); e.Subject != operator {
		t.Errorf("at the other site it acts as %s, not as the account that it has there", e.Subject)
	}
	one.get("/api/v1/jobs", bearer(grafana.Access)).want(http.StatusOK)
	two.get("/api/v1/jobs", bearer(grafana.Access)).refused("vbr", http.StatusForbidden)
	for what, c := range map[string]*client{"another hash": three, "another audience": four} {
		if a := c.get("/api/v1/serverInfo", bearer(grafana.Access)); a.status != http.StatusUnauthorized {
			t.Errorf("%s: %v", what, a)
		}
	}
	two.get("/api/v1/serverInfo", bearer(nightly.Access)).refused("vbr", http.StatusUnauthorized) // no client there
	if e := two.echo(bearer(two.form("grant_type", "refresh_token", "refresh_token", grafana.Refresh).tokens().Access)); e.Subject != operator {
		t.Errorf("renewed at the other site it acts as %s", e.Subject)
	}
	if e := one.echo(bearer(one.form("grant_type", "authorization_code", "code", two.code(grafana.Access)).tokens().Access)); e.Subject != monitor {
		t.Errorf("with a code of the other site it acts as %s", e.Subject)
	}
}

// reload loads the sites as they are now.
func (w *world) reloadLayout(t *testing.T, sites []neighbour) {
	t.Helper()
	w.Layout = func() string { return w.neighbourhood(sites) }
	w.reload(t)
}

func TestTokensEndWithWhatVouchedForThem(t *testing.T) {
	site := func(options string) []neighbour {
		return []neighbour{{host: "a.test", block: "http://a.test:PORT {\n\tbind 127.0.0.1\n\t@login not header Authorization Bearer*\n\tbasic_auth @login {\n\t\tbob BOB\n\t\tcarol HASH\n\t}\n\tVEEAM\n\t\tMONITOR\n\t\t" + options + "\n\t}\n}\n"}}
	}
	with := func(sites []neighbour, bob string) []neighbour {
		sites[0].block = strings.ReplaceAll(sites[0].block, "BOB", bob)
		return sites
	}
	w, clients := neighbours(t, "vbr", with(site("client grafana HASH\n\t\tclient nightly HASH"), "HASH"))
	c := clients[0]
	as := func(name string) pair {
		t.Helper()
		return c.do(http.MethodPost, "/api/oauth2/token", "grant_type=password&username="+name+"&password="+password,
			header("Content-Type", "application/x-www-form-urlencoded"), func(r *http.Request) { r.SetBasicAuth(name, password) }).tokens()
	}
	login := func(name string) pair { // as a client, who needs the name of some user to pass
		t.Helper()
		return c.do(http.MethodPost, "/api/oauth2/token", "grant_type=password&username="+name+"&password="+password,
			header("Content-Type", "application/x-www-form-urlencoded"), func(r *http.Request) { r.SetBasicAuth("carol", password) }).tokens()
	}
	type held struct {
		pair
		code string
	}
	hold := func(p pair) held { return held{p, c.code(p.Access)} }
	grafana, nightly, bob, carol := hold(login("grafana")), hold(login("nightly")), hold(as("bob")), hold(as("carol"))
	refresh := func(h held) *answer {
		return c.do(http.MethodPost, "/api/oauth2/token", "grant_type=refresh_token&refresh_token="+h.Refresh,
			header("Content-Type", "application/x-www-form-urlencoded"), func(r *http.Request) { r.SetBasicAuth("carol", password) })
	}
	redeem := func(h held) *answer {
		return c.do(http.MethodPost, "/api/oauth2/token", "grant_type=authorization_code&code="+strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D").Replace(h.code),
			header("Content-Type", "application/x-www-form-urlencoded"), func(r *http.Request) { r.SetBasicAuth("carol", password) })
	}
	for name, h := range map[string]held{"grafana": grafana, "nightly": nightly, "bob": bob, "carol": carol} {
		if a := c.get("/api/v1/serverInfo", bearer(h.Access)); a.status != http.StatusOK {
			t.Errorf("%s: %v", name, a)
		}
	}

	// A change of a rule logs nobody out.
	w.reloadLayout(t, with(site("client grafana HASH\n\t\tclient nightly HASH\n\t\tdeny /api/v1/jobs"), "HASH"))
	c.get("/api/v1/jobs", bearer(grafana.Access)).refused("vbr", http.StatusForbidden)
	c.get("/api/v1/serverInfo", bearer(grafana.Access)).want(http.StatusOK)
	c.get("/api/v1/serverInfo", bearer(bob.Access)).want(http.StatusOK)

	// Another hash does, even of the same password, and nobody else.
	w.reloadLayout(t, with(site("client grafana HASH2\n\t\tclient nightly HASH"), "HASH2"))
	for name, h := range map[string]held{"the client": grafana, "the user of basic_auth": bob} {
		if a := c.get("/api/v1/serverInfo", bearer(h.Access)); a.status != http.StatusUnauthorized {
			t.Errorf("an access token of %s: %v", name, a)
		}
		if a := refresh(h); a.status != http.StatusUnauthorized {
			t.Errorf("a refresh token of %s: %v", name, a)
		}
		if a := redeem(h); a.status != http.StatusUnauthorized {
			t.Errorf("a code of %s: %v", name, a)
		}
	}
	for name, h := range map[string]held{"another client": nightly, "another user": carol} {
		if a := c.get("/api/v1/serverInfo", bearer(h.Access)); a.status != http.StatusOK {
			t.Errorf("%s: %v", name, a)
		}
		refresh(h).tokens()
		redeem(h).tokens()
	}
	c.get("/api/v1/serverInfo", bearer(login("grafana").Access)).want(http.StatusOK)
}

func TestATokenOfACertificateNeedsItsKey(t *testing.T) {
	w := here(t)
	exporter, other, bare := w.certified(t, "exporter"), w.certified(t, "other"), w.certified(t, "")
	mine := exporter.form("grant_type", "password", "username", "x", "password", "y").tokens()
	exporter.get("/api/v1/jobs", bearer(mine.Access)).want(http.StatusOK)
	code := exporter.code(mine.Access)
	for name, c := range map[string]*client{"another certificate": other, "no certificate": bare} {
		if a := c.get("/api/v1/serverInfo", bearer(mine.Access)); a.status != http.StatusUnauthorized {
			t.Errorf("an access token with %s: %v", name, a)
		}
		if a := c.form("grant_type", "refresh_token", "refresh_token", mine.Refresh); a.status != http.StatusUnauthorized {
			t.Errorf("a refresh token with %s: %v", name, a)
		}
	}
	if a := bare.form("grant_type", "authorization_code", "code", code); a.status != http.StatusUnauthorized {
		t.Errorf("a code without a certificate: %v", a)
	}
	next := exporter.form("grant_type", "refresh_token", "refresh_token", mine.Refresh).tokens()
	exporter.get("/api/v1/jobs", bearer(next.Access)).want(http.StatusOK)

	// One with the same name and another key, from the same authority.
	w.certified(t, "exporter2").get("/api/v1/serverInfo", bearer(next.Access)).refused("vbr", http.StatusUnauthorized)
	w.certified(t, "exporter2").get("/api/v1/jobs").want(http.StatusOK)
}

func TestASessionOfACertificateNeedsItsKey(t *testing.T) {
	w := here(t)
	exporter := w.certifiedAt(t, "tls em", "exporter")
	mine, theirs := exporter.tokens("x", "y"), w.certifiedAt(t, "tls em", "other").tokens("x", "y")
	exporter.get("/api/jobs", bearer(mine.Access)).want(http.StatusOK)
	for _, name := range []string{"other", "exporter2", ""} { // exporter2 has the same name and another key
		c := w.certifiedAt(t, "tls em", name)
		if name != "other" {
			c.get(c.echoPath(), bearer(theirs.Access)).refused("em", http.StatusUnauthorized)
		}
		c.get(c.echoPath(), bearer(mine.Access)).refused("em", http.StatusUnauthorized)
	}
	other := w.certifiedAt(t, "tls em", "other")
	other.get(other.echoPath(), bearer(theirs.Access)).want(http.StatusOK)
	other.get("/api/jobs", bearer(theirs.Access)).refused("em", http.StatusForbidden)
	w.certifiedAt(t, "tls em", "exporter2").get("/api/jobs").want(http.StatusOK)
}

func TestAPassthroughUserNeverPassesForACertificateOfItsName(t *testing.T) {
	w := here(t)
	exporter, bare := w.certifiedAt(t, "tls passthrough", "exporter"), w.certifiedAt(t, "tls passthrough", "")
	user := bare.login("CN=exporter,O=Lab", "exporters-pass-1").tokens()
	bare.get("/api/v1/jobs", bearer(user.Access)).refused("vbr", http.StatusForbidden)
	exporter.get("/api/v1/jobs").want(http.StatusOK)
	w.logs(t, "[User: passthrough:cn=exporter,o=lab][GET] request to [/api/v1/jobs]")
	w.logs(t, "[User: certificate:CN=exporter,O=Lab][GET] request to [/api/v1/jobs]")

	// To revoke the tokens of the one does nothing to the other.
	token := exporter.form("grant_type", "password").tokens()
	revoke := func(name string) {
		t.Helper()
		cmd, err := harness.Command(w.Dir, nil, "veeam-auth", "tokens", "revoke", name, "--address", w.Caddy.Admin)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	revoke(`passthrough:cn=EXPORTER,o=Lab`)
	bare.get("/api/v1/serverInfo", bearer(user.Access)).refused("vbr", http.StatusUnauthorized)
	exporter.get("/api/v1/serverInfo", bearer(token.Access)).want(http.StatusOK)
	user = bare.login("CN=exporter,O=Lab", "exporters-pass-1").tokens()
	revoke("certificate:CN=exporter,O=Lab")
	exporter.get("/api/v1/serverInfo", bearer(token.Access)).refused("vbr", http.StatusUnauthorized)
	bare.get("/api/v1/serverInfo", bearer(user.Access)).want(http.StatusOK)
}
