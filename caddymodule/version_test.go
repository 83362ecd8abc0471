// The version of the API, where nobody says it: found once, and by whom it is
// used.

package caddymodule

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
	"github.com/caddy-veeam/veeam-auth/veeam"
)

// plainGet asks with the version that the client names, or with none.
func (w *world) plainGet(version, account string) answer {
	w.Helper()
	e := &exchange{route: veeam.RouteProtected, account: account}
	req := proxied(context.Background(), e)
	req.URL.Path = w.server.Base() + "/echo"
	req.Header.Del("X-Api-Version")
	if version != "" {
		req.Header.Set("X-Api-Version", version)
	}
	e.decideFor(req)
	e.journal = newJournal(w.svc, req)
	res, err := w.tr.RoundTrip(req)
	if err != nil {
		w.Fatal(err)
	}
	return w.read(res, e)
}

// probes counts the requests for descriptions.
func (w *world) probes() (n int) {
	for _, c := range w.wire.calls() {
		if strings.HasPrefix(c.path, "/swagger/") {
			n++
			if c.bearer != "" || c.method != http.MethodGet {
				w.Errorf("%s %s travels with %q", c.method, c.path, c.bearer)
			}
		}
	}
	return n
}

// lastVersion is the version of the latest request.
func (w *world) lastVersion() string {
	calls := w.wire.calls()
	return calls[len(calls)-1].version
}

func TestTheVersionIsFoundOnceForAllAccountsAndOverReloads(t *testing.T) {
	for profile, want := range map[veeamtest.Profile]string{veeamtest.VBR12: "1.2-rev1", veeamtest.VBR13: "1.3-rev2"} {
		inWorld(t, profile, nil, func(w *world) {
			accounts := func() []*Account {
				return []*Account{
					{Name: "one", Username: veeamtest.DefaultUser, Password: w.password()},
					{Name: "two", Username: veeamtest.DefaultUser, Password: w.password()},
				}
			}
			w.start(accounts()...)
			for _, name := range []string{"", "two", "one"} {
				if got := w.plainGet("", name); got.status != 200 || w.lastVersion() != want {
					t.Errorf("%s: %v with version %q", profile, got, w.lastVersion())
				}
			}
			asked := w.probes()
			if asked == 0 || asked > 12 {
				t.Errorf("%d requests", asked)
			}
			for range 3 {
				next := w.transport(&Transport{Accounts: accounts()})
				_ = w.tr.Cleanup()
				w.tr = next
				if got := w.plainGet("", ""); got.status != 200 || w.lastVersion() != want {
					t.Errorf("after a reload: %v with version %q", got, w.lastVersion())
				}
			}
			w.rest(20 * time.Minute) // a renewal in between
			w.plainGet("", "")
			if n := w.probes(); n != asked {
				t.Errorf("asked %d times more", n-asked)
			}
		})
	}
}

func TestTheVersionOfConfigurationOrClientWins(t *testing.T) {
	for name, tt := range map[string]struct{ config, client, login, request string }{
		"client":        {"", "1.2-rev0", "1.2-rev0", "1.2-rev0"},
		"configuration": {"1.3-rev0", "", "1.3-rev0", "1.3-rev0"},
		"both":          {"1.3-rev0", "1.2-rev0", "1.3-rev0", "1.2-rev0"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, veeamtest.VBR13, nil, func(w *world) {
				w.tr = w.transport(&Transport{APIVersion: tt.config, Accounts: []*Account{{Name: veeamtest.DefaultUser, Password: w.password()}}})
				if got := w.plainGet(tt.client, ""); got.status != 200 || w.lastVersion() != tt.request {
					t.Errorf("%v with version %q", got, w.lastVersion())
				}
				if got := w.wire.calls()[0].version; got != tt.login || w.probes() != 0 {
					t.Errorf("logged in with %q after %d probes", got, w.probes())
				}
			})
		})
	}
}

func TestAServerThatShowsNothingIsSpokenToInTheDefault(t *testing.T) {
	for name, answer := range map[string]func(*http.Request) (*http.Response, error){
		"404":  func(req *http.Request) (*http.Response, error) { return canned(req, 404, "", ""), nil },
		"503":  func(req *http.Request) (*http.Response, error) { return canned(req, 503, "", ""), nil },
		"page": func(req *http.Request) (*http.Response, error) { return canned(req, 200, "text/html", "<html>"), nil },
		"hang": func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, veeamtest.VBR13, nil, func(w *world) {
				w.wire.intercept(func(req *http.Request) (*http.Response, error) {
					if strings.HasPrefix(req.URL.Path, "/swagger/") {
						return answer(req)
					}
					return nil, nil
				})
				w.start(&Account{Name: veeamtest.DefaultUser, Password: w.password()})
				start := time.Now()
				if got := w.plainGet("", ""); got.status != 200 || w.lastVersion() != "1.1-rev0" {
					t.Errorf("%v with version %q: %s", got, w.lastVersion(), got.body)
				}
				if took := time.Since(start); took > findVersionFor {
					t.Errorf("took %v", took)
				}
				if w.probes() > 12 {
					t.Errorf("%d probes", w.probes())
				}
			})
		})
	}
}

func TestAVersionThatIsNoLongerServedIsFoundAnew(t *testing.T) {
	inWorld(t, veeamtest.VBR12, nil, func(w *world) {
		w.start(&Account{Name: veeamtest.DefaultUser, Password: w.password()})
		w.plainGet("", "")
		// The server is upgraded to one that serves other versions only.
		w.wire.to = veeamtest.New(veeamtest.VBR13, veeamtest.WithAPIVersions("1.3-rev2")).Transport()
		w.rest(20 * time.Minute)
		if got := w.plainGet("", ""); got.String() != "502 request_not_understood" || !strings.Contains(got.body, "Set api_version") {
			t.Errorf("got %v %s", got, got.body)
		}
		w.rest(2 * time.Second)
		if got := w.plainGet("", ""); got.status != 200 || w.lastVersion() != "1.3-rev2" {
			t.Errorf("then %v with version %q", got, w.lastVersion())
		}
	})
}
