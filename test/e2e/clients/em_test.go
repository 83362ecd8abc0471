// Scripts against Enterprise Manager, byte for byte over a socket: they look for a header
// in one spelling, and for statuses that are no other.

package clients

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// managers starts Enterprise Manager 12 and 13 and a sidecar for them.
func managers(t *testing.T) map[string]*site {
	t.Helper()
	w := harness.New(t)
	secret, err := w.Secret("password", veeamtest.DefaultPassword)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*site{}
	for _, profile := range []veeamtest.Profile{veeamtest.EM12, veeamtest.EM13} {
		s := &site{product: product{name: string(profile), profile: profile}, server: harness.StartServer(t, profile)}
		all[s.name] = s
		w.Sites = append(w.Sites, &harness.Site{
			Server: s.server, Account: "account " + veeamtest.DefaultUser + " " + secret,
			Options: "client " + clientName + " " + clientHash + "\n\t\trequire_authentication\n\t\tdefault allow\n\t\tallow unknown_callers path /api",
		})
	}
	w.Run(t)
	for i, profile := range []veeamtest.Profile{veeamtest.EM12, veeamtest.EM13} {
		s := all[string(profile)]
		s.wire = newTap(t, strings.TrimPrefix(w.Sites[i].URL(), "http://"))
		s.base = "http://" + s.wire.listener.Addr().String()
	}
	t.Cleanup(func() {
		log, err := w.SvcLog()
		if err != nil {
			t.Error(err)
		}
		for _, s := range all {
			received := s.wire.String()
			for _, issued := range s.server.Issued() {
				for _, secret := range []string{issued, base64.StdEncoding.EncodeToString([]byte(issued))} {
					for where, text := range map[string]string{"to a client": received, "in the log": log} {
						if _, rest, found := strings.Cut(text, secret); found {
							t.Errorf("%s: a session of the server came out %s, before %.80q", s.name, where, rest)
						}
					}
				}
			}
			if strings.Contains(received, "em01.lab.local") {
				t.Errorf("%s: a link leads to the server", s.name)
			}
		}
	})
	return all
}

// raw sends the bytes of a request, and returns those of the answer.
func (s *site) raw(t *testing.T, lines ...string) (head, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "%s\r\nHost: em.site.test:9398\r\nConnection: close\r\n%s\r\n\r\n", lines[0], strings.Join(lines[1:], "\r\n"))
	all, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(string(all), "\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(head+"\r\n\r\n"+rest)), nil)
	if err != nil {
		t.Fatalf("%v: %s", err, all)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return head, string(text)
}

var (
	basic       = "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(clientName+":"+clientPassword))
	sessionLine = regexp.MustCompile(`(?m)^X-RestSvcSessionId: ([A-Za-z0-9+/]{48})\r?$`)
	guid        = `[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`
)

// logon logs in and returns header and id, which must be the same everywhere.
func (s *site) logon(t *testing.T, accept string, lines ...string) (session, id, body string) {
	t.Helper()
	head, body := s.raw(t, append([]string{lines[0], basic, "Accept: " + accept}, lines[1:]...)...)
	found := sessionLine.FindStringSubmatch(head)
	if !strings.HasPrefix(head, "HTTP/1.1 201 ") || found == nil {
		t.Fatalf("the login: %s\n%s", head, body)
	}
	text, _ := base64.StdEncoding.DecodeString(found[1])
	id = string(text)
	if !regexp.MustCompile("^"+guid+"$").MatchString(id) || !strings.Contains(body, ">"+id+"<") && !strings.Contains(body, `"`+id+`"`) {
		t.Errorf("the id is %s: %s", id, body)
	}
	if !strings.Contains(head, "Set-Cookie: X-RestSvcSessionId="+found[1]+"; Path=/api") || !strings.Contains(head, "Location: http://em.site.test:9398/api/logonSessions/"+id) {
		t.Errorf("the headers: %s", head)
	}
	return found[1], id, body
}

func TestScriptsOfEnterpriseManager(t *testing.T) {
	for name, s := range managers(t) {
		spell := func(text string) string { return text }
		if name == string(veeamtest.EM13) {
			spell = func(text string) string { return strings.ToLower(text[:1]) + text[1:] }
		}
		t.Run(name+" a script that computes the session and sends header and cookie", func(t *testing.T) {
			_, id, body := s.logon(t, "application/json", "POST /api/sessionMngr/?v=v1_4 HTTP/1.1", "Content-Length: 0")
			if !strings.Contains(body, `"`+spell("SessionId")+`":"`+id) || !strings.Contains(body, `"`+spell("Href")+`":"http://em.site.test:9398/api/jobs"`) {
				t.Errorf("got %s", body)
			}
			computed := base64.StdEncoding.EncodeToString([]byte(id))
			for _, path := range []string{"/api/jobs", "/api/query?type=Job", "/api/reports/summary/overview", "/api/backupServers"} {
				head, body := s.raw(t, "GET "+path+" HTTP/1.1", "Accept: application/json", "X-RestSvcSessionId: "+computed, "Cookie: X-RestSvcSessionId="+computed, "Content-Length: 0")
				if !strings.HasPrefix(head, "HTTP/1.1 200 ") {
					t.Errorf("%s: %s\n%s", path, head, body)
				}
				if strings.Contains(path, "query") && (!strings.Contains(body, "http://em.site.test:9398/api/query?type=Job&filter=CreationTime%3e%3d") || strings.Contains(strings.ToLower(head), "x-restsvcsessionid")) {
					t.Errorf("%s\n%s", head, body)
				}
			}
		})
		t.Run(name+" a script that takes the header, follows links and logs off", func(t *testing.T) {
			_, root := s.raw(t, "GET /api/ HTTP/1.1")
			if !strings.Contains(root, `Href="http://em.site.test:9398/api/sessionMngr/?v=latest"`) {
				t.Errorf("the beginning: %s", root)
			}
			session, id, body := s.logon(t, "*/*", "POST /api/sessionMngr HTTP/1.1", "Content-Type: application/json", "Content-Length: 0")
			if !strings.Contains(body, `<LogonSession xmlns="http://www.veeam.com/ent/v1.0" Type="LogonSession" Href="http://em.site.test:9398/api/logonSessions/`+id) {
				t.Errorf("got %s", body)
			}
			head, body := s.raw(t, "POST /api/jobs/065c3eed-175d-4fd8-89c8-2da82b0dcd4f?action=start HTTP/1.1", "X-RestSvcSessionId: "+session, "Content-Length: 0")
			if !strings.HasPrefix(head, "HTTP/1.1 202 ") || !strings.Contains(head, "Location: http://em.site.test:9398/api/tasks/") || !strings.Contains(body, `Href="http://em.site.test:9398/api/tasks/`) {
				t.Errorf("%s\n%s", head, body)
			}
			if head, body = s.raw(t, "GET /api/logonSessions HTTP/1.1", "X-RestSvcSessionId: "+session); strings.Count(body, "<LogonSession ") != 1 || !strings.Contains(body, id) {
				t.Errorf("%s\n%s", head, body)
			}
			other, _, _ := s.logon(t, "", "POST /api/sessionMngr/?v=latest HTTP/1.1", "Content-Length: 0")
			upstream := ""
			for _, issued := range s.server.Issued() {
				if regexp.MustCompile("^" + guid + "$").MatchString(issued) {
					upstream = issued
				}
			}
			for _, tt := range []struct{ request, session, status string }{
				{"DELETE /api/logonSessions/" + id, other, "404"},
				{"GET /api/logonSessions/" + id, other, "404"},
				{"DELETE /api/logonSessions/" + upstream, session, "404"},
				{"GET /api/query?type=LogonSession", session, "403"},
				{"GET /api/query?format=Entity&Type=%4cogonsession", session, "403"},
				{"GET /api/undocumented", session, "200"}, // the ids in it are masked
				{"GET /api/logonSessions/" + id, session, "200"},
				{"DELETE /api/logonSessions/" + id, session, "204"},
				{"GET /api/jobs", session, "401"},
				{"GET /api/jobs", base64.StdEncoding.EncodeToString([]byte(upstream)), "401"},
				{"GET /api/jobs", other, "200"},
			} {
				head, body := s.raw(t, tt.request+" HTTP/1.1", "X-RestSvcSessionId: "+tt.session)
				if !strings.HasPrefix(head, "HTTP/1.1 "+tt.status+" ") {
					t.Errorf("%s: %s\n%s", tt.request, head, body)
				}
				if tt.status == "401" && (!strings.Contains(head, "Basic Realm=RestSvc") || !strings.Contains(body, `StatusCode="401"`) || !strings.Contains(body, "The session is invalid.")) {
					t.Errorf("%s: %s\n%s", tt.request, head, body)
				}
			}
			for status, request := range map[string]string{"401": "GET /api/jobs", "403": "GET /api/query?type=LogonSession", "400": "GET /api/%c0%af/jobs", "405": "TRACE /api/jobs"} {
				lines := []string{request + " HTTP/1.1", "Accept: application/json"}
				if status != "401" {
					lines = append(lines, "X-RestSvcSessionId: "+other)
				}
				head, body := s.raw(t, lines...)
				if !strings.HasPrefix(head, "HTTP/1.1 "+status+" ") || !strings.Contains(body, `"`+spell("StatusCode")+`":`+status) {
					t.Errorf("%s: %s\n%s", request, head, body)
				}
			}
			head, _ = s.raw(t, "GET /api/jobs HTTP/1.1", "X-RestSvcSessionId: "+other, "Cookie: X-RestSvcSessionId="+session)
			if !strings.HasPrefix(head, "HTTP/1.1 401 ") {
				t.Errorf("the header came before the cookie: %s", head)
			}
		})
		t.Run(name+" logins that are refused", func(t *testing.T) {
			tenant := `<LoginSpec xmlns="http://www.veeam.com/ent/v1.0"><TenantCredentials><Username>t</Username><Password>hunter2</Password></TenantCredentials></LoginSpec>`
			for want, lines := range map[string][]string{
				"401": {"POST /api/sessionMngr/?v=latest HTTP/1.1", "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(clientName+":wrong")), "Content-Length: 0"},
				"400": {"POST /api/sessionMngr/?v=latest HTTP/1.1", basic, "Content-Type: application/xml", fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(tenant), tenant)},
			} {
				if head, body := s.raw(t, lines...); !strings.HasPrefix(head, "HTTP/1.1 "+want+" ") || sessionLine.MatchString(head) {
					t.Errorf("%s: %s\n%s", want, head, body)
				}
			}
		})
		if logins := s.server.Counters().Logins; logins != 1 {
			t.Errorf("%s: %d logins at the server", name, logins)
		}
	}
}

func TestAThousandColdScriptsOfEnterpriseManagerCostOneLogin(t *testing.T) {
	for name, s := range managers(t) {
		var all sync.WaitGroup
		turns := make(chan struct{}, 50)
		for range 1000 {
			turns <- struct{}{}
			all.Go(func() {
				defer func() { <-turns }()
				req, err := http.NewRequest(http.MethodPost, s.base+"/api/sessionMngr/?v=latest", nil)
				if err != nil {
					t.Error(err)
					return
				}
				req.SetBasicAuth(clientName, clientPassword)
				res, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				if _ = res.Body.Close(); res.StatusCode != http.StatusCreated {
					t.Errorf("%s: %d", name, res.StatusCode)
				}
			})
		}
		all.Wait()
		if logins := s.server.Counters().Logins; logins != 1 {
			t.Errorf("%s: %d logins", name, logins)
		}
	}
}
