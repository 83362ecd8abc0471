// Approvals: what a handler and a transport do with a request that requires one.

package caddymodule

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/certmagic"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/caddy-veeam/veeam-auth/caddymodule/rules"
	"github.com/caddy-veeam/veeam-auth/caddymodule/storages"
	"github.com/caddy-veeam/veeam-auth/internal/approval"
	"github.com/caddy-veeam/veeam-auth/internal/clients"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
)

const approving = `{"product": "vspc", "rules": [{"effect": "allow", "match": [{"method": ["GET"]}]}, {"effect": "approve"}], "approvals": {"max_body": 100}}`

// posts sends the request that waits.
func (c *chain) posts(body string) reply {
	c.Helper()
	return c.ask("agent", http.MethodPost, "/api/v3/organizations/companies?a=1", func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		r.Header.Set("Content-Type", "application/json")
	})
}

// approves decides about what a refusal names.
func (c *chain) approves(refused reply, approve bool) {
	c.Helper()
	if _, err := c.handler.approvals.Approvals.Decide(c.Context(), refused.Header().Get(approval.Header), approve, "alice"); err != nil {
		c.Fatal(err)
	}
}

func TestARequestWaitsForAnApprovalAndPassesOnce(t *testing.T) {
	t.Parallel()
	const body = `{"name":"x","password":"s3cr3tt0ken"}`
	c := newChain(t, approving)
	asked := c.gets(http.StatusOK, nil, "{}")
	sent := ""
	answer := c.wire.answer
	c.wire.answer = func(req *http.Request) (*http.Response, error) {
		if !forToken(req) && req.Body != nil {
			text, _ := io.ReadAll(req.Body)
			sent = string(text)
		}
		return answer(req)
	}
	used := func() float64 {
		return testutil.ToFloat64(running().metrics.Approvals.WithLabelValues("vspc", "used"))
	}
	before := used()
	first := c.posts(body)
	id := first.Header().Get(approval.Header)
	if first.Code != http.StatusForbidden || id == "" || !strings.Contains(first.Body.String(), "Approval id "+id) || first.Header().Get("Retry-After") == "" || *asked != 0 {
		t.Fatalf("%d %v %s, asked %d times", first.Code, first.Header(), first.Body, *asked)
	}
	if got := c.ask("agent", http.MethodGet, "/api/v3/organizations", nil); got.Code != http.StatusOK {
		t.Errorf("what another rule allows: %d %s", got.Code, got.Body)
	}
	c.approves(first, true)
	for what, got := range map[string]reply{"another body": c.posts(body + " "), "another client": c.ask("other", http.MethodPost, "/api/v3/organizations/companies?a=1", nil)} {
		if got.Code != http.StatusForbidden {
			t.Errorf("%s: %d", what, got.Code)
		}
	}
	if got := c.posts(body); got.Code != http.StatusOK || *asked != 2 || sent != body || used() < before+1 {
		t.Errorf("approved: %d %s, asked %d times, %q was sent", got.Code, got.Body, *asked, sent)
	}
	if got := c.posts(body); got.Code != http.StatusForbidden || got.Header().Get(approval.Header) == id || *asked != 2 {
		t.Errorf("a second time: %d, asked %d times", got.Code, *asked)
	} else {
		c.approves(got, false)
	}
	if got := c.posts(body); got.Code != http.StatusForbidden || !strings.Contains(got.Body.String(), string(veeam.ReasonApprovalDenied)) {
		t.Errorf("denied: %d %s", got.Code, got.Body)
	}
	if got := c.posts(strings.Repeat("x", 101)); got.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a large body: %d", got.Code)
	}
	log := fmt.Sprint(c.logs.All())
	for _, line := range []string{"It has the approval " + id + ", given by 'alice'", "caddy veeam-auth approvals approve " + id, "(VeeamAuth.approval_denied)"} {
		if !strings.Contains(log, line) {
			t.Errorf("the log has no %q", line)
		}
	}
}

// What happens between the decision and the server changes nothing of what was approved.
func TestAnApprovedRequestThatIsChangedIsNotSent(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*http.Request)
		status int
	}{
		"another body": {func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(`{"a":2}`)), 7
		}, 520},
		"a longer body":   {func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader(`{"a":1} `)), 8 }, 520},
		"no body":         {func(r *http.Request) { r.Body, r.ContentLength = http.NoBody, 0 }, 520},
		"another type":    {func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 520},
		"another method":  {func(r *http.Request) { r.Method = http.MethodPut }, 520},
		"another query":   {func(r *http.Request) { r.URL.RawQuery = "a=2" }, 520},
		"nothing":         {func(*http.Request) {}, http.StatusOK},
		"an equal body":   {func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(`{"a":1}`)) }, http.StatusOK},
		"another header":  {func(r *http.Request) { r.Header.Set("X-Forwarded-For", "192.0.2.1") }, http.StatusOK},
		"without a proof": {func(r *http.Request) { stateOf(r.Context()).approved = nil }, 520},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newChain(t, approving)
			asked := c.gets(http.StatusOK, nil, "{}")
			c.approves(c.posts(`{"a":1}`), true)
			c.change = tt.change
			if got := c.posts(`{"a":1}`); got.Code != tt.status || (*asked > 0) != (tt.status == http.StatusOK) {
				t.Errorf("%d %s, asked %d times", got.Code, got.Body, *asked)
			}
		})
	}
}

// Without a session nothing is sent, and the approval is not used up.
func TestAnApprovalOutlivesAnAccountWithoutASession(t *testing.T) {
	t.Parallel()
	c := newChain(t, approving)
	asked := c.gets(http.StatusOK, nil, "{}")
	first := c.posts("{}")
	c.approves(first, true)
	answer := c.wire.answer
	c.wire.answer = func(req *http.Request) (*http.Response, error) {
		if forToken(req) {
			return canned(req, http.StatusServiceUnavailable, "text/plain", ""), nil
		}
		return answer(req)
	}
	if got := c.posts("{}"); got.Code == http.StatusOK || got.Code == http.StatusForbidden || *asked != 0 {
		t.Fatalf("without a session: %d %s", got.Code, got.Body)
	}
	states, err := c.handler.approvals.Approvals.List(t.Context())
	if err != nil || len(states) != 1 || states[0].Status != approval.Approved {
		t.Errorf("%+v %v", states, err)
	}
	// A proxy without the transport of this module tells nothing about what it has sent.
	h, next := c.handler, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { *asked++; return nil })
	for range 3 {
		req := httptest.NewRequest(http.MethodPost, "/api/v3/organizations/companies?a=1", strings.NewReader("{}"))
		req.Header.Set("Content-Type", "application/json")
		req = prepared(req)
		req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer).Set("http.auth.user.id", "agent")
		if err := h.ServeHTTP(httptest.NewRecorder(), req, next); err != nil {
			t.Fatal(err)
		}
	}
	if *asked != 1 {
		t.Errorf("another proxy has got it %d times", *asked)
	}
}

// Three processes with one folder as their storage let an approved request pass once, also
// if it comes to all of them at once.
func TestThreeReplicasWithOneStoragePassAnApprovedRequestOnce(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	var replicas []*keyed
	for range 3 {
		k := newKeyed(t, &Handler{
			Product: "vbr", Clients: []*clients.Client{{Name: "agent"}}, Rules: []*rules.Rule{{Effect: "approve"}},
		})
		k.approvals.Approvals = approval.New(storages.Dated{Storage: &certmagic.FileStorage{Path: folder}}, nil)
		replicas = append(replicas, k)
	}
	send := func(k *keyed, edit func(*http.Request)) (passed bool, reason veeam.Reason, id string) {
		r := httptest.NewRequest(http.MethodPost, "http://localhost/api/v1/jobs/5/start", strings.NewReader("{}"))
		if edit != nil {
			edit(r)
		}
		r.RemoteAddr = "127.0.0.1:4711"
		w := httptest.NewRecorder()
		r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, &caddyhttp.Server{})
		err := k.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { passed = true; return nil }))
		if err != nil {
			k.Error(err)
		}
		if _, text, found := strings.Cut(w.Body.String(), " ("); found {
			word, _, _ := strings.Cut(text, ")")
			reason = veeam.Reason(word)
		}
		return passed, reason, w.Header().Get(approval.Header)
	}
	_, reason, id := send(replicas[0], nil)
	if _, _, same := send(replicas[1], nil); id == "" || same != id || reason != veeam.ReasonApprovalRequired {
		t.Fatalf("%s, then %s: %s", id, same, reason)
	}
	if _, err := replicas[2].approvals.Approvals.Decide(t.Context(), id, true, ""); err != nil {
		t.Fatal(err)
	}
	var passes atomic.Int32
	var wait sync.WaitGroup
	for _, k := range replicas {
		wait.Go(func() {
			passed, reason, _ := send(k, func(r *http.Request) { r.Header.Set(approval.Header, id) })
			if passed {
				passes.Add(1)
			} else if reason != veeam.ReasonApprovalUsed {
				t.Errorf("refused for %s", reason)
			}
		})
	}
	wait.Wait()
	if passes.Load() != 1 {
		t.Errorf("%d have passed", passes.Load())
	}
	for i, k := range replicas {
		if passed, _, next := send(k, nil); passed || next == id {
			t.Errorf("later it passes at replica %d, or waits as %s", i, next)
		}
	}
}

// The rules say what requires an approval, for requests and for policy test alike.
func TestRulesSayWhatRequiresAnApproval(t *testing.T) {
	t.Parallel()
	const change, read, secret, unheard = "POST /api/v1/jobs", "GET /api/v1/jobs", "GET /api/v1/credentials", "POST /api/v1/unheard/of"
	const required, denied = veeam.ReasonApprovalRequired, veeam.ReasonDenied
	for rules, want := range map[string]map[string]veeam.Reason{
		"approve operation change destroy":                                      {change: required, read: denied, secret: denied, unheard: denied},
		"allow operation read\napprove operation change destroy":                {change: required, read: "", secret: denied, unheard: denied},
		"approve operation change\ndefault allow":                               {change: required, read: "", unheard: denied},
		"approve operation change unknown\ndefault allow":                       {change: required, unheard: required},
		"approve operation change\napprove operation unknown":                   {change: required, unheard: required, secret: denied},
		"deny operation secret\napprove *":                                      {change: required, read: required, secret: denied, unheard: denied},
		"approve *":                                                             {change: required, read: required, secret: required, unheard: required},
		"approve method POST\nallow operation read":                             {change: required, read: "", unheard: required},
		"approve shadow operation change\nallow *":                              {change: "", read: "", unheard: ""},
		"allow operation change\napprove *":                                     {change: "", read: required},
		"approve preset monitor":                                                {read: required, change: denied},
		"approve `{http.veeam_auth.class} == \"change\"`":                       {change: required, read: denied, unheard: denied},
		"approve `{http.request.uri.path}.startsWith({http.nothing})`\nallow *": {change: denied, read: denied},
	} {
		caddyfile := fmt.Sprintf("https://a.lab.local {\n\tveeam_auth https://b.lab.local {\n\t\taccount x {env.NOT_SET}\n%s\n\t}\n}\n", rules)
		config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), nil)
		if err != nil {
			t.Fatal(err)
		}
		for request, reason := range want {
			method, path, _ := strings.Cut(request, " ")
			for _, known := range []bool{true, false} {
				r, err := ExplainRequest(method, path, http.Header{})
				if err != nil {
					t.Fatal(err)
				}
				caller := policy.Caller{Name: string(policy.ViaLoopback), Via: policy.ViaLoopback}
				if !known {
					caller, reason = policy.Caller{}, veeam.ReasonNoToken
				}
				got := veeam.Reason("")
				if x := explainer(t, config, 443).Explain(r, caller, known); x.Refusal != nil {
					got = x.Refusal.Reason
				}
				if got != reason {
					t.Errorf("%s\n%s, known %v: %q, want %q", rules, request, known, got, reason)
				}
			}
		}
	}
	for name, h := range map[string]*Handler{
		"unknown_callers":      {Rules: []*rules.Rule{{Effect: "approve", UnknownCallers: true}}},
		"another effect":       {Rules: []*rules.Rule{{Effect: "agree"}}},
		"a default":            {Rules: []*rules.Rule{{Effect: "approve"}}, Default: "approve"},
		"an option":            {Approvals: &approval.Options{Wait: "soon"}},
		"an option of a limit": {Approvals: &approval.Options{MaxWaiting: -1}},
	} {
		ctx := provisionContext(t, &caddy.Config{StorageRaw: []byte(`{"module": "file_system", "root": "` + t.TempDir() + `"}`)})
		if err := h.Provision(ctx); err == nil {
			t.Errorf("%s is allowed", name)
		}
		_ = h.Cleanup()
	}
}

// An approval names the user at a unix socket, and is that user's.
func TestUsersAtAUnixSocketAskForThemselves(t *testing.T) {
	t.Parallel()
	unix, loopback := policy.Caller{Name: "unix", Via: policy.ViaUnix}, policy.Caller{Name: "loopback", Via: policy.ViaLoopback}
	r := overSocket(t)
	want := "unix"
	if runtime.GOOS == "linux" {
		want = "unix uid " + strconv.Itoa(os.Getuid())
	}
	if got := asker(r, &requestState{caller: unix}); got != want {
		t.Errorf("%s, not %s", got, want)
	}
	if got := asker(httptest.NewRequest(http.MethodGet, "/", nil), &requestState{caller: loopback}); got != "loopback" {
		t.Error(got)
	}
}
