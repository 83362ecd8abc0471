// What is remembered of tokens must not outlive anything that ends them.

package issuer

import (
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// warm returns a token that was checked before.
func warm(t *testing.T, i *Issuer) Pair {
	t.Helper()
	issued(t, i) // so that the keys are there
	pair := issued(t, i)
	for range 2 {
		if sub, err := i.Check(t.Context(), pair.Access, site); err != nil || sub.Client != grafana.Client || sub.Family == "" {
			t.Fatalf("%+v, %v", sub, err)
		}
	}
	if i.checked.find(pair.Access, i.keys.loaded.Load()) == nil {
		t.Fatal("the token is not remembered")
	}
	return pair
}

func TestARememberedTokenEndsAsAnyOther(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(t *testing.T, i *Issuer, pair Pair)
		want error
	}{
		"it expires":            {func(*testing.T, *Issuer, Pair) { time.Sleep(time.Hour) }, ErrExpired},
		"its family is ended":   {func(t *testing.T, i *Issuer, p Pair) { i.End(grafana.Client, familyOf(t, i, p)) }, ErrEnded},
		"its client is revoked": {func(t *testing.T, i *Issuer, _ Pair) { revoke(t, i) }, ErrEnded},
		"its refresh is used":   {func(t *testing.T, i *Issuer, p Pair) { renew(t, i, p.Refresh) }, nil},
		"its refresh is replayed": {func(t *testing.T, i *Issuer, p Pair) {
			renew(t, i, p.Refresh)
			time.Sleep(Grace)
			replayed(t, i, p.Refresh)
		}, ErrEnded},
		"its key is gone": {func(_ *testing.T, i *Issuer, _ Pair) {
			i.keys.loaded.Store(&[]Key{{ID: "other", Secret: make([]byte, keyBytes), Created: time.Now()}})
			i.keys.reloaded = time.Now()
		}, ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := New(NewKeys(&memory{}))
				pair := warm(t, i)
				c.end(t, i, pair)
				for range 2 {
					if sub, err := i.Check(t.Context(), pair.Access, site); !errors.Is(err, c.want) || err != nil && sub != (Subject{}) {
						t.Errorf("%+v, %v", sub, err)
					}
				}
			})
		})
	}
}

func familyOf(t *testing.T, i *Issuer, pair Pair) string {
	t.Helper()
	sub, err := i.Check(t.Context(), pair.Access, site)
	if err != nil {
		t.Fatal(err)
	}
	return sub.Family
}

func revoke(t *testing.T, i *Issuer) {
	t.Helper()
	if err := i.Revoke(t.Context(), grafana.Client); err != nil {
		t.Fatal(err)
	}
}

func renew(t *testing.T, i *Issuer, refresh string) Pair {
	t.Helper()
	pair, err := i.Refresh(t.Context(), refresh, site, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func replayed(t *testing.T, i *Issuer, refresh string) {
	t.Helper()
	if _, err := i.Refresh(t.Context(), refresh, site, time.Hour); !errors.Is(err, ErrReused) {
		t.Errorf("a replay: %v", err)
	}
}

func TestARememberedTokenIsGoodAtItsSiteOnlyAndIsNoRefreshToken(t *testing.T) {
	i := New(NewKeys(&memory{}))
	pair := warm(t, i)
	for range 2 {
		if _, err := i.Check(t.Context(), pair.Access, "elsewhere"); !errors.Is(err, ErrInvalid) {
			t.Errorf("elsewhere: %v", err)
		}
		if _, err := i.Check(t.Context(), pair.Refresh, site); !errors.Is(err, ErrInvalid) {
			t.Errorf("a refresh token: %v", err)
		}
		if _, err := i.Refresh(t.Context(), pair.Access, site, 0); !errors.Is(err, ErrInvalid) {
			t.Errorf("as a refresh token: %v", err)
		}
		if _, err := i.Check(t.Context(), pair.Access+"x", site); !errors.Is(err, ErrInvalid) {
			t.Errorf("altered: %v", err)
		}
	}
}

func TestOnlyGoodTokensAreRememberedAndNotTooMany(t *testing.T) {
	i := New(NewKeys(&memory{}))
	pair := warm(t, i)
	known := i.checked.size.Load()
	for n := range 100 {
		_, _ = i.Check(t.Context(), pair.Access+strconv.Itoa(n), site)
	}
	if now := i.checked.size.Load(); now != known {
		t.Errorf("%d bad tokens are remembered", now-known)
	}
	good, _ := i.parse(t.Context(), pair.Access, site, useAccess)
	for n := range 3 * maxChecked {
		i.checked.add(strconv.Itoa(n), good, nil)
	}
	count := 0
	i.checked.tokens.Range(func(any, any) bool { count++; return true })
	if count > maxChecked || int64(count) != i.checked.size.Load() {
		t.Errorf("%d are remembered, %d counted", count, i.checked.size.Load())
	}
}

func TestARememberedTokenIsNotParsedAgain(t *testing.T) {
	i := New(NewKeys(&memory{}))
	pair := warm(t, i)
	if n := testing.AllocsPerRun(100, func() { _, _ = i.Check(t.Context(), pair.Access, site) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

func TestAThousandDoubleRefreshesLoseNoSessionAndReplayNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := New(NewKeys(&memory{}))
		const clients, rounds = 1000, 3
		held := make([]Pair, clients)
		used := make([][]string, clients)
		for n := range held {
			held[n] = issued(t, i)
		}
		for range rounds {
			answers := make([][2]Pair, clients)
			var wg sync.WaitGroup
			for n := range held {
				used[n] = append(used[n], held[n].Refresh)
				for half := range 2 {
					wg.Go(func() {
						var err error
						if answers[n][half], err = i.Refresh(t.Context(), held[n].Refresh, site, time.Hour); err != nil {
							t.Errorf("client %d: %v", n, err)
						}
					})
				}
			}
			wg.Wait()
			for n, both := range answers {
				if both[0] != both[1] || both[0].Refresh == held[n].Refresh {
					t.Fatalf("client %d got two answers, or none", n)
				}
				held[n] = both[0]
			}
		}
		for n, pair := range held {
			if _, err := i.Check(t.Context(), pair.Access, site); err != nil {
				t.Fatalf("client %d has lost its session: %v", n, err)
			}
		}
		time.Sleep(Grace)
		for n, tokens := range used {
			if _, err := i.Refresh(t.Context(), tokens[n%rounds], site, 0); !errors.Is(err, ErrReused) {
				t.Fatalf("client %d, a replay after the grace window: %v", n, err)
			}
			if _, err := i.Refresh(t.Context(), held[n].Refresh, site, 0); !errors.Is(err, ErrEnded) {
				t.Fatalf("client %d, after the replay: %v", n, err)
			}
		}
	})
}

func BenchmarkCheckRemembered(b *testing.B) {
	i := New(NewKeys(&memory{}))
	var pair Pair
	for range 2 {
		var err error
		if pair, err = i.Issue(b.Context(), grafana, site, time.Hour); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := i.Check(b.Context(), pair.Access, site); err != nil {
			b.Fatal(err)
		}
	}
}
