// The example in which a password is asked for once, and the token counts from then
// on.

package examples

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// basicAuthSite starts the example with an emulated server, without some of its
// lines, and returns where it listens. The password of grafana is "builder".
func basicAuthSite(t *testing.T, leftOut string) (base string, server *veeamtest.Server) {
	t.Helper()
	var text string
	for _, e := range examples(t) {
		if strings.Contains(e.text, "@without_token") {
			text = e.text
		}
	}
	if text == "" || !strings.Contains(text, leftOut) {
		t.Fatalf("the example is not there: %q", text)
	}
	server = harness.StartServer(t, veeamtest.VBR13)
	w := harness.New(t)
	password := w.File("password")
	if err := os.WriteFile(password, []byte(veeamtest.DefaultPassword), 0o600); err != nil {
		t.Fatal(err)
	}
	site := &harness.Site{}
	w.Sites = []*harness.Site{site}
	w.Layout = func() string {
		return w.Preamble() + strings.NewReplacer(":9419 {", ":"+strconv.Itoa(site.Port)+" {", "https://vbr01.lab.local:9419 {", server.URL()+" {\n\t\ttls_pin "+harness.Pin(server),
			"/run/secrets/vbr_password", password,
			"$2a$14$blNxQHI8wjx5Qzj5CtaGZeuVPBymfbOxtC4MshHERfVBktbgwOp.C", "$2a$04$JtdEpqxBUnUBxy6T63cbHuSlRHPPn3KyHsnKHhEZpitVgk.9a0g/u",
		).Replace(strings.Replace(text, leftOut, "", 1))
	}
	w.Run(t)
	return site.URL(), server
}

type edit = func(*http.Request)

func ask(t *testing.T, method, address string, form url.Values, edits ...edit) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, e := range edits {
		e(req)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func bearer(token string) edit {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

func TestATokenGotWithBasicAuthIsEnoughFromThenOn(t *testing.T) {
	base, server := basicAuthSite(t, "")
	token, login := base+"/api/oauth2/token", url.Values{"grant_type": {"password"}, "username": {"x"}, "password": {"y"}}
	grafana := func(r *http.Request) { r.SetBasicAuth("grafana", "builder") }
	status, body := ask(t, http.MethodPost, token, login, grafana)
	var pair struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if err := json.Unmarshal([]byte(body), &pair); status != http.StatusOK || err != nil {
		t.Fatalf("%d %s", status, body)
	}
	if status, body := ask(t, http.MethodGet, base+"/api/v1/serverInfo", nil, bearer(pair.Access)); status != http.StatusOK {
		t.Errorf("the token: %d %s", status, body)
	}
	if status, body := ask(t, http.MethodGet, base+"/api/v1/serverInfo", nil, grafana); status != http.StatusOK {
		t.Errorf("the password: %d %s", status, body)
	}
	// A client that renews sends its old token with it, or none.
	status, body = ask(t, http.MethodPost, token, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {pair.Refresh}}, bearer(pair.Access))
	if status != http.StatusOK {
		t.Errorf("the refresh token: %d %s", status, body)
	}

	before := server.Counters()
	for name, edits := range map[string][]edit{
		"nothing": nil, "junk": {bearer("junk")}, "an empty token": {bearer("")},
		"lower case":       {func(r *http.Request) { r.Header.Set("Authorization", "bearer junk") }},
		"two":              {func(r *http.Request) { r.Header["Authorization"] = []string{"Basic eDp5", "Bearer junk"} }},
		"a wrong password": {func(r *http.Request) { r.SetBasicAuth("grafana", "wrecker") }},
	} {
		for _, path := range []string{"/api/v1/serverInfo", "/api/v1/serverTime"} {
			if status, body := ask(t, http.MethodGet, base+path, nil, edits...); status != http.StatusUnauthorized {
				t.Errorf("%s, %s: %d %s", name, path, status, body)
			}
		}
		for _, path := range []string{"/api/oauth2/token", "/API/OAuth2/Token/", "//api/oauth2/token"} {
			if status, body := ask(t, http.MethodPost, base+path, login, edits...); status != http.StatusUnauthorized && status != http.StatusTooManyRequests {
				t.Errorf("%s, %s: %d %s", name, path, status, body)
			}
		}
	}
	if after := server.Counters(); after.Protected != before.Protected || after.Anonymous != before.Anonymous {
		t.Errorf("requests without a credential reached the server: %+v, before: %+v", after, before)
	}
}

// The example says that require_authentication belongs to it.
func TestWithoutRequireAuthenticationAnyTokenPassesBasicAuth(t *testing.T) {
	base, _ := basicAuthSite(t, "\t\trequire_authentication\n")
	login := url.Values{"grant_type": {"password"}, "username": {"x"}, "password": {"y"}}
	if status, _ := ask(t, http.MethodPost, base+"/api/oauth2/token", login, bearer("junk")); status != http.StatusOK {
		t.Errorf("the hole that the documentation names is not there: %d", status)
	}
}
