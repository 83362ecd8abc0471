// Clients of Enterprise Manager hold ids of sessions, which have no content: every process
// with the storage knows them.

package clients

import (
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
	both := func(what, session, want string) {
		t.Helper()
		for _, process := range []string{"one", "two"} {
			if status, head := s.at(t, process, "GET /api/jobs HTTP/1.1", "X-RestSvcSessionId: "+session); status != want {
				t.Errorf("%s, at %s: %s", what, process, head)
			}
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
