package issuer

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/store"
)

const watchEvery = store.LookEvery

// replica is an issuer with its watch running.
func replica(t *testing.T, store Store) *Issuer {
	t.Helper()
	return limited(t, store, usual)
}

// limited is a replica that remembers less than usual.
func limited(t *testing.T, store Store, most limits) *Issuer {
	t.Helper()
	i := New(NewKeys(store))
	i.ledger.limits = most
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		i.Watch(ctx, func(err error) { t.Errorf("watch: %v", err) })
	}()
	t.Cleanup(func() { cancel(); <-done })
	return i
}

func TestARevokedClientIsCutOffEverywhereWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		here, there := replica(t, store), replica(t, store)
		pair := issued(t, here)
		other, err := here.Issue(t.Context(), Subject{Client: "jenkins"}, site, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := there.Check(t.Context(), pair.Access, site); err != nil {
			t.Fatalf("before: %v", err)
		}
		time.Sleep(time.Millisecond)
		if err := here.Revoke(t.Context(), "grafana"); err != nil {
			t.Fatal(err)
		}
		if _, err := here.Check(t.Context(), pair.Access, site); !errors.Is(err, ErrEnded) {
			t.Errorf("here, at once: %v", err)
		}
		time.Sleep(time.Second)
		for what, i := range map[string]*Issuer{"here": here, "there": there, "a new one": replica(t, store)} {
			time.Sleep(time.Millisecond)
			if _, err := i.Check(t.Context(), pair.Access, site); !errors.Is(err, ErrEnded) {
				t.Errorf("%s: access token: %v", what, err)
			}
			if _, err := i.CheckRefresh(t.Context(), pair.Refresh, site); !errors.Is(err, ErrEnded) {
				t.Errorf("%s: refresh token: %v", what, err)
			}
			if _, err := i.Check(t.Context(), other.Access, site); err != nil {
				t.Errorf("%s: another client's token: %v", what, err)
			}
		}
		again := issued(t, there)
		if _, err := here.Check(t.Context(), again.Access, site); err != nil {
			t.Errorf("a login after the revocation: %v", err)
		}
	})
}

// A process that has just begun judges no token before it knows what was revoked.
func TestTheFirstTokenIsJudgedByWhatWasRevokedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		before := replica(t, store)
		cut, out, used := issued(t, before), issued(t, before), issued(t, before)
		left, err := before.CheckRefresh(t.Context(), out.Refresh, site)
		if err != nil {
			t.Fatal(err)
		}
		before.End(left.Client, left.Family)
		if _, err := before.Refresh(t.Context(), used.Refresh, site, time.Hour); err != nil {
			t.Fatal(err)
		}
		time.Sleep(Grace + time.Second)
		other := Subject{Client: "jenkins"}
		kept, err := before.Issue(t.Context(), other, site, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		check := func(what string, want error, f func(i *Issuer) error) {
			t.Helper()
			if err := f(New(NewKeys(store))); !errors.Is(err, want) {
				t.Errorf("%s: %v, not %v", what, err, want)
			}
		}
		access := func(token string) func(*Issuer) error {
			return func(i *Issuer) error { _, err := i.Check(t.Context(), token, site); return err }
		}
		check("a used refresh token", ErrReused, func(i *Issuer) error { _, err := i.CheckRefresh(t.Context(), used.Refresh, site); return err })
		check("logged out", ErrEnded, access(out.Access))
		if err := before.Revoke(t.Context(), grafana.Client); err != nil {
			t.Fatal(err)
		}
		check("of a revoked client", ErrEnded, access(cut.Access))
		check("of another client", nil, access(kept.Access))

		store.mu.Lock()
		own := &memory{data: maps.Clone(store.data)} // nobody else looks at it
		store.mu.Unlock()
		late := New(NewKeys(own))
		var unreadable *KeysError
		for _, path := range []string{RecordsPath(grafana.Client), RecordsPath("jenkins"), recordsPath(segments - 1)} {
			own.broken, own.only = errors.New("disk on fire"), path
			if err := access(kept.Access)(late); !errors.As(err, &unreadable) || !strings.Contains(err.Error(), path) {
				t.Errorf("%s cannot be read: %v", path, err)
			}
		}
		own.broken = nil
		path := RecordsPath(grafana.Client)
		good := own.data[path]
		own.data[path] = []byte("{")
		if err := access(kept.Access)(late); !errors.As(err, &unreadable) || !strings.Contains(err.Error(), path+" is corrupt") {
			t.Errorf("damaged: %v", err)
		}
		own.data[path] = good
		time.Sleep(time.Second)
		if err := access(kept.Access)(late); err != nil {
			t.Errorf("later: %v", err)
		}
	})
}

func TestACodeOfARevokedClientIsNoWayBack(t *testing.T) {
	i := New(NewKeys(&memory{}))
	before := i.Code(grafana, site)
	if err := i.Revoke(t.Context(), grafana.Client); err != nil {
		t.Fatal(err)
	}
	if _, err := i.Redeem(before, site); err == nil {
		t.Error("a code from before the revocation")
	}
	time.Sleep(2 * time.Millisecond)
	if _, err := i.Redeem(i.Code(grafana, site), site); err != nil {
		t.Errorf("a code from after it: %v", err)
	}
}

func TestALogoutIsKnownEverywhereWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		here, there := replica(t, store), replica(t, store)
		pair := issued(t, here)
		sub, err := here.Check(t.Context(), pair.Access, site)
		if err != nil {
			t.Fatal(err)
		}
		here.End(sub.Client, sub.Family)
		time.Sleep(time.Second)
		synctest.Wait()
		if _, err := there.Check(t.Context(), pair.Access, site); !errors.Is(err, ErrEnded) {
			t.Errorf("there: %v", err)
		}
	})
}

func TestNoTokenOutlivesTheMemoryOfItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := New(NewKeys(&memory{}))
		pair, err := i.Issue(t.Context(), grafana, site, 10*RefreshLifetime)
		if err != nil {
			t.Fatal(err)
		}
		sub, err := i.Check(t.Context(), pair.Access, site)
		if err != nil {
			t.Fatal(err)
		}
		i.End(sub.Client, sub.Family)
		for range 30 {
			time.Sleep(24 * time.Hour)
			i.End("another", "another") // has what is over forgotten
			if _, err := i.Check(t.Context(), pair.Access, site); err == nil {
				t.Fatal("a token that was logged out is good again")
			}
			if _, err := i.CheckRefresh(t.Context(), pair.Refresh, site); err == nil {
				t.Fatal("a refresh token that was logged out is good again")
			}
		}
	})
}

func TestALogoutWaitsForAStoreThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		fail := func(err error) {
			store.mu.Lock()
			defer store.mu.Unlock()
			store.broken = err
		}
		here, there := New(NewKeys(store)), New(NewKeys(store))
		pair := issued(t, here)
		sub, err := there.Check(t.Context(), pair.Access, site)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		for _, i := range []*Issuer{here, there} {
			go i.Watch(ctx, func(error) {})
		}
		fail(errors.New("gone"))
		here.End(sub.Client, sub.Family)
		time.Sleep(10 * time.Second)
		if _, err := there.Check(t.Context(), pair.Access, site); err != nil {
			t.Errorf("while the store is gone: %v", err)
		}
		fail(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if _, err := there.Check(t.Context(), pair.Access, site); !errors.Is(err, ErrEnded) {
			t.Errorf("when it is back: %v", err)
		}
	})
}

func TestWatchSaysOnceThatTheStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{broken: errors.New("gone")}
		i := New(NewKeys(store))
		ctx, cancel := context.WithCancel(context.Background())
		faults := 0
		go i.Watch(ctx, func(error) { faults++ })
		time.Sleep(time.Minute)
		synctest.Wait()
		if faults != 1 {
			t.Errorf("said %d times", faults)
		}
		if err := i.Revoke(ctx, "grafana"); err == nil {
			t.Error("a revocation was not stored, and nobody is told")
		}
		cancel()
		synctest.Wait()
	})
}

func TestKeysRotateAndOldOnesStayGoodWhileTheirTokensLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		here, there := New(NewKeys(store)), New(NewKeys(store))
		old := issued(t, here)
		time.Sleep(RotateEvery - time.Hour)
		late, err := here.Issue(t.Context(), grafana, site, 2*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour + time.Minute)
		fresh := issued(t, there) // a key that here does not know
		if store.stores != 2 {
			t.Errorf("%d keys made", store.stores)
		}
		for what, token := range map[string]string{"of the old key": late.Access, "of the new key": fresh.Access} {
			if _, err := here.Check(t.Context(), token, site); err != nil {
				t.Errorf("a token %s: %v", what, err)
			}
		}
		if _, err := here.CheckRefresh(t.Context(), late.Refresh, site); err != nil {
			t.Errorf("a refresh token of the old key: %v", err)
		}
		if _, err := here.Check(t.Context(), old.Access, site); !errors.Is(err, ErrExpired) {
			t.Errorf("an old token: %v", err)
		}
		for range 3 {
			time.Sleep(RotateEvery + time.Hour)
			issued(t, here)
		}
		keys, err := here.keys.all(t.Context())
		if err != nil || len(keys) > 3 {
			t.Errorf("%d keys kept, %v", len(keys), err)
		}
	})
}

func TestUnknownKeysDoNotHammerTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		i := New(NewKeys(store))
		issued(t, i)
		foreign := issued(t, New(NewKeys(&memory{})))
		loads := store.loads
		for range 1000 {
			if _, err := i.Check(t.Context(), foreign.Access, site); !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
		}
		if store.loads > loads+1 {
			t.Errorf("%d loads", store.loads-loads)
		}
	})
}

// TestARevocationReachesTokensOfAClockThatIsAhead: what a replica has issued whose clock is
// ahead is revoked too, and what is issued afterwards counts, at once.
func TestARevocationReachesTokensOfAClockThatIsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		here, there := limited(t, store, usual), limited(t, store, usual)
		sub := Subject{Client: "grafana", Family: "ahead", Until: time.Now().Add(time.Hour)}
		early, err := there.pair(t.Context(), sub, site, time.Hour, 1, time.Now().Add(skew-time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		for range 3 { // revoked again and again, a token that was got in between ends too
			if err := here.Revoke(t.Context(), "grafana"); err != nil {
				t.Fatal(err)
			}
			for _, i := range []*Issuer{here, there} {
				if _, err := i.Check(t.Context(), early.Access, site); !errors.Is(err, ErrEnded) {
					t.Errorf("a revoked token: %v", err)
				}
				if _, err := i.Refresh(t.Context(), early.Refresh, site, time.Hour); !errors.Is(err, ErrEnded) {
					t.Errorf("a revoked refresh token: %v", err)
				}
				time.Sleep(time.Second) // until the other one has looked
			}
			if early, err = there.Issue(t.Context(), Subject{Client: "grafana"}, site, time.Hour); err != nil {
				t.Fatal(err)
			}
			if early, err = here.Refresh(t.Context(), early.Refresh, site, time.Hour); err != nil {
				t.Fatalf("a token that was got after the revocation: %v", err)
			}
			session, err := there.IssueSession(t.Context(), Subject{Client: "grafana"}, site, "", time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			there.Adopt("of the server", Subject{Client: "grafana", Family: "f"}, site, time.Now().Add(time.Hour))
			for _, token := range []string{early.Access, session.Access, "of the server"} {
				if _, err := there.Check(t.Context(), token, site); err != nil {
					t.Errorf("%.3s, got after the revocation: %v", token, err)
				}
			}
			if _, err := there.Redeem(there.Code(Subject{Client: "grafana"}, site), site); err != nil {
				t.Errorf("a code that was got after the revocation: %v", err)
			}
		}
	})
}
