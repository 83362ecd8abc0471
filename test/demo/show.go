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
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// stop is what is called of a product. A token path with Basic answers with a session
// in sessionHeader instead of a token.
type stop struct {
	protected, token, grant string
	basic                   bool
}

var tour = map[string]stop{
	"vbr":   {protected: "/api/v1/serverInfo", token: "/api/oauth2/token", grant: "password"},
	"vspc":  {protected: "/api/v3/about", token: "/api/v3/token", grant: "password"},
	"azure": {protected: "/api/v8.1/system/about", token: "/api/oauth2/token", grant: "Password"},
	"aws":   {protected: "/api/v1/about", token: "/api/v1/token", grant: "password"},
	"gcp":   {protected: "/api/v1/overview", token: "/api/v1/token", grant: "password"},
	"vb365": {protected: "/v8/Organizations", token: "/v8/token", grant: "password"},
	"one":   {protected: "/api/v2.3/about", token: "/api/token", grant: "password"},
	"em":    {protected: "/api/backupServers", token: "/api/sessionMngr/?v=latest", basic: true},
}

// plugIn is a route of a plug-in, which lies behind the server of vbr.
const plugIn = "/extension/" + veeamtest.AHVInstance + "/api/v9/clusters"

// row is a line about a call.
const row = "  %-6s %-6s %6s  %-6s  %-33s %s\n"

const (
	sessionHeader   = "X-RestSvcSessionId"
	user, password  = "anybody", "made-up"
	widest          = 64  // of an answer, in characters
	widestOfLog     = 150 // likewise of a line
	contentTypeForm = "application/x-www-form-urlencoded"
)

type show struct {
	example  *harness.Example
	received strings.Builder // every byte that the client got
	failures int
}

// calls makes the calls of the tour.
func (s *show) calls() {
	s.title("A call to each product. The client sends no credential, the sidecar logs in.")
	fmt.Printf(row, "", "status", "time", "logins", "request", "answer")
	for _, site := range s.example.Sites {
		s.call(site, get(site, tour[site.Product].protected))
		if site.Product == "vbr" {
			s.call(site, get(site, plugIn))
		}
	}
	s.title("A login at each product with a made-up password, and a call with the token that the sidecar issues.")
	for _, site := range s.example.Sites {
		if token := s.call(site, tour[site.Product].login(site)); token != nil {
			request := get(site, tour[site.Product].protected)
			request.Header = token
			s.call(site, request)
		}
	}
	s.title("The servers end all sessions. A call notices, logs in again, and is sent once more.")
	for _, site := range s.example.Sites {
		site.Server.RevokeAll()
	}
	for _, site := range s.example.Sites {
		// The others would wait for the next verification code.
		if site.Server.Counters().MFAGrants == 0 {
			s.call(site, get(site, tour[site.Product].protected))
		}
	}
}

func get(site *harness.Site, path string) *http.Request {
	return request(http.MethodGet, site.URL()+path, "")
}

func request(method, address, body string) *http.Request {
	r, err := http.NewRequest(method, address, strings.NewReader(body))
	if err != nil {
		panic(err) // addresses are constants and ports
	}
	return r
}

// login is the request by which a client logs in.
func (p stop) login(site *harness.Site) *http.Request {
	if p.basic {
		r := request(http.MethodPost, site.URL()+p.token, "")
		r.SetBasicAuth(user, password)
		return r
	}
	form := url.Values{"grant_type": {p.grant}, "username": {user}, "password": {password}}
	r := request(http.MethodPost, site.URL()+p.token, form.Encode())
	r.Header.Set("Content-Type", contentTypeForm)
	return r
}

// call makes one call and prints it on a line. Of a login it returns the header that
// presents what was issued.
func (s *show) call(site *harness.Site, r *http.Request) (token http.Header) {
	before := site.Server.Counters()
	start := time.Now()
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		s.fail(err.Error())
		return nil
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.fail(err.Error())
	}
	took := time.Since(start).Round(time.Millisecond)
	s.received.Write(body)
	_ = res.Header.Write(&s.received)

	after := site.Server.Counters()
	logins := after.Logins - before.Logins
	fmt.Printf(row, site.Product, fmt.Sprint(res.StatusCode), took.String(), fmt.Sprint(logins), r.Method+" "+r.URL.RequestURI(),
		shorten(strings.Join(strings.Fields(string(body)), " "), widest))
	if r.Method == http.MethodGet && res.StatusCode != http.StatusOK {
		s.fail("expected status 200")
	}
	if logins > 1 {
		s.fail("expected one login at the most")
	}
	if r.Method == http.MethodGet {
		return nil
	}
	if token = issued(res, body); token == nil {
		s.fail("expected a token")
	}
	return token
}

// issued is the header that presents what a login was answered with, nil if there is
// nothing.
func issued(res *http.Response, body []byte) http.Header {
	if session := res.Header.Get(sessionHeader); session != "" {
		return http.Header{sessionHeader: {session}}
	}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.AccessToken == "" {
		return nil
	}
	return http.Header{"Authorization": {"Bearer " + answer.AccessToken}}
}

// shorten makes a text fit on a line.
func shorten(text string, width int) string {
	if runes := []rune(text); len(runes) > width {
		return string(runes[:width]) + " …"
	}
	return text
}

// shown are requests whose lines of the log are printed: the first with this in one of
// their lines.
var shown = []string{"Multi-factor authentication confirmed", "[POST] request", "is sent again"}

// log prints some of Svc.ResAPI.log, and searches all of it.
func (s *show) log() error {
	s.title("Svc.ResAPI.log of three calls: a login with a verification code, a login here, a call that was sent again.")
	text, err := os.ReadFile(s.example.SvcLogFile())
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, what := range shown {
		number := numberOf(lines, what)
		if number == "" {
			s.fail("no line of the log has " + what)
			continue
		}
		for _, line := range lines {
			if strings.Contains(line, number) {
				fmt.Println(" ", shorten(line, widestOfLog))
			}
		}
	}
	return s.scan("the log", string(text))
}

// numberOf finds a line with a text. It returns the number, such as <07>, that all lines
// of its request have.
func numberOf(lines []string, what string) string {
	for _, line := range lines {
		if strings.Contains(line, what) {
			_, after, _ := strings.Cut(line, "<")
			number, _, _ := strings.Cut(after, ">")
			return "<" + number + ">"
		}
	}
	return ""
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
	vbr := s.example.Sites[0].URL()
	fmt.Printf("   curl -s %s%s\n", vbr, plugIn)
	fmt.Printf("   curl -s -d 'grant_type=password&username=me&password=x' %s%s\n", vbr, tour["vbr"].token)
	fmt.Printf("   curl -s http://%s/metrics | grep veeam_auth\n", s.example.Caddy.Admin)
	fmt.Printf("   tail -f %s\n", s.example.SvcLogFile())
}

func (s *show) title(text string) { fmt.Printf("\n%s\n\n", text) }

func (s *show) fail(what string) {
	s.failures++
	fmt.Println("   FAILED:", what)
}
