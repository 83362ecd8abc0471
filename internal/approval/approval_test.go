package approval

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/canonical"
	"github.com/caddy-veeam/veeam-auth/internal/store"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/metrics"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
	"github.com/caddy-veeam/veeam-auth/test/harness/memorystore"
)

// asked is a request with what was decided about it, as a test changes it.
type asked struct {
	Asked
	method, target, body string
	header               http.Header
}

// the is the request that tests have approved.
func the() *asked {
	product, _ := veeam.Lookup("vbr")
	return &asked{
		Asked:  Asked{Product: product, Site: "site", Client: "agent", Account: "svc", Operation: operation.Operation{Name: "StartJob", Class: operation.Run}, Rule: "Caddyfile:7"},
		method: http.MethodPost, target: "/api/v1/jobs/5/start?b=1&a=2", body: `{"name":"nightly","full":true}`,
		header: http.Header{"Content-Type": {"application/json"}, "X-Api-Version": {"1.2-rev0"}, "X-Env": {"prod"}, "User-Agent": {"agent/1"}},
	}
}

// outcome is what became of a request.
type outcome struct {
	ticket  *Ticket
	refusal *veeam.Refusal
	id      string
	request *http.Request
}

func (o outcome) reason() veeam.Reason {
	if o.refusal == nil {
		return ""
	}
	return o.refusal.Reason
}

// send sends a request to a site.
func (s *Site) send(t testing.TB, a *asked) outcome {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), a.method, a.target, strings.NewReader(a.body))
	r.Header = a.header.Clone()
	a.Sent = canonical.AsItIs(r)
	w := httptest.NewRecorder()
	ticket, refusal := s.Admit(w, r, a.Asked)
	if (ticket == nil) == (refusal == nil) {
		t.Fatalf("ticket %v, refusal %v", ticket, refusal)
	}
	return outcome{ticket, refusal, w.Header().Get(Header), r}
}

func limits() Limits {
	l, _ := (*Options)(nil).Limits()
	return l
}

func siteOn(s store.Store) *Site {
	words := make(canonical.Words)
	words.Add(`header {"X-Env": ["prod"]} veeam_operation {"classes":["run"]}`)
	return &Site{Approvals: New(s, nil), Limits: limits(), Words: words}
}

// approved asks for a request and approves it.
func (s *Site) approved(t testing.TB, a *asked) (id string) {
	t.Helper()
	o := s.send(t, a)
	if o.reason() != veeam.ReasonApprovalRequired || o.id == "" {
		t.Fatalf("%+v", o.refusal)
	}
	if _, err := s.Approvals.Decide(t.Context(), o.id, true, "alice"); err != nil {
		t.Fatal(err)
	}
	return o.id
}

func TestAnApprovedRequestPassesOnce(t *testing.T) {
	t.Parallel()
	s := siteOn(new(memorystore.Storage).Process())
	first := s.send(t, the())
	if !strings.Contains(first.refusal.Message, first.id) || first.refusal.RetryAfter <= 0 || !strings.HasPrefix(first.id, "apr_") {
		t.Errorf("%+v", first.refusal)
	}
	if again := s.send(t, the()); again.id != first.id || again.reason() != veeam.ReasonApprovalRequired {
		t.Errorf("an identical request that waits: %+v", again)
	}
	if _, err := s.Approvals.Decide(t.Context(), first.id, true, "alice"); err != nil {
		t.Fatal(err)
	}
	passes := s.send(t, the())
	if passes.ticket == nil || passes.ticket.ID != first.id || passes.ticket.By != "alice" {
		t.Fatalf("%+v", passes)
	}
	if body, err := io.ReadAll(passes.request.Body); string(body) != the().body || err != nil {
		t.Errorf("%q %v", body, err)
	}
	next := s.send(t, the())
	if next.reason() != veeam.ReasonApprovalRequired || next.id == first.id {
		t.Errorf("after its use: %+v", next)
	}
	states, err := s.Approvals.List(t.Context())
	if err != nil || len(states) != 2 || states[0].Status != Used || states[0].Body != "" || states[1].Status != Waiting {
		t.Errorf("%+v %v", states, err)
	}
}

// Each differs from the request that was approved in one thing.
func nearMisses() []func(*asked, *rand.Rand) {
	header := func(name string, values ...string) func(*asked, *rand.Rand) {
		return func(a *asked, _ *rand.Rand) {
			if a.header[name] = values; len(values) == 0 {
				delete(a.header, name)
			}
		}
	}
	letter := func(text string, r *rand.Rand) string {
		if text == "" {
			return "x"
		}
		i := r.IntN(len(text))
		return text[:i] + string(rune('a'+(int(text[i])+1+r.IntN(24))%26)) + "~" + text[i+1:]
	}
	return []func(*asked, *rand.Rand){
		func(a *asked, r *rand.Rand) { a.body = letter(a.body, r) },
		func(a *asked, r *rand.Rand) { i := r.IntN(len(a.body) + 1); a.body = a.body[:i] + " " + a.body[i:] },
		func(a *asked, r *rand.Rand) { a.body = a.body[:r.IntN(len(a.body)+1)] },
		func(a *asked, r *rand.Rand) {
			b := []byte(a.body + "x")
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
			a.body = string(b[:len(a.body)])
		},
		func(a *asked, _ *rand.Rand) { a.body += a.body },
		func(a *asked, _ *rand.Rand) { a.target = "/api/v1/jobs/5/start?a=2&b=1" },
		func(a *asked, _ *rand.Rand) { a.target = "/api/v1/jobs/5/start?b=1&a=2&c" },
		func(a *asked, _ *rand.Rand) { a.target = "/api/v1/jobs/5/start" },
		func(a *asked, r *rand.Rand) { a.target = fmt.Sprintf("/api/v1/jobs/%d/start?b=1&a=2", 6+r.IntN(1000)) },
		func(a *asked, r *rand.Rand) { a.target = fmt.Sprintf("/api/v1/jobs/5/start?b=1&a=%d", 3+r.IntN(1000)) },
		func(a *asked, _ *rand.Rand) { a.target = "/API/v1/jobs/5/start?b=1&a=2" },
		func(a *asked, _ *rand.Rand) { a.target = "/api/v1/jobs/5/start/?b=1&a=2" },
		func(a *asked, _ *rand.Rand) { a.method = http.MethodPut },
		func(a *asked, _ *rand.Rand) { a.method = "post" },
		func(a *asked, r *rand.Rand) { a.Client = letter(a.Client, r) },
		func(a *asked, _ *rand.Rand) { a.Client = "certificate:agent" },
		func(a *asked, r *rand.Rand) { a.Account = letter(a.Account, r) },
		func(a *asked, _ *rand.Rand) { a.Account = "" },
		func(a *asked, r *rand.Rand) { a.Site = letter(a.Site, r) },
		func(a *asked, _ *rand.Rand) { a.Product, _ = veeam.Lookup("vspc") },
		header("Content-Type"), header("Content-Type", "text/plain"), header("Content-Type", "application/json", "application/json"), header("Content-Type", "application/json; charset=utf-8"),
		header("Content-Encoding", "gzip"), header("Content-Encoding", ""), header("X-Api-Version"), header("X-Api-Version", "1.1-rev0"),
		header("X-Env"), header("X-Env", "test"), header("X-Env", "prod", "prod"), header("X-Env", "Prod"),
		// What moves from one field to the next.
		func(a *asked, _ *rand.Rand) { a.Client, a.Account = "agents", "vc" },
		func(a *asked, _ *rand.Rand) { a.Site, a.Client = "sitea", "gent" },
	}
}

// A request that differs in anything, or is late, or comes to another storage, never
// passes; the one that was approved still does.
func TestOfTenThousandNearMissesNonePasses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shared := new(memorystore.Storage)
		replicas := []*Site{siteOn(shared.Process()), siteOn(shared.Process()), siteOn(shared.Process())}
		elsewhere := siteOn(new(memorystore.Storage).Process())
		id := replicas[0].approved(t, the())
		for _, s := range append(replicas, elsewhere) {
			s.Limits.MaxWaiting = 0 // what asks for an approval of its own is refused
		}
		r := rand.New(rand.NewPCG(1, 2))
		misses, passed := nearMisses(), 0
		try := func(s *Site, what string, a *asked) {
			for _, wanted := range []string{"", id} {
				if wanted != "" {
					a.header.Set(Header, wanted)
				}
				if o := s.send(t, a); o.ticket != nil {
					passed++
					t.Errorf("%s passes: %+v", what, a)
				}
			}
		}
		const tries = 5000 // with and without the id
		for i := range tries {
			a := the()
			misses[i%len(misses)](a, r)
			if i >= len(misses) && r.IntN(3) == 0 {
				misses[r.IntN(len(misses))](a, r)
			}
			if equal(a, the()) { // two changes may undo each other
				continue
			}
			try(replicas[r.IntN(3)], fmt.Sprint(i), a)
		}
		try(elsewhere, "another storage", the())
		control := the()
		control.header.Set("User-Agent", "agent/2")
		control.header.Set("Traceparent", "00-1-2-01")
		if o := replicas[2].send(t, control); o.ticket == nil || passed != 0 {
			t.Errorf("%d passed; the request itself: %+v", passed, o.refusal)
		}
		for i := range 300 { // it was used
			try(replicas[i%3], "the same again", the())
		}
		for _, s := range replicas {
			s.Limits.MaxWaiting = 100
		}
		id = replicas[1].approved(t, the())
		for _, s := range replicas {
			s.Limits.MaxWaiting = 0
		}
		time.Sleep(DefaultUseWithin)
		for i := range 300 { // it is late
			try(replicas[i%3], "a late one", the())
		}
		if passed != 0 {
			t.Errorf("%d passed", passed)
		}
	})
}

func equal(a, b *asked) bool {
	return fmt.Sprint(*a.Asked.Product, a.Site, a.Client, a.Account, a.method, a.target, a.body, a.header) ==
		fmt.Sprint(*b.Asked.Product, b.Site, b.Client, b.Account, b.method, b.target, b.body, b.header)
}

func TestOfManyAtOnceOnePasses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shared := new(memorystore.Storage)
		var replicas []*Site
		for range 3 {
			replicas = append(replicas, siteOn(shared.Process()))
		}
		for round := range 20 {
			id := replicas[round%3].approved(t, the())
			var passed, used atomic.Int32
			var wait sync.WaitGroup
			for i := range 9 {
				wait.Go(func() {
					a := the()
					a.header.Set(Header, id)
					switch o := replicas[i%3].send(t, a); {
					case o.ticket != nil:
						passed.Add(1)
					case o.reason() == veeam.ReasonApprovalUsed:
						used.Add(1)
					default:
						t.Errorf("%+v", o.refusal)
					}
				})
			}
			wait.Wait()
			if passed.Load() != 1 || used.Load() != 8 {
				t.Fatalf("round %d: %d passed, %d were told that it is used", round, passed.Load(), used.Load())
			}
		}
	})
}

func TestWhatIsDeniedOrExpiresIsSaid(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shared := new(memorystore.Storage)
		var mu sync.Mutex
		told := make(map[Status]int)
		one, other := siteOn(shared.Process()), siteOn(shared.Process())
		one.Approvals.told = func(status Status, s State) {
			mu.Lock()
			defer mu.Unlock()
			if told[status]++; s.Status != status {
				t.Errorf("%s is told as %s", s.Status, status)
			}
		}
		other.Approvals.told = one.Approvals.told
		want := func(step string, s *Site, reason veeam.Reason, part string) (id string) {
			t.Helper()
			o := s.send(t, the())
			if o.reason() != reason || o.refusal != nil && !strings.Contains(o.refusal.Message+o.refusal.Detail, part) {
				t.Fatalf("%s: %+v, want %s", step, o.refusal, reason)
			}
			return o.id
		}
		decide := func(s *Site, id string, approve bool) {
			t.Helper()
			if _, err := s.Approvals.Decide(t.Context(), id, approve, "bob"); err != nil {
				t.Fatal(err)
			}
		}
		id := want("asked", one, veeam.ReasonApprovalRequired, id0)
		decide(other, id, false)
		want("denied", one, veeam.ReasonApprovalDenied, "by bob")
		time.Sleep(DefaultWait - time.Second)
		want("still denied", other, veeam.ReasonApprovalDenied, id)
		time.Sleep(time.Second)
		if next := want("asked again", one, veeam.ReasonApprovalRequired, ""); next == id {
			t.Error("the denied one has come back")
		}
		time.Sleep(DefaultWait)
		want("not given", other, veeam.ReasonApprovalExpired, "not given in time")
		id = want("asked after that", other, veeam.ReasonApprovalRequired, "")
		decide(one, id, true)
		decide(other, id, true) // changes nothing
		time.Sleep(DefaultUseWithin)
		want("not used", one, veeam.ReasonApprovalExpired, "not used in time")
		id = want("asked after that, too", one, veeam.ReasonApprovalRequired, "")
		decide(one, id, true)
		decide(other, id, false) // withdrawn
		want("withdrawn", one, veeam.ReasonApprovalDenied, id)
		for wrong, target := range map[string]any{"apr_unknown": new(*NotFoundError), id: new(*EndedError)} {
			if _, err := one.Approvals.Decide(t.Context(), wrong, true, ""); !errors.As(err, target) {
				t.Errorf("%s: %v", wrong, err)
			}
		}
		if want := (map[Status]int{Waiting: 4, Denied: 2, Approved: 2, Expired: 2}); fmt.Sprint(told) != fmt.Sprint(want) {
			t.Errorf("told %v, want %v", told, want)
		}
		time.Sleep(2 * rememberFor)
		if states, err := other.Approvals.List(t.Context()); len(states) != 4 || err != nil {
			t.Errorf("%d are listed, %v", len(states), err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			other.Approvals.Watch(ctx, func(err error) { t.Error(err) })
		}()
		other.send(t, the())
		if states, err := one.Approvals.List(t.Context()); len(states) != 1 || err != nil {
			t.Errorf("%d are remembered, %v", len(states), err)
		}
		time.Sleep(DefaultWait + time.Minute)
		cancel()
		<-done
		if told[Expired] != 3 {
			t.Errorf("%d have expired", told[Expired])
		}
	})
}

const id0 = "Repeat the identical request after approval."

// What waits is counted until it is decided about or expires, and the first end is that of
// the first that waits.
func TestHowManyWaitAndUntilWhen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := siteOn(new(memorystore.Storage).Process())
		want := func(step string, wanted metrics.Waits) {
			t.Helper()
			waits := make(map[string]metrics.Waits)
			if s.Approvals.waiting(time.Now(), waits); waits["vbr"] != wanted || len(waits) > 1 {
				t.Errorf("%s: %v, want %v", step, waits, wanted)
			}
		}
		want("nothing", metrics.Waits{})
		first := s.send(t, the())
		time.Sleep(time.Minute)
		second := the()
		second.body = "{}"
		s.send(t, second)
		want("two", metrics.Waits{Number: 2, First: DefaultWait - time.Minute})
		if _, err := s.Approvals.Decide(t.Context(), first.id, true, ""); err != nil {
			t.Fatal(err)
		}
		want("one, and one that was approved", metrics.Waits{Number: 1, First: DefaultWait})
		time.Sleep(DefaultWait)
		want("expired", metrics.Waits{})
	})
}

func TestAUserOfTheServerWaitsWithAFewRequestsHoweverItsNameIsWritten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := siteOn(new(memorystore.Storage).Process())
		s.Limits.MaxWaitingPerClient = 2
		ask := func(client string) veeam.Reason {
			a := the()
			a.Client, a.body = client, client
			return s.send(t, a).reason()
		}
		for i, client := range []string{`passthrough:lab\carol`, "passthrough:carol", "passthrough:carol@lab.local", "passthrough:ｃａｒｏｌ"} {
			if want := map[bool]veeam.Reason{true: veeam.ReasonApprovalRequired, false: veeam.ReasonThrottled}[i < 2]; ask(client) != want {
				t.Errorf("%s: want %s", client, want)
			}
		}
		for _, client := range []string{"passthrough:dave", "carol", "caddy:carol", `caddy:LAB\carol`, "certificate:carol"} {
			if got := ask(client); got != veeam.ReasonApprovalRequired {
				t.Errorf("%s: %s", client, got)
			}
		}
	})
}

func TestWhatWaitsIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := siteOn(new(memorystore.Storage).Process())
		s.Limits.MaxWaiting, s.Limits.MaxWaitingPerClient, s.Limits.MaxBody = 5, 3, 1000
		ask := func(client string, i int) outcome {
			a := the()
			a.Client, a.body = client, fmt.Sprint(i)
			return s.send(t, a)
		}
		waiting := 0
		for i := range 20 {
			for _, client := range []string{"a", "b", "c"} {
				switch o := ask(client, i); o.reason() {
				case veeam.ReasonApprovalRequired:
					waiting++
				case veeam.ReasonThrottled:
					if o.refusal.RetryAfter <= 0 {
						t.Errorf("%+v", o.refusal)
					}
				default:
					t.Errorf("%+v", o.refusal)
				}
			}
		}
		states, _ := s.Approvals.List(t.Context())
		if waiting != 5 || len(states) != 5 {
			t.Errorf("%d wait, %d are listed", waiting, len(states))
		}
		if o := ask("a", 0); o.reason() != veeam.ReasonApprovalRequired {
			t.Errorf("one that waits: %+v", o.refusal)
		}
		time.Sleep(DefaultWait)
		if o := ask("c", 99); o.reason() != veeam.ReasonApprovalRequired {
			t.Errorf("after those have expired: %+v", o.refusal)
		}
		for i := range mostEnded + 20 { // all are remembered for an hour
			a := the()
			a.body = fmt.Sprint("x", i)
			o := s.send(t, a)
			if _, err := s.Approvals.Decide(t.Context(), o.id, false, ""); err != nil {
				t.Fatal(err)
			}
		}
		if states, _ := s.Approvals.List(t.Context()); len(states) > mostEnded+2 {
			t.Errorf("%d are remembered", len(states))
		}
	})
	s := siteOn(new(memorystore.Storage).Process())
	s.Limits.MaxBody = 10
	for name, tt := range map[string]struct {
		change func(*asked)
		want   veeam.Reason
	}{
		"a body of the maximum": {func(a *asked) { a.body = strings.Repeat("x", 10) }, veeam.ReasonApprovalRequired},
		"a larger body":         {func(a *asked) { a.body = strings.Repeat("x", 11) }, veeam.ReasonTooLarge},
		"no body":               {func(a *asked) { a.body = "" }, veeam.ReasonApprovalRequired},
		"a long target":         {func(a *asked) { a.body, a.target = "", "/"+strings.Repeat("x", maxTarget) }, veeam.ReasonTooLarge},
		"the id of another":     {func(a *asked) { a.body = ""; a.header.Set(Header, "apr_x") }, veeam.ReasonBadRequest},
	} {
		a := the()
		tt.change(a)
		if o := s.send(t, a); o.reason() != tt.want {
			t.Errorf("%s: %+v", name, o.refusal)
		}
	}
	a := the()
	a.body = ""
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	asks := a.Asked
	asks.Sent = canonical.Request{Method: http.MethodGet, Path: "/", Websocket: true}
	if _, refusal := s.Admit(httptest.NewRecorder(), r, asks); refusal == nil || refusal.Reason != veeam.ReasonDenied {
		t.Errorf("a websocket: %+v", refusal)
	}
	unknown := &http.Request{Method: http.MethodPost, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(strings.Repeat("x", 11))), ContentLength: -1}
	asks.Sent.Websocket = false
	if _, refusal := s.Admit(httptest.NewRecorder(), unknown, asks); refusal == nil || refusal.Reason != veeam.ReasonTooLarge {
		t.Errorf("a body that is larger than it says: %+v", refusal)
	}
}
