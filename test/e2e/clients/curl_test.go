// What shell scripts do with curl, in the forms that are seen in the field. Where
// there is no curl, net/http sends the same.

package clients

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// call is one line of a script.
type call struct {
	method, path, body string
	headers            []string
}

func TestScriptsLogInCallRenewAndLogOut(t *testing.T) {
	form, object := "Content-Type: application/x-www-form-urlencoded", "Content-Type: application/json"
	for _, s := range sites(t, "1h") {
		for name, script := range map[string]struct {
			kind           string
			login, refresh string // of which %s is the refresh token
		}{
			"form":           {form, "grant_type=password&username=exporter&password=builder", "grant_type=refresh_token&refresh_token=%s"},
			"form, as curls": {"", "grant_type=password&username=exporter&password=builder", "grant_type=refresh_token&refresh_token=%s"},
			"form, blanks": {
				form, "grant_type=Password&username=exporter&password=builder&refresh_token=&code=&use_short_term_refresh=",
				"grant_type=Refresh_token&username=&password=&refresh_token=%s&code=",
			},
			"JSON": {object, `{"grant_type":"password","username":"exporter","password":"builder"}`, `{"grant_type":"refresh_token","refresh_token":%q}`},
		} {
			t.Run(s.name+" "+name, func(t *testing.T) {
				headers := []string{"Accept: application/json", "x-api-version: "}
				if script.kind != "" {
					headers = append(headers, script.kind)
				}
				first := s.tokens(t, call{http.MethodPost, s.token, script.login, headers})
				s.run(t, call{http.MethodGet, s.protected, "", []string{"Authorization: Bearer " + first.Access}}, http.StatusOK)
				// The old token is still on the request, as scripts have it.
				second := s.tokens(t, call{
					http.MethodPost, s.token, fmt.Sprintf(script.refresh, first.Refresh), append(headers, "Authorization: Bearer "+first.Access),
				})
				s.run(t, call{http.MethodGet, s.protected, "", []string{"Authorization: bearer " + second.Access}}, http.StatusOK)
				method, path, _ := strings.Cut(s.logout, " ")
				if status, body := s.send(t, call{method, path, "", []string{"Authorization: Bearer " + second.Access}}); status != http.StatusOK && status != http.StatusNoContent {
					t.Errorf("logout: %d %s", status, body)
				}
				s.run(t, call{http.MethodGet, s.protected, "", []string{"Authorization: Bearer " + second.Access}}, http.StatusUnauthorized)
			})
		}
	}
}

type pair struct {
	Access    string `json:"access_token"`
	Refresh   string `json:"refresh_token"`
	ExpiresIn int    `json:"expires_in"`
	Type      string `json:"token_type"`
}

func (s *site) tokens(t *testing.T, c call) (p pair) {
	t.Helper()
	body := s.run(t, c, http.StatusOK)
	if err := json.Unmarshal([]byte(body), &p); err != nil || p.Access == "" || p.Refresh == "" || p.ExpiresIn != 3600 || !strings.EqualFold(p.Type, "bearer") {
		t.Fatalf("%v: %s", err, body)
	}
	return p
}

func (s *site) run(t *testing.T, c call, status int) string {
	t.Helper()
	got, body := s.send(t, c)
	if got != status {
		t.Fatalf("%s %s: %d, not %d: %s", c.method, c.path, got, status, body)
	}
	return body
}

// send runs curl, or does what it would do.
func (s *site) send(t *testing.T, c call) (status int, body string) {
	t.Helper()
	curl, err := exec.LookPath("curl")
	if err != nil {
		return s.sendWithout(t, c)
	}
	args := []string{"-s", "-S", "--noproxy", "*", "-w", "\n%{http_code}", "-X", c.method}
	for _, h := range c.headers {
		args = append(args, "-H", h)
	}
	if c.body != "" {
		args = append(args, "--data", c.body)
	}
	cmd := exec.CommandContext(t.Context(), curl, append(args, s.base+c.path)...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	at := strings.LastIndexByte(string(out), '\n')
	status, err = strconv.Atoi(string(out[at+1:]))
	if err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	return status, string(out[:at])
}

func (s *site) sendWithout(t *testing.T, c call) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), c.method, s.base+c.path, strings.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := url.ParseQuery(c.body); err == nil && c.body != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, h := range c.headers {
		name, value, _ := strings.Cut(h, ":")
		req.Header.Set(name, strings.TrimSpace(value))
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
