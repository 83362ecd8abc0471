// What is remembered of logins is bounded, and what is forgotten is refused.

package issuer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// renewed logs a caller in and renews once: the used refresh token, and the pair
// that it got.
func renewed(t *testing.T, i *Issuer, client string) (used string, now Pair) {
	t.Helper()
	pair, err := i.Issue(t.Context(), Subject{Client: client}, site, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if now, err = i.Refresh(t.Context(), pair.Refresh, site, time.Hour); err != nil {
		t.Fatal(err)
	}
	return pair.Refresh, now
}

// few is a tenth of what is remembered as a rule.
var few = limits{renewed: usual.renewed / 10, ended: usual.ended / 10, families: usual.families / 10, callers: usual.callers / 10}

// flood has a caller log in, renew and log out very often, with pauses in which the
// replicas look at the store.
func flood(t *testing.T, i *Issuer, client string, logins int, logout bool) {
	t.Helper()
	for n := range logins {
		_, pair := renewed(t, i, client)
		if logout {
			sub, err := i.Check(t.Context(), pair.Access, site)
			if err != nil {
				t.Fatal(err)
			}
			i.End(sub.Client, sub.Family)
		}
		if n%50 == 49 {
			time.Sleep(skew + time.Second)
		}
	}
	time.Sleep(skew + time.Second)
}

func TestNoNumberOfLoginsMakesAUsedRefreshTokenGoodAgain(t *testing.T) {
	for _, logout := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			store := &memory{}
			here, there := limited(t, store, few), limited(t, store, few)
			ownUsed, own := renewed(t, here, "loopback")
			othersUsed, others := renewed(t, here, "grafana")
			time.Sleep(Grace)
			flood(t, here, "loopback", 5*few.renewed, logout)
			restarted := limited(t, store, few)
			synctest.Wait()
			for what, i := range map[string]*Issuer{"here": here, "at another replica": there, "after a restart": restarted} {
				if _, err := i.CheckRefresh(t.Context(), ownUsed, site); err == nil {
					t.Errorf("%s: a used refresh token is good again", what)
				}
				if _, err := i.Check(t.Context(), others.Access, site); err != nil {
					t.Errorf("%s: the access token of another caller: %v", what, err)
				}
				if _, err := i.CheckRefresh(t.Context(), others.Refresh, site); err != nil {
					t.Errorf("%s: the refresh token of another caller: %v", what, err)
				}
			}
			if _, err := here.CheckRefresh(t.Context(), own.Refresh, site); !logout && !errors.Is(err, ErrForgotten) {
				t.Errorf("a login that is not remembered: %v", err)
			}
			if _, err := restarted.Refresh(t.Context(), othersUsed, site, 0); !errors.Is(err, ErrReused) {
				t.Errorf("the used refresh token of another caller: %v", err)
			}
			// The caller itself goes on with what it gets now.
			_, next := renewed(t, there, "loopback")
			time.Sleep(2 * watchEvery)
			refresh(t, here, next)
		})
	}
}

func TestLoginsAloneAreNotRemembered(t *testing.T) {
	store := &memory{}
	i := New(NewKeys(store))
	for range 2 * usual.renewed {
		issued(t, i)
	}
	if own := i.ledger.unpublished(); len(own) != 0 || i.rotations.Len() != 0 {
		t.Errorf("%d segments and %d families", len(own), i.rotations.Len())
	}
	if store.stores != 1 { // the key
		t.Errorf("%d writes", store.stores)
	}
}

// entries counts what a ledger remembers, and in how many bytes the store does.
func entries(l *ledger) (families, callers int) {
	for n := range segments {
		for _, s := range []*segment{&l.stored[n], &l.pending[n]} {
			callers += len(s.Callers)
			for _, sh := range s.Callers {
				families += len(sh.Families)
			}
		}
	}
	return families, callers
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	for _, broken := range []bool{false, true} {
		for _, all := range []int{1, 100, 700} { // callers
			synctest.Test(t, func(t *testing.T) {
				store := &memory{}
				i := New(NewKeys(store))
				i.ledger.limits = limits{renewed: 20, ended: 10, families: 40, callers: 5}
				if broken {
					store.broken, store.only = errors.New("disk on fire"), IndexPath
				}
				w := &watcher{store: store, ledger: &i.ledger}
				for n := range 20_000 {
					c := &claims{Family: fmt.Sprint("family ", n), Number: 1, Made: time.Now().UnixMilli(), Use: useRefresh}
					c.Subject = fmt.Sprint("caller ", n%all)
					_ = i.ledger.use(c, time.Now())
					if n%3 == 0 {
						i.ledger.end(c.Subject, c.Family)
					}
					if n%1000 == 0 {
						time.Sleep(time.Minute)
						if err := w.look(t.Context()); (err != nil) != broken {
							t.Fatal(err)
						}
					}
				}
				_ = w.look(t.Context())
				families, callers := entries(&i.ledger)
				if most := segments * i.ledger.limits.families; families > 3*most || !broken && families > most {
					t.Errorf("%d families of %d callers are remembered", families, all)
				}
				if most := i.ledger.limits.renewed + i.ledger.limits.ended; !broken && all == 1 && families > most {
					t.Errorf("%d families of one caller are remembered", families)
				}
				if most := segments * i.ledger.limits.callers; !broken && callers > most {
					t.Errorf("%d callers are remembered", callers)
				}
				for path, text := range store.data {
					if len(text) > 10_000 {
						t.Errorf("%s has %d bytes", path, len(text))
					}
				}
			})
		}
	}
}

func TestWhoHasTheMostMakesRoom(t *testing.T) {
	now, s := time.Now(), new(segment)
	for n := range 100 {
		for caller := range 4 {
			s.share(fmt.Sprint("loud ", caller)).Families[fmt.Sprint(n)] = record{Used: 1, At: now.UnixMilli()}
		}
	}
	for n := range 3 { // of long ago
		s.share("quiet").Families[fmt.Sprint(n)] = record{Used: 1, At: now.Add(-time.Hour).UnixMilli()}
	}
	s.tidy(now, limits{renewed: 50, ended: 50, families: 40, callers: 10})
	if quiet := s.Callers["quiet"]; quiet == nil || len(quiet.Families) != 3 || quiet.floors != (floors{}) {
		t.Errorf("of the caller with few logins there is %+v", quiet)
	}
}

func TestOnlyWhatHasChangedIsRead(t *testing.T) {
	store := &memory{}
	here, there := New(NewKeys(store)), New(NewKeys(store))
	watchers := []*watcher{{store: store, ledger: &here.ledger}, {store: store, ledger: &there.ledger}}
	look := func(n int) (loads int) {
		before := store.loads
		if err := watchers[n].look(t.Context()); err != nil {
			t.Fatal(err)
		}
		return store.loads - before
	}
	for n := range 200 { // in all segments
		here.ledger.end(fmt.Sprint("caller ", n), "family")
	}
	look(0)
	look(1)
	if loads := look(1); loads != 1 { // the index
		t.Errorf("%d reads where nothing has changed", loads)
	}
	here.ledger.end("caller 1", "another family")
	look(0)
	if loads := look(1); loads != 2 {
		t.Errorf("%d reads where one record has changed", loads)
	}
}

// fact is something that makes tokens of a family bad: a use of the refresh token
// with a number, or, for number 0, the end.
type fact struct {
	caller, family string
	number         int64
	at             time.Time
}

// model is what is true of a few families, and which replica must know of what.
type model struct {
	made  map[string][]int64 // of the refresh tokens of a family, by number - 1
	owner map[string]string
	facts []fact
	knows []map[int]bool // by replica and number of the fact
	store map[int]bool
}

func (m *model) add(f fact, replica int) {
	m.knows[replica][len(m.facts)] = true
	m.facts = append(m.facts, f)
}

func copyFacts(to, from map[int]bool) {
	for n := range from {
		to[n] = true
	}
}

func (m *model) token(family string, number int64, use string) *claims {
	c := &claims{Family: family, Number: number, Made: m.made[family][number-1], Use: use}
	c.Subject = m.owner[family]
	return c
}

// Replicas with tiny memories, in any order of logins, renewals, logouts, exchanges
// with the store and restarts: what a replica must know to be bad is never good.
func TestWhatHasEndedOrWasUsedIsNeverGoodAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store, clock := &memory{}, time.Now()
		now := func() time.Time { return clock }
		const replicas = 3
		ledgers, watchers := make([]*ledger, replicas), make([]*watcher, replicas)
		m := &model{made: map[string][]int64{}, owner: map[string]string{}, store: map[int]bool{}}
		start := func(n int) {
			ledgers[n] = &ledger{limits: limits{renewed: 3, ended: 2, families: 6, callers: 2}, now: now}
			watchers[n] = &watcher{store: store, ledger: ledgers[n]}
			if err := watchers[n].look(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		for n := range replicas {
			start(n)
			m.knows = append(m.knows, map[int]bool{})
		}
		look := func(n int) {
			if err := watchers[n].look(context.Background()); err != nil {
				t.Fatal(err)
			}
			copyFacts(m.store, m.knows[n])
			copyFacts(m.knows[n], m.store)
		}
		var families []string
		// All in one segment, as otherwise nobody would be pushed out.
		var callers []string
		for n := 0; len(callers) < 4; n++ {
			if name := fmt.Sprint("caller ", n); segmentOf(name) == 0 {
				callers = append(callers, name)
			}
		}
		check := func() {
			for n, l := range ledgers {
				for k := range m.knows[n] {
					f := m.facts[k]
					switch {
					case f.number == 0:
						for number := range m.made[f.family] {
							for _, use := range []string{useAccess, useRefresh} {
								if c := m.token(f.family, int64(number)+1, use); c.Made <= f.at.UnixMilli() && l.judge(c) == nil {
									t.Fatalf("replica %d: %s has ended, its %s token %d is good", n, f.family, use, number+1)
								}
							}
						}
					case clock.Sub(f.at) >= Grace+time.Second:
						if l.check(m.token(f.family, f.number, useRefresh)) == nil {
							t.Fatalf("replica %d: %s: the used token %d is good", n, f.family, f.number)
						}
					}
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"login": func(t *rapid.T) {
				family := fmt.Sprint("family ", len(families))
				families = append(families, family)
				m.owner[family], m.made[family] = rapid.SampledFrom(callers).Draw(t, "caller"), []int64{clock.UnixMilli()}
			},
			"renew": func(t *rapid.T) {
				if len(families) == 0 {
					t.Skip()
				}
				family, n := rapid.SampledFrom(families).Draw(t, "family"), rapid.IntRange(0, replicas-1).Draw(t, "replica")
				number := int64(rapid.IntRange(1, len(m.made[family])).Draw(t, "number"))
				c := m.token(family, number, useRefresh)
				if ledgers[n].use(c, clock) == nil {
					m.add(fact{m.owner[family], family, number, clock}, n)
					if int(number) == len(m.made[family]) {
						m.made[family] = append(m.made[family], max(clock.UnixMilli(), c.Made))
					}
				}
			},
			"logout": func(t *rapid.T) {
				if len(families) == 0 {
					t.Skip()
				}
				family, n := rapid.SampledFrom(families).Draw(t, "family"), rapid.IntRange(0, replicas-1).Draw(t, "replica")
				ledgers[n].end(m.owner[family], family)
				m.add(fact{m.owner[family], family, 0, clock}, n)
			},
			"publish": func(t *rapid.T) { look(rapid.IntRange(0, replicas-1).Draw(t, "replica")) },
			"restart": func(t *rapid.T) {
				n := rapid.IntRange(0, replicas-1).Draw(t, "replica")
				if err := watchers[n].publish(context.Background(), ledgers[n].unpublished()); err != nil {
					t.Fatal(err)
				}
				copyFacts(m.store, m.knows[n])
				start(n)
				m.knows[n] = map[int]bool{}
				copyFacts(m.knows[n], m.store)
			},
			"wait": func(t *rapid.T) {
				clock = clock.Add(time.Duration(rapid.IntRange(1, 100).Draw(t, "ms")) * time.Millisecond)
			},
			"wait long": func(t *rapid.T) { // each looks twice a second
				for range 2 {
					for n := range replicas {
						look(n)
					}
				}
				clock = clock.Add(time.Duration(rapid.IntRange(1, 60_000).Draw(t, "ms")) * time.Millisecond)
			},
			"": func(*rapid.T) { check() },
		})
	})
}

func TestSharesHoldWhatEachCallerMayHaveAndNoMore(t *testing.T) {
	s := newShares[string, int](3, 10)
	for n, caller := range []string{"one", "most", "two", "most", "two", "most"} {
		s.add(caller, fmt.Sprint(n), n)
	}
	if most := s.largest(); most == nil || most.Len() != 3 {
		t.Fatalf("the largest share is %v", most)
	}
	s = newShares[string, int](3, 10)
	s.add("quiet", "q", 1)
	for n := range 1000 {
		s.add("loud", fmt.Sprint("l", n), n)
	}
	if _, ok := s.get("q"); !ok || s.len() != 4 {
		t.Errorf("%v, %d entries", ok, s.len())
	}
	for n := range 50 { // others, that fill the table
		s.add(fmt.Sprint("other", n), fmt.Sprint("o", n), n)
	}
	if s.len() != 10 || len(s.callers) > 10 {
		t.Errorf("%d entries of %d callers", s.len(), len(s.callers))
	}
	s = newShares[string, int](3, 10)
	s.add("a", "k", 1)
	s.add("b", "k", 2)
	if v, ok := s.take("k"); !ok || v != 2 {
		t.Errorf("%d, %v", v, ok)
	}
	if _, ok := s.take("k"); ok || s.len() != 0 || len(s.callers) != 0 {
		t.Errorf("it was taken twice, or %d, %d are left", s.len(), len(s.callers))
	}
}

func TestOneCallersCodesDoNotPushOutAnothers(t *testing.T) {
	i := New(NewKeys(&memory{}))
	mine := i.Code(grafana, site)
	for range 10 * maxCodes {
		i.Code(Subject{Client: "loopback"}, site)
	}
	if sub, err := i.Redeem(mine, site); err != nil || sub != grafana {
		t.Errorf("%+v, %v", sub, err)
	}
}

func TestOneCallersAdoptedTokensDoNotPushOutAnothers(t *testing.T) {
	i := New(NewKeys(&memory{}))
	end := time.Now().Add(time.Hour)
	i.Adopt("mine", Subject{Client: "passthrough:a", Family: "f"}, site, end)
	for n := range 2 * maxAdopted {
		i.Adopt(fmt.Sprint("theirs ", n), Subject{Client: "passthrough:b", Family: "g"}, site, end)
	}
	if sub, err := i.Check(t.Context(), "mine", site); err != nil || sub.Client != "passthrough:a" {
		t.Errorf("%+v, %v", sub, err)
	}
}

func TestALoginEndsHoweverOftenItIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := New(NewKeys(&memory{}))
		for what, until := range map[string]time.Duration{"by default": DefaultMaxLifetime, "as said": 3*time.Hour + time.Minute} {
			sub, began := grafana, time.Now()
			if what != "by default" {
				sub.Until = began.Add(until)
			}
			pair, err := i.Issue(t.Context(), sub, site, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			for err == nil {
				last := pair
				time.Sleep(max(min(pair.Lifetime, 23*time.Hour)-time.Second, time.Second))
				if pair, err = i.Refresh(t.Context(), pair.Refresh, site, 24*time.Hour); err != nil {
					pair = last
				} else if time.Since(began) >= until {
					t.Fatalf("%s: renewed after %v", what, time.Since(began))
				}
			}
			if after := time.Since(began); !errors.Is(err, ErrExpired) || after > until || after < until-24*time.Hour {
				t.Errorf("%s: after %v: %v", what, after, err)
			}
			time.Sleep(until - time.Since(began))
			if _, err := i.CheckRefresh(t.Context(), pair.Refresh, site); !errors.Is(err, ErrExpired) {
				t.Errorf("%s: the last refresh token: %v", what, err)
			}
			if _, err := i.Check(t.Context(), pair.Access, site); !errors.Is(err, ErrExpired) {
				t.Errorf("%s: the last access token: %v", what, err)
			}
		}
		sub := grafana
		sub.Until = time.Now().Add(-time.Second)
		if _, err := i.Issue(t.Context(), sub, site, time.Hour); !errors.Is(err, ErrExpired) {
			t.Errorf("a login that is over: %v", err)
		}
		if _, err := i.Redeem(i.Code(sub, site), site); !errors.Is(err, ErrExpired) {
			t.Errorf("a code of a login that is over: %v", err)
		}
		sub.Family = "family"
		longer, err := i.sign(t.Context(), sub, site, useAccess, 0, time.Now(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := i.Check(t.Context(), longer, site); !errors.Is(err, ErrExpired) {
			t.Errorf("a token with an expiry after the end of its login is accepted: %v", err)
		}
	})
}

func FuzzReadRecords(f *testing.F) {
	for _, seed := range []string{
		"", "null", "{}", "[1]", `{"callers":null}`, `{"callers":{"a":null}}`, `{"callers":{"a":{"families":{"f":{"n":1,"at":2}}}}}`,
		`{"callers":{"a":{"families":{"f":{"n":-1,"at":-9223372036854775808,"ended":true}},"used":9223372036854775807}},"others":{"ended":1}}`,
		`["a"]`, `{"callers":{"":{}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := readIndex(text); err == nil && len(text) < segments*3 && text != nil {
			t.Fatalf("%q is no index", text)
		}
		s, err := readSegment(text)
		if err != nil {
			return
		}
		other := s.clone()
		s.absorb(other)
		s.tidy(time.Now(), usual)
		again, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := readSegment(again); err != nil {
			t.Fatalf("%q has become %q: %v", text, again, err)
		}
		l := &ledger{limits: usual, now: time.Now}
		l.published(segmentOf("a"), s, nil)
		c := &claims{Family: "f", Number: 1, Made: 1, Use: useRefresh}
		c.Subject = "a"
		_, _ = l.check(c), l.use(c, time.Now())
		l.end("a", "f")
	})
}

// counting is a store that counts the bytes that are read and written.
type counting struct {
	memory
	read, written int64
}

func (c *counting) Load(ctx context.Context, key string) ([]byte, error) {
	text, err := c.memory.Load(ctx, key)
	c.read += int64(len(text))
	return text, err
}

func (c *counting) Store(ctx context.Context, key string, value []byte) error {
	c.written += int64(len(value))
	return c.memory.Store(ctx, key, value)
}

// What a look at the store costs after 100,000 logouts of ten callers: when nothing
// has changed, and when somebody has logged out since.
func BenchmarkLookAfterAHundredThousandLogouts(b *testing.B) {
	prepare := func(b *testing.B) (*counting, *Issuer, *watcher) {
		store := &counting{}
		i := New(NewKeys(store))
		w := &watcher{store: store, ledger: &i.ledger}
		for n := range 100_000 {
			i.End(fmt.Sprint("client ", n%10), fmt.Sprintf("%026d", n))
			if n%1000 == 999 {
				if err := w.look(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		}
		runtime.GC()
		store.read, store.written = 0, 0
		b.ReportAllocs()
		b.ResetTimer()
		return store, i, w
	}
	report := func(b *testing.B, store *counting) {
		total := 0
		for _, text := range store.data {
			total += len(text)
		}
		b.ReportMetric(float64(store.read)/float64(b.N), "read-B/op")
		b.ReportMetric(float64(store.written)/float64(b.N), "written-B/op")
		b.ReportMetric(float64(total), "stored-B")
	}
	b.Run("unchanged", func(b *testing.B) {
		store, _, w := prepare(b)
		for range b.N {
			if err := w.look(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		report(b, store)
	})
	b.Run("a logout", func(b *testing.B) {
		store, i, w := prepare(b)
		for n := range b.N {
			i.End("client 3", fmt.Sprintf("x%025d", n))
			if err := w.look(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		report(b, store)
	})
}
