// The calls of the demo, and what is printed of them.

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
)

// tour is what is called of each product.
var tour = map[string]struct{ protected, token, grant string }{
	"vbr":   {"/api/v1/serverInfo", "/api/oauth2/token", "password"},
	"vspc":  {"/api/v3/about", "/api/v3/token", "password"},
	"azure": {"/api/v8.1/system/about", "/api/oauth2/token", "Password"},
	"aws":   {"/api/v1/about", "/api/v1/token", "password"},
}

type show struct {
	example  *harness.Example
	received strings.Builder // every byte that the client got
	failures int
}

// calls makes the calls of the tour.
func (s *show) calls() {
	s.title("A protected route of each product. The client sends no credential at all.")
	for _, site := range s.example.Sites {
		s.call(site, http.MethodGet, tour[site.Product].protected, nil, "")
	}
	s.title("The token endpoint of each product. The client sends a made-up password and gets a token of the sidecar's.")
	for _, site := range s.example.Sites {
		stop := tour[site.Product]
		form := url.Values{"grant_type": {stop.grant}, "username": {"anybody"}, "password": {"made-up"}}
		token := s.call(site, http.MethodPost, stop.token, form, "")
		s.call(site, http.MethodGet, stop.protected, nil, token)
	}
	s.title("The servers revoke all their tokens. The next call notices, logs in again and is sent once more.")
	for _, site := range s.example.Sites {
		site.Server.RevokeAll()
	}
	s.call(s.example.Sites[0], http.MethodGet, tour["vbr"].protected, nil, "")
}

// call makes one call and prints it. It returns the access token of the answer,
// if there is one.
func (s *show) call(site *harness.Site, method, path string, form url.Values, bearer string) (token string) {
	before := site.Server.Counters()
	start := time.Now()
	req, err := http.NewRequest(method, site.URL()+path, strings.NewReader(form.Encode()))
	if err != nil {
		s.fail(err.Error())
		return ""
	}
	sent := fmt.Sprintf("%-5s %s %s", site.Product, method, path)
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		sent += "  " + form.Encode()
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
		sent += "  (with the sidecar's token)"
	}
	fmt.Println(" →", sent)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.fail(err.Error())
		return ""
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.fail(err.Error())
	}
	s.received.Write(body)
	_ = res.Header.Write(&s.received)

	after := site.Server.Counters()
	logins := after.Logins - before.Logins
	fmt.Printf(" ← %-5s %s  %s\n", site.Product, res.Status, shorten(string(body)))
	fmt.Printf("   %s, logins at the server for it: %d (token requests: %d), in all: %d\n\n", time.Since(start).Round(time.Millisecond),
		logins, after.TokenRequests-before.TokenRequests, after.Logins)
	if res.StatusCode != http.StatusOK {
		s.fail("expected status 200")
	}
	if logins > 1 {
		s.fail("expected one login at the most")
	}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if form != nil && (json.Unmarshal(body, &answer) != nil || answer.AccessToken == "") {
		s.fail("expected an access token")
	}
	return answer.AccessToken
}

// shorten makes an answer fit on a line.
func shorten(body string) string {
	body = strings.Join(strings.Fields(body), " ")
	if len(body) > 150 {
		return body[:150] + " …"
	}
	return body
}

// log prints the last lines of Svc.ResAPI.log.
func (s *show) log() error {
	s.title("Svc.ResAPI.log, as the sidecar wrote it:")
	text, err := os.ReadFile(s.example.SvcLogFile())
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, line := range lines {
		if len(line) > 230 {
			line = line[:230] + " …"
		}
		fmt.Println("  ", line)
	}
	if len(lines) < 20 {
		s.fail("expected more lines")
	}
	return s.scan("the log", string(text))
}

// scan looks for what must never leave the sidecar.
func (s *show) scan(where, text string) error {
	for _, site := range s.example.Sites {
		for _, token := range site.Server.Issued() {
			if strings.Contains(text, token) {
				s.fail("a token of " + site.Product + " is in " + where)
			}
		}
	}
	files, err := os.ReadDir(s.example.Secrets)
	if err != nil {
		return err
	}
	for _, file := range files {
		secret, err := os.ReadFile(s.example.Secrets + "/" + file.Name())
		if err != nil {
			return err
		}
		if strings.Contains(text, strings.TrimSpace(string(secret))) {
			s.fail(file.Name() + " is in " + where)
		}
	}
	return nil
}

func (s *show) verdict() {
	if err := s.scan("what the client received", s.received.String()); err != nil {
		s.fail(err.Error())
	}
	if s.failures == 0 {
		s.title("All went well. No password and no token of a server was among what the client received, nor in the log.")
		return
	}
	s.title(fmt.Sprintf("%d things went wrong, see above.", s.failures))
}

// invitation says what to try.
func (s *show) invitation() {
	fmt.Println("Everything stays up until Ctrl-C. Try:")
	for _, site := range s.example.Sites {
		fmt.Printf("   curl -s %s%s\n", site.URL(), tour[site.Product].protected)
	}
	fmt.Printf("   curl -s -d 'grant_type=password&username=me&password=x' %s%s\n", s.example.Sites[0].URL(), tour["vbr"].token)
	fmt.Printf("   curl -s http://%s/metrics | grep veeam_auth\n", s.example.Caddy.Admin)
	fmt.Printf("   tail -f %s\n", s.example.SvcLogFile())
}

func (s *show) title(text string) { fmt.Printf("\n%s\n\n", text) }

func (s *show) fail(what string) {
	s.failures++
	fmt.Println("   FAILED:", what)
}
