package tokencache

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
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
			guesses := NewGuesses(start(store, k).shared)
			for range 10 {
				wg.Go(func() {
					wait, err := guesses.Try(t.Context(), guess)
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
		guesses := NewGuesses(start(store, k).shared) // of one that has just started
		for range 5 {
			time.Sleep(guess.Rate.Every)
			for i := range 3 {
				wait, err := guesses.Try(t.Context(), guess)
				if (wait == 0) != (i == 0) || err != nil {
					t.Errorf("try %d after %v: %v %v", i, guess.Rate.Every, wait, err)
				}
			}
		}
		if wait, _ := guesses.Try(t.Context(), guessFor("another")); wait != 0 {
			t.Errorf("another user has to wait %v", wait)
		}
	})
}

func TestACredentialThatWasNotWrongDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k := newMemory(), newKeys(t)
		one, two := NewGuesses(start(store, k).shared), NewGuesses(start(store, k).shared)
		guess := guessFor("operator")
		for range 20 {
			if wait, err := one.Try(t.Context(), guess); wait != 0 || err != nil {
				t.Fatal(wait, err)
			}
			if err := two.Return(t.Context(), guess); err != nil {
				t.Fatal(err)
			}
		}
		if err := two.Return(t.Context(), guessFor("nobody")); err != nil {
			t.Error(err)
		}
	})
}

func TestManyUsersTakeBoundedRoomAndReleaseNoBrake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		guesses := NewGuesses(start(newMemory(), newKeys(t)).shared)
		mine := guessFor("operator")
		for range mine.Rate.Burst {
			_, _ = guesses.Try(t.Context(), mine)
		}
		at, user, err := guesses.recordKey(mine)
		if err != nil {
			t.Fatal(err)
		}
		// As many others as fit have come meanwhile.
		err = sealed.Update(t.Context(), guesses.store, at, nil, func(found *guessRecord) *guessRecord {
			for i := range maxGuessUsers {
				found.Users[fmt.Sprint(i)] = ratelimit.Bucket{Full: time.Now().Add(time.Minute)}
			}
			return found
		})
		if err != nil {
			t.Fatal(err)
		}
		if wait, _ := guesses.Try(t.Context(), mine); wait == 0 {
			t.Error("the brake was released")
		}
		for i := 0; ; i++ { // another user of the same record
			other := guessFor(fmt.Sprint("other ", i))
			if there, _, _ := guesses.recordKey(other); there.Key != at.Key {
				continue
			}
			if wait, _ := guesses.Try(t.Context(), other); wait == 0 {
				t.Error("a record without room has taken one more")
			}
			time.Sleep(time.Minute)
			if wait, _ := guesses.Try(t.Context(), other); wait != 0 {
				t.Errorf("after a minute there is no room: %v", wait)
			}
			break
		}
		found, err := sealed.Load[guessRecord](t.Context(), guesses.store, at)
		if err != nil || len(found.Users) != 2 || found.Users[user].Full.IsZero() {
			t.Errorf("%+v %v", found, err)
		}
	})
}

func TestGuessesOfAProcessWhoseClockIsAheadEndAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		guesses := NewGuesses(start(newMemory(), newKeys(t)).shared)
		guess := guessFor("operator")
		at, user, err := guesses.recordKey(guess)
		if err != nil {
			t.Fatal(err)
		}
		ahead := &guessRecord{Users: map[string]ratelimit.Bucket{user: {Full: time.Now().Add(1000 * time.Hour)}}}
		if err := sealed.Update(t.Context(), guesses.store, at, nil, func(*guessRecord) *guessRecord { return ahead }); err != nil {
			t.Fatal(err)
		}
		if wait, err := guesses.Try(t.Context(), guess); wait != guess.Rate.Every || err != nil {
			t.Errorf("%v %v", wait, err)
		}
		time.Sleep(guess.Rate.Every)
		if wait, err := guesses.Try(t.Context(), guess); wait != 0 || err != nil {
			t.Errorf("%v %v", wait, err)
		}
	})
}

func TestWithoutTheStoreAGuessIsNotCountedThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		store.breakWith(func(string) error { return errors.New("gone") })
		guesses := NewGuesses(start(store, newKeys(t)).shared)
		if wait, err := guesses.Try(t.Context(), guessFor("operator")); wait != 0 || err == nil {
			t.Errorf("%v %v", wait, err)
		}
	})
}
