// A server and a transport in memory, under a clock that does not wait: what the
// tests of grants, faults and endings share.

package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// world is one server, and one transport that logs in there.
type world struct {
	*testing.T
	server *veeamtest.Server
	wire   *wire
	tr     *Transport
	*processState
	dir  string
	logs *observer.ObservedLogs

	// unpaced says that logins keep to no pace: tests of other things log in more often
	// than a server with a quota allows.
	unpaced bool
	svc     *zap.Logger
}

var worlds atomic.Int64

// inWorld runs a test with a server under a clock of its own.
func inWorld(t *testing.T, profile veeamtest.Profile, options []veeamtest.Option, test func(w *world)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		// Every clock begins at the same moment, and the process remembers which
		// verification codes were used: each world has days of its own.
		time.Sleep(time.Duration(worlds.Add(1)) * 24 * time.Hour)
		core, logs := observer.New(zapcore.InfoLevel)
		unlimited := append([]veeamtest.Option{veeamtest.WithTokenLimits(0, 0, 0)}, options...)
		w := &world{T: t, server: veeamtest.New(profile, unlimited...), dir: dir, logs: logs, svc: zap.New(core), processState: newProcess()}
		w.unpaced = profile == veeamtest.VB365
		w.wire = &wire{to: w.server.Transport(), base: w.server.Base()}
		test(w)
		if w.tr != nil {
			w.tr.close()
		}
		time.Sleep(time.Minute) // who keeps a lock file fresh looks seldom whether it is still there
		synctest.Wait()
	})
}

func (t *Transport) close() {
	_ = t.Cleanup()
	t.server.State.Settle()
	synctest.Wait()
}

// start provisions the transport.
func (w *world) start(accounts ...*account.Account) *Transport {
	w.Helper()
	w.tr = w.transport(&Transport{Accounts: accounts})
	return w.tr
}

// transport provisions one more transport to the same server.
func (w *world) transport(tr *Transport) *Transport {
	w.Helper()
	if tr.Product == "" {
		tr.Product = w.server.Profile().Product()
	}
	if tr.Pace == nil && w.unpaced {
		tr.Pace = &ratelimit.Pace{Off: true}
	}
	tr.process = w.processState
	return provisionInMemory(w, tr, w.wire)
}

// file writes a file and returns its path.
func (w *world) file(name string, content []byte) string {
	w.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		w.Fatal(err)
	}
	return path
}

// secret writes a secret and returns the placeholder for it. Writing it again
// changes it.
func (w *world) secret(name, value string) string {
	w.Helper()
	return "{file." + w.file(name, []byte(value)) + "}"
}

// unwatched is an account without files: those of others are looked at twice in each
// second that a test lets pass.
func unwatched() *account.Account {
	return &account.Account{Name: veeamtest.DefaultUser, Password: veeamtest.DefaultPassword}
}

// received is what a client gets.
type received struct {
	status  int
	reason  veeam.Reason // of our refusal, empty if the server has answered
	header  http.Header
	body    string
	subject string // whose token the server saw
}

func (a received) String() string {
	if a.reason == "" {
		return fmt.Sprint(a.status)
	}
	return fmt.Sprintf("%d %s", a.status, a.reason)
}

// get asks for a protected resource.
func (w *world) get() received { return w.ask(w.tr, http.MethodGet, "/echo", "") }

// ask sends a request through a transport, as an account or as the first one.
func (w *world) ask(tr *Transport, method, path, account string) received {
	w.Helper()
	return w.askIn(context.Background(), tr, method, path, account)
}

func (w *world) askIn(ctx context.Context, tr *Transport, method, path, account string) received {
	w.Helper()
	return w.askAt(ctx, tr, method, w.server.Base()+path, account)
}

// askAt is askIn for a path that is not below the resources of the server.
func (w *world) askAt(ctx context.Context, tr *Transport, method, path, account string) received {
	w.Helper()
	state := &requestState{route: veeam.RouteProtected, account: account}
	req := proxied(ctx, state)
	req.Method, req.URL.Path, req.URL.RawQuery = method, path, ""
	state.decideFor(req)
	if !strings.HasPrefix(w.server.Profile().Product(), "vspc") {
		req.Header.Set("X-Api-Version", "1.1-rev0")
	}
	state.journal = journal.New(w.svc, req)
	res, err := sendDecided(w, tr, req)
	if err != nil {
		return received{body: err.Error()}
	}
	return w.read(res, state)
}

func (w *world) read(res *http.Response, state *requestState) received {
	w.Helper()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.Fatal(err)
	}
	_ = res.Body.Close()
	a := received{status: res.StatusCode, header: res.Header, body: string(body)}
	if state.found.refused != nil {
		a.reason = state.found.refused.Reason
	} else {
		var echo veeamtest.Echo
		_ = json.Unmarshal(body, &echo)
		a.subject = echo.Subject
	}
	return a
}

// demand fails the test unless the next request is answered like this.
func (w *world) demand(want string) received {
	w.Helper()
	got := w.get()
	if got.String() != want {
		w.Fatalf("got %v, want %s: %s", got, want, got.body)
	}
	return got
}

// said is what the log has said so far.
func (w *world) said() string {
	var b strings.Builder
	for _, entry := range w.logs.All() {
		b.WriteString(entry.Message + "\n")
	}
	return b.String()
}

// wire stands for the network. It counts, and answers itself where it is told to.
type wire struct {
	to   http.RoundTripper
	base string

	mu     sync.Mutex
	seen   []call
	answer func(*http.Request) (*http.Response, error) // nil, nil: the server answers
}

// call is a request as the server got it.
type call struct {
	method, path, bearer, version string
	password                      bool // with a password
	ping                          bool // a token request without a credential
	revokesOther                  bool // a revocation of another token than the bearer
}

// grant reports whether the request is one for a token or a code.
func (c call) grant() bool {
	path := strings.ToLower(c.path)
	return !c.ping && c.method != http.MethodDelete && !strings.HasSuffix(path, "/logout") &&
		(strings.Contains(path, "/token") || strings.HasSuffix(strings.TrimSuffix(path, "/"), "/sessionmngr") || strings.Contains(path, "oauth2") || strings.Contains(path, "/authentication/"))
}

func (n *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	n.mu.Lock()
	n.seen = append(n.seen, call{
		req.Method, req.URL.Path, req.Header.Get("Authorization"), req.Header.Get("X-Api-Version"), strings.Contains(bodyOf(req), veeamtest.DefaultPassword), isPing(req),
		strings.HasSuffix(req.URL.Path, "/revoke") && "Bearer "+formOf(req).Get("token") != req.Header.Get("Authorization"),
	})
	answer := n.answer
	n.mu.Unlock()
	if answer != nil {
		if res, err := answer(req); res != nil || err != nil {
			return res, err
		}
	}
	return n.to.RoundTrip(req)
}

// bodyOf is the body of a request of a login.
func bodyOf(req *http.Request) string {
	if req.GetBody == nil {
		return ""
	}
	body, err := req.GetBody()
	if err != nil {
		return ""
	}
	text, _ := io.ReadAll(body)
	return string(text)
}

// formOf is the form of a request of a login or logout, empty if it has none.
func formOf(req *http.Request) url.Values {
	form, err := url.ParseQuery(bodyOf(req))
	if err != nil {
		return nil
	}
	return form
}

// isPing reports whether a token request has no credential: it asks for a renewal
// without a refresh token, or for a session without a user.
func isPing(req *http.Request) bool {
	if strings.HasSuffix(strings.TrimSuffix(strings.ToLower(req.URL.Path), "/"), "/sessionmngr") {
		return req.Header.Get("Authorization") == ""
	}
	if strings.HasSuffix(req.URL.Path, "/authentication/refresh") {
		return !strings.Contains(bodyOf(req), "name=")
	}
	form := formOf(req)
	return strings.EqualFold(form.Get("grant_type"), "refresh_token") && !form.Has("refresh_token")
}

func (n *wire) intercept(answer func(*http.Request) (*http.Response, error)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answer = answer
}

// grants counts the token requests so far, and those for a code.
func (n *wire) grants() (count int) {
	for _, c := range n.calls() {
		if c.grant() {
			count++
		}
	}
	return count
}

func (n *wire) calls() []call {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]call(nil), n.seen...)
}

// isGrant is for interceptors that mean token requests only.
func isGrant(req *http.Request) bool { return call{method: req.Method, path: req.URL.Path}.grant() }

// canned is an answer of a wire.
func canned(req *http.Request, status int, contentType, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Request: req, Header: http.Header{"Content-Type": {contentType}},
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
}

// rest waits until nothing that the last request has started is under way.
func (w *world) rest(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
