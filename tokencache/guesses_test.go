package tokencache

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
)

func guessFor(user string) GuessCount {
	return GuessCount{Product: "vbr", Origin: identity.Origin, User: user, Rate: ratelimit.Rate{Burst: 4, Every: 3 * time.Minute}}
}

func TestThreeProcessesGuessNoMoreThanOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k := newMemory(), newKeys(t)
		store.slow(5 * time.Millisecond)
		guess := guessFor("operator")
		var (
			mu    sync.Mutex
			tried int
			wg    sync.WaitGroup
		)
		for range 3 {
			p := start(store, k)
			for range 10 {
				wg.Go(func() {
					wait, err := p.shared.TryGuess(t.Context(), guess)
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					if wait == 0 {
						tried++
					} else if wait > guess.Rate.Every {
						t.Errorf("%v to wait", wait)
					}
				})
			}
		}
		wg.Wait()
		if tried != guess.Rate.Burst {
			t.Errorf("%d were tried", tried)
		}
		p := start(store, k) // one that has just started
		for range 5 {
			time.Sleep(guess.Rate.Every)
			for i := range 3 {
				wait, err := p.shared.TryGuess(t.Context(), guess)
				if (wait == 0) != (i == 0) || err != nil {
					t.Errorf("try %d after %v: %v %v", i, guess.Rate.Every, wait, err)
				}
			}
		}
		if wait, _ := p.shared.TryGuess(t.Context(), guessFor("another")); wait != 0 {
			t.Errorf("another user has to wait %v", wait)
		}
	})
}

func TestACredentialThatWasNotWrongDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k := newMemory(), newKeys(t)
		one, two := start(store, k), start(store, k)
		guess := guessFor("operator")
		for range 20 {
			if wait, err := one.shared.TryGuess(t.Context(), guess); wait != 0 || err != nil {
				t.Fatal(wait, err)
			}
			if err := two.shared.ReturnGuess(t.Context(), guess); err != nil {
				t.Fatal(err)
			}
		}
		if err := two.shared.ReturnGuess(t.Context(), guessFor("nobody")); err != nil {
			t.Error(err)
		}
	})
}

func TestManyUsersTakeBoundedRoomAndReleaseNoBrake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(newMemory(), newKeys(t))
		mine := guessFor("operator")
		for range mine.Rate.Burst {
			_, _ = p.shared.TryGuess(t.Context(), mine)
		}
		at, user, err := p.shared.guessesAt(mine)
		if err != nil {
			t.Fatal(err)
		}
		// As many others as fit have come meanwhile.
		err = update(t.Context(), p.shared, at, nil, func(found *guessRecord) *guessRecord {
			for i := range maxGuessUsers {
				found.Users[fmt.Sprint(i)] = ratelimit.Bucket{Full: time.Now().Add(time.Minute)}
			}
			return found
		})
		if err != nil {
			t.Fatal(err)
		}
		if wait, _ := p.shared.TryGuess(t.Context(), mine); wait == 0 {
			t.Error("the brake was released")
		}
		for i := 0; ; i++ { // another user of the same record
			other := guessFor(fmt.Sprint("other ", i))
			if there, _, _ := p.shared.guessesAt(other); there.key != at.key {
				continue
			}
			if wait, _ := p.shared.TryGuess(t.Context(), other); wait == 0 {
				t.Error("a record without room has taken one more")
			}
			time.Sleep(time.Minute)
			if wait, _ := p.shared.TryGuess(t.Context(), other); wait != 0 {
				t.Errorf("after a minute there is no room: %v", wait)
			}
			break
		}
		found, err := load[guessRecord](t.Context(), p.shared, at)
		if err != nil || len(found.Users) != 2 || found.Users[user].Full.IsZero() {
			t.Errorf("%+v %v", found, err)
		}
	})
}

func TestGuessesOfAProcessWhoseClockIsAheadEndAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(newMemory(), newKeys(t))
		guess := guessFor("operator")
		at, user, err := p.shared.guessesAt(guess)
		if err != nil {
			t.Fatal(err)
		}
		ahead := &guessRecord{Users: map[string]ratelimit.Bucket{user: {Full: time.Now().Add(1000 * time.Hour)}}}
		if err := update(t.Context(), p.shared, at, nil, func(*guessRecord) *guessRecord { return ahead }); err != nil {
			t.Fatal(err)
		}
		if wait, err := p.shared.TryGuess(t.Context(), guess); wait != guess.Rate.Every || err != nil {
			t.Errorf("%v %v", wait, err)
		}
		time.Sleep(guess.Rate.Every)
		if wait, err := p.shared.TryGuess(t.Context(), guess); wait != 0 || err != nil {
			t.Errorf("%v %v", wait, err)
		}
	})
}

func TestWithoutTheStoreAGuessIsNotCountedThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		store.breakWith(func(string) error { return errors.New("gone") })
		p := start(store, newKeys(t))
		if wait, err := p.shared.TryGuess(t.Context(), guessFor("operator")); wait != 0 || err == nil {
			t.Errorf("%v %v", wait, err)
		}
	})
}
