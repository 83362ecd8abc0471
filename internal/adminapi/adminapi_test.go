package adminapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/keys"
	"github.com/caddy-veeam/veeam-auth/internal/process"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

func TestAnOperatorsMistakesAreExplained(t *testing.T) {
	holders := issuer.NewHolders()
	holders.Enter("grafana")
	key := keys.Make()
	routes := Sessions{State: upstream.NewState()}.Routes()
	maps.Copy(routes, Tokens{Holders: holders}.Routes())
	maps.Copy(routes, Keys{Holders: holders, Accounts: func() []string { return []string{"svc-bot", "svc-monitor"} }}.Routes())
	maps.Copy(routes, Approvals{}.Routes())
	for _, tt := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{http.MethodPost, SessionsPath, "", http.StatusMethodNotAllowed, "use GET"},
		{http.MethodPost, TokensPath, "", http.StatusMethodNotAllowed, "use GET"},
		{http.MethodGet, SessionsPath + "/forget", "", http.StatusMethodNotAllowed, "use POST"},
		{http.MethodGet, RevokePath, "", http.StatusMethodNotAllowed, "use POST"},
		{http.MethodPost, SessionsPath + "/forget", "{}", http.StatusBadRequest, `write {"account": "<name>"}`},
		{http.MethodPost, SessionsPath + "/logout", "no JSON", http.StatusBadRequest, `write {"account": "<name>"}`},
		{http.MethodPost, SessionsPath + "/login", `{"account": "` + strings.Repeat("x", 5000) + `"}`, http.StatusRequestEntityTooLarge, "the body exceeds 4096 bytes"},
		{http.MethodPost, SessionsPath + "/login", `{"account": "nobody"}` + strings.Repeat(" ", 5000), http.StatusRequestEntityTooLarge, "the body exceeds 4096 bytes"},
		{http.MethodPost, SessionsPath + "/credential", `{"account": "nobody", "secret": "` + strings.Repeat("x", 70_000) + `"}`, http.StatusRequestEntityTooLarge, "the body exceeds 65536 bytes"},
		{http.MethodPost, SessionsPath + "/login", `{"account": "nobody"} {"account": "nobody"}`, http.StatusBadRequest, `write {"account": "<name>"}`},
		{http.MethodPost, SessionsPath + "/login", `{"account": "nobody"}]`, http.StatusBadRequest, `write {"account": "<name>"}`},
		{http.MethodPost, SessionsPath + "/login", `["nobody"]`, http.StatusBadRequest, `write {"account": "<name>"}`},
		{http.MethodPost, SessionsPath + "/code", `{"account": "nobody", "code": "<script>"}`, http.StatusBadRequest, "<6 to 10 digits>"},
		{http.MethodPost, SessionsPath + "/login", `{"account": "\u001b[31m<img src=x>\u202e"}`, http.StatusNotFound, `unknown account "\x1b[31m<img src=x>\u202e"`},
		{http.MethodPost, SessionsPath + "/login", `{"account": "nobody"}`, http.StatusNotFound, `unknown account "nobody"`},
		{http.MethodPost, RevokePath, "{}", http.StatusBadRequest, `write {"client": "<name>"}`},
		{http.MethodPost, RevokePath, `{"client": "jwt:k8s:alice"}`, http.StatusBadRequest, "deny the caller by a rule"},
		{http.MethodPost, RevokePath, `{"client": "jwt:k8s:alice", "force": true}`, http.StatusBadRequest, "deny the caller by a rule"},
		{http.MethodPost, KeysPath, "", http.StatusMethodNotAllowed, "use GET"},
		{http.MethodGet, IssueKeyPath, "", http.StatusMethodNotAllowed, "use POST"},
		{http.MethodPost, IssueKeyPath, `{"client": "grafana"}`, http.StatusBadRequest, `"seconds": <number>`},
		{http.MethodPost, IssueKeyPath, `{"client": "nobody", "seconds": 60}`, http.StatusNotFound, "no client named \"nobody\" is configured; configured: grafana"},
		{http.MethodPost, IssueKeyPath, `{"client": "` + key + `", "seconds": 60}`, http.StatusBadRequest, "not the key itself"},
		{http.MethodPost, IssueKeyPath, `{"client": "grafana", "name": "` + key + `", "seconds": 60}`, http.StatusBadRequest, "not the key itself"},
		{http.MethodPost, IssueKeyPath, `{"client": "grafana", "account": "` + key + `", "seconds": 60}`, http.StatusBadRequest, "not the key itself"},
		{http.MethodPost, RotateKeyPath, `{"name": "` + key + `"}`, http.StatusBadRequest, "not the key itself"},
		{http.MethodPost, RevokeKeyPath, `{"name": "` + key + `"}`, http.StatusBadRequest, "not the key itself"},
		{http.MethodPost, IssueKeyPath, `{"client": "grafana", "seconds": 60, "account": "nobody"}`, http.StatusNotFound, "no account named \"nobody\" is configured; configured: svc-bot, svc-monitor"},
		{http.MethodPost, IssueKeyPath, `{"client": "grafana", "seconds": 60, "account": "svc-bot"}`, http.StatusNotFound, "no veeam_auth is configured"},
		{http.MethodPost, IssueKeyPath, `{"client": "grafana", "seconds": 60}`, http.StatusNotFound, "no veeam_auth is configured"},
		{http.MethodPost, RotateKeyPath, `{"name": "x", "overlap_seconds": -1}`, http.StatusBadRequest, `"overlap_seconds": <number>`},
		{http.MethodPost, RotateKeyPath, `{"name": "x"}`, http.StatusNotFound, "no veeam_auth is configured"},
		{http.MethodPost, RevokeKeyPath, "{}", http.StatusBadRequest, `write {"name": "<key>"}`},
		{http.MethodPost, RevokeKeyPath, `{"name": "x"}`, http.StatusNotFound, "no veeam_auth is configured"},
		{http.MethodPost, ApprovalsPath, "", http.StatusMethodNotAllowed, "use GET"},
		{http.MethodGet, ApprovePath, "", http.StatusMethodNotAllowed, "use POST"},
		{http.MethodPost, DenyPath, `{"client": "grafana"}`, http.StatusBadRequest, `write {"id": "<approval>"}`},
		{http.MethodPost, ApprovePath, `{"id": "apr_x"}`, http.StatusNotFound, "no rule with approve is configured"},
		{http.MethodPost, RevokePath, `{"client": "grafana"}`, http.StatusNotFound, "no veeam_auth is configured"},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, strings.NewReader(tt.body))
		r.Header.Set("Content-Type", "application/json")
		err := routes[tt.path](w, r)
		failed, ok := errors.AsType[*Error](err)
		if !ok || failed.Status != tt.status || !strings.Contains(failed.Error(), tt.want) || w.Body.Len() > 0 || strings.Contains(failed.Error(), key) {
			t.Errorf("%s %s: %v %q", tt.method, tt.path, err, w.Body)
		}
	}
}

func TestWithoutSessionsAndTokensTheListsAreEmpty(t *testing.T) {
	routes := Sessions{State: upstream.NewState()}.Routes()
	maps.Copy(routes, Tokens{Holders: issuer.NewHolders()}.Routes())
	for _, path := range []string{SessionsPath, TokensPath} {
		w := httptest.NewRecorder()
		if err := routes[path](w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)); err != nil || w.Body.String() != "[]\n" {
			t.Errorf("%s: %v %q", path, err, w.Body)
		}
	}
}

func TestAnActNamesItsOperator(t *testing.T) {
	certificate := &x509.Certificate{Subject: pkix.Name{CommonName: "alice"}}
	byCertificate := httptest.NewRequestWithContext(t.Context(), http.MethodPost, SessionsPath, nil)
	byCertificate.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{certificate}}}
	byName := httptest.NewRequestWithContext(WithOperator(t.Context(), "bob"), http.MethodPost, SessionsPath, nil)
	byName.TLS = byCertificate.TLS
	unknown := httptest.NewRequestWithContext(t.Context(), http.MethodPost, SessionsPath, nil)
	unknown.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{certificate}} // which nobody has verified
	for want, r := range map[string]*http.Request{"alice": byCertificate, "bob": byName, "": unknown} {
		var got Act
		tell(func(act Act) { got = act }, r, Act{Name: "login"})
		if got.Operator != want || got.Name != "login" || got.Address != r.RemoteAddr {
			t.Errorf("%+v, want the operator %q", got, want)
		}
	}
	tell(nil, unknown, Act{}) // nobody listens
}

// Whoever connects to a unix socket may choose the address of its end.
func TestAnActAtAUnixSocketHasNoAddress(t *testing.T) {
	local := context.WithValue(t.Context(), http.LocalAddrContextKey, &net.UnixAddr{Name: "/run/admin.sock", Net: "unix"})
	r := httptest.NewRequestWithContext(local, http.MethodPost, SessionsPath, nil)
	r.RemoteAddr = "10.0.0.1:5"
	if got := addressOf(r); got != "unix" {
		t.Error(got)
	}
	t.Chdir(t.TempDir())
	listener, err := net.Listen("unix", "s")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.DialUnix("unix", &net.UnixAddr{Name: "operator:5", Net: "unix"}, &net.UnixAddr{Name: "s", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	got, want := addressOf(r.WithContext(process.WithConnection(local, conn))), "unix"
	if runtime.GOOS == "linux" {
		want = "unix uid " + strconv.Itoa(os.Getuid())
	}
	if got != want {
		t.Errorf("%s, not %s", got, want)
	}
}

// Only what names the admin endpoint by a name that nobody else can own, and says that its
// own page asks, is answered; and only JSON is read.
func TestNoPageButItsOwnIsAnswered(t *testing.T) {
	chromium := []string{"User-Agent", "Mozilla/5.0 (X11; Linux x86_64) Chrome/156.0.0.0", "Accept-Language", "en"}
	page := func(site, origin string) []string {
		return append([]string{"Sec-Fetch-Site", site, "Origin", origin}, chromium...)
	}
	routes := Sessions{State: upstream.NewState()}.Routes()
	maps.Copy(routes, Tokens{Holders: issuer.NewHolders()}.Routes())
	reached := map[int]bool{http.StatusBadRequest: true, http.StatusMethodNotAllowed: true, 0: true}
	for _, tt := range []struct {
		name, host, contentType string
		headers                 []string
		get, post               int // 0: reached
	}{
		{"a program", "vbr-proxy:2019", "application/json", nil, 0, 0},
		{"a program at a socket", "", "application/json", nil, 0, 0},
		{"a form of a program", "localhost:2019", "application/x-www-form-urlencoded", nil, 0, http.StatusUnsupportedMediaType},
		{"JSON with a parameter", "localhost:2019", "application/json; charset=utf-8", nil, 0, http.StatusUnsupportedMediaType},
		{"JSON in a text", "localhost:2019", "text/plain", nil, 0, http.StatusUnsupportedMediaType},
		{"no type", "localhost:2019", "", nil, 0, http.StatusUnsupportedMediaType},
		{"its page", "localhost:2019", "application/json", page("same-origin", "http://localhost:2019"), 0, 0},
		{"its page by address", "[::1]:2019", "application/json", page("same-origin", "http://[::1]:2019"), 0, 0},
		{"another site", "localhost:2019", "application/json", page("cross-site", "https://evil.test"), http.StatusForbidden, http.StatusForbidden},
		{"another port", "localhost:2019", "application/json", page("same-site", "http://localhost:8080"), http.StatusForbidden, http.StatusForbidden},
		{"a sandbox", "localhost:2019", "application/json", page("cross-site", "null"), http.StatusForbidden, http.StatusForbidden},
		{"a rebound name", "evil.test:2019", "application/json", append([]string{"Origin", "http://evil.test:2019"}, chromium...), http.StatusForbidden, http.StatusForbidden},
		{"a rebound name without an origin", "evil.test:2019", "application/json", chromium, http.StatusForbidden, http.StatusForbidden},
		{"a rebound name that is trusted", "evil.test:2019", "application/json", page("same-origin", "http://evil.test:2019"), http.StatusForbidden, http.StatusForbidden},
	} {
		for path, handle := range routes {
			for method, want := range map[string]int{http.MethodGet: tt.get, http.MethodPost: tt.post} {
				w := httptest.NewRecorder()
				r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader("{}"))
				r.Host = tt.host
				if tt.contentType != "" {
					r.Header.Set("Content-Type", tt.contentType)
				}
				for i := 0; i < len(tt.headers); i += 2 {
					r.Header.Set(tt.headers[i], tt.headers[i+1])
				}
				status := 0
				if failed, ok := errors.AsType[*Error](handle(w, r)); ok {
					status = failed.Status
				}
				if want != status && (want != 0 || !reached[status]) {
					t.Errorf("%s: %s %s: %d, not %d", tt.name, method, path, status, want)
				}
				if w.Header().Get("X-Frame-Options") != "DENY" || !strings.Contains(w.Header().Get("Content-Security-Policy"), "frame-ancestors 'none'") {
					t.Errorf("%s: %s %s may be framed", tt.name, method, path)
				}
			}
		}
	}
}

// overdrawn is an error with a reason of its own.
type overdrawn struct{}

func (overdrawn) Error() string        { return "no try is left" }
func (overdrawn) Reason() veeam.Reason { return veeam.ReasonLockedOutBudget }

func TestAFailedActHasAReason(t *testing.T) {
	for want, err := range map[veeam.Reason]error{
		veeam.ReasonBadRequest:      &Error{http.StatusNotFound, errors.New("unknown account")},
		veeam.ReasonDenied:          &Error{http.StatusForbidden, errors.New("another site")},
		veeam.ReasonStorage:         &Error{http.StatusServiceUnavailable, errors.New("no lock")},
		veeam.ReasonInternal:        &Error{http.StatusInternalServerError, errors.New("a fault")},
		veeam.ReasonTimeout:         &Error{http.StatusServiceUnavailable, context.DeadlineExceeded},
		veeam.ReasonLockedOutBudget: &Error{http.StatusConflict, overdrawn{}},
	} {
		if got := veeam.ReasonOf(err); got != want {
			t.Errorf("%v has the reason %s, want %s", err, got, want)
		}
	}
	if refused(nil) != nil {
		t.Error("nothing is an error")
	}
}
