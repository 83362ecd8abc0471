package health

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return now.Add(-d) }

func TestReady_InEveryState(t *testing.T) {
	failing := errors.New("failing")
	for _, c := range []struct {
		name                string
		row                 upstream.Row
		onRequest, fromHere bool // whether it is ready with login_at request, and start
	}{
		{"a token", upstream.Row{Reason: veeam.ReasonOK, State: tokencache.State{ExpiresIn: time.Minute}}, true, true},
		{
			"a token that cannot be renewed",
			upstream.Row{Reason: veeam.ReasonCredentialRefused, Failure: now, State: tokencache.State{ExpiresIn: time.Minute, HeldFor: time.Minute, Cause: failing}},
			true, true,
		},
		{
			"a token whose secret is gone",
			upstream.Row{Reason: veeam.ReasonSecretUnreadable, Failure: now, State: tokencache.State{ExpiresIn: time.Minute}},
			true, true,
		},
		{
			"a token, and the server was not reached just now",
			upstream.Row{Reason: veeam.ReasonUnreachable, Failure: now, Unreached: ago(29 * time.Second), State: tokencache.State{ExpiresIn: time.Minute}},
			false, false,
		},
		{
			"a token, and the server was not reached a while ago",
			upstream.Row{Reason: veeam.ReasonUnreachable, Failure: ago(31 * time.Second), Unreached: ago(31 * time.Second), State: tokencache.State{ExpiresIn: time.Minute}},
			true, true,
		},
		{"never used", upstream.Row{Reason: veeam.ReasonNotLoggedIn}, true, false},
		{"the first login is under way", upstream.Row{Reason: veeam.ReasonNotLoggedIn, State: tokencache.State{Status: tokencache.StatusRefreshing}}, true, false},
		{"held", upstream.Row{Reason: veeam.ReasonCredentialRefused, Failure: ago(time.Hour), State: tokencache.State{HeldFor: time.Second, Cause: failing}}, false, false},
		{"a hold that has passed", upstream.Row{Reason: veeam.ReasonCredentialRefused, Failure: ago(time.Hour), State: tokencache.State{Cause: failing}}, true, false},
		{"failed just now", upstream.Row{Reason: veeam.ReasonTimeout, Failure: ago(30 * time.Second), State: tokencache.State{Cause: failing}}, false, false},
		{"failed just now, after a success", upstream.Row{Reason: veeam.ReasonTimeout, Failure: now, Success: ago(time.Minute), State: tokencache.State{Cause: failing}}, false, false},
		{"failed a while ago", upstream.Row{Reason: veeam.ReasonTimeout, Failure: ago(31 * time.Second), State: tokencache.State{Cause: failing}}, true, false},
		{"the secret cannot be read", upstream.Row{Reason: veeam.ReasonSecretUnreadable, Failure: ago(time.Hour)}, false, false},
		{"a success within the age", upstream.Row{Reason: veeam.ReasonNotLoggedIn, Success: ago(10 * time.Minute)}, true, true},
		{"a success before", upstream.Row{Reason: veeam.ReasonNotLoggedIn, Success: ago(11 * time.Minute)}, true, false},
		{"a failure before the success", upstream.Row{Reason: veeam.ReasonNotLoggedIn, Success: ago(5 * time.Second), Failure: ago(10 * time.Second)}, true, true},
	} {
		for atStart, want := range map[bool]bool{false: c.onRequest, true: c.fromHere} {
			if got := isReady(&c.row, atStart, DefaultMaxAge, now); got != want {
				t.Errorf("%s, login at the start %v: ready %v, want %v", c.name, atStart, got, want)
			}
		}
	}
}

func TestReady_AnAccountWithSeveralSessionsAndServers(t *testing.T) {
	valid := upstream.Row{Origin: "valid", Reason: veeam.ReasonOK, State: tokencache.State{ExpiresIn: time.Minute}}
	held := upstream.Row{Origin: "held", Reason: veeam.ReasonCredentialRefused, Failure: now, State: tokencache.State{HeldFor: time.Minute, Cause: errors.New("refused")}}
	failed := upstream.Row{Origin: "failed", Reason: veeam.ReasonTimeout, Failure: now, State: tokencache.State{Cause: errors.New("timeout")}}
	unused := upstream.Row{Origin: "unused", Reason: veeam.ReasonNotLoggedIn}
	for _, c := range []struct {
		name    string
		servers [][]upstream.Row
		ready   bool
		shown   string
	}{
		{"an old session serves while the new secret is held", [][]upstream.Row{{held, valid}}, true, "valid"},
		{"an old session has expired, the new secret is held", [][]upstream.Row{{unused, held}}, false, "held"},
		{"a hold says more than a failure", [][]upstream.Row{{failed, held}}, false, "held"},
		{"one of two servers works", [][]upstream.Row{{failed}, {valid}}, true, "valid"},
		{"both fail", [][]upstream.Row{{failed}, {held}}, false, "failed"},
	} {
		if got := judge(upstream.Standing{Servers: c.servers}, DefaultMaxAge, now); got.Ready != c.ready || got.Origin != c.shown {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

// ask sends a request and returns the status, the header and the answer.
func ask(t *testing.T, p *Prober, method string, probe Probe, query string) (*httptest.ResponseRecorder, Answer) {
	t.Helper()
	w := httptest.NewRecorder()
	p.ServeProbe(w, httptest.NewRequest(method, Path+"/"+string(probe)+query, nil), probe)
	var a Answer
	if method == http.MethodGet {
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.Header().Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q", got)
	}
	return w, a
}

func standing(name string, required, atStart bool, r upstream.Row) upstream.Standing {
	r.Origin = "https tcp vbr01:9419"
	return upstream.Standing{Product: "vbr", Account: name, Required: required, AtStart: atStart, Servers: [][]upstream.Row{{r}}}
}

func TestProbes_AnswerForTheRequiredAccounts(t *testing.T) {
	valid := upstream.Row{Reason: veeam.ReasonOK, State: tokencache.State{ExpiresIn: time.Minute}}
	unused := upstream.Row{Reason: veeam.ReasonNotLoggedIn}
	held := upstream.Row{Reason: veeam.ReasonCredentialRefused, Failure: time.Now(), State: tokencache.State{HeldFor: time.Minute, Cause: errors.New("refused")}}
	good := standing("good", true, true, valid)
	for _, c := range []struct {
		name           string
		standings      []upstream.Standing
		begun, loaded  bool
		query          string
		ready, startup int
	}{
		{"nothing is configured", nil, true, true, "", 200, 200},
		{"nothing is loaded", nil, true, false, "", 503, 503},
		{"a configuration is being loaded", nil, false, true, "", 503, 503},
		{"all are ready", []upstream.Standing{good}, true, true, "", 200, 200},
		{"one is held", []upstream.Standing{good, standing("held", true, true, held)}, true, true, "", 503, 200},
		{"one is held and not required", []upstream.Standing{good, standing("held", false, true, held)}, true, true, "", 200, 200},
		{"the first login is under way", []upstream.Standing{good, standing("slow", true, true, unused)}, true, true, "", 503, 503},
		{"nobody has used it", []upstream.Standing{good, standing("unused", true, false, unused)}, true, true, "", 200, 200},
		{"another one is held", []upstream.Standing{good, standing("held", true, true, held)}, true, true, "?account=good", 200, 200},
		{"it is not required", []upstream.Standing{good, standing("held", false, true, held)}, true, true, "?account=held", 503, 200},
		{"there is none of that name", []upstream.Standing{good}, true, true, "?account=x", 404, 404},
		{"no name", []upstream.Standing{good}, true, true, "?account=", 404, 404},
	} {
		p := &Prober{
			Standings: func(context.Context) ([]upstream.Standing, bool) { return c.standings, c.begun },
			Loaded:    func() bool { return c.loaded },
			Exiting:   func() bool { return false },
		}
		for probe, want := range map[Probe]int{Ready: c.ready, Startup: c.startup, Live: 200} {
			w, a := ask(t, p, http.MethodGet, probe, c.query)
			if w.Code != want || (w.Code == 200) != (a.Status == map[Probe]Status{Ready: StatusReady, Startup: StatusStarted, Live: StatusLive}[probe]) {
				t.Errorf("%s: %s answers %d %+v, want %d", c.name, probe, w.Code, a, want)
			}
			if head, _ := ask(t, p, http.MethodHead, probe, c.query); head.Code != want || head.Body.Len() != 0 {
				t.Errorf("%s: HEAD %s answers %d %s", c.name, probe, head.Code, head.Body)
			}
			if post, _ := ask(t, p, http.MethodPost, probe, c.query); post.Code != http.StatusMethodNotAllowed || post.Header().Get("Allow") != "GET, HEAD" {
				t.Errorf("%s: POST %s answers %d", c.name, probe, post.Code)
			}
		}
	}
}

func TestProbes_AProcessThatEndsIsNotReady(t *testing.T) {
	p := &Prober{
		Standings: func(context.Context) ([]upstream.Standing, bool) { return nil, true },
		Loaded:    func() bool { return true },
		Exiting:   func() bool { return true },
	}
	for probe, want := range map[Probe]int{Ready: 503, Startup: 200, Live: 200} {
		if w, _ := ask(t, p, http.MethodGet, probe, ""); w.Code != want {
			t.Errorf("%s: %d", probe, w.Code)
		}
	}
}

func TestProbes_OnlyOperatorsSeeServersAndTheNamesThatExist(t *testing.T) {
	p := &Prober{
		Standings: func(context.Context) ([]upstream.Standing, bool) {
			return []upstream.Standing{standing("svc", true, false, upstream.Row{Detail: "dialing vbr01"})}, true
		},
		Loaded: func() bool { return true }, Exiting: func() bool { return false },
	}
	for _, operator := range []bool{false, true} {
		p.Operator = operator
		for _, query := range []string{"", "?account=other"} {
			w, _ := ask(t, p, http.MethodGet, Ready, query)
			told := strings.Contains(w.Body.String(), map[string]string{"": "vbr01", "?account=other": "svc"}[query])
			if told != operator {
				t.Errorf("operator %v: %s", operator, w.Body)
			}
		}
	}
}

func TestAt_FindsProbesBelowThePath(t *testing.T) {
	for _, c := range []struct {
		root, path string
		probe      Probe
	}{
		{"/veeam_auth", "/veeam_auth/ready", Ready},
		{"/veeam_auth/", "/veeam_auth/live", Live},
		{"", "/startup", Startup},
		{"/", "/ready", Ready},
		{"/veeam_auth", "/veeam_auth/ready/", ""},
		{"/veeam_auth", "/veeam_auth", ""},
		{"/veeam_auth", "/veeam_auth/sessions", ""},
		{"/veeam_auth", "/x/veeam_auth/ready", ""},
		{"/veeam_auth", "/ready", ""},
		{"/veeam_auth", "/veeam_authx/ready", ""},
	} {
		if probe, ok := At(c.root, c.path); ok != (c.probe != "") || ok && probe != c.probe {
			t.Errorf("%s below %s: %q %v", c.path, c.root, probe, ok)
		}
	}
}
