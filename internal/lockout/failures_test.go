// The lock-out budget while something fails: the store, the network, a process, a clock.

package lockout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/test/harness/memorystore"
)

var errBroken = errors.New("the store is broken")

// breaks has the calls of a process fail, all or those with a name, to store a value those
// for tries.
func breaks(p *memorystore.Process, name string) {
	p.Break(func(call, key string) error {
		if name == "" || call == name && (call != "Store" || strings.Contains(key, "/tries/")) {
			return errBroken
		}
		return nil
	})
}

// repairs ends that, and waits until the store is used again.
func repairs(p *memorystore.Process) {
	breaks(p, "none")
	time.Sleep(awayFor + time.Second)
}

func with(sh *sealed.Store, credential string) TryOptions {
	return TryOptions{Limit: twoInQuarter, Credential: credential, Shared: sh}
}

// begin begins a try that nothing may prevent or delay.
func begin(t *testing.T, b *Tries, options TryOptions) *Try {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	y, err := b.Begin(ctx, options)
	if err != nil || time.Since(began) > 0 {
		t.Fatalf("waited %v: %v", time.Since(began), err)
	}
	return y
}

// leaves checks how many tries another process finds.
func leaves(t *testing.T, storage *memorystore.Storage, credential string, want int) {
	t.Helper()
	b := tries()
	b.Look(t.Context(), over(storage.Process()))
	if got := b.Budget(twoInQuarter, credential); got.Left != want {
		t.Errorf("%s has %+v, want %d left", credential, got, want)
	}
}

func TestBudget_ARecordCountsThatCanBeReadOnly(t *testing.T) {
	for _, call := range []string{"Store", "Lock", "Unlock"} {
		synctest.Test(t, func(t *testing.T) {
			var storage memorystore.Storage
			for range 2 {
				if err := refuse(t, tries(), with(over(storage.Process()), "wrong")); err != nil {
					t.Fatal(err)
				}
			}
			process := storage.Process() // after a restart
			breaks(process, call)
			b, sh := tries(), over(process)
			for range 3 {
				if err := refuse(t, b, with(sh, "wrong")); err == nil {
					t.Errorf("%s fails: a third try", call)
				}
			}
		})
	}
}

func TestBudget_ASuccessDoesNotEndWhatTheServerMayRefuseAfterwards(t *testing.T) {
	for name, outcome := range map[string]Outcome{"refused": OutcomeRefused, "unanswered": OutcomeUnknown, "killed": -1} {
		synctest.Test(t, func(t *testing.T) {
			var storage memorystore.Storage
			sh := over(storage.Process())
			b := tries()
			right, wrong := begin(t, b, with(sh, "right")), begin(t, tries(), with(over(storage.Process()), "wrong"))
			time.Sleep(time.Second)
			if outcome == OutcomeRefused { // and then the answer for the right one arrives
				wrong.End(t.Context(), outcome)
			}
			right.End(t.Context(), OutcomeAccepted)
			if outcome == OutcomeUnknown {
				wrong.End(t.Context(), outcome)
			}
			time.Sleep(sendingFor)
			t.Log(name)
			leaves(t, &storage, "wrong", 1)
			leaves(t, &storage, "right", 1)
			begin(t, b, with(sh, "right")).End(t.Context(), OutcomeAccepted)
			leaves(t, &storage, "wrong", 2)
		})
	}
}

func TestBudget_WhatAProcessLearnsWithoutItsStoreIsStoredAfterwards(t *testing.T) {
	for _, tt := range []struct {
		before  Outcome // of the secret
		without Outcome
		left    int // after two more logins without an answer
	}{
		{OutcomeUncounted, OutcomeAccepted, 2},
		{OutcomeUncounted, OutcomeUncounted, 0},
		{OutcomeAccepted, OutcomeRefused, 0},
		{OutcomeAccepted, OutcomeAccepted, 2},
		{OutcomeAccepted, OutcomeUnknown, 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			var storage memorystore.Storage
			process := storage.Process()
			b, sh := tries(), over(process)
			begin(t, b, with(sh, "one")).End(t.Context(), tt.before)
			y := begin(t, b, with(sh, "one"))
			breaks(process, "")
			y.End(t.Context(), tt.without)
			repairs(process)
			if tt.without == OutcomeRefused { // only one of the next two is sent, and nobody waits
				begin(t, b, with(sh, "one")).End(t.Context(), OutcomeUnknown)
				began := time.Now()
				if err := refuse(t, b, with(sh, "one")); err == nil || time.Since(began) > 0 {
					t.Errorf("after %v: %v", time.Since(began), err)
				}
			} else {
				for range 2 {
					begin(t, b, with(sh, "one")).End(t.Context(), OutcomeUnknown)
				}
			}
			if got := b.Budget(twoInQuarter, "one"); got.Left != tt.left {
				t.Errorf("%v, then %v: %+v", tt.before, tt.without, got)
			}
			leaves(t, &storage, "one", tt.left)
		})
	}
}

func TestBudget_ARefusalWithoutTheStoreOutlivesTheNextSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var storage memorystore.Storage
		process := storage.Process()
		b, sh := tries(), over(process)
		begin(t, b, with(sh, "old")).End(t.Context(), OutcomeAccepted)
		breaks(process, "")
		begin(t, b, with(sh, "old")).End(t.Context(), OutcomeRefused)
		begin(t, b, with(sh, "new")).End(t.Context(), OutcomeAccepted)
		repairs(process)
		for range 2 {
			begin(t, b, with(sh, "old")).End(t.Context(), OutcomeUnknown)
		}
		leaves(t, &storage, "old", 0)
		leaves(t, &storage, "new", 1) // the additional one
	})
}

func TestBudget_ARefusalElsewhereOutlivesASuccessThatIsStoredLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var storage memorystore.Storage
		process := storage.Process()
		b, sh := tries(), over(process)
		y := begin(t, b, with(sh, "one"))
		breaks(process, "")
		y.End(t.Context(), OutcomeAccepted)
		time.Sleep(sendingFor)
		begin(t, tries(), with(over(storage.Process()), "one")).End(t.Context(), OutcomeRefused)
		repairs(process)
		begin(t, b, with(sh, "one")).End(t.Context(), OutcomeUnknown)
		leaves(t, &storage, "one", 0)
	})
}

// Nobody knows that the first process has ended: it was on another machine.
func TestBudget_ASuccessEndsTheWaitForTheSameCredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var storage memorystore.Storage
		for range 2 {
			begin(t, tries(), with(over(storage.Process()), "right"))
		}
		sh := over(storage.Process())
		forced := with(sh, "right")
		forced.Force = true
		begin(t, tries(), forced).End(t.Context(), OutcomeAccepted)
		begin(t, tries(), with(sh, "right"))
		leaves(t, &storage, "right", 1)
	})
}

// The clock of who succeeds may be right or ahead.
func TestBudget_ASuccessElsewhereEndsWhatWasBefore(t *testing.T) {
	for _, ahead := range []time.Duration{0, time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			var storage memorystore.Storage
			process := storage.Process()
			b, sh := tries(), over(process)
			for range 2 {
				begin(t, b, with(sh, "wrong")).End(t.Context(), OutcomeRefused)
			}
			time.Sleep(time.Second)
			apart := sealed.New(sealed.Options{Keys: func() (sealed.Sealer, error) { return behind{by: -ahead}, nil }})
			apart.Attach(storage.Process())
			forced := with(apart, "right")
			forced.Force = true
			begin(t, tries(), forced).End(t.Context(), OutcomeAccepted)

			// And not what was afterwards, even if it cannot be stored.
			time.Sleep(time.Second)
			breaks(process, "Store")
			sent := 0
			for range 10 {
				if refuse(t, b, with(sh, "wrong")) == nil {
					sent++
				}
				time.Sleep(awayFor + time.Second)
			}
			repairs(process)
			if refuse(t, b, with(sh, "wrong")) == nil {
				sent++
			}
			if sent != 2 {
				t.Errorf("by a clock that is %v ahead: %d were sent after the success", ahead, sent)
			}
		})
	}
}

// What a process has sent without its store is not before a success of which it hears later.
func TestBudget_ASuccessByAClockThatIsAheadLeavesWhatIsStoredLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var storage memorystore.Storage
		process := storage.Process()
		b, sh := tries(), over(process)
		begin(t, b, with(sh, "wrong")).End(t.Context(), OutcomeRefused)
		apart := sealed.New(sealed.Options{Keys: func() (sealed.Sealer, error) { return behind{by: -time.Hour}, nil }})
		apart.Attach(storage.Process())
		time.Sleep(time.Second)
		begin(t, tries(), with(apart, "right")).End(t.Context(), OutcomeAccepted)
		time.Sleep(time.Second)
		breaks(process, "")
		begin(t, b, with(sh, "wrong")).End(t.Context(), OutcomeRefused)
		repairs(process)
		begin(t, b, with(sh, "wrong")).End(t.Context(), OutcomeRefused)
		if refuse(t, b, with(sh, "wrong")) == nil {
			t.Error("a third try since the success")
		}
	})
}

// Another process has a clock that is behind: its tries look older than they are.
func TestBudget_ATryThatLooksOlderThanTheLastLookCountsFromNowOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var storage memorystore.Storage
		b, sh := tries(), over(storage.Process())
		apart := sealed.New(sealed.Options{Keys: func() (sealed.Sealer, error) { return behind{by: 20 * time.Minute}, nil }})
		apart.Attach(storage.Process())
		begin(t, b, with(sh, "right")).End(t.Context(), OutcomeAccepted)
		time.Sleep(10 * time.Minute)
		for range 2 {
			begin(t, tries(), with(apart, "wrong")).End(t.Context(), OutcomeRefused)
		}
		for range 15 {
			if refuse(t, b, with(sh, "wrong")) == nil {
				t.Error("a third try")
			}
			time.Sleep(time.Minute)
		}
		begin(t, b, with(sh, "wrong"))
	})
}

func TestBudget_TriesComeBackAfterAClockWasPutBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := tries()
		for range 2 {
			begin(t, b, with(nil, "wrong")).End(t.Context(), OutcomeRefused)
		}
		for _, list := range [][]try{b.own, b.seen} { // by three hours
			for i := range list {
				list[i].At = list[i].At.Add(3 * time.Hour)
			}
		}
		for range 15 {
			if refuse(t, b, with(nil, "wrong")) == nil {
				t.Error("a third try")
			}
			time.Sleep(time.Minute)
		}
		begin(t, b, with(nil, "wrong"))
	})
}

// Another storage after a reload has a past of its own.
func TestBudget_AnotherStoreGivesNoMoreTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var one, other memorystore.Storage
		b := tries()
		begin(t, tries(), with(over(other.Process()), "right")).End(t.Context(), OutcomeAccepted)
		time.Sleep(time.Second)
		for range 2 {
			begin(t, b, with(over(one.Process()), "wrong")).End(t.Context(), OutcomeRefused)
		}
		if refuse(t, b, with(over(other.Process()), "wrong")) == nil {
			t.Error("a third try")
		}
		leaves(t, &other, "wrong", 0)
	})
}

// Another process, with another clock, learns that a secret is right of which this one has
// heard nothing.
func TestBudget_WhatHadNoAnswerDoesNotCountOnceTheCredentialIsAccepted(t *testing.T) {
	for _, by := range []time.Duration{-time.Hour, -time.Second, 0, time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			var storage memorystore.Storage
			b, sh := tries(), over(storage.Process())
			for range 2 {
				begin(t, b, with(sh, "right")).End(t.Context(), OutcomeUnknown)
			}
			apart := sealed.New(sealed.Options{Keys: func() (sealed.Sealer, error) { return behind{by: by}, nil }})
			apart.Attach(storage.Process())
			forced := with(apart, "right")
			forced.Force = true
			if err := end(tries(), forced, OutcomeAccepted); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				begin(t, b, with(sh, "right")).End(t.Context(), OutcomeUnknown)
			}
		})
	}
}

func TestBudget_CountsFromTheEndOfARequestWithoutAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := tries()
		y := begin(t, b, with(nil, "wrong"))
		time.Sleep(20 * time.Second)
		y.End(t.Context(), OutcomeUnknown)
		if got := b.Budget(twoInQuarter, "wrong"); time.Until(got.Until) != twoInQuarter.Window {
			t.Errorf("%v", got.Until)
		}
	})
}

// Twelve processes that start at once, with a store so slow that most wait more than a second
// for their turn.
func TestBudget_LoginsAtOnceWithAWrongSecretWaitForTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		storage := memorystore.Storage{Takes: func() time.Duration { return 20 * time.Millisecond }}
		sent := make(chan bool)
		for range 12 {
			b, sh := tries(), over(storage.Process())
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				y, err := b.Begin(ctx, with(sh, "wrong"))
				if err == nil {
					y.End(ctx, OutcomeRefused)
				}
				sent <- err == nil
			}()
		}
		n := 0
		for range 12 {
			if <-sent {
				n++
			}
		}
		if n != 2 {
			t.Errorf("%d were sent", n)
		}
	})
}

// A clock that is ahead has put its success after what the server has refused since.
func TestBudget_ASuccessByAClockThatIsAheadEndsNothingThatIsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var storage memorystore.Storage
		apart := sealed.New(sealed.Options{Keys: func() (sealed.Sealer, error) { return behind{by: -5 * time.Second}, nil }})
		apart.Attach(storage.Process())
		ahead, first, second := tries(), tries(), tries()
		firstStore, secondStore := over(storage.Process()), over(storage.Process())
		for b, sh := range map[*Tries]*sealed.Store{first: firstStore, second: secondStore, ahead: apart} {
			begin(t, b, with(sh, "right")).End(t.Context(), OutcomeAccepted)
		}
		time.Sleep(time.Minute)
		begin(t, ahead, with(apart, "right")).End(t.Context(), OutcomeAccepted)
		time.Sleep(time.Second)
		for range 2 {
			if err := refuse(t, first, with(firstStore, "wrong")); err != nil {
				t.Fatal(err)
			}
		}
		for range 10 {
			time.Sleep(time.Second)
			for b, sh := range map[*Tries]*sealed.Store{first: firstStore, second: secondStore, ahead: apart} {
				if err := refuse(t, b, with(sh, "wrong")); err == nil {
					t.Error("a third try")
				}
			}
		}
	})
}

// One that is ahead writes the time of a try again and again.
func TestBudget_ATryDoesNotBecomeYoungerByAClockThatDiffers(t *testing.T) {
	for _, by := range []time.Duration{-3 * time.Hour, 3 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			var storage memorystore.Storage
			apart := sealed.New(sealed.Options{Keys: func() (sealed.Sealer, error) { return behind{by: by}, nil }})
			apart.Attach(storage.Process())
			processes, stores := []*Tries{tries(), tries()}, []*sealed.Store{over(storage.Process()), apart}
			for i := range 2 {
				begin(t, processes[i], with(stores[i], "right")).End(t.Context(), OutcomeAccepted)
			}
			for range 2 {
				if err := refuse(t, processes[1], with(apart, "wrong")); err != nil {
					t.Fatal(err)
				}
			}
			for range 15 {
				for i := range 2 {
					if err := refuse(t, processes[i], with(stores[i], "wrong")); err == nil {
						t.Fatal("a third try")
					}
				}
				time.Sleep(time.Minute)
			}
			time.Sleep(time.Second)
			if err := refuse(t, processes[0], with(stores[0], "wrong")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBudget_StaysSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var storage memorystore.Storage
		process := storage.Process()
		b, sh := tries(), over(process)
		check := func() {
			t.Helper()
			if len(b.own) > maxTries+1 || len(b.seen) > maxTries+1 || len(b.over) > maxTries || len(b.unstored) > 256 {
				t.Fatalf("%d own, %d seen, %d over, %d unstored", len(b.own), len(b.seen), len(b.over), len(b.unstored))
			}
		}
		outcomes := []Outcome{OutcomeRefused, OutcomeUnknown, OutcomeUncounted}
		for i := range 900 {
			switch i {
			case 300:
				breaks(process, "")
			case 600:
				repairs(process)
			}
			forced := with(sh, fmt.Sprint("wrong ", i))
			forced.Force = true
			if err := end(b, forced, outcomes[i%3]); err != nil {
				t.Fatal(err)
			}
			check()
		}
		at, err := b.recordKey(sh)
		if err != nil {
			t.Fatal(err)
		}
		text, err := process.Load(t.Context(), at.Key)
		if err != nil || len(text) > 32<<10 {
			t.Errorf("the record has %d bytes, %v", len(text), err)
		}
		if got := b.Budget(Limit{Tries: 100, Window: time.Hour}, "wrong"); got.Left != 0 {
			t.Errorf("%+v", got)
		}
	})
}

func TestBudget_ReadsRecordsOfOtherVersions(t *testing.T) {
	sum := checksum("wrong")
	for name, record := range map[string]string{
		"a mark":   fmt.Sprintf(`{"tries": [{"id": "a", "at": %%[1]q, "mark": %d}, {"id": "b", "at": %%[1]q, "mark": %[1]d}]}`, tries().mark("wrong")),
		"no more":  fmt.Sprintf(`{"tries": [{"id": "a", "at": %%[1]q, "checksum": %d, "sending": true}, {"id": "b", "at": %%[1]q, "checksum": %[1]d}]}`, sum),
		"more":     fmt.Sprintf(`{"tries": [{"id": "a", "at": %%[1]q, "checksum": %d, "new": [1]}, {"id": "b", "at": %%[1]q, "checksum": %[1]d}], "accepted": [1, 2, 3, 4, 5, 6, 1000], "new": {}}`, sum),
		"no texts": `{"tries": [{"at": %[1]q}, {"id": "b", "at": %[1]q}]}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			var storage memorystore.Storage
			process := storage.Process()
			b, sh := tries(), over(process)
			at, err := b.recordKey(sh)
			if err != nil {
				t.Fatal(err)
			}
			made, err := json.Marshal(time.Now())
			if err != nil {
				t.Fatal(err)
			}
			text := fmt.Sprintf(record, string(made[1:len(made)-1]))
			if err := process.Store(t.Context(), at.Key, []byte(text)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(sendingFor)
			if name == "no texts" { // of which credential is not known
				if err := refuse(t, b, with(sh, "wrong")); err != nil {
					t.Error(err)
				}
			}
			if err := refuse(t, b, with(sh, "wrong")); err == nil {
				t.Errorf("%s: a third try", name)
			}
		})
	}
}
