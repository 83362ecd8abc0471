// What the tests of the emulator share: a client that works without sockets.

package veeamtest

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
)

// start of every test clock: the begin of a TOTP step.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func fixed() Option { return WithClock(func() time.Time { return epoch }) }

type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) json(t *testing.T) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(a.body), &m); err != nil {
		t.Fatalf("answer %d %q: %v", a.status, a.body, err)
	}
	return m
}

// text returns a string field, "" when it is absent or null.
func (a answer) text(t *testing.T, field string) string {
	t.Helper()
	v, _ := a.json(t)[field].(string)
	return v
}

func version(s *Server) string {
	if s.product.versions == nil {
		return ""
	}
	return s.cfg.versions[len(s.cfg.versions)-1]
}

func do(s *Server, method, path, bearer, body string, header ...string) answer {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if v := version(s); v != "" {
		r.Header.Set("x-api-version", v)
	}
	show(s, r, bearer)
	for i := 0; i < len(header); i += 2 {
		if header[i+1] == "" {
			r.Header.Del(header[i])
		} else {
			r.Header.Set(header[i], header[i+1])
		}
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	got, _ := io.ReadAll(w.Result().Body)
	return answer{w.Code, w.Result().Header, string(got)}
}

// show puts a session on a request as the server wants it.
func show(s *Server, r *http.Request, session string) {
	switch {
	case session == "":
	case s.product.presented != nil:
		spell(r.Header, sessionHeader, session)
	default:
		r.Header.Set("Authorization", "Bearer "+session)
	}
}

// anyCase is pair where its value may have any case, and in lower case elsewhere.
func anyCase(p Profile, pair string) string {
	if products[p].exactGrants {
		return strings.ToLower(pair)
	}
	return pair
}

// formProfiles are the servers that log in by a form.
func formProfiles() []Profile {
	return slices.DeleteFunc(Profiles(), func(p Profile) bool { return products[p].grants == nil })
}

// unlimited is for tests that are not about the limits and habits of one product.
func unlimited(p Profile, opts ...Option) *Server {
	return New(p, append([]Option{WithTokenLimits(0, 0, 0), WithParallelSessions()}, opts...)...)
}

const formType = "application/x-www-form-urlencoded"

// grant posts a form, written as name=value pairs that are not escaped yet. It asks for no antiforgery cookie where there
// are any.
func grant(s *Server, pairs ...string) answer {
	var b strings.Builder
	if s.product.guard != nil {
		pairs = append(slices.Clone(pairs), "disable_antiforgery_token=true")
	}
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		b.WriteString(name + "=" + url.QueryEscape(value) + "&")
	}
	return do(s, "POST", s.TokenPath(), "", b.String(), "Content-Type", formType)
}

// logon is the login at Enterprise Manager.
func logon(s *Server, user, password string, header ...string) answer {
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	return do(s, "POST", "/api/sessionMngr/?v=latest", "", "", append([]string{"Authorization", basic}, header...)...)
}

func login(t *testing.T, s *Server, user, password string) (access, refresh string) {
	t.Helper()
	if s.product.grants == nil {
		got := logon(s, user, password)
		if got.status != 201 {
			t.Fatalf("%s: login of %s: %d %s", s.profile, user, got.status, got.body)
		}
		return got.header[sessionHeader][0], "" //nolint:staticcheck // the raw spelling is what is tested
	}
	got := grant(s, "grant_type=password", "username="+user, "password="+password)
	if got.status != 200 || got.text(t, "access_token") == "" {
		t.Fatalf("%s: login of %s: %d %s", s.profile, user, got.status, got.body)
	}
	return got.text(t, "access_token"), got.text(t, "refresh_token")
}

func defaultLogin(t *testing.T, s *Server) (access, refresh string) {
	t.Helper()
	return login(t, s, DefaultUser, DefaultPassword)
}

func challenged(t *testing.T, s *Server) (mfaToken string) {
	t.Helper()
	got := grant(s, "grant_type=password", "username="+DefaultMFAUser, "password="+DefaultMFAPassword)
	if got.status != or(s.product.dialect.challenged, 200) || got.text(t, "mfa_token") == "" || got.text(t, "access_token") != "" {
		t.Fatalf("%s: want a challenge: %d %s", s.profile, got.status, got.body)
	}
	return got.text(t, "mfa_token")
}

func codeAt(t *testing.T, at time.Time) string {
	t.Helper()
	code, err := totp.GenerateCode(DefaultTOTPSecret, at)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// status asks for a protected resource.
func status(s *Server, access string) int {
	return do(s, "GET", s.Base()+"/echo", access, "").status
}

func keys(m map[string]any) string {
	return strings.Join(slices.Sorted(maps.Keys(m)), " ")
}
