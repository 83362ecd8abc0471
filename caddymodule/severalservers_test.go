// Sites with several servers: what is said by one, or sent to one, stays there.

package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/pquerna/otp/totp"

	"github.com/caddy-veeam/veeam-auth/caddymodule/dialing"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

const firstServer, secondServer = "first:9419", "second:9419"

// network is where token requests of a site went, and how servers fail.
type network struct {
	mu     sync.Mutex
	seen   []string
	failed map[string]func(*http.Request) (*http.Response, error)
}

// severalServers has a site lie before two servers with the same users and sessions.
func severalServers(s *passthroughSite) *network {
	n := &network{failed: make(map[string]func(*http.Request) (*http.Response, error))}
	s.wire.intercept(func(req *http.Request) (*http.Response, error) {
		n.mu.Lock()
		if isGrant(req) {
			n.seen = append(n.seen, req.URL.Host)
		}
		fail := n.failed[req.URL.Host]
		n.mu.Unlock()
		if fail != nil {
			return fail(req)
		}
		return nil, nil
	})
	return n
}

// to returns the servers that got a token request meanwhile.
func (n *network) to(during func()) []string {
	n.mu.Lock()
	n.seen = nil
	n.mu.Unlock()
	during()
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Compact(slices.Sorted(slices.Values(n.seen)))
}

func TestACodeGoesToTheServerThatHasAskedForIt(t *testing.T) {
	t.Parallel()
	for _, profile := range withCodes {
		withPassthrough(t, profile, []veeamtest.Option{veeamtest.WithMFATries(10)}, func(s *passthroughSite) {
			servers := severalServers(s)
			answer := func(token, code string) (got received, login string) {
				return s.ask(&veeam.TokenRequest{Grant: veeam.GrantMFA, MFAToken: secret.New(token), MFACode: secret.New(code)})
			}
			s.chosen = firstServer
			_, token := s.login(veeamtest.DefaultMFAUser, veeamtest.DefaultMFAPassword)
			s.chosen = secondServer
			for _, right := range []bool{false, true} {
				code := "000000"
				if right {
					s.rest(30 * time.Second)
					code, _ = totp.GenerateCode(veeamtest.DefaultTOTPSecret, time.Now())
				}
				var got received
				var login string
				if to := servers.to(func() { got, login = answer(token, code) }); !slices.Equal(to, []string{firstServer}) {
					t.Errorf("%s: the code went to %v", profile, to)
				}
				if right != (got.status == http.StatusOK && login != "") {
					t.Errorf("%s: right %v: %v %s", profile, right, got, got.body)
				}
				if !right {
					continue
				}
				if to := servers.to(func() { s.call(login, "401 expired_token") }); len(to) > 0 {
					t.Errorf("%s: without a code, something went to %v", profile, to)
				}
				s.chosen = firstServer
				s.call(login, "200")
			}
		})
	}
}

// While the server that has asked for the code is down, no other one is blamed or tried.
func TestAServerIsNotBlamedForTheOneThatHasAskedForTheCode(t *testing.T) {
	t.Parallel()
	down := notDialed(t)
	withPassthrough(t, veeamtest.VSPC, nil, func(s *passthroughSite) {
		servers := severalServers(s)
		s.chosen = firstServer
		_, token := s.login(veeamtest.DefaultMFAUser, veeamtest.DefaultMFAPassword)
		servers.failed[firstServer] = down
		for chosen, want := range map[string]string{secondServer: "502 unreachable", firstServer: "0"} {
			s.chosen = chosen
			got, _ := s.ask(&veeam.TokenRequest{Grant: veeam.GrantMFA, MFAToken: secret.New(token), MFACode: secret.New("000000")})
			if got.String() != want { // 0 is an error, after which reverse_proxy tries another server
				t.Errorf("%s is chosen: %v %s", chosen, got, got.body)
			}
			s.rest(time.Minute)
		}
	})
}

func TestALoginThatFailsAtOneServerDoesNotKeepAnotherFromIt(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(*http.Request) (*http.Response, error){
		"down":    notDialed(t),
		"cut off": func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF },
		"busy": func(req *http.Request) (*http.Response, error) {
			return canned(req, http.StatusTooManyRequests, contentTypeJSON, `{}`), nil
		},
		"broken": func(req *http.Request) (*http.Response, error) {
			return canned(req, http.StatusInternalServerError, contentTypeJSON, `{}`), nil
		},
		"other": func(req *http.Request) (*http.Response, error) {
			return canned(req, http.StatusNotFound, "text/html", `<html>`), nil
		},
		"different": func(req *http.Request) (*http.Response, error) {
			return canned(req, http.StatusUnauthorized, contentTypeJSON, `{}`), nil
		},
		"hanging": func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		},
	} {
		withPassthrough(t, veeamtest.VBR13, nil, func(s *passthroughSite) {
			servers := severalServers(s)
			servers.failed[firstServer] = fail
			login := func() {
				s.Helper()
				s.chosen = secondServer
				if got, login := s.login(veeamtest.DefaultUser, veeamtest.DefaultPassword); got.status != http.StatusOK || login == "" {
					t.Errorf("%s: the other server: %v %s", name, got, got.body)
				}
				s.h.users.Forget()
			}
			s.chosen = firstServer
			if name == "hanging" { // also while it hangs
				first := *s
				go first.login(veeamtest.DefaultUser, veeamtest.DefaultPassword)
				s.rest(time.Second)
				before := time.Now()
				login()
				if waited := time.Since(before); waited > time.Second {
					t.Errorf("the login waited %v for another server", waited)
				}
				s.rest(time.Minute)
				return
			}
			if got, _ := s.login(veeamtest.DefaultUser, veeamtest.DefaultPassword); got.status == http.StatusOK {
				t.Errorf("%s: %v", name, got)
			}
			login()
		})
	}
}

// notDialed returns what a server does that is down.
func notDialed(t *testing.T) func(*http.Request) (*http.Response, error) {
	t.Helper()
	const nowhere = "127.0.0.1:0"
	req := httptest.NewRequestWithContext(dialing.To(t.Context(), reverseproxy.DialInfo{Network: "tcp", Address: nowhere}), http.MethodGet, "https://"+nowhere, http.NoBody)
	res, err := socketTransport(t, nil).HTTPTransport.RoundTrip(req)
	if _, ok := errors.AsType[reverseproxy.DialError](err); !ok {
		t.Fatalf("%v, %v", res, err)
	}
	return func(*http.Request) (*http.Response, error) { return nil, err }
}

// With lb_retry_match, reverse_proxy sends a request again that a server has got. The body is
// gone then, unless request_buffers keeps it: the request must not be sent without it.
func TestARequestWhoseBodyIsGoneGoesToNoOtherServer(t *testing.T) {
	t.Parallel()
	const body = `{"name":"job"}`
	down := notDialed(t)
	cutOff := func(req *http.Request) (*http.Response, error) {
		_, _ = io.Copy(io.Discard, req.Body)
		return nil, io.ErrUnexpectedEOF
	}
	for name, c := range map[string]struct {
		fail  func(*http.Request) (*http.Response, error)
		route veeam.Route
		kept  bool
		want  string // what the second server gets, empty for nothing
	}{
		"cut off":           {cutOff, veeam.RouteProtected, false, ""},
		"cut off, no token": {cutOff, veeam.RouteAnonymous, false, ""},
		"cut off, kept":     {cutOff, veeam.RouteProtected, true, body},
		"down":              {down, veeam.RouteProtected, false, body},
		"down, no token":    {down, veeam.RouteAnonymous, false, body},
	} {
		inWorld(t, veeamtest.VBR13, nil, func(w *world) {
			w.start(unwatched())
			w.demand("200") // and the account has a session
			var got []string
			w.wire.intercept(func(req *http.Request) (*http.Response, error) {
				if !strings.HasSuffix(req.URL.Path, "/echo") {
					return nil, nil
				}
				if len(got) == 0 {
					got = append(got, "failed")
					return c.fail(req)
				}
				text, err := io.ReadAll(req.Body)
				got = append(got, string(text))
				return canned(req, http.StatusOK, contentTypeJSON, `{}`), err
			})
			state := &requestState{route: c.route}
			req := proxied(w.Context(), state)
			req.Method, req.URL.Path, req.URL.RawQuery, req.ContentLength = http.MethodPost, w.server.Base()+"/echo", "", -1
			req.Body = io.NopCloser(strings.NewReader(body))
			state.decideFor(req)
			state.journal = journal.New(w.svc, req)
			if res, err := w.tr.RoundTrip(req); err == nil {
				t.Fatalf("%s: %v", name, res.Status)
			}
			if c.kept {
				req.Body = io.NopCloser(strings.NewReader(body))
			}
			res, err := w.tr.RoundTrip(req)
			switch {
			case c.want == "" && (err == nil || len(got) != 1):
				t.Errorf("%s: sent %q", name, got)
			case c.want != "" && (err != nil || res.StatusCode != http.StatusOK || got[len(got)-1] != c.want):
				t.Errorf("%s: sent %q, %v", name, got, err)
			}
		})
	}
}

// A server is chosen when the client's credentials have been removed. What depends on them
// would choose at random, and nobody would notice.
func TestNoServerIsChosenByAHeaderThatIsRemoved(t *testing.T) {
	t.Parallel()
	for policy, refused := range map[string]bool{
		"cookie": true, "cookie lb secret": true, "header Authorization": true, "header cookie": true, "header x-restsvcsessionid": true,
		"header X-Http-Method-Override": true, "query key {\nfallback cookie\n}": true, "header X-Site {\nfallback header Authorization\n}": true,
		"header X-Site": false, "header Host": false, "client_ip_hash": false, "query cookie": false, "header X-Site {\nfallback ip_hash\n}": false,
	} {
		adapter := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}
		text, _, err := adapter.Adapt([]byte("http://:59431 {\nbind 127.0.0.1\nveeam_auth https://127.0.0.1:1 https://127.0.0.1:2 {\naccount svc {env.P}\nlb_policy "+policy+"\n}\n}\n"), map[string]any{"filename": "Caddyfile"})
		if err == nil {
			config := new(caddy.Config)
			if err := json.Unmarshal(text, config); err != nil {
				t.Fatal(err)
			}
			config.Admin, config.StorageRaw = &caddy.AdminConfig{Disabled: true}, fmt.Appendf(nil, `{"module": "file_system", "root": %q}`, t.TempDir())
			err = validate(config)
		} else if !strings.Contains(err.Error(), "Caddyfile:5") {
			t.Errorf("%s: no line: %v", policy, err)
		}
		if refused != (err != nil && strings.Contains(err.Error(), "has no effect: veeam_auth removes the header")) || !refused && err != nil {
			t.Errorf("%s: %v", policy, err)
		}
	}
}

// parts is a body of a type that cannot be compared.
type parts []io.ReadCloser

func (parts) Read([]byte) (int, error) { return 0, io.EOF }
func (parts) Close() error             { return nil }

func TestSpent_IsTheSameBodyOfWhateverType(t *testing.T) {
	t.Parallel()
	one, other := io.NopCloser(strings.NewReader("x")), io.NopCloser(strings.NewReader("x"))
	for name, c := range map[string]struct {
		earlier, now io.ReadCloser
		want         bool
	}{
		"none":             {nil, one, false},
		"the same":         {one, one, true},
		"another":          {one, other, false},
		"no body":          {one, http.NoBody, false},
		"not comparable":   {parts{}, parts{}, true},
		"in one that is":   {struct{ io.ReadCloser }{parts{}}, struct{ io.ReadCloser }{parts{}}, true},
		"behind a pointer": {&parts{}, &parts{}, false},
	} {
		state := &requestState{found: &found{spent: c.earlier}}
		if state.spent(c.now) != c.want {
			t.Errorf("%s: %t", name, !c.want)
		}
	}
}
