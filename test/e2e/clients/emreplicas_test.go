// Clients of Enterprise Manager hold ids of sessions, which have no content: every process
// with the storage knows them.

package clients

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// at sends a request to one of the processes at the port, which shares out connections.
func (s *site) at(t *testing.T, process string, lines ...string) (status, head string) {
	t.Helper()
	for range 200 {
		head, _ := s.raw(t, lines...)
		if strings.Contains(head, "X-Process: "+process) {
			return strings.Fields(head)[1], head
		}
	}
	t.Fatalf("no connection leads to the process %s", process)
	return "", ""
}

func TestASessionOfEnterpriseManagerIsKnownToEveryProcessAndOutlivesThem(t *testing.T) {
	server, storage := harness.StartServer(t, veeamtest.EM13), t.TempDir()
	var worlds []*harness.World
	for _, name := range []string{"one", "two"} {
		w := harness.New(t)
		secret, err := w.Secret("password", veeamtest.DefaultPassword)
		if err != nil {
			t.Fatal(err)
		}
		w.Global = "storage file_system " + storage
		w.Sites = []*harness.Site{{
			Server: server, Account: "account " + veeamtest.DefaultUser + " " + secret, Before: "header X-Process " + name,
			Options: "client " + clientName + " " + clientHash + "\n\t\trequire_authentication",
		}}
		if len(worlds) > 0 {
			w.Sites[0].Port = worlds[0].Sites[0].Port
		}
		w.Run(t)
		worlds = append(worlds, w)
	}
	s := &site{server: server, base: worlds[0].Sites[0].URL()}
	logon := func() (session, id string) {
		session, id, _ = s.logon(t, "application/json", "POST /api/sessionMngr/?v=latest HTTP/1.1", "Content-Length: 0")
		return session, id
	}
	// The other process may need a while on a busy machine.
	both := func(what, session, want string) {
		t.Helper()
		for _, process := range []string{"one", "two"} {
			harness.Eventually(t, what+", at "+process+": "+want, func() bool {
				status, _ := s.at(t, process, "GET /api/jobs HTTP/1.1", "X-RestSvcSessionId: "+session)
				return status == want
			})
		}
	}
	session, id := logon()
	both("a session", session, "200")
	if status, head := s.at(t, "two", "DELETE /api/logonSessions/"+id+" HTTP/1.1", "X-RestSvcSessionId: "+session); status != "204" {
		t.Errorf("the end: %s", head)
	}
	harness.Eventually(t, "the session ends where it was not ended", func() bool {
		status, _ := s.at(t, "one", "GET /api/jobs HTTP/1.1", "X-RestSvcSessionId: "+session)
		return status == "401"
	})
	both("a session that has ended", session, "401")

	session, _ = logon()
	both("before a restart", session, "200") // and so stored
	for _, w := range worlds {
		w.Kill()
	}
	for _, w := range worlds {
		if err := w.Start(); err != nil {
			t.Fatal(err)
		}
	}
	both("after a restart", session, "200")
}

func TestClientsOfEnterpriseManagerLogInWithTheirOwnCredentials(t *testing.T) {
	server, w := harness.StartServer(t, veeamtest.EM12), harness.New(t)
	w.Sites = []*harness.Site{{Server: server, Account: "passthrough", Options: "require_authentication"}}
	w.Run(t)
	s := &site{server: server, base: w.Sites[0].URL()}
	login := func(password string) (head string) {
		head, _ = s.raw(t, "POST /api/sessionMngr/?v=latest HTTP/1.1", "Content-Length: 0",
			"Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte(veeamtest.DefaultUser+":"+password)))
		return head
	}
	if head := login("wrong"); !strings.HasPrefix(head, "HTTP/1.1 401 ") || sessionLine.MatchString(head) {
		t.Errorf("a wrong password: %s", head)
	}
	head := login(veeamtest.DefaultPassword)
	found := sessionLine.FindStringSubmatch(head)
	if found == nil {
		t.Fatal(head)
	}
	for _, issued := range server.Issued() {
		if strings.Contains(head, issued) {
			t.Errorf("a session of the server: %s", head)
		}
	}
	session := "X-RestSvcSessionId: " + found[1]
	id, _ := base64.StdEncoding.DecodeString(found[1])
	for _, tt := range [][2]string{
		{"GET /api/jobs", "200"}, {"GET /api/logonSessions/" + string(id), "200"}, {"DELETE /api/logonSessions/" + string(id), "204"}, {"GET /api/jobs", "401"},
	} {
		if head, body := s.raw(t, tt[0]+" HTTP/1.1", session, "Accept: application/json"); !strings.HasPrefix(head, "HTTP/1.1 "+tt[1]+" ") {
			t.Errorf("%s: %s\n%s", tt[0], head, body)
		}
	}
	if c := server.Counters(); c.Logins != 1 {
		t.Errorf("%d logins at the server", c.Logins)
	}
}
