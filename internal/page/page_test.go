package page

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-veeam/veeam-auth/internal/adminapi"
	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/svclog"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

func newPage(record *Record) *Page {
	return &Page{
		Record: record, Sessions: adminapi.Sessions{State: upstream.NewState()}, Tokens: adminapi.Tokens{Holders: issuer.NewHolders()},
	}
}

func get(t *testing.T, p *Page, target string, headers ...string) (*httptest.ResponseRecorder, error) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost:2019"+target, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	return w, p.ServeHTTP(w, r)
}

func stateOf(t *testing.T, p *Page, query string) (s State) {
	t.Helper()
	w, err := get(t, p, "/veeam_auth/state"+query)
	if err == nil {
		err = json.Unmarshal(w.Body.Bytes(), &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestThePageIsOneDocumentThatNothingElseMayJoin(t *testing.T) {
	record := NewRecord()
	record.Open()
	w, err := get(t, newPage(record), "/veeam_auth/")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"default-src 'none'", "script-src 'sha256-", "style-src 'sha256-", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} {
		if got := w.Header().Get("Content-Security-Policy"); !strings.Contains(got, part) || strings.Contains(got, "unsafe") {
			t.Errorf("%q has no %s", got, part)
		}
	}
	for name, want := range map[string]string{"X-Frame-Options": "DENY", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin"} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	// What a policy of hashes blocks, and what would let data become markup.
	for _, word := range []string{"http://", "https://", "src=", "style=\"", " onclick=", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"} {
		if strings.Contains(w.Body.String(), word) {
			t.Errorf("the page has %q", word)
		}
	}
	for _, element := range []string{"<script", "<style"} {
		if n := strings.Count(document, element); n != 1 {
			t.Errorf("%d times %s", n, element)
		}
	}
}

// Who reads the page has its buttons at hand.
func TestTheAdviceNamesActsOfThePage(t *testing.T) {
	for _, row := range veeam.Reasons() {
		command := strings.Contains(row.Action, "caddy veeam-auth sessions")
		acting, reading := new(Page).advice(row.Action), (&Page{ReadOnly: true}).advice(row.Action)
		if strings.Contains(acting, "veeam-auth sessions") || command && acting == row.Action || reading != row.Action {
			t.Errorf("%s: %q, read-only %q", row.Reason, acting, reading)
		}
	}
	for _, label := range []string{"'Enter code'", "'Log in'", "'Details'"} {
		if !strings.Contains(document, label) {
			t.Errorf("the page has no act %s", label)
		}
	}
}

// A row is a grid: without columns of its table its cells are below each other.
func TestEachTableHasItsColumns(t *testing.T) {
	tables := regexp.MustCompile(`table\('(\w+)', \[`).FindAllStringSubmatch(document, -1)
	if len(tables) < 3 {
		t.Fatalf("%q", tables)
	}
	for _, table := range tables {
		if !strings.Contains(document, "\n."+strings.ToLower(table[1])+" { --columns: ") {
			t.Errorf("table %s has no columns", table[1])
		}
	}
}

// What the page sends goes to the endpoints that the commands use, and each act asks first.
func TestEachActOfThePageHasItsEndpoint(t *testing.T) {
	routes := adminapi.Sessions{State: upstream.NewState()}.Routes()
	maps.Copy(routes, adminapi.Tokens{Holders: issuer.NewHolders()}.Routes())
	maps.Copy(routes, adminapi.Approvals{}.Routes())
	sent := regexp.MustCompile(`(?:path: |post\()'([a-z/]+)'`).FindAllStringSubmatch(document, -1)
	offered := map[string]bool{}
	for _, found := range sent {
		offered[Path+found[1]] = true
		if routes[Path+found[1]] == nil {
			t.Errorf("the page sends to %s, which is no endpoint", found[1])
		}
	}
	for path := range routes {
		if path != adminapi.SessionsPath && path != adminapi.TokensPath && path != adminapi.ApprovalsPath && !offered[path] {
			t.Errorf("the page has no act for %s", path)
		}
	}
	// The dialog is the only way to an act.
	if n := strings.Count(document, "post("); n != 3 || strings.Count(document, "return post(act.path, body)")+strings.Count(document, "run: () => post('tokens/revoke'")+strings.Count(document, "run: () => post(act.path, { id: x.id })") != 3 {
		t.Errorf("%d calls of post", n)
	}
}

func TestWithoutAPageNothingIsServedAndNothingIsKept(t *testing.T) {
	record := NewRecord()
	p := newPage(record)
	core, _ := observer.New(zapcore.InfoLevel)
	logger := record.Tee(zap.New(core))
	logger.Info("before")
	record.Decided(Decision{Path: "/before"})
	for _, path := range []string{"/veeam_auth/", "/veeam_auth/state"} {
		if w, err := get(t, p, path); statusOf(err) != http.StatusNotFound || w.Body.Len() > 0 {
			t.Errorf("%s: %v", path, err)
		}
	}
	record.Open()
	record.Open() // of the next configuration
	logger.Info("during")
	record.Decided(Decision{Path: "/during"})
	record.Close()
	s := stateOf(t, p, "")
	if len(s.Lines) != 1 || !strings.HasSuffix(s.Lines[0].Text, "during") || len(s.Decisions) != 1 || s.Decisions[0].Path != "/during" {
		t.Errorf("%+v", s)
	}
	record.Close()
	record.Open()
	if s = stateOf(t, p, ""); len(s.Lines)+len(s.Decisions) != 0 {
		t.Errorf("kept without a page: %+v", s)
	}
	record.Decided(Decision{Path: "/after"})
	if s = stateOf(t, p, ""); len(s.Decisions) != 1 || s.Decisions[0].Path != "/after" {
		t.Errorf("%+v", s)
	}
}

func TestThePageAnswersItsOwnQuestionsOnly(t *testing.T) {
	record := NewRecord()
	record.Open()
	p := newPage(record)
	for _, c := range []struct {
		name, target string
		headers      []string
		status       int
	}{
		{"a program", "/veeam_auth/state", nil, 0},
		{"the page", "/veeam_auth/state", []string{"Sec-Fetch-Site", "same-origin"}, 0},
		{"another path", "/veeam_auth/other", nil, http.StatusNotFound},
		{"another site", "/veeam_auth/state", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.test"}, http.StatusForbidden},
		{"another port", "/veeam_auth/state", []string{"Sec-Fetch-Site", "same-site", "Origin", "http://localhost:8080"}, http.StatusForbidden},
	} {
		_, err := get(t, p, c.target, c.headers...)
		if statusOf(err) != c.status {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	w := httptest.NewRecorder()
	err := p.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/veeam_auth/state", nil))
	if statusOf(err) != http.StatusMethodNotAllowed {
		t.Error(err)
	}
}

func TestTheLastDecisionsAndLinesComeOnceAndInOrder(t *testing.T) {
	record := NewRecord()
	record.Open()
	p := newPage(record)
	seen, decision := 0, uint64(0)
	for round := range 8 {
		for i := range 30 * round {
			record.Decided(Decision{Path: fmt.Sprint("/", round, "/", i)})
		}
		s := stateOf(t, p, fmt.Sprint("?decision=", decision))
		if want := min(30*round, KeptDecisions); len(s.Decisions) != want {
			t.Fatalf("round %d: %d, not %d", round, len(s.Decisions), want)
		}
		for i, d := range s.Decisions {
			if want := fmt.Sprint("/", round, "/", i+30*round-len(s.Decisions)); d.Path != want {
				t.Fatalf("%s, not %s", d.Path, want)
			}
		}
		seen, decision = seen+30*round, s.LastDecision
		if decision != uint64(seen) {
			t.Fatalf("%d, not %d", decision, seen)
		}
	}
	if s := stateOf(t, p, "?decision=99999"); len(s.Decisions) != KeptDecisions {
		t.Errorf("a number of another process brings %d", len(s.Decisions))
	}
}

func TestNothingIsLostOrDoubledWhileManyWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRing[int](64)
		var writers sync.WaitGroup
		const each = 5000
		for range 8 {
			writers.Go(func() {
				for i := range each {
					r.add(&numbered[int]{value: i})
				}
			})
		}
		var last uint64
		for last < 8*each {
			found, next := r.after(last)
			for i, v := range found {
				if v.number != next-uint64(len(found)-1-i) {
					t.Fatalf("%d at %d of %d, the last one is %d", v.number, i, len(found), next)
				}
			}
			if next < last {
				t.Fatalf("%d after %d", next, last)
			}
			if last = next; len(found) == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		writers.Wait()
	})
}

func TestLinesAreMaskedAndBounded(t *testing.T) {
	record := NewRecord()
	record.Open()
	p := newPage(record)
	core, logs := observer.New(zapcore.DebugLevel)
	logger := record.Tee(zap.New(core))
	logger.Info(svclog.RequestKey, svclog.RequestField(&svclog.Request{Method: "GET", Path: "/api/v1/x?access_token=s3cr3tt0ken", Host: "localhost", Thread: 36}))
	logger.Warn("password=s3cr3tt0ken in a sentence", svclog.ThreadField(7))
	logger.Debug("not shown")
	logger.Error(strings.Repeat("long ", 10_000))
	record.Acted(adminapi.Act{Name: "login", Account: "svc-monitor", Operator: "alice", Err: errors.New("password=s3cr3tt0ken")})
	if logs.Len() != 4 {
		t.Errorf("the logger has written %d entries", logs.Len())
	}
	lines := stateOf(t, p, "").Lines
	if len(lines) != 4 {
		t.Fatalf("%+v", lines)
	}
	for i, want := range []string{"<36> Info ", "<07> Warning ", "Error ", "Warning      Act of an operator: login of 'svc-monitor' by 'alice': "} {
		if !strings.Contains(lines[i].Text, want) || strings.Contains(lines[i].Text, "s3cr3t") || len(lines[i].Text) > mostLine+3 {
			t.Errorf("%d: %.300s", i, lines[i].Text)
		}
	}
	record.Decided(Decision{Client: "password=s3cr3tt0ken", Path: "/x/token=s3cr3tt0ken/" + strings.Repeat("x", 2000)})
	text, _ := json.Marshal(stateOf(t, p, ""))
	if strings.Contains(string(text), "s3cr3t") {
		t.Errorf("%s", text)
	}
	if d := stateOf(t, p, "").Decisions[0]; len(d.Path) > mostText+10 {
		t.Errorf("%d bytes of a path", len(d.Path))
	}
}

func TestADecisionCostsOneAllocation(t *testing.T) {
	record := NewRecord()
	record.Open()
	if n := testing.AllocsPerRun(100, func() { record.Decided(Decision{Path: "/api/v1/jobs"}) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
	record.Close()
	if n := testing.AllocsPerRun(100, func() { record.Decided(Decision{Path: "/api/v1/jobs"}) }); n > 0 {
		t.Errorf("%v allocations without a page", n)
	}
}

// statusOf returns the status of an error of the page, 0 without an error.
func statusOf(err error) int {
	if failed, ok := errors.AsType[*adminapi.Error](err); ok {
		return failed.Status
	}
	return 0
}
