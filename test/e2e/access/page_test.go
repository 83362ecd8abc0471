// The page for operators at a site: read-only, for callers whom an earlier handler or a
// certificate has identified.

package access

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// pageSites starts a Caddy with the page at four sites: open to all, behind basic_auth,
// where certificates are asked for and not verified, and where they are verified.
func pageSites(t *testing.T, password string) (w *harness.World, urls map[string]string) {
	t.Helper()
	w = harness.New(t)
	if err := newPKI(w.Dir); err != nil {
		t.Fatal(err)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := w.Secret("monitor", veeamtest.DefaultPassword)
	if err != nil {
		t.Fatal(err)
	}
	ports, err := harness.FreePorts(4)
	if err != nil {
		t.Fatal(err)
	}
	w.Sites = []*harness.Site{{Server: harness.StartServer(t, veeamtest.VBR13), Account: "account " + monitor + " " + secret}}
	w.Global = "auto_https disable_redirects\n\tveeam_auth {\n\t\tpage\n\t}"
	certificate := fmt.Sprintf("tls %[1]s/server.pem %[1]s/server.key {\n\t\tclient_auth {\n\t\t\t%%s\n\t\t}\n\t}", w.Dir)
	urls = make(map[string]string)
	var blocks strings.Builder
	for i, site := range []struct{ name, scheme, before string }{
		{"open", "http", ""},
		{"password", "http", "basic_auth {\n\t\talice " + string(hash) + "\n\t}"},
		{"asked", "https", fmt.Sprintf(certificate, "mode request")},
		{"verified", "https", fmt.Sprintf(certificate, "trust_pool file "+w.File("ca.pem"))},
	} {
		urls[site.name] = fmt.Sprintf("%s://localhost:%d", site.scheme, ports[i])
		fmt.Fprintf(&blocks, "%s://:%d {\n\tbind 127.0.0.1\n\t%s\n\tveeam_auth_page\n}\n", site.scheme, ports[i], site.before)
	}
	w.Layout = func() string { return w.Preamble() + w.Sites[0].Block() + blocks.String() }
	w.Run(t)
	return w, urls
}

func TestThePageAtASiteIsForAuthenticatedCallersOnly(t *testing.T) {
	t.Parallel()
	const password = "builders-pass-1"
	w, urls := pageSites(t, password)
	program := map[string]string{}
	foreign := map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.test"}
	pretending := map[string]string{"X-Forwarded-User": "alice", "Remote-User": "alice", "X-Forwarded-For": "127.0.0.1", "Authorization": "Bearer x"}
	for _, c := range []struct {
		site, user, password, certificate string
		headers                           map[string]string
		page, state                       int // statuses
		operator                          string
	}{
		{"open", "", "", "", program, http.StatusForbidden, http.StatusForbidden, ""},
		{"open", "alice", password, "", program, http.StatusForbidden, http.StatusForbidden, ""}, // nobody has checked it
		{"open", "", "", "", pretending, http.StatusForbidden, http.StatusForbidden, ""},
		{"password", "", "", "", program, http.StatusUnauthorized, http.StatusUnauthorized, ""},
		{"password", "", "", "", pretending, http.StatusUnauthorized, http.StatusUnauthorized, ""},
		{"password", "alice", "guessed", "", program, http.StatusUnauthorized, http.StatusUnauthorized, ""},
		{"password", "alice", password, "", program, http.StatusOK, http.StatusOK, "alice"},
		{"password", "alice", password, "", foreign, http.StatusOK, http.StatusForbidden, ""}, // a link leads to the page, which shows nothing by itself
		{"asked", "", "", "", program, http.StatusForbidden, http.StatusForbidden, ""},
		{"asked", "", "", "exporter", program, http.StatusForbidden, http.StatusForbidden, ""},
		{"asked", "", "", "forged", program, http.StatusForbidden, http.StatusForbidden, ""},
		{"verified", "", "", "exporter", program, http.StatusOK, http.StatusOK, "exporter"},
		{"verified", "", "", "exporter", foreign, http.StatusOK, http.StatusForbidden, ""},
	} {
		client := pageClient(t, w, c.certificate)
		ask := func(method, path, body string) (int, []byte) {
			req, err := http.NewRequestWithContext(t.Context(), method, urls[c.site]+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if c.user != "" {
				req.SetBasicAuth(c.user, c.password)
			}
			for name, value := range c.headers {
				req.Header.Set(name, value)
			}
			req.Header.Set("Content-Type", "application/json")
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			text, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			return res.StatusCode, text
		}
		what := fmt.Sprintf("%s as %q with certificate %q and %v", c.site, c.user, c.certificate, c.headers)
		for path, want := range map[string]int{"/": c.page, "/veeam_auth/": c.page, "/state": c.state, "/veeam_auth/state?decision=18446744073709551615&line=-1": c.state} {
			status, text := ask(http.MethodGet, path, "")
			if status != want {
				t.Errorf("%s: %s: %d, not %d", what, path, status, want)
			}
			if told := bytes.Contains(text, []byte(monitor)); told != (strings.Contains(path, "state") && want == http.StatusOK) {
				t.Errorf("%s: %s: the answer names the account: %t", what, path, told)
			}
			var shown struct {
				ReadOnly bool   `json:"read_only"`
				Operator string `json:"operator"`
			}
			if strings.Contains(path, "state") && want == http.StatusOK {
				if err := json.Unmarshal(text, &shown); err != nil || !shown.ReadOnly || shown.Operator != c.operator {
					t.Errorf("%s: %+v %v", what, shown, err)
				}
			}
		}
		for _, path := range []string{"/sessions/login", "/veeam_auth/sessions/login", "/veeam_auth/sessions/code", "/veeam_auth/tokens/revoke", "/veeam_auth/keys/issue", "/state", "/"} {
			for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
				if status, _ := ask(method, path, `{"account":"`+monitor+`","client":"x","code":"000000"}`); status < http.StatusBadRequest {
					t.Errorf("%s: %s %s: %d", what, method, path, status)
				}
			}
		}
	}
	if c := w.Sites[0].Server.Counters(); c.TokenRequests+c.Logouts != 0 {
		t.Errorf("the server got %+v", c)
	}
	if strings.Contains(w.Caddy.Output(), "act of an operator") {
		t.Error("the page at a site acts")
	}
	w.Global = "auto_https disable_redirects"
	if err := w.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "veeam_auth_page requires page in the global option veeam_auth") {
		t.Errorf("without the global option: %v", err)
	}
}

// pageClient presents the certificate of a file, if one is named.
func pageClient(t *testing.T, w *harness.World, certificate string) *http.Client {
	t.Helper()
	trust := &tls.Config{InsecureSkipVerify: true}
	if certificate != "" {
		pair, err := tls.LoadX509KeyPair(w.File(certificate+".pem"), w.File(certificate+".key"))
		if err != nil {
			t.Fatal(err)
		}
		// Also one that the server does not name among those that it trusts.
		trust.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	transport := &http.Transport{TLSClientConfig: trust}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: harness.Patience}
}

// At Caddy's remote admin endpoint a certificate says who acts, and the log has the name.
func TestAnActAtTheRemoteAdminEndpointIsLoggedWithItsOperator(t *testing.T) {
	t.Parallel()
	w, _ := pageSites(t, "builders-pass-1")
	ports, err := harness.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	client := pageClient(t, w, "exporter")
	pair, err := tls.LoadX509KeyPair(w.File("exporter.pem"), w.File("exporter.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Change(t.Context(), func(config map[string]any) {
		admin := config["admin"].(map[string]any)
		admin["identity"] = map[string]any{"identifiers": []string{"localhost"}, "issuers": []any{map[string]any{"module": "internal"}}}
		admin["remote"] = map[string]any{
			"listen":         fmt.Sprintf("127.0.0.1:%d", ports[0]),
			"access_control": []any{map[string]any{"public_keys": [][]byte{pair.Certificate[0]}, "permissions": []any{map[string]any{"paths": []string{"/veeam_auth/"}}}}},
		}
	}); err != nil {
		t.Fatal(err)
	}
	first, err := http.Get(w.Sites[0].URL() + "/api/v1/jobs") // needs a session
	if err != nil {
		t.Fatal(err)
	}
	_ = first.Body.Close()
	client.Transport.(*http.Transport).TLSClientConfig.ServerName = "localhost"
	var status int
	harness.Eventually(t, "the remote admin endpoint answers", func() bool {
		res, err := client.Post(fmt.Sprintf("https://127.0.0.1:%d/veeam_auth/sessions/forget", ports[0]), "application/json", strings.NewReader(`{"account":"`+monitor+`"}`))
		if err != nil {
			return false
		}
		defer res.Body.Close()
		status = res.StatusCode
		return true
	})
	if status != http.StatusOK {
		t.Errorf("status %d: %s", status, w.Caddy.Output())
	}
	harness.Eventually(t, "the act is logged with its operator", func() bool {
		for line := range strings.Lines(w.Caddy.Output()) {
			if strings.Contains(line, "act of an operator: forget") && strings.Contains(line, `"operator":"exporter"`) && strings.Contains(line, `"account":"`+monitor+`"`) {
				return true
			}
		}
		return false
	})
}

// Caddy's listeners share an address: connections would lead to the page or to something else.
func TestThePageSharesItsAddressWithNothing(t *testing.T) {
	t.Parallel()
	ports, err := harness.FreePorts(4)
	if err != nil {
		t.Fatal(err)
	}
	site := func(page, address string, port int) []byte {
		return fmt.Appendf(nil, "{\n\tauto_https off\n\tveeam_auth {\n\t\tpage %s\n\t}\n}\nhttp://:%d {\n\tbind %s\n\tveeam_auth https://127.0.0.1:1 {\n\t\taccount svc right\n\t\tmax_users %d\n\t}\n}\n",
			page, port, address, port)
	}
	start := func(config []byte) (*harness.Caddy, error) {
		dir := t.TempDir()
		file := filepath.Join(dir, "Caddyfile")
		if err := os.WriteFile(file, config, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := harness.StartCaddy(dir, file, nil)
		if err == nil {
			t.Cleanup(c.Stop)
		}
		return c, err
	}
	listens := func(port int) string { return fmt.Sprintf("localhost:%d", port) }
	for _, address := range []string{"127.0.0.1", "0.0.0.0", "::"} {
		if _, err := start(site(listens(ports[0]), address, ports[0])); err == nil || !strings.Contains(err.Error(), "is an address of the server srv0") {
			t.Errorf("a site at %s: %v", address, err)
		}
	}
	other, err := net.Listen("tcp", listens(ports[1]))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := start(site(listens(ports[1]), "127.0.0.1", ports[2])); err == nil || !strings.Contains(err.Error(), "by the admin endpoint, another program, or a site") {
		t.Errorf("another program: %v", err)
	}
	other.Close()

	c, err := start(site(listens(ports[1]), "127.0.0.1", ports[2]))
	if err != nil {
		t.Fatal(err)
	}
	status := func() int {
		res, err := http.Get("http://" + listens(ports[1]) + "/veeam_auth/")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	digest := func() string { // of the configuration that the page says is in force
		res, err := http.Get("http://" + listens(ports[1]) + "/veeam_auth/state")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var state struct {
			Config string `json:"config"`
		}
		if err := json.NewDecoder(res.Body).Decode(&state); err != nil || state.Config == "" {
			t.Fatal(err, state.Config)
		}
		return state.Config
	}
	first := digest()
	for _, page := range []string{listens(ports[1]), fmt.Sprintf("127.0.0.1:%d", ports[1]), fmt.Sprintf("tcp/localhost:%d", ports[1])} { // reloads at the same address
		if err := c.Load(t.Context(), site(page, "127.0.0.1", ports[3])); err != nil {
			t.Fatal(err)
		}
		if got := status(); got != http.StatusOK {
			t.Errorf("after a reload: %d", got)
		}
	}
	second := digest()
	if err := c.Load(t.Context(), site(c.Admin, "127.0.0.1", ports[2])); err == nil || !strings.Contains(err.Error(), "admin endpoint") {
		t.Errorf("the admin endpoint: %v", err)
	}
	if got := status(); got != http.StatusOK {
		t.Errorf("after a reload that has failed: %d", got)
	}
	if got := digest(); first == second || got != second {
		t.Errorf("the page shows the configurations %s, %s, and %s after a reload that has failed", first, second, got)
	}
}
