package tokencache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/store"
)

// keys is a Keys function.
func keys(k *sealed.Keyset) func() (sealed.Sealer, error) {
	return func() (sealed.Sealer, error) { return k, nil }
}

func newKeys(t interface{ Fatal(...any) }) *sealed.Keyset {
	k, err := sealed.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// What package sealed allows for one exchange, and how long it leaves a store alone that has
// failed.
const (
	exchangeFor = time.Second
	awayFor     = 5 * time.Second
)

var identity = Identity{Product: "vbr", Origin: "https vbr01:9419", Account: "svc", Credential: secret.New("digest")}

// process is one process with one session.
type process struct {
	*Session
	shared *sealed.Store
	mu     sync.Mutex
	log    []string
}

func (p *process) said() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log
}

// start starts a process on a store.
func start(storage store.Store, k *sealed.Keyset, change ...func(*Options)) *process {
	return startAs("", nil, storage, k, change...)
}

// startAs starts a process that has a name, and that knows which others have ended.
func startAs(name string, ended func(string) bool, storage store.Store, k *sealed.Keyset, change ...func(*Options)) *process {
	p := &process{}
	p.shared = sealed.New(sealed.Options{
		Keys:   keys(k),
		Holder: fmt.Sprintf("%p", p), Process: name, Ended: ended,
		Log: func(message string, err error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.log = append(p.log, fmt.Sprint(message, ": ", err))
		},
	})
	p.shared.Attach(storage)
	options := Options{Shared: p.shared, Identity: identity, ReadExtra: func(raw json.RawMessage) any {
		var extra any
		_ = json.Unmarshal(raw, &extra)
		return extra
	}}
	for _, c := range change {
		c(&options)
	}
	p.Session = NewSession(options)
	return p
}

func TestThreeColdProcessesLogInOnce(t *testing.T) {
	for _, takes := range []time.Duration{0, 300 * time.Millisecond, 40 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			store, k, srv := newMemory(), newKeys(t), &server{takes: takes, lifetime: time.Hour}
			var wg sync.WaitGroup
			var mu sync.Mutex
			tokens := map[string]int{}
			for range 3 {
				p := start(store, k)
				for range 1000 {
					wg.Go(func() {
						tok := mustGet(t, p.Session, srv)
						mu.Lock()
						defer mu.Unlock()
						tokens[tok.Access.Reveal()]++
					})
				}
			}
			wg.Wait()
			if srv.calls.Load() != 1 || len(tokens) != 1 {
				t.Errorf("login of %v: %d grants, tokens %v", takes, srv.calls.Load(), tokens)
			}
		})
	}
}

func TestThreeProcessesRenewOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k, srv := newMemory(), newKeys(t), &server{takes: time.Second, lifetime: 15 * time.Minute}
		processes := []*process{start(store, k), start(store, k), start(store, k)}
		for began := time.Now(); time.Since(began) < 2*time.Hour; time.Sleep(time.Second) {
			for _, p := range processes {
				tok := mustGet(t, p.Session, srv)
				if _, due := p.Current(time.Now()); due {
					p.Renew(context.Background(), srv.grant)
				}
				if !time.Now().Before(tok.Expires()) {
					t.Fatal("an expired token")
				}
			}
		}
		synctest.Wait()
		// A token serves for 14 of its 15 minutes at most.
		if got := srv.calls.Load(); got > 10 {
			t.Errorf("%d grants in two hours", got)
		}
		if srv.overlaps.Load() != 0 {
			t.Error("two grants at a time")
		}
	})
}

func TestARestartedProcessGoesOnWithTheSessionOfTheOneBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k, srv := newMemory(), newKeys(t), &server{lifetime: time.Hour, extra: "shape"}
		first := mustGet(t, start(store, k).Session, srv)
		time.Sleep(20 * time.Minute)
		again := mustGet(t, start(store, k).Session, srv)
		if srv.calls.Load() != 1 || !again.Access.Equal(first.Access) || !again.Refresh.Equal(first.Refresh) || again.Extra != "shape" {
			t.Errorf("%d grants, %v", srv.calls.Load(), again.Extra)
		}
		if left := time.Until(again.Expires()); left != 40*time.Minute {
			t.Errorf("%v left of it", left)
		}
		time.Sleep(39*time.Minute + 58*time.Second)
		renewed := mustGet(t, start(store, k).Session, srv)
		if srv.calls.Load() != 2 || renewed.Access.Equal(first.Access) {
			t.Error("the token is used to its very end")
		}
		if srv.noted == nil || !srv.noted.Refresh.Equal(first.Refresh) {
			t.Error("the refresh token of the session was not handed on")
		}
	})
}

func TestATokenIsReadFromTheStoreOnlyWhereMemoryHasNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, srv := newMemory(), &server{lifetime: time.Hour}
		p := start(store, newKeys(t))
		mustGet(t, p.Session, srv)
		before := store.exchanges()
		for range 1000 {
			mustGet(t, p.Session, srv)
		}
		if store.exchanges() != before {
			t.Error("the store was read although there was a token")
		}
		if n := testing.AllocsPerRun(100, func() { p.Current(time.Now()) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

func TestALoadedTokenIsBlamedAtOnceAndReplacedOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k, srv := newMemory(), newKeys(t), &server{takes: 100 * time.Millisecond, lifetime: time.Hour}
		old := mustGet(t, start(store, k).Session, srv)
		var processes []*process
		for range 3 {
			processes = append(processes, start(store, k))
		}
		var wg sync.WaitGroup
		for _, p := range processes {
			for range 50 {
				wg.Go(func() {
					tok := mustGet(t, p.Session, srv)
					if tok.Access.Equal(old.Access) { // revoked: the server answers 401
						if !p.Unauthorized(t.Context(), tok, routeA) {
							t.Error("not blamed")
						}
						tok = mustGet(t, p.Session, srv)
					}
					if tok.Access.Equal(old.Access) {
						t.Error("the rejected token came back from the store")
					}
				})
			}
		}
		wg.Wait()
		if got := srv.calls.Load(); got != 2 {
			t.Errorf("%d grants", got)
		}
	})
}

func TestARefusedCredentialIsHeldInEveryProcessAndOverRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k, srv := newMemory(), newKeys(t), &server{takes: 50 * time.Millisecond, lifetime: time.Hour}
		srv.fail(refusal{})
		processes := []*process{start(store, k), start(store, k), start(store, k)}
		var inTen int64
		began := time.Now()
		for i := 0; time.Since(began) < 2*time.Hour; i++ {
			var wg sync.WaitGroup
			for _, p := range processes {
				for range 10 {
					wg.Go(func() {
						_, err := p.Get(context.Background(), srv.grant)
						var blocked *BlockedError
						if !errors.As(err, &blocked) || !refused(err) {
							t.Errorf("got %v", err)
						}
					})
				}
			}
			wg.Wait()
			if i%40 == 7 { // killed or reloaded
				processes[i%3] = start(store, k)
			}
			if time.Since(began) < 10*time.Minute {
				inTen = srv.calls.Load()
			}
			time.Sleep(10 * time.Second)
		}
		if got := srv.calls.Load(); got > 6 || inTen > 2 {
			t.Errorf("%d tries in two hours, %d in ten minutes", got, inTen)
		}
		state := start(store, k)
		_, _ = state.Get(context.Background(), srv.grant)
		if st := state.State(); st.Status != StatusHeld || st.LastError != "wrong password" {
			t.Errorf("a new process says %+v", st)
		}
	})
}

func TestATokenOfOneProcessEndsTheHoldOfTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k, srv := newMemory(), newKeys(t), &server{lifetime: time.Hour}
		a, b := start(store, k), start(store, k)
		srv.fail(refusal{})
		_, _ = a.Get(context.Background(), srv.grant)
		if _, err := b.Get(context.Background(), srv.grant); err == nil || srv.calls.Load() != 1 {
			t.Fatalf("%v after %d tries", err, srv.calls.Load())
		}
		srv.fail(nil)
		if err := a.Lift(context.Background()); err != nil {
			t.Fatal(err)
		}
		mustGet(t, a.Session, srv)
		time.Sleep(lookEvery)
		mustGet(t, b.Session, srv)
		if srv.calls.Load() != 2 {
			t.Errorf("%d tries", srv.calls.Load())
		}
	})
}

func TestALiftedHoldIsLiftedEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k, srv := newMemory(), newKeys(t), &server{lifetime: time.Hour}
		a, b := start(store, k), start(store, k)
		srv.fail(refusal{})
		_, _ = a.Get(context.Background(), srv.grant)
		_, _ = b.Get(context.Background(), srv.grant)
		srv.fail(nil)
		_ = a.Lift(context.Background())
		time.Sleep(lookEvery)
		mustGet(t, b.Session, srv)
	})
}

func TestAnotherCredentialIsAnotherRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k, srv := newMemory(), newKeys(t), &server{lifetime: time.Hour}
		srv.fail(refusal{})
		_, _ = start(store, k).Get(context.Background(), srv.grant)
		srv.fail(nil)
		mustGet(t, start(store, k, func(o *Options) { o.Identity.Credential = secret.New("another") }).Session, srv)
	})
}

func TestAPauseTheServerAskedForIsKeptByAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k, srv := newMemory(), newKeys(t), &server{}
		srv.fail(throttled(40 * time.Second))
		for range 5 {
			_, err := start(store, k).Get(context.Background(), srv.grant)
			var blocked *BlockedError
			if !errors.As(err, &blocked) || blocked.Held || blocked.RetryAfter(time.Now()) > 40*time.Second {
				t.Errorf("got %v", err)
			}
		}
		if srv.calls.Load() != 1 {
			t.Errorf("%d tries", srv.calls.Load())
		}
	})
}

func TestWithoutItsStoreASessionGoesOnInMemoryAndWarnsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k, srv := newMemory(), newKeys(t), &server{lifetime: 10 * time.Minute}
		p := start(store, k)
		mustGet(t, p.Session, srv)
		store.breakWith(func(string) error { return errStore })
		for range 6 {
			time.Sleep(10 * time.Minute)
			mustGet(t, p.Session, srv)
		}
		if got := p.said(); len(got) != 1 {
			t.Errorf("said %q", got)
		}
		store.breakWith(nil)
		time.Sleep(10 * time.Minute)
		mustGet(t, p.Session, srv)
		if got := p.said(); len(got) != 2 {
			t.Errorf("said %q", got)
		}
		calls := srv.calls.Load()
		mustGet(t, start(store, k).Session, srv)
		if srv.calls.Load() != calls {
			t.Error("nothing is shared although the store is back")
		}
	})
}

func TestAStoreThatHangsDelaysALoginByLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, srv := newMemory(), &server{lifetime: time.Hour}
		store.slow(time.Hour)
		began := time.Now()
		mustGet(t, start(store, newKeys(t)).Session, srv)
		if took := time.Since(began); took > 2*exchangeFor {
			t.Errorf("took %v", took)
		}
		time.Sleep(2 * time.Hour) // the exchanges left to themselves end
	})
}

func TestAnEmptiedStoreCostsOneLoginAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k, srv := newMemory(), newKeys(t), &server{lifetime: time.Hour}
		a, b := start(store, k), start(store, k)
		mustGet(t, a.Session, srv)
		mustGet(t, b.Session, srv)
		store.empty()
		mustGet(t, a.Session, srv)
		mustGet(t, b.Session, srv)
		mustGet(t, start(store, k).Session, srv)
		if srv.calls.Load() != 2 {
			t.Errorf("%d grants", srv.calls.Load())
		}
	})
}

func TestARecordThatDoesNotOpenIsAMissAndOneWarning(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"cut":     func(b []byte) []byte { return b[:len(b)/2] },
		"empty":   func([]byte) []byte { return nil },
		"flipped": func(b []byte) []byte { b = bytes.Clone(b); b[len(b)/2] ^= 1; return b },
		"foreign": func([]byte) []byte { return []byte(`{"fence":9}`) },
	} {
		synctest.Test(t, func(t *testing.T) {
			store, k, srv := newMemory(), newKeys(t), &server{lifetime: time.Hour}
			mustGet(t, start(store, k).Session, srv)
			store.each(damage)
			p := start(store, k)
			mustGet(t, p.Session, srv)
			mustGet(t, start(store, k).Session, srv)
			if srv.calls.Load() != 2 || len(p.said()) != 1 {
				t.Errorf("%s: %d grants, said %q", name, srv.calls.Load(), p.said())
			}
		})
	}
}

func TestNoSecretLiesInTheStoreInPlain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, srv := newMemory(), &server{lifetime: time.Hour}
		mustGet(t, start(store, newKeys(t)).Session, srv)
		for key, value := range store.snapshot() {
			for _, secret := range []string{"access-1", "refresh-1", `"svc"`, "vbr01", "digest"} { // long enough for no cipher text to have one by chance
				if bytes.Contains(value, []byte(secret)) || bytes.Contains([]byte(key), []byte(secret)) {
					t.Errorf("%s shows in %s", secret, key)
				}
			}
		}
	})
}
