// The answers of the token endpoint of every product, and of requests that never reach
// the server.

package logon

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is an empty store that keeps what is stored.
type memory struct{ lock, values sync.Map }

func (m *memory) Lock(_ context.Context, name string) error {
	mu, _ := m.lock.LoadOrStore(name, new(sync.Mutex))
	mu.(*sync.Mutex).Lock() //nolint:forcetypeassert // the map has no others
	return nil
}

func (m *memory) Unlock(_ context.Context, name string) error {
	mu, _ := m.lock.Load(name)
	mu.(*sync.Mutex).Unlock() //nolint:forcetypeassert // the map has no others
	return nil
}

func (m *memory) Store(_ context.Context, key string, value []byte) error {
	m.values.Store(key, value)
	return nil
}

func (m *memory) Load(_ context.Context, key string) ([]byte, error) {
	value, ok := m.values.Load(key)
	if !ok {
		return nil, fs.ErrNotExist
	}
	return value.([]byte), nil //nolint:forcetypeassert // the map has no others
}

func (m *memory) Delete(_ context.Context, key string) error {
	m.values.Delete(key)
	return nil
}

const (
	audience = "site"
	origin   = "https://proxy.example"
)

// site is the endpoint of one product.
type site struct {
	*testing.T
	Endpoint

	product *veeam.Product
	issuer  *issuer.Issuer
	subject issuer.Subject
}

func newSite(t *testing.T, product string) *site {
	t.Helper()
	p, ok := veeam.Lookup(product)
	if !ok {
		t.Fatalf("no product %s", product)
	}
	i := issuer.New(issuer.NewKeys(new(memory)))
	return &site{t, For(p, i), p, i, issuer.Subject{Client: "grafana", Account: "monitor", Vouch: "evidence"}}
}

func (s *site) issue(shape *veeam.Shape) issuer.Pair {
	s.Helper()
	pair, err := s.Issue(s.Context(), s.subject, audience, time.Hour, shape)
	if err != nil {
		s.Fatal(err)
	}
	return pair
}

// check returns the subject of what a client presents, which must be valid.
func (s *site) check(presented string) issuer.Subject {
	s.Helper()
	sub, err := s.issuer.Check(s.Context(), presented, audience)
	if err != nil {
		s.Fatal(err)
	}
	return sub
}

// here sends a request of a client that presents a token or a session.
func (s *site) here(method, path, accept, presented string, route veeam.Route) (*http.Response, string) {
	s.Helper()
	r := httptest.NewRequest(method, path, http.NoBody)
	r.Header.Set("Accept", accept)
	caller := &policy.Caller{Name: "grafana", Via: policy.ViaClient}
	if sub, err := s.issuer.Check(s.Context(), presented, audience); err == nil {
		caller.Family = sub.Family
	}
	res := s.Here(r, Question{
		Route: route, Method: method, Presented: presented, Caller: caller, Audience: audience, Site: origin,
		Subject: func() issuer.Subject { return s.subject },
	})
	return res, s.read(res)
}

func (s *site) read(res *http.Response) string {
	s.Helper()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.Fatal(err)
	}
	if got := res.Header.Get("Cache-Control"); got != "no-store" {
		s.Errorf("Cache-Control is %q", got)
	}
	if n := res.Header.Get("Content-Length"); len(body) > 0 && n != strconv.Itoa(len(body)) {
		s.Errorf("Content-Length is %q of %d bytes", n, len(body))
	}
	return string(body)
}

// ofKind returns the products whose clients log in by Basic, or the others.
func ofKind(byBasic bool) []string {
	return slices.DeleteFunc(veeam.Names(), func(name string) bool {
		p, _ := veeam.Lookup(name)
		return p.LogsOnByBasic() != byBasic
	})
}

func TestTokens_AnswersALoginWithThePairAndEndsItAtALogout(t *testing.T) {
	t.Parallel()
	products := ofKind(false)
	if len(products) < 2 {
		t.Fatal(products)
	}
	for _, name := range products {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, name)
			pair, other := s.issue(nil), s.issue(nil)
			r := httptest.NewRequest(http.MethodPost, strings.ReplaceAll(s.product.TokenPath, "{version}", "v8"), http.NoBody)
			res := s.Answer(r, pair, Login{Grant: veeam.GrantPassword, User: "grafana", Site: origin})
			body := s.read(res)
			if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != typeJSON {
				t.Errorf("%d %q", res.StatusCode, res.Header)
			}
			for what, token := range map[string]string{"access": pair.Access, "refresh": pair.Refresh} {
				if !strings.Contains(body, `"`+token+`"`) {
					t.Errorf("no %s token in %s", what, body)
				}
			}
			if sub := s.check(pair.Access); sub.Client != s.subject.Client || sub.Account != s.subject.Account || sub.Vouch != s.subject.Vouch {
				t.Errorf("%+v", sub)
			}

			res, body = s.here(http.MethodPost, r.URL.Path, typeJSON, pair.Access, veeam.RouteLogout)
			if status, want := s.product.Logout(r.URL.Path); res.StatusCode != status || body != string(want) {
				t.Errorf("logout: %d %s, want %d %s", res.StatusCode, body, status, want)
			}
			if _, err := s.issuer.Check(t.Context(), pair.Access, audience); !errors.Is(err, issuer.ErrEnded) {
				t.Errorf("after the logout: %v", err)
			}
			s.check(other.Access)
		})
	}
}

func TestTokens_HasEveryLogoutWithoutATokenSucceed(t *testing.T) {
	t.Parallel()
	s := newSite(t, "vbr")
	pair := s.issue(nil)
	if res, body := s.here(http.MethodPost, "/api/oauth2/logout", typeJSON, "", veeam.RouteLogout); res.StatusCode >= http.StatusBadRequest {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	s.check(pair.Access)
}

func TestTokens_AnswersWithACodeThatIsRedeemedOnce(t *testing.T) {
	t.Parallel()
	for _, name := range ofKind(false) {
		p, _ := veeam.Lookup(name)
		if len(p.CodePaths) == 0 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, name)
			res, body := s.here(http.MethodPost, p.CodePaths[0], typeJSON, s.issue(nil).Access, veeam.RouteAuthorizationCode)
			code, ok := strings.CutPrefix(strings.TrimSuffix(body, `"}`), `{"code":"`)
			if res.StatusCode != http.StatusOK || !ok {
				t.Fatalf("%d %s", res.StatusCode, body)
			}
			if sub, err := s.issuer.Redeem(code, audience); err != nil || sub.Client != s.subject.Client {
				t.Errorf("%+v, %v", sub, err)
			}
			if _, err := s.issuer.Redeem(code, audience); err == nil {
				t.Error("the code is redeemed twice")
			}
		})
	}
}

// spellings are the forms in which a server of Enterprise Manager answers.
var spellings = []struct {
	name, accept, contentType string
	shape                     *veeam.Shape
	id                        string // how a document names the id of the session
}{
	{"xml", "application/xml", "application/xml; charset=utf-8", &veeam.Shape{Keys: []string{"UserName"}}, "<SessionId>%</SessionId>"},
	{"version 12", "application/json", "application/json; charset=utf-8", &veeam.Shape{Keys: []string{"UserName"}}, `"SessionId":"%"`},
	{"version 13", "application/json", "application/json; charset=utf-8", &veeam.Shape{Keys: []string{"userName"}}, `"sessionId":"%"`},
}

func TestSessions_AnswersInTheServersSpellingWithAnIDOfItsOwn(t *testing.T) {
	t.Parallel()
	products := ofKind(true)
	if len(products) == 0 {
		t.Fatal("no product logs in by Basic")
	}
	for _, product := range products {
		for _, c := range spellings {
			t.Run(product+" "+c.name, func(t *testing.T) {
				t.Parallel()
				s := newSite(t, product)
				pair := s.issue(c.shape)
				id, err := base64.StdEncoding.DecodeString(pair.Access)
				if err != nil || pair.Lifetime != Idle {
					t.Fatalf("%+v, %v", pair, err)
				}
				r := httptest.NewRequest(http.MethodPost, "/api/sessionMngr/?v=latest", http.NoBody)
				r.Header.Set("Accept", c.accept)
				res := s.Answer(r, pair, Login{Grant: veeam.GrantPassword, User: `<"&>`, Shape: c.shape, Site: origin})
				created := s.read(res)
				path := "/api/logonSessions/" + string(id)
				if res.StatusCode != http.StatusCreated || res.Header.Get("Location") != origin+path || res.Header.Get("Content-Type") != c.contentType {
					t.Errorf("%d %q", res.StatusCode, res.Header)
				}
				if got := res.Header[header]; len(got) != 1 || got[0] != pair.Access { //nolint:staticcheck // its clients want this spelling
					t.Errorf("%s is %q", header, got)
				}
				if got := res.Header.Get("Set-Cookie"); got != header+"="+pair.Access+"; Path=/api; HttpOnly; SameSite=Strict" {
					t.Errorf("Set-Cookie is %q", got)
				}
				named := strings.Replace(c.id, "%", string(id), 1)
				if !strings.Contains(created, named) || strings.Contains(created, `<"&>`) {
					t.Errorf("no %s in %s", named, created)
				}

				for _, at := range []string{path, strings.ToUpper(path), "/api/logonSessions", "/api/logonSessions/"} {
					res, body := s.here(http.MethodGet, at, c.accept, pair.Access, veeam.RouteSession)
					if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != c.contentType || strings.Count(body, named) != 1 {
						t.Errorf("%s: %d %s", at, res.StatusCode, body)
					}
				}
			})
		}
	}
}

func TestSessions_ShowsAndEndsThePresentedSessionOnly(t *testing.T) {
	t.Parallel()
	s := newSite(t, ofKind(true)[0])
	pair, other := s.issue(nil), s.issue(nil)
	path := func(p issuer.Pair) string { return "/api/logonSessions/" + idOf(p.Access) }
	for _, c := range []struct{ method, path, presented string }{
		{http.MethodGet, path(other), pair.Access},
		{http.MethodDelete, path(other), pair.Access},
		{http.MethodDelete, "/api/logonSessions", pair.Access},
		{http.MethodDelete, path(pair), ""},
		{http.MethodGet, path(pair), ""},
		{http.MethodDelete, path(pair), "no session"},
		{http.MethodDelete, "/api/logonSessions/", ""},
	} {
		if res, body := s.here(c.method, c.path, typeJSON, c.presented, veeam.RouteSession); res.StatusCode != http.StatusNotFound || !strings.Contains(body, "There is no such session.") {
			t.Errorf("%+v: %d %s", c, res.StatusCode, body)
		}
	}
	if res, body := s.here(http.MethodGet, "/api/logonSessions", typeJSON, "", veeam.RouteSession); res.StatusCode != http.StatusOK || !strings.EqualFold(body, `{"logonSessions":[]}`) {
		t.Errorf("without a session: %d %s", res.StatusCode, body)
	}
	s.check(pair.Access)
	s.check(other.Access)

	if res, body := s.here(http.MethodDelete, path(pair), typeJSON, pair.Access, veeam.RouteLogout); res.StatusCode != http.StatusNoContent || body != "" {
		t.Errorf("%d %q", res.StatusCode, body)
	}
	if _, err := s.issuer.Check(t.Context(), pair.Access, audience); err == nil {
		t.Error("the session is valid after its end")
	}
	s.check(other.Access)
}
