// What only the inside of the package shows.

package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/lockout"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/metrics"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

func TestAColdStartWithManyAccountsDoesNotNoticeTheDefaultPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		product, _ := veeam.Lookup("vspc")
		server := &Server{ServerOptions: ServerOptions{Product: product, RateLimit: product.Pace, State: NewState(), Metrics: metrics.New(func() []metrics.Session { return nil })}}
		s := &Source{server: server, place: Place{Origin: "https vspc01:1280"}}
		var wg sync.WaitGroup
		for i := range 300 {
			wg.Go(func() {
				p := s.pacer(fmt.Sprint("user-", i), journal.Journal{})
				for _, step := range []ratelimit.Step{ratelimit.StepFirst, ratelimit.StepNext} {
					for p.Pace(t.Context(), step) != nil {
						time.Sleep(time.Second)
					}
				}
			})
		}
		began := time.Now()
		wg.Wait()
		if took := time.Since(began); took > time.Minute {
			t.Errorf("300 logins with codes took %v", took)
		}
	})
}

func TestEqualShapesOfAnswersAreKeptOnce(t *testing.T) {
	s := new(shapes)
	shape := func(user string) *veeam.Shape {
		return &veeam.Shape{Keys: []string{"access_token", "username"}, Extras: map[string]json.RawMessage{"username": json.RawMessage(`"` + user + `"`)}}
	}
	first := s.shared(shape("a"))
	if s.shared(shape("a")) != first {
		t.Error("an equal shape is kept twice")
	}
	if got := s.shared(shape("b")); got == first || string(got.Extras["username"]) != `"b"` {
		t.Errorf("%+v", got)
	}
	if s.shared(nil) != nil {
		t.Error("an answer without a shape got one")
	}
}

func TestAnAccountsSessionsAreToldApartInTheCache(t *testing.T) {
	sharing := &Server{ServerOptions: ServerOptions{Cache: &Cache{Store: sealed.New(sealed.Options{}), ID: "c"}}}
	base := sessionKey{origin: "o", product: "vspc", account: "a"}
	parent, user := base, base
	parent.parent, user.user = true, "u"
	seen := map[string]bool{}
	for _, k := range []sessionKey{base, parent, user} {
		options := sharing.cached(tokencache.Options{}, k, veeam.GrantAs, secret.New("d"))
		if seen[options.Identity.Purpose] || options.Shared == nil || options.HoldOnly != k.parent {
			t.Errorf("%+v: %+v", k, options.Identity)
		}
		seen[options.Identity.Purpose] = true
	}
	if sharing.cached(tokencache.Options{}, base, veeam.GrantAPIKey, secret.New("d")).Shared != nil {
		t.Error("an API key is shared")
	}
	if new(Server).cached(tokencache.Options{}, base, veeam.GrantPassword, secret.New("d")).Shared != nil {
		t.Error("shared without a cache")
	}
}

// BenchmarkLook is one look at the files of a thousand accounts, of which none has
// changed. There are two in a second.
func BenchmarkLook(b *testing.B) {
	dir := b.TempDir()
	server := &Server{sessions: newSessions(NewState(), tokencache.Options{}, "", nil, 1)}
	w := newSecretWatcher(server)
	old := time.Now().Add(-time.Hour)
	for i := range 1000 {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(path, []byte("secret"), 0o600); err != nil {
			b.Fatal(err)
		}
		if err := os.Chtimes(path, old, old); err != nil {
			b.Fatal(err)
		}
		w.add(&account.Account{Name: fmt.Sprint(i), Password: "{file." + path + "}"})
	}
	w.look()
	w.look()
	for b.Loop() {
		w.look()
	}
}

// bench is a source of one account at an emulated server, without Caddy. Its secrets are
// texts between braces, which hang as long as gate is not nil.
type bench struct {
	*testing.T
	server *veeamtest.Server
	source *Source
	cause  *cause

	mu      sync.Mutex
	secrets map[string]string
	gate    chan struct{}
}

func onBench(t *testing.T, test func(l *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &bench{T: t, server: veeamtest.New(veeamtest.VBR13), secrets: make(map[string]string), cause: &cause{values: context.Background()}}
		product, _ := veeam.Lookup("vbr")
		own := &account.Account{Name: veeamtest.DefaultUser, Password: "{env.PASSWORD}"}
		own.Prepare(account.Env{Product: "vbr", Expand: l.expand})
		l.set("env.PASSWORD", veeamtest.DefaultPassword)
		server := NewServer(ServerOptions{
			Product: product, Transport: l.server.Transport(), Accounts: []*account.Account{own},
			Tries: sealed.New(sealed.Options{Keys: func() (sealed.Sealer, error) { return nil, errors.New("there is no storage") }}), State: NewState(), Metrics: metrics.New(func() []metrics.Session { return nil }), Log: zap.NewNop(),
		})
		l.source, _ = server.Source(Address{"tcp", "vbr01:9419"}, own.Name, func() Place {
			return Place{Address: Address{"tcp", "vbr01:9419"}, Origin: "https tcp vbr01:9419", BaseURL: "https://vbr01:9419", Host: "vbr01:9419"}
		})
		test(l)
		server.Close()
		server.State.Settle()
		time.Sleep(2 * time.Minute) // what a server that hangs holds is over
		synctest.Wait()
	})
}

func (l *bench) set(key, value string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.secrets[key] = value
}

// hang has whoever reads a secret wait until answer is called.
func (l *bench) hang() (answer func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	gate := make(chan struct{})
	l.gate = gate
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.gate = nil
		close(gate)
	}
}

func (l *bench) expand(text string, _ func(string) (any, bool)) (string, error) {
	l.mu.Lock()
	gate := l.gate
	l.mu.Unlock()
	if gate != nil {
		<-gate
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, value := range l.secrets {
		text = strings.ReplaceAll(text, "{"+key+"}", value)
	}
	return text, nil
}

func TestAReadingThatIsJoinedIsSeenOnce(t *testing.T) {
	onBench(t, func(l *bench) {
		if _, _, err := l.source.obtain(l.Context(), l.cause); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		l.set("env.PASSWORD", "half")
		answer := l.hang()
		var looks sync.WaitGroup
		for i := range 3 {
			looks.Go(func() {
				time.Sleep(time.Duration(i) * SettleFor)
				if _, settled, err := l.source.reread(l.Context(), 0, l.cause); settled || err != nil {
					t.Errorf("settled %v, %v", settled, err)
				}
			})
		}
		time.Sleep(5 * SettleFor)
		answer()
		looks.Wait()
	})
}

// A look that takes long is followed by another one only after the usual time.
func TestHalfASecretIsNotSentHoweverLongALookAtItTakes(t *testing.T) {
	onBench(t, func(l *bench) {
		path := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(path, []byte("its content is that of the bench"), 0o600); err != nil {
			t.Fatal(err)
		}
		l.source.account.Password = "{file." + path + "}"
		l.set("file."+path, veeamtest.DefaultPassword)
		l.source.server.watch.add(l.source.account)
		if _, _, err := l.source.obtain(l.Context(), l.cause); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			time.Sleep(WatchEvery * 9 / 10)
			answer := l.hang()
			time.Sleep(WatchEvery * 9 / 5)
			l.set("file."+path, "half")
			answer()
			time.Sleep(WatchEvery / 2)
			l.set("file."+path, veeamtest.DefaultPassword)
			time.Sleep(3 * WatchEvery)
		}
		if c := l.server.Counters(); c.TokenRequests != 1 {
			t.Errorf("%d token requests, %d refused", c.TokenRequests, c.Refused)
		}
	})
}

func TestASecretThatIsReplacedWhileItsLoginWaitsIsNotSent(t *testing.T) {
	for name, swapped := range map[string]bool{"replaced": true, "as it was": false} {
		onBench(t, func(l *bench) {
			first, err := l.source.stable(l.Context(), 0, l.cause)
			if err != nil {
				t.Fatal(err)
			}
			first.credentials.Files = secret.Versions{"file": {}} // as if they came from files, which change
			if swapped {
				l.server.SetPassword(veeamtest.DefaultUser, "new")
				l.set("env.PASSWORD", "new")
			}
			_, err = l.source.get(l.Context(), first, l.cause)
			if errors.Is(err, ErrSecretChanged) != swapped || !swapped && err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if _, _, err := l.source.obtain(l.Context(), l.cause); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if c := l.server.Counters(); c.Logins != 1 || c.Refused != 0 {
				t.Errorf("%s: %+v", name, c)
			}
		})
	}
}

func TestASecretThatIsGoneIsNotWaitedForAfterTheLastLook(t *testing.T) {
	onBench(t, func(l *bench) {
		known, err := l.source.stable(l.Context(), 0, l.cause)
		if err != nil {
			t.Fatal(err)
		}
		known.credentials.Files = secret.Versions{"file": {}} // as if they came from files, which may be away
		l.set("env.PASSWORD", "")
		began := time.Now()
		if err := l.source.confirm(l.Context(), known); err != nil {
			t.Error(err)
		}
		// In a wait after it the secret may come back, as another one.
		if took := time.Since(began); took != (stableReads-1)*SettleFor {
			t.Errorf("sent %v after the first look", took)
		}
	})
}

func TestBudget_ALoginThatIsNotSentSaysWhy(t *testing.T) {
	if veeam.ReasonOf(&BudgetError{&lockout.BudgetError{}}) != veeam.ReasonLockedOutBudget {
		t.Error("no reason of its own")
	}
	if errors.As(error(&BudgetError{errors.New("ctx")}), new(*lockout.BudgetError)) {
		t.Error("not a budget")
	}
}

// values are those of a request, without any.
func values(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }

func TestATokenAtHandCostsNoAllocationAndNoLock(t *testing.T) {
	inLab := func(name string, until func(l *bench)) {
		t.Run(name, func(t *testing.T) {
			onBench(t, func(l *bench) {
				request := Request{Values: values}
				if _, _, err := l.source.Token(l.Context(), request); err != nil {
					t.Fatal(err)
				}
				until(l)
				_, _, _ = l.source.Token(l.Context(), request) // begins what is to begin
				synctest.Wait()
				_, _, _ = l.source.Token(l.Context(), request) // finds out that it goes on, or has failed
				held := []sync.Locker{&l.source.mu, &l.source.rotation.mu, &l.source.server.sessions.mu, &l.source.server.watch.mu}
				for _, mu := range held {
					mu.Lock()
				}
				ctx := l.Context()
				n := testing.AllocsPerRun(100, func() {
					if tok, _, err := l.source.Token(ctx, request); tok == nil || err != nil {
						t.Error(err)
					}
				})
				for _, mu := range held {
					mu.Unlock()
				}
				if n != 0 {
					t.Errorf("%v allocations", n)
				}
			})
		})
	}
	due := 15*time.Minute - 30*time.Second
	inLab("fresh", func(*bench) {})
	inLab("due, and the server hangs", func(l *bench) {
		time.Sleep(due)
		l.server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultHang, On: veeamtest.OnToken})
	})
	inLab("due, and the renewal fails", func(l *bench) {
		time.Sleep(due)
		l.server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultStatus, Status: 503, On: veeamtest.OnToken})
	})
	inLab("after a replay", func(l *bench) {
		tok, session, err := l.source.Token(l.Context(), Request{Values: values})
		if err != nil {
			t.Fatal(err)
		}
		l.server.RevokeAccess()
		session.Reject(tok)
		if _, _, err := l.source.Token(l.Context(), Request{Values: values}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAnExitWaitsFiveSecondsForServersThatHang(t *testing.T) {
	for name, fault := range map[string]veeamtest.Fault{
		"at the logout": {Kind: veeamtest.FaultHang, On: veeamtest.OnProtected, Match: "/logout"},
		"at a login":    {Kind: veeamtest.FaultHang},
	} {
		onBench(t, func(l *bench) {
			server := l.source.server
			ctx, cancel := context.WithCancel(l.Context())
			defer cancel()
			if name == "at a login" {
				l.server.SetFault(fault)
				go func() { _, _, _ = l.source.Token(ctx, Request{Values: values}) }()
				synctest.Wait()
			} else {
				if _, _, err := l.source.Token(ctx, Request{Values: values}); err != nil {
					t.Fatal(err)
				}
				l.server.SetFault(fault)
			}
			began := time.Now()
			server.Close()
			if took := time.Since(began); took != 0 {
				t.Errorf("%s: a reload waits for %v", name, took)
			}
			server.State.Exit(ctx)
			if took := time.Since(began); took != LogoutFor {
				t.Errorf("%s: the exit waits for %v", name, took)
			}
		})
	}
}
