// Plug-ins behind VBR 13: they get the server's token, and may not take it.

package caddymodule

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

const plugIn = "/extension/" + veeamtest.AHVInstance + "/api/v9"

// plugIns asks a plug-in for several things.
func (w *world) plugIns() (answers []received) {
	w.Helper()
	for _, request := range []string{"GET /clusters", "GET /jobs", "GET /restorePoints", "GET /sessions/1", "GET /sessions/2", "POST /jobs/1/start"} {
		method, path, _ := strings.Cut(request, " ")
		answers = append(answers, w.askAt(w.Context(), w.tr, method, plugIn+path, ""))
	}
	return answers
}

func TestPlugIns_GetTheServersTokenAndANewOneAfterItWasRevoked(t *testing.T) {
	t.Parallel()
	for _, options := range [][]veeamtest.Option{nil, {veeamtest.WithPlugInPage()}} {
		inWorld(t, veeamtest.VBR13, options, func(w *world) {
			w.start(unwatched())
			for i := 1; i <= 3; i++ {
				for _, a := range w.plugIns() {
					if a.status != http.StatusOK && a.status != http.StatusAccepted {
						t.Errorf("got %v: %s", a, a.body)
					}
				}
				if c := w.server.Counters(); int(c.Logins) != i || c.Executed["start 1"] != i {
					t.Errorf("%d logins, %v carried out", c.Logins, c.Executed)
				}
				w.rest(3 * time.Minute)
				w.server.RevokeAll()
			}
		})
	}
}

// A plug-in that takes no token but its own costs no login: the server is asked whether it
// still accepts the token, and the client gets the 401.
func TestPlugIns_OneThatRefusesTheServersTokenCostsNoSession(t *testing.T) {
	t.Parallel()
	for _, options := range [][]veeamtest.Option{nil, {veeamtest.WithPlugInPage()}} {
		inWorld(t, veeamtest.VBR13, append(options, veeamtest.WithPlugInTokens()), func(w *world) {
			w.start(unwatched())
			for range 10 {
				for _, a := range w.plugIns() {
					if a.status != http.StatusUnauthorized {
						t.Errorf("got %v: %s", a, a.body)
					}
				}
				w.demand("200")
				w.rest(30 * time.Second)
			}
			if c := w.server.Counters(); c.Logins != 1 || c.TokenRequests != 1 || c.LiveSessions != 1 {
				t.Errorf("%d logins, %d token requests, %d live sessions", c.Logins, c.TokenRequests, c.LiveSessions)
			}
			w.server.RevokeAll()
			w.rest(10 * time.Second)
			w.plugIns()
			w.demand("200")
			if c := w.server.Counters(); c.Logins != 2 {
				t.Errorf("%d logins after the server has revoked the token", c.Logins)
			}
		})
	}
}
