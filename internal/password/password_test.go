package password

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// What a check takes in these tests, by the clock of the test.
const checkTakes = time.Second

// site is one with clients whose hash is their password with a cost in front.
type site struct {
	*testing.T
	*Checker

	mu       sync.Mutex
	hashes   map[string]string // by name
	compared map[string]int    // hashes, by cost
	running  int
	most     int
}

func newSite(t *testing.T, hashes map[string]string) *site {
	t.Helper()
	s := &site{T: t, hashes: hashes, compared: make(map[string]int)}
	s.Checker = New(Options{Compare: s.slow, Parallel: 1})
	// Those who still try notice in that time that the test has ended.
	t.Cleanup(func() { time.Sleep(time.Hour) })
	return s
}

func (s *site) slow(hash, password string) bool {
	cost, own, _ := strings.Cut(strings.TrimPrefix(hash, "$bcrypt$"), "$")
	s.mu.Lock()
	s.compared[cost]++
	s.running++
	s.most = max(s.most, s.running)
	s.mu.Unlock()
	time.Sleep(checkTakes)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	return own == "of "+password
}

func (s *site) checks() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, compared := range s.compared {
		n += compared
	}
	return n
}

// try says a password, and what came of it and how long it took.
func (s *site) try(name, password, source, connection string) (error, time.Duration) { //nolint:revive,staticcheck // the time is what is asked for
	var hashes []Hash
	for _, hash := range s.hashes {
		hashes = append(hashes, Hash{hash, costOf(hash)})
	}
	began := time.Now()
	err := s.Check(s.Context(), Attempt{
		Name: name, Password: password, Hash: s.hashes[name], Hashes: Costs(hashes), Source: source, Connection: connection,
	})
	return err, time.Since(began)
}

// guess guesses until ctx ends, each time another password, and never waits longer than
// pause after an answer.
func (s *site) guess(ctx context.Context, pause time.Duration, name func(i int) string, source string, connection func(i int) string) {
	for i := 0; ctx.Err() == nil; i++ {
		err, _ := s.try(name(i), fmt.Sprint("guess ", source, i), source, connection(i))
		if _, wait := errors.AsType[*WaitError](err); !wait && !errors.Is(err, ErrWrong) && s.Context().Err() == nil {
			s.Errorf("a guess: %v", err)
		}
		time.Sleep(pause)
	}
}

func (s *site) nobodyIsLeft() {
	s.Helper()
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	s.flights.mu.Lock()
	defer s.flights.mu.Unlock()
	if s.room.waiting+s.room.running+len(s.room.sources)+len(s.flights.byKey)+s.flights.joined != 0 {
		s.Errorf("somebody is left: %+v", s.room)
	}
}

func always(text string) func(int) string { return func(int) string { return text } }

func each(text string) func(int) string { return func(i int) string { return fmt.Sprint(text, i) } }

// until tries the right password each second until it succeeds, and returns how long
// that took.
func (s *site) until(name, source string, longest time.Duration) time.Duration {
	s.Helper()
	began := time.Now()
	for time.Since(began) <= longest {
		err, _ := s.try(name, "right", source, "the client's")
		if err == nil {
			return time.Since(began)
		}
		wait, ok := errors.AsType[*WaitError](err)
		if !ok {
			s.Fatalf("the right password: %v", err)
		}
		time.Sleep(min(wait.After, time.Second))
	}
	s.Fatalf("the right password was not let in for %v", time.Since(began))
	return 0
}

var oneClient = map[string]string{"grafana": "$bcrypt$14$of right"}

func TestARightPasswordIsLetInAtOnceWhileAHundredAddressesGuess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, map[string]string{"grafana": "$bcrypt$14$of right", "nightly": "$bcrypt$14$of right"})
		if err, _ := s.try("grafana", "right", "192.0.2.1", "1"); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
		defer stop()
		for i := range 100 {
			name := "grafana"
			if i%2 == 0 {
				name = fmt.Sprint("made up ", i)
			}
			go s.guess(ctx, 100*time.Millisecond, always(name), fmt.Sprint("198.51.100.", i), each("new "))
		}
		time.Sleep(time.Minute)
		before := s.checks()
		for range 60 {
			time.Sleep(time.Second)
			if err, took := s.try("grafana", "right", "192.0.2.1", "2"); err != nil || took != 0 {
				t.Fatalf("a password that is known: %v after %v", err, took)
			}
		}
		if n := s.checks() - before; n > 61 {
			t.Errorf("%d checks in a minute with one at a time", n)
		}
		// One that is not known waits for the check under way, from wherever it comes.
		for i, source := range []string{"192.0.2.1", "192.0.2.2"} {
			if took := s.until([]string{"nightly", "grafana"}[i], source, time.Minute); took > 2*checkTakes {
				t.Errorf("the first login from %s took %v", source, took)
			}
		}
		stop()
		time.Sleep(2 * patience)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.most != 1 {
			t.Errorf("%d checks at once", s.most)
		}
	})
}

func TestARightPasswordIsLetInWhereSomebodyGuesses(t *testing.T) {
	for name, guesser := range map[string]func(ctx context.Context, s *site){
		"a program repeats a stale password": func(ctx context.Context, s *site) {
			for i := 0; ctx.Err() == nil; i++ {
				_, _ = s.try("grafana", "stale", "127.0.0.1", fmt.Sprint("stale ", i))
				time.Sleep(10 * time.Millisecond)
			}
		},
		"a program guesses on one connection": func(ctx context.Context, s *site) {
			s.guess(ctx, 10*time.Millisecond, always("grafana"), "127.0.0.1", always("the guesser's"))
		},
		"fifty programs guess on their connections": func(ctx context.Context, s *site) {
			for i := range 50 {
				go s.guess(ctx, 10*time.Millisecond, always("grafana"), "127.0.0.1", always(fmt.Sprint("guesser ", i)))
			}
		},
		"a program guesses for another name": func(ctx context.Context, s *site) {
			s.guess(ctx, 10*time.Millisecond, always("nobody"), "127.0.0.1", each("new "))
		},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, oneClient)
				go guesser(t.Context(), s)
				time.Sleep(2 * time.Minute)
				if took := s.until("grafana", "127.0.0.1", time.Minute); took > 5*time.Second {
					t.Errorf("the first login took %v", took)
				}
				if err, took := s.try("grafana", "right", "127.0.0.1", "again"); err != nil || took != 0 {
					t.Errorf("the next one: %v after %v", err, took)
				}
			})
		})
	}
}

func TestAStalePasswordCostsOneCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, oneClient)
		for i := range 1000 {
			err, _ := s.try("grafana", "stale", "127.0.0.1", "1")
			wait, slow := errors.AsType[*WaitError](err)
			switch {
			case i < NameRate.Burst && !errors.Is(err, ErrWrong):
				t.Fatalf("guess %d: %v", i, err)
			case i >= NameRate.Burst && (!slow || wait.After < time.Second || wait.After > NameRate.Every):
				t.Fatalf("guess %d: %+v", i, err)
			}
		}
		if n := s.checks(); n != 1 {
			t.Errorf("%d checks", n)
		}
	})
}

func TestGuessesFromOneSourceAreSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, oneClient)
		s.compare = func(string, string) bool { s.slowly(time.Millisecond); return false }
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
		defer stop()
		for i := range 20 {
			go s.guess(ctx, 20*time.Millisecond, each("name "), "192.0.2.7", always(fmt.Sprint(i)))
		}
		<-ctx.Done()
		time.Sleep(2 * patience)
		if n := s.checks(); n < 500 || n > 600+SourceRate.Burst+1 {
			t.Errorf("%d checks in 10 minutes, want about one a second", n)
		}
	})
}

func (s *site) slowly(d time.Duration) {
	s.mu.Lock()
	s.compared[""]++
	s.mu.Unlock()
	time.Sleep(d)
}

func TestTheSamePasswordAtTheSameTimeCostsOneCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, oneClient)
		var wg sync.WaitGroup
		for i := range 60 {
			wg.Go(func() {
				if err, took := s.try("grafana", "right", "127.0.0.1", fmt.Sprint(i)); err != nil || took > checkTakes {
					t.Errorf("%v after %v", err, took)
				}
			})
		}
		wg.Wait()
		if n := s.checks(); n != 1 {
			t.Errorf("%d checks", n)
		}
	})
}

// Whether a name exists, and what its hash costs, shows neither in what is compared
// nor in the answers.
func TestEveryNameLooksAndCostsTheSame(t *testing.T) {
	hashes := map[string]string{"cheap": "$bcrypt$10$of right", "dear": "$bcrypt$14$of right", "other": "$argon2id$v=19$m=47104,t=1,p=1$c2FsdA$of"}
	answers := func(name string) (log string) {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, hashes)
			for i := range 3 * NameRate.Burst {
				err, took := s.try(name, fmt.Sprint("guess ", i/2), "192.0.2.7", "1")
				log += fmt.Sprintf("%+v %v\n", err, took)
			}
			log += fmt.Sprint(s.compared["10"], " ", s.compared["14"], " ", s.checks())
		})
		return log
	}
	want := answers("nobody")
	if !strings.HasSuffix(want, "8 8 24") {
		t.Fatal(want)
	}
	for name := range hashes {
		if got := answers(name); got != want {
			t.Errorf("%s: %s\nan unknown name: %s", name, got, want)
		}
	}
}

func TestAGoodPasswordIsForgottenInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, oneClient)
		_, _ = s.try("grafana", "right", "a", "1")
		for range 30 { // once a day
			time.Sleep(24 * time.Hour)
			_, _ = s.try("grafana", "right", "a", "1")
		}
		if n := s.checks(); n != 1 {
			t.Errorf("%d checks of a client that logs in once a day", n)
		}
		time.Sleep(GoodFor)
		_, _ = s.try("grafana", "right", "a", "1")
		if n := s.checks(); n != 2 {
			t.Errorf("%d checks after %v without a login", n, GoodFor)
		}
		s.hashes = map[string]string{"grafana": "$bcrypt$14$of changed"}
		if err, _ := s.try("grafana", "right", "a", "1"); !errors.Is(err, ErrWrong) {
			t.Errorf("the old password after a change: %v", err)
		}
		s.hashes = map[string]string{"other": "$bcrypt$14$of right"}
		if err, _ := s.try("grafana", "right", "a", "1"); !errors.Is(err, ErrWrong) {
			t.Errorf("a client that was removed: %v", err)
		}
	})
}

func TestAFloodTakesBoundedMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, oneClient)
		s.compare = func(string, string) bool { return false }
		for i := range 2 * memory {
			_, _ = s.try(fmt.Sprint("name ", i), "guess", fmt.Sprint("source ", i), fmt.Sprint("connection ", i))
		}
		for what, n := range map[string]int{
			"wrong passwords": s.wrong.Len(), "counts": s.Failures.Len(), "connections": s.connections.Len(), "sources": s.room.wrong.Len(),
		} {
			if n > memory {
				t.Errorf("%d %s are kept", n, what)
			}
		}
		s.nobodyIsLeft()
	})
}

func TestAClientThatLeavesGivesItsPlaceBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, oneClient)
		ctx, leave := context.WithCancel(t.Context())
		for i := range 40 {
			go func() {
				err := s.Check(ctx, Attempt{Name: "grafana", Password: fmt.Sprint(i % 30), Hash: oneClient["grafana"], Source: fmt.Sprint(i % 7)})
				if err == nil {
					t.Error("a wrong password was let in")
				}
			}()
		}
		time.Sleep(2500 * time.Millisecond)
		leave()
		time.Sleep(checkTakes)
		s.nobodyIsLeft()
	})
}

func TestHashesThatAreNoneOrTooDearAreRefused(t *testing.T) {
	made, err := bcrypt.GenerateFromPassword([]byte("x"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	argon := func(parameters, key string) string {
		return "$argon2id$v=19$" + parameters + "$P2nzckEdTZ3bxCiBCkRTyA$" + key
	}
	const key = "xQL3Z32eo5jKl7u5tcIsnEKObYiyNZQQf5/4sAau6Pg"
	for text, want := range map[string]error{
		string(made): nil,
		strings.Replace(string(made), "a", "y", 1): nil,
		argon("m=47104,t=1,p=1", key):              nil,
		"":                                         ErrUnknown,
		"secret":                                   ErrUnknown,
		"$2a$14$short":                             ErrUnknown,
		strings.Replace(string(made), "$04$", "$0004", 1): ErrUnknown,
		string(made)[:59] + "!":                           ErrUnknown,
		string(made) + "x":                                ErrUnknown,
		strings.Replace(string(made), "$04$", "$31$", 1):  ErrTooDear,
		argon("m=47104,t=0,p=1", key):                     ErrUnknown, // would panic
		argon("m=47104,t=1,p=0", key):                     ErrUnknown,
		argon("m=47104,t=1,p=1", ""):                      ErrUnknown, // every password has it
		argon("m=47104,t=1,p=1", "xQL3"):                  ErrUnknown,
		argon("m=4294967295,t=1,p=1", key):                ErrTooDear,
		argon("m=47104,t=4294967295,p=1", key):            ErrTooDear,
		argon("t=1,m=47104,p=1", key):                     ErrUnknown,
	} {
		if _, err := Parse(text); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("$2a$14$X3ulqf/iGxnf1k6oMZ.RZeJUoqI9PX2PM4rS5lkIKJXduLGXGPrt6")
	f.Add("$argon2id$v=19$m=47104,t=1,p=1$P2nzckEdTZ3bxCiBCkRTyA$xQL3Z32eo5jKl7u5tcIsnEKObYiyNZQQf5/4sAau6Pg")
	f.Fuzz(func(t *testing.T, text string) {
		if h, err := Parse(text); err == nil && (h.text != text || h.cost == "") {
			t.Errorf("%q: %+v", text, h)
		}
	})
}

// A proxy sends the requests of several clients on one connection.
func TestAGuessOnASharedConnectionCountsForItsSourceOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, oneClient)
		_, _ = s.try("grafana", "wrong", "192.0.2.7", "the proxy's")
		for source, want := range map[string]int{"192.0.2.7": 1, "192.0.2.8": 0} {
			a := Attempt{Site: "other", Name: "jenkins", Source: source, Connection: "the proxy's"}
			if got := s.rank(a, Counts(a.Site, a.Name, a.Source)); got != want {
				t.Errorf("%s has rank %d, not %d", source, got, want)
			}
		}
	})
}
