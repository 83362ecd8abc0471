// Enterprise Manager: its sessions are in a header, idle out, and have no refresh token.

package caddymodule

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

var managers = []veeamtest.Profile{veeamtest.EM12, veeamtest.EM13}

func TestEnterpriseManager_OneSessionServesManyAndIsKeptWhileItIsUsed(t *testing.T) {
	t.Parallel()
	for _, profile := range managers {
		for name, options := range map[string][]veeamtest.Option{
			"as documented":                  nil,
			"a header that is no id":         {veeamtest.WithRandomSessionHeader()},
			"a byte order mark":              {veeamtest.WithBOM()},
			"a check that is no use of it":   {veeamtest.WithQuietLogonChecks()},
			"names itself by another origin": {veeamtest.WithPublicURL("https://elsewhere.lab.local")},
		} {
			t.Run(string(profile)+" "+name, func(t *testing.T) {
				t.Parallel()
				inWorld(t, profile, options, func(w *world) {
					w.start(unwatched())
					for range 40 { // three hours, with pauses of all lengths below the limit
						w.demand("200")
						w.rest(4*time.Minute + 40*time.Second)
					}
					if c := w.server.Counters(); c.Logins != 1 || c.LiveSessions != 1 {
						t.Errorf("%d logins, %d live sessions", c.Logins, c.LiveSessions)
					}
					w.tr.close()
					w.over(1, 0)
				})
			})
		}
	}
}

func TestEnterpriseManager_AnIdleSessionIsMadeAnew(t *testing.T) {
	t.Parallel()
	for _, profile := range managers {
		inWorld(t, profile, nil, func(w *world) {
			w.start(unwatched())
			for i := 1; i <= 3; i++ {
				w.demand("200")
				if c := w.server.Counters(); int(c.Logins) != i || c.LiveSessions != 1 {
					t.Errorf("%d logins, %d live sessions", c.Logins, c.LiveSessions)
				}
				w.rest(16 * time.Minute)
			}
		})
	}
}

func TestEnterpriseManager_ASessionThatTheServerHasEndedIsReplaced(t *testing.T) {
	t.Parallel()
	for _, profile := range managers {
		inWorld(t, profile, nil, func(w *world) {
			w.start(unwatched())
			w.demand("200")
			w.rest(5 * time.Minute)
			w.server.RevokeAll()
			w.demand("200")
			w.rest(upstream.LateFor + 2*upstream.ReplacedEvery)
			if c := w.server.Counters(); c.Logins != 2 || c.LiveSessions != 1 {
				t.Errorf("%d logins, %d live sessions", c.Logins, c.LiveSessions)
			}
		})
	}
}

// What goes to the server has the session in one header, spelled as documented, and
// nothing of the client's that would count instead.
func TestEnterpriseManager_ASessionIsPresentedInItsHeaderOnly(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.EM13, nil, func(w *world) {
		w.start(unwatched())
		w.wire.intercept(func(req *http.Request) (*http.Response, error) {
			if isGrant(req) {
				if req.URL.Query().Get("v") != "latest" || req.ContentLength != 0 || !strings.HasPrefix(req.Header.Get("Authorization"), "Basic ") {
					t.Errorf("login %s %d %v", req.URL, req.ContentLength, req.Header)
				}
				return nil, nil
			}
			if len(req.Header["X-RestSvcSessionId"]) != 1 || len(req.Header["X-Restsvcsessionid"])+len(req.Header["Cookie"])+len(req.Header["Authorization"]) > 0 { //nolint:staticcheck // the raw spelling is what is tested
				t.Errorf("%s %s has %v", req.Method, req.URL, req.Header)
			}
			return nil, nil
		})
		w.demand("200")
		w.rest(14 * time.Minute)
		w.demand("200")
		w.tr.close()
	})
}

func TestEnterpriseManager_AWrongPasswordIsSentOnce(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.EM12, nil, func(w *world) {
		w.start(&account.Account{Name: veeamtest.DefaultUser, Password: "wrong-hunter3"})
		for range 5 {
			if got := w.get(); got.status != http.StatusServiceUnavailable {
				t.Errorf("got %v", got)
			}
		}
		if c := w.server.Counters(); w.wire.grants() != 1 || c.Logins != 0 {
			t.Errorf("%d token requests", w.wire.grants())
		}
		if said := w.said(); strings.Contains(said, "hunter3") {
			t.Errorf("the log: %s", said)
		}
	})
}
