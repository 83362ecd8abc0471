package lockout

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/test/harness/memorystore"
)

// guessers returns a function that starts processes, which share their keys: the Guesses of
// one more process with a storage.
func guessers(t *testing.T) func(storage *memorystore.Process) *Guesses {
	t.Helper()
	keys, err := sealed.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	return func(storage *memorystore.Process) *Guesses {
		s := sealed.New(sealed.Options{Keys: func() (sealed.Sealer, error) { return keys, nil }})
		s.Attach(storage)
		return NewGuesses(s)
	}
}

func guessFor(user string) GuessCount {
	return GuessCount{Product: "vbr", Origin: "https vbr01:9419", User: user, Rate: ratelimit.Rate{Burst: 4, Every: 3 * time.Minute}}
}

func TestThreeProcessesGuessNoMoreThanOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, storage := guessers(t), memorystore.Storage{Takes: func() time.Duration { return 2500 * time.Microsecond }}
		guess := guessFor("operator")
		var (
			mu    sync.Mutex
			tried int
			wg    sync.WaitGroup
		)
		for range 3 {
			guesses := start(storage.Process())
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
		guesses := start(storage.Process()) // of one that has just started
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
		start, storage := guessers(t), new(memorystore.Storage)
		one, two := start(storage.Process()), start(storage.Process())
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
		guesses := guessers(t)(new(memorystore.Storage).Process())
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
			for i := range maxUsers {
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
		guesses := guessers(t)(new(memorystore.Storage).Process())
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
		storage := new(memorystore.Storage).Process()
		storage.Break(func(string, string) error { return errors.New("gone") })
		guesses := guessers(t)(storage)
		if wait, err := guesses.Try(t.Context(), guessFor("operator")); wait != 0 || err == nil {
			t.Errorf("%v %v", wait, err)
		}
	})
}
