package tokencache

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// A process that is stopped in the middle of a login and goes on when others have
// long taken over.
func TestAStoppedProcessIsReplacedWithinTwoLeasesAndCannotOverwriteWhatIsNewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k := newMemory(), newKeys(t)
		g := &gate{}
		var discarded atomic.Pointer[Token]
		stopped := start(gated{store, g}, k, func(o *Options) { o.Discard = func(tok *Token) { discarded.Store(tok) } })
		ended := make(chan *Token)
		go func() {
			tok, _ := stopped.Get(context.Background(), func(context.Context, *Token) (*Token, error) {
				g.stop()
				g.pass()
				return &Token{Access: secret.New("stale"), Lifetime: time.Hour, Requested: time.Now()}, nil
			})
			ended <- tok
		}()
		time.Sleep(time.Second)

		srv, began := &server{lifetime: time.Hour}, time.Now()
		other := start(store, k)
		fresh := mustGet(t, other.Session, srv)
		if took := time.Since(began); took > 2*Lease || took < Lease/2 {
			t.Errorf("taken over after %v", took)
		}
		time.Sleep(time.Minute)
		g.resume()
		if tok := <-ended; tok == nil || !tok.Access.Equal(fresh.Access) {
			t.Error("the stopped process does not use the newer token")
		}
		if tok := discarded.Load(); tok == nil || tok.Access.Reveal() != "stale" {
			t.Error("the token that came too late is not discarded")
		}
		if tok := mustGet(t, start(store, k).Session, srv); !tok.Access.Equal(fresh.Access) {
			t.Error("the newer record is gone")
		}
	})
}

func TestALongLoginKeepsItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k, srv := newMemory(), newKeys(t), &server{takes: 80 * time.Second, lifetime: time.Hour}
		go func() { _, _ = start(store, k).Get(context.Background(), srv.grant) }()
		time.Sleep(time.Second)
		mustGet(t, start(store, k).Session, srv)
		if srv.calls.Load() != 1 {
			t.Errorf("%d grants", srv.calls.Load())
		}
	})
}

func TestAProcessKilledAtAnyExchangeWithTheStoreCostsOneLoginAtMost(t *testing.T) {
	for at := 1; ; at++ {
		reached := false
		synctest.Test(t, func(t *testing.T) {
			store, k, srv := newMemory(), newKeys(t), &server{lifetime: time.Hour}
			dead := &dying{memory: store, at: at}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			go func() {
				_, _ = start(dead, k).Get(ctx, func(ctx context.Context, prev *Token) (*Token, error) {
					if dead.done.Load() {
						<-ctx.Done()
						return nil, ctx.Err()
					}
					return srv.grant(ctx, prev)
				})
			}()
			time.Sleep(2 * time.Second)
			before := srv.calls.Load()
			began := time.Now()
			tok := mustGet(t, start(store, k).Session, srv)
			if took := time.Since(began); took > memoryStale+Lease+time.Second {
				t.Errorf("killed at exchange %d: the next process waits %v", at, took)
			}
			if !time.Now().Before(tok.Expires()) || srv.calls.Load() > before+1 || srv.calls.Load() > 2 {
				t.Errorf("killed at exchange %d: %d logins", at, srv.calls.Load())
			}
			reached = dead.done.Load()
			time.Sleep(10 * time.Minute)
		})
		if !reached {
			if at < 8 {
				t.Errorf("only %d exchanges", at)
			}
			return
		}
	}
}

// dying is a store of a process that is killed at its n-th exchange: whatever it
// does afterwards does not happen.
type dying struct {
	*memory
	at   int
	n    atomic.Int64
	done atomic.Bool
}

func (d *dying) alive(ctx context.Context) error {
	if d.n.Add(1) < int64(d.at) {
		return nil
	}
	d.done.Store(true)
	<-ctx.Done()
	return ctx.Err()
}

func (d *dying) Lock(ctx context.Context, name string) error {
	if err := d.alive(ctx); err != nil {
		return err
	}
	return d.memory.Lock(ctx, name)
}

func (d *dying) Unlock(ctx context.Context, name string) error {
	if err := d.alive(ctx); err != nil {
		return err
	}
	return d.memory.Unlock(ctx, name)
}

func (d *dying) Store(ctx context.Context, key string, value []byte) error {
	if err := d.alive(ctx); err != nil {
		return err
	}
	return d.memory.Store(ctx, key, value)
}

func (d *dying) Load(ctx context.Context, key string) ([]byte, error) {
	if err := d.alive(ctx); err != nil {
		return nil, err
	}
	return d.memory.Load(ctx, key)
}

func (d *dying) Delete(ctx context.Context, key string) error {
	if err := d.alive(ctx); err != nil {
		return err
	}
	return d.memory.Delete(ctx, key)
}

func (d *dying) List(ctx context.Context, folder string, recursive bool) ([]string, error) {
	if err := d.alive(ctx); err != nil {
		return nil, err
	}
	return d.memory.List(ctx, folder, recursive)
}

// Every length and every bit of what lies in the store: a miss, never a panic,
// never a wrong token. A login waits for a lock that is damaged, too: the clock is not real.
func TestADamagedRecordIsNeverAWrongToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k, srv := newMemory(), newKeys(t), &server{lifetime: time.Hour}
		good := mustGet(t, start(store, k).Session, srv)
		var damaged [][]byte
		for _, value := range store.snapshot() {
			for length := range value {
				damaged = append(damaged, value[:length])
			}
			for bit := range len(value) * 8 {
				flipped := bytes.Clone(value)
				flipped[bit/8] ^= 1 << (bit % 8)
				damaged = append(damaged, flipped)
			}
		}
		shared := sealed.New(sealed.Options{Keys: keys(k)})
		at, err := bind(shared, identity)
		if err != nil {
			t.Fatal(err)
		}
		for i, value := range damaged {
			if err := at.Open(value, new(record)); err == nil {
				t.Fatalf("damage %d of %d opens", i, len(damaged))
			}
		}
		for _, value := range []int{0, rand.IntN(len(damaged)), rand.IntN(len(damaged)), len(damaged) - 1} {
			before := srv.calls.Load()
			store.each(func([]byte) []byte { return damaged[value] })
			if tok := mustGet(t, start(store, k).Session, srv); tok.Access.Equal(good.Access) || srv.calls.Load() != before+1 {
				t.Errorf("damage %d: %d logins", value, srv.calls.Load()-before)
			}
		}
	})
}

func TestARecordDoesNotOpenInThePlaceOfAnother(t *testing.T) {
	k := newKeys(t)
	shared := sealed.New(sealed.Options{Keys: keys(k)})
	at, _ := bind(shared, identity)
	sealed, err := at.Seal(&record{Fence: 1, Token: &sharedToken{Access: "secret"}})
	if err != nil {
		t.Fatal(err)
	}
	for i, other := range []Identity{
		{Product: "vspc", Origin: identity.Origin, Account: identity.Account},
		{Product: identity.Product, Origin: "https other:9419", Account: identity.Account},
		{Product: identity.Product, Origin: identity.Origin, Account: "admin"},
		{Product: identity.Product + identity.Origin, Account: identity.Account},
	} {
		place, _ := bind(shared, other)
		if place.Open(sealed, new(record)) == nil {
			t.Errorf("opens as %d", i)
		}
	}
	if err := at.Open(sealed, new(record)); err != nil {
		t.Error(err)
	}
}

func TestTheAgeOfAStoredTokenIsNeverUnderestimatedByMoreThanTheClocksDiffer(t *testing.T) {
	now := time.Now()
	stored := &sharedToken{Access: "a", Requested: now.Add(-10 * time.Minute).Round(0), Lifetime: time.Hour}
	for skew, left := range map[time.Duration]time.Duration{
		0: 50 * time.Minute, time.Minute: 49 * time.Minute, -time.Minute: 51 * time.Minute,
		-24 * time.Hour: time.Hour, 24 * time.Hour: -23*time.Hour - 10*time.Minute,
	} {
		tok := stored.token(now.Add(skew), Options{RefreshBefore: time.Minute})
		if got := tok.Expires().Sub(now.Add(skew)); got != left {
			t.Errorf("a clock %v off: %v left, want %v", skew, got, left)
		}
		if tok.usable(now.Add(skew)) != (left > 0) {
			t.Errorf("a clock %v off: usable", skew)
		}
	}
}

func TestAHoldFromAClockThatIsWrongEnds(t *testing.T) {
	now, s := time.Now(), NewSession(Options{})
	b := s.stored(&sharedBlock{Until: now.AddDate(10, 0, 0), Held: true}, now)
	if left := b.Until.Sub(now); left > DefaultHoldMost*6/5 {
		t.Errorf("held for %v", left)
	}
	if s.stored(&sharedBlock{Until: now.Add(-time.Second), Held: true}, now) != nil {
		t.Error("held although it is over")
	}
}

func TestAProcessWithItsOwnTokenSharesOnlyTheHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k, srv := newMemory(), newKeys(t), &server{lifetime: time.Hour}
		own := func(o *Options) { o.HoldOnly = true }
		a, b := start(store, k, own), start(store, k, own)
		if mustGet(t, a.Session, srv).Access.Equal(mustGet(t, b.Session, srv).Access) {
			t.Error("the token is shared")
		}
		a.Reject(mustGet(t, a.Session, srv))
		srv.fail(refusal{})
		_, _ = a.Get(context.Background(), srv.grant)
		calls := srv.calls.Load()
		if _, err := start(store, k, own).Get(context.Background(), srv.grant); err == nil || srv.calls.Load() != calls {
			t.Errorf("%v after %d tries more", err, srv.calls.Load()-calls)
		}
	})
}

func TestWhatAnOperatorForgetsIsGoneFromTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k, srv := newMemory(), newKeys(t), &server{lifetime: time.Hour}
		a := start(store, k)
		tok := mustGet(t, a.Session, srv)
		if forgotten, err := a.Forget(context.Background()); err != nil || forgotten != tok {
			t.Errorf("%v, %v", forgotten, err)
		}
		if mustGet(t, a.Session, srv) == tok || srv.calls.Load() != 2 {
			t.Error("it comes back")
		}
		again := mustGet(t, start(store, k).Session, srv)
		if again.Access.Equal(tok.Access) || srv.calls.Load() != 2 {
			t.Errorf("another process: %d grants", srv.calls.Load())
		}
	})
}

func TestADetachedStoreIsNotUsedAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, next, k, srv := newMemory(), newMemory(), newKeys(t), &server{lifetime: time.Minute}
		p := start(old, k)
		mustGet(t, p.Session, srv)
		detach := p.shared.Attach(next)
		before := old.exchanges()
		time.Sleep(time.Minute)
		mustGet(t, p.Session, srv)
		if old.exchanges() != before || len(next.snapshot()) != 2 { // the session and its lock
			t.Error("the newer store is not used")
		}
		detach()
		time.Sleep(time.Minute)
		mustGet(t, p.Session, srv)
		if old.exchanges() == before {
			t.Error("the older store is not used again")
		}
	})
}

func TestTheNameOfTheHolderIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k, srv := newMemory(), newKeys(t), &server{takes: time.Second, lifetime: time.Hour}
		a, b := start(store, k), start(store, k)
		go func() { _, _ = a.Get(context.Background(), srv.grant) }()
		time.Sleep(200 * time.Millisecond)
		go func() { _, _ = b.Get(context.Background(), srv.grant) }()
		time.Sleep(300 * time.Millisecond)
		if st := b.State(); st.Holder != fmt.Sprintf("%p", a) || st.Status != StatusRefreshing {
			t.Errorf("state %+v", st)
		}
		time.Sleep(time.Minute)
		if st := b.State(); st.Holder != "" || !st.Loaded || !st.Shared {
			t.Errorf("state %+v", st)
		}
	})
}
