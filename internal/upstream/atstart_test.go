package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// begin puts the server of the bench in force.
func (l *bench) begin(atStart bool) {
	l.source.server.Begin([]Fixed{{l.source.place, context.Background()}}, atStart, journal.Journal{})
}

// only is the row of the one standing, that of the session with a token if there are
// several.
func (l *bench) only() Row {
	l.Helper()
	standings, begun := l.source.server.State.Standings(l.Context())
	if !begun || len(standings) != 1 || len(standings[0].Servers) != 1 {
		l.Fatalf("begun %v: %+v", begun, standings)
	}
	rows := standings[0].Servers[0]
	return rows[max(0, slices.IndexFunc(rows, func(r Row) bool { return r.State.ExpiresIn > 0 }))]
}

func TestBegin_LogsInOnceAndKeepsTheSession(t *testing.T) {
	onBench(t, func(l *bench) {
		l.begin(true)
		synctest.Wait()
		if c := l.server.Counters(); c.Logins != 1 {
			t.Errorf("%d logins at the start", c.Logins)
		}
		for range 24 {
			time.Sleep(5 * time.Minute) // the token lives for 15
			if r := l.only(); r.State.ExpiresIn <= 0 || r.Reason != veeam.ReasonOK {
				t.Fatalf("%+v", r)
			}
		}
		if c := l.server.Counters(); c.Logins != 1 || c.Refreshes < 7 || c.Refreshes > 9 {
			t.Errorf("in 2 hours %d logins and %d renewals", c.Logins, c.Refreshes)
		}
	})
}

func TestBegin_SendsNothingUntilARequestComes(t *testing.T) {
	onBench(t, func(l *bench) {
		l.begin(false)
		time.Sleep(time.Hour)
		if r := l.only(); r.Reason != veeam.ReasonNotLoggedIn {
			t.Errorf("%+v", r)
		}
		if c := l.server.Counters(); c.TokenRequests != 0 {
			t.Errorf("%d token requests", c.TokenRequests)
		}
	})
}

func TestBegin_AWrongPasswordIsSentWithinTheBudgetAndItsSuccessorAtOnce(t *testing.T) {
	onBench(t, func(l *bench) {
		l.set("env.PASSWORD", "wrong")
		l.begin(true)
		synctest.Wait()
		if r := l.only(); r.State.HeldFor <= 0 || r.Failure.IsZero() {
			t.Errorf("%+v", r)
		}
		time.Sleep(14 * time.Minute)
		if c := l.server.Counters(); c.Refused < 1 || c.Refused > 2 {
			t.Errorf("%d refused logins in 14 minutes", c.Refused)
		}
		l.set("env.PASSWORD", "right")
		l.server.SetPassword(l.source.account.Name, "right")
		time.Sleep(2 * KeepEvery)
		if r := l.only(); r.State.ExpiresIn <= 0 {
			t.Errorf("%+v", r)
		}
	})
}

// Accounts that log in at the start take their turns: in no minute there are more token
// requests than the pace allows, and all of them get their token.
func TestBegin_KeepsThePace(t *testing.T) {
	onBench(t, func(l *bench) {
		const accounts, perMinute = 30, 6
		sent := new(sentAt)
		options := l.source.server.ServerOptions
		options.RateLimit, options.Accounts = ratelimit.Rates{PerMinute: perMinute}, nil
		options.Transport = sent.before(l.server.Transport())
		for i := range accounts {
			a := &account.Account{Name: fmt.Sprint("svc-", i), Username: veeamtest.DefaultUser, Password: "{env.PASSWORD}"}
			a.Prepare(account.Env{Product: "vbr", Expand: l.expand})
			options.Accounts = append(options.Accounts, a)
		}
		server := NewServer(options)
		defer server.Close()
		server.Begin([]Fixed{{l.source.place, context.Background()}}, true, journal.Journal{})
		time.Sleep(2*accounts/perMinute*time.Minute + time.Minute)
		standings, _ := server.State.Standings(l.Context())
		for _, s := range standings {
			if s.AtStart && s.Servers[0][0].Success.IsZero() {
				l.Errorf("%s: %+v", s.Account, s.Servers[0])
			}
		}
		if len(standings) != accounts || len(sent.times) < accounts {
			l.Errorf("%d accounts, %d token requests", len(standings), len(sent.times))
		}
		for i := perMinute; i < len(sent.times); i++ {
			if d := sent.times[i].Sub(sent.times[i-perMinute]); d < time.Minute {
				l.Fatalf("%d token requests in %v", perMinute+1, d)
			}
		}
	})
}

// sentAt takes down when token requests were sent.
type sentAt struct {
	mu    sync.Mutex
	times []time.Time
}

func (s *sentAt) before(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/token") {
			s.mu.Lock()
			s.times = append(s.times, time.Now())
			s.mu.Unlock()
		}
		return next.RoundTrip(r)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestFind_AnOriginIsThatOfOneServer(t *testing.T) {
	onBench(t, func(l *bench) {
		for _, address := range []string{"vbr01:9419", "vbr01:94190"} {
			source, err := l.source.server.Source(Address{"tcp", address}, veeamtest.DefaultUser, func() Place {
				return Place{Address: Address{"tcp", address}, Origin: "https tcp " + address, BaseURL: "https://" + address, Host: address}
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := source.Token(l.Context(), Request{Values: values}); err != nil {
				t.Fatal(err)
			}
		}
		for origin, want := range map[string]int{"": 2, "vbr01": 2, "vbr01:9419": 2, "https tcp vbr01:9419": 1, "https tcp vbr01:94190": 1, "https tcp vbr01:941900": 0} {
			if found := l.source.server.State.Find(veeamtest.DefaultUser, "vbr", origin); len(found) != want {
				t.Errorf("%q: %d sessions", origin, len(found))
			}
		}
	})
}

func TestStandings_OutliveAReload(t *testing.T) {
	onBench(t, func(l *bench) {
		l.begin(true)
		synctest.Wait()
		before := l.source.server
		added := &account.Account{Name: "added", Password: "{env.PASSWORD}"}
		added.Prepare(account.Env{Product: "vbr", Expand: l.expand})
		options := before.ServerOptions
		options.Accounts = slices.Concat(options.Accounts, []*account.Account{added})
		after := NewServer(options)
		if r := l.only(); r.State.ExpiresIn <= 0 {
			t.Errorf("a configuration that has not started counts: %+v", r)
		}
		after.Begin([]Fixed{{l.source.place, context.Background()}}, false, journal.Journal{})
		before.Close()
		standings, begun := after.State.Standings(l.Context())
		if !begun || len(standings) != 2 || standings[0].Account != "added" || standings[1].Servers[0][0].State.ExpiresIn <= 0 {
			t.Errorf("begun %v: %+v", begun, standings)
		}
		after.Close()
		if standings, begun := after.State.Standings(l.Context()); !begun || len(standings) != 0 {
			t.Errorf("begun %v: %+v", begun, standings)
		}
	})
}

func TestStandings_TellTransportsApart(t *testing.T) {
	onBench(t, func(l *bench) {
		if _, begun := l.source.server.State.Standings(l.Context()); begun {
			t.Error("a configuration is in force before it has begun")
		}
		l.begin(true)
		template := &account.Account{Name: "template", Grant: "as", Parent: l.source.account.Name}
		template.Prepare(account.Env{Product: "vbr", Expand: l.expand})
		options := l.source.server.ServerOptions
		own := &account.Account{Name: l.source.account.Name, Password: "{env.PASSWORD}", Required: new(bool)}
		own.Prepare(account.Env{Product: "vbr", Expand: l.expand})
		options.Accounts = []*account.Account{own, template}
		other := NewServer(options)
		defer other.Close()
		other.Begin([]Fixed{{Place{Origin: "https tcp vbr02:9419"}, context.Background()}}, false, journal.Journal{})
		synctest.Wait()
		standings, _ := other.State.Standings(l.Context())
		if len(standings) != 2 {
			t.Fatalf("%+v", standings)
		}
		first, second := standings[0], standings[1]
		if !first.Required || !first.AtStart || first.Servers[0][0].State.ExpiresIn <= 0 {
			t.Errorf("%+v", first)
		}
		if second.Required || second.AtStart || len(second.Servers) != 1 || second.Servers[0][0].Origin != "https tcp vbr02:9419" || second.Servers[0][0].Reason != veeam.ReasonNotLoggedIn {
			t.Errorf("%+v", second)
		}
	})
}

func TestTellUnreadable_TellsEachReasonOnce(t *testing.T) {
	core, logged := observer.New(zap.InfoLevel)
	s := &Server{ServerOptions: ServerOptions{Log: zap.New(core)}}
	missing := &account.Error{Account: "svc", Option: "password", Err: errors.New("no such file")}
	empty := &account.Error{Account: "svc", Option: "password", Err: errors.New("it is empty")}
	told := ""
	for _, err := range []error{missing, fmt.Errorf("login: %w", missing), errors.New("no connection"), missing, empty, nil, empty} {
		told = s.tellUnreadable(err, told)
	}
	var texts []string
	for _, entry := range logged.All() {
		texts = append(texts, fmt.Sprint(entry.ContextMap()["error"]))
	}
	if want := []string{missing.Error(), empty.Error(), empty.Error()}; !slices.Equal(texts, want) {
		t.Errorf("%q, want %q", texts, want)
	}
}
