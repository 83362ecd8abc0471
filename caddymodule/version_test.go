// The version of the API, where nobody says it: found once, and by whom it is
// used.

package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httputil"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"pgregory.net/rapid"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// plainGet asks with the version that the client names, or with none.
func (w *world) plainGet(version, account string) received {
	w.Helper()
	state := &requestState{route: veeam.RouteProtected, account: account}
	req := proxied(context.Background(), state)
	req.URL.Path = w.server.Base() + "/echo"
	req.Header.Del("X-Api-Version")
	if version != "" {
		req.Header.Set("X-Api-Version", version)
	}
	state.decideFor(req)
	state.journal = journal.New(w.svc, req)
	res, err := w.tr.RoundTrip(req)
	if err != nil {
		w.Fatal(err)
	}
	return w.read(res, state)
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
	if w.server.Profile() != veeamtest.VB365 {
		return calls[len(calls)-1].version
	}
	for _, c := range slices.Backward(calls) { // it is in the path of the token endpoint
		if version, ok := strings.CutSuffix(c.path, "/token"); ok {
			return version[1:]
		}
	}
	return ""
}

func TestTheVersionIsFoundOnceForAllAccountsAndOverReloads(t *testing.T) {
	t.Parallel()
	for profile, want := range map[veeamtest.Profile]string{veeamtest.VBR12: "1.2-rev1", veeamtest.VBR13: "1.3-rev2"} {
		inWorld(t, profile, nil, func(w *world) {
			accounts := func() []*account.Account {
				return []*account.Account{
					{Name: "one", Username: veeamtest.DefaultUser, Password: veeamtest.DefaultPassword},
					{Name: "two", Username: veeamtest.DefaultUser, Password: veeamtest.DefaultPassword},
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

func TestTheVersionOfAClientGoesWithItsOwnRequestOnly(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ config, client, login, request string }{
		"client":        {"", "1.2-rev0", "1.3-rev2", "1.2-rev0"},
		"nobody":        {"", "", "1.3-rev2", "1.3-rev2"},
		"configuration": {"1.3-rev0", "", "1.3-rev0", "1.3-rev0"},
		"both":          {"1.3-rev0", "1.2-rev0", "1.3-rev0", "1.2-rev0"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, veeamtest.VBR13, nil, func(w *world) {
				w.tr = w.transport(&Transport{APIVersion: tt.config, Accounts: []*account.Account{{Name: veeamtest.DefaultUser, Password: veeamtest.DefaultPassword}}})
				if got := w.plainGet(tt.client, ""); got.status != 200 || w.lastVersion() != tt.request {
					t.Errorf("%v with version %q", got, w.lastVersion())
				}
				for _, c := range w.wire.calls() {
					if c.grant() && c.version != tt.login || w.probes() != 0 && tt.config != "" {
						t.Errorf("logged in with %q after %d probes", c.version, w.probes())
					}
				}
			})
		})
	}
}

func TestAServerThatShowsNothingIsSpokenToInTheDefault(t *testing.T) {
	t.Parallel()
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
				w.start(&account.Account{Name: veeamtest.DefaultUser, Password: veeamtest.DefaultPassword})
				start := time.Now()
				if got := w.plainGet("", ""); got.status != 200 || w.lastVersion() != "1.1-rev0" {
					t.Errorf("%v with version %q: %s", got, w.lastVersion(), got.body)
				}
				if took := time.Since(start); took > upstream.FindVersionFor {
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
	t.Parallel()
	inWorld(t, veeamtest.VBR12, nil, func(w *world) {
		w.start(&account.Account{Name: veeamtest.DefaultUser, Password: veeamtest.DefaultPassword})
		w.plainGet("", "")
		// The server is upgraded to one that serves other versions only.
		w.wire.to = veeamtest.New(veeamtest.VBR13, veeamtest.WithAPIVersions("1.3-rev2")).Transport()
		w.rest(20 * time.Minute)
		if got := w.plainGet("", ""); got.status != 200 || w.lastVersion() != "1.3-rev2" {
			t.Errorf("%v with version %q: %s", got, w.lastVersion(), got.body)
		}
	})
}

func TestAVersionThatNothingShowsIsFoundByTheLogin(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		profile veeamtest.Profile
		served  []string
		probe   string
	}{
		{veeamtest.VBR13, []string{"1.3-rev1", "1.2-rev0"}, "/swagger/"},
		{veeamtest.AWS, []string{"1.7-rev0", "1.6-rev0"}, "/isFirstLogin"},
		{veeamtest.VB365, []string{"v7", "v6"}, "/ServiceInstance"},
	} {
		for _, shown := range []bool{true, false} {
			t.Run(fmt.Sprint(tt.profile, " shown ", shown), func(t *testing.T) {
				inWorld(t, tt.profile, []veeamtest.Option{veeamtest.WithAPIVersions(tt.served...)}, func(w *world) {
					w.wire.intercept(func(req *http.Request) (*http.Response, error) {
						if !shown && strings.Contains(req.URL.Path, tt.probe) {
							return canned(req, 404, "", ""), nil
						}
						return nil, nil
					})
					w.start(unwatched())
					if got := w.plainGet("", ""); got.status != 200 || w.lastVersion() != tt.served[0] {
						t.Errorf("%v with version %q: %s", got, w.lastVersion(), got.body)
					}
					logins := w.wire.grants()
					if shown && logins != 1 || logins > 12 {
						t.Errorf("%d token requests", logins)
					}
					w.rest(2 * time.Hour) // a renewal, or a login
					if got := w.plainGet("", ""); got.status != 200 {
						t.Errorf("later %v", got)
					}
					if n := w.wire.grants(); n > logins+2 {
						t.Errorf("%d token requests more", n-logins)
					}
					if b := w.tr.server.InUse("").State().Budget; b.Left != b.Of {
						t.Errorf("a version has cost a try: %v", b)
					}
				})
			})
		}
	}
}

// One client names a version that the server does not serve ten times a second,
// another one a version that it does serve, once a second, over two renewals.
func TestAClientWithAnUnservedVersionDisturbsNobody(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		profile  veeamtest.Profile
		bad, own string
		options  []veeamtest.Option
	}{
		{veeamtest.VBR13, "1.0-rev1", "1.3-rev0", []veeamtest.Option{veeamtest.WithAPIVersions("1.3-rev2", "1.3-rev1", "1.3-rev0")}},
		{veeamtest.AWS, "1.0-rev0", "1.6-rev0", []veeamtest.Option{veeamtest.WithAPIVersions("1.8-rev0", "1.7-rev0", "1.6-rev0")}},
		{veeamtest.VSPC, "9.9", "3.6", nil},
	} {
		t.Run(string(tt.profile), func(t *testing.T) {
			options := append(tt.options, veeamtest.WithAccessLifetime(25*time.Second))
			inWorld(t, tt.profile, options, func(w *world) {
				w.start(unwatched())
				failed, asked := 0, 0
				for tick := range 600 {
					w.plainGet(tt.bad, "")
					if tick%10 == 0 {
						asked++
						if got := w.plainGet(tt.own, ""); got.status != 200 {
							failed++
						}
					}
					w.rest(100 * time.Millisecond)
				}
				if c := w.server.Counters(); failed != 0 || asked != 60 || c.Refreshes+c.PasswordGrants < 3 {
					t.Errorf("%d of %d failed; %+v", failed, asked, c)
				}
			})
		})
	}
}

// proxyProtocolVar is the variable in which reverse_proxy stores the address of a client.
const proxyProtocolVar = "reverse_proxy.proxy_protocol_info"

// boundary is that of a multipart form, which is random.
var boundary = regexp.MustCompile("[0-9a-f]{60}")

// loginBytes are those of a request of a login, as the server gets it.
func loginBytes(t *testing.T, req *http.Request) string {
	t.Helper()
	dump, err := httputil.DumpRequest(req, true)
	if err != nil {
		t.Fatal(err)
	}
	return req.URL.Host + "\n" + boundary.ReplaceAllString(string(dump), "boundary")
}

func TestLoginsAreTheSameWhateverTheRequestThatCausesThem(t *testing.T) {
	t.Parallel()
	reference := map[veeamtest.Profile]string{}
	rapid.Check(t, func(rt *rapid.T) {
		profile := rapid.SampledFrom(profiles).Draw(rt, "profile")
		headers := rapid.MapOf(
			rapid.SampledFrom([]string{
				"X-Api-Version", "X-Client-Version", "X-Request-Id", "Traceparent", "Tracestate", "Cookie", "Authorization", "Accept",
				"Accept-Encoding", "Accept-Language", "User-Agent", "Referer", "Origin", "X-Forwarded-For", "X-Forwarded-Host", "Forwarded",
				"Content-Type", "Expect", "Via", "X-Custom",
			}),
			rapid.StringMatching("[a-zA-Z0-9._/;=-]{1,20}")).Draw(rt, "headers")
		method := rapid.SampledFrom([]string{"GET", "POST", "DELETE", "PATCH", "OPTIONS"}).Draw(rt, "method")
		path := rapid.StringMatching("/[a-z0-9/]{0,12}").Draw(rt, "path")
		host := rapid.StringMatching("[a-z]{1,9}(\\.[a-z]{2,5})?").Draw(rt, "host")
		remote := rapid.StringMatching("10\\.0\\.0\\.[1-9]:[1-9][0-9]{3}").Draw(rt, "remote")
		within := rapid.IntRange(0, 60).Draw(rt, "deadline")
		inWorld(t, profile, nil, func(w *world) {
			var sent strings.Builder
			w.wire.intercept(func(req *http.Request) (*http.Response, error) {
				if req.URL.Path != w.server.Base()+path { // not the client's own
					if deadline, ok := req.Context().Deadline(); ok && time.Until(deadline) > upstream.DefaultLoginTimeout {
						rt.Errorf("deadline in %v", time.Until(deadline))
					}
					for _, key := range []string{proxyProtocolVar, stateVar, "client"} {
						if got := caddyhttp.GetVar(req.Context(), key); got != nil {
							rt.Errorf("variable %s: %v", key, got)
						}
					}
					sent.WriteString(loginBytes(t, req) + "\n")
				}
				return nil, nil
			})
			w.start(unwatched())
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			if within > 0 {
				ctx, cancel = context.WithTimeout(context.Background(), time.Duration(within)*time.Second)
			}
			defer cancel()
			state := &requestState{route: veeam.RouteProtected}
			req := proxied(ctx, state)
			req.Method, req.URL.Path, req.Host, req.RemoteAddr = method, w.server.Base()+path, host, remote
			for name, value := range headers {
				req.Header.Set(name, value)
			}
			state.decideFor(req)
			caddyhttp.SetVar(req.Context(), "client", "secret of a client")
			caddyhttp.SetVar(req.Context(), proxyProtocolVar, reverseproxy.ProxyProtocolInfo{})
			if res, err := w.tr.RoundTrip(req); err == nil {
				_ = res.Body.Close()
			}
			w.rest(time.Second)
			if reference[profile] == "" {
				reference[profile] = sent.String()
			}
			if got := sent.String(); got != reference[profile] || got == "" {
				rt.Errorf("sent\n%s\nnot\n%s", got, reference[profile])
			}
		})
	})
}
