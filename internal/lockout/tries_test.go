// The lock-out budget: no order of tries, successes, restarts and replicas lets a
// user have more refused logins in a window than the server allows.

package lockout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/store"
	"github.com/caddy-veeam/veeam-auth/test/harness/memorystore"
)

var twoInQuarter = Limit{Tries: 2, Window: 15 * time.Minute}

// bare names and seals nothing: a sealed.Sealer for tests.
type bare struct{}

func (bare) Encrypt(plaintext, _ []byte) ([]byte, error)  { return plaintext, nil }
func (bare) Decrypt(ciphertext, _ []byte) ([]byte, error) { return ciphertext, nil }
func (bare) Name(parts ...string) string                  { return fmt.Sprint(parts) }

// over is the Store of a process with this store.
func over(storage store.Store) *sealed.Store {
	sh := sealed.New(sealed.Options{Keys: func() (sealed.Sealer, error) { return bare{}, nil }})
	sh.Attach(storage)
	return sh
}

func tries() *Tries { return NewTries("vbr", "tcp vbr01:9419", `DOM\svc`) }

// refuse makes a try that the server refuses, or reports why it must not be made.
func refuse(tb testing.TB, t *Tries, options TryOptions) error {
	tb.Helper()
	return end(t, options, OutcomeRefused)
}

func end(t *Tries, options TryOptions, outcome Outcome) error {
	y, err := t.Begin(context.Background(), options)
	if err == nil {
		y.End(context.Background(), outcome)
	}
	return err
}

func TestBudget_IsUsedUpByRefusalsAndComesBackWithTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, b := time.Now(), tries()
		wrong := TryOptions{Limit: twoInQuarter, Credential: "wrong"}
		for want := 1; want >= 0; want-- {
			if err := refuse(t, b, wrong); err != nil {
				t.Fatal(err)
			}
			if got := b.Budget(twoInQuarter, "wrong"); got.Left != want || got.Of != 2 || !got.Until.Equal(began.Add(15*time.Minute)) {
				t.Errorf("%+v, want %d left", got, want)
			}
			time.Sleep(time.Minute)
		}
		spent, ok := errors.AsType[*BudgetError](refuse(t, b, wrong))
		if !ok || spent.Sending || spent.String() != "0 of 2 tries left until "+began.Add(15*time.Minute).Format("15:04") {
			t.Errorf("got %v", spent)
		}
		time.Sleep(time.Until(spent.Until))
		if err := refuse(t, b, wrong); err != nil {
			t.Errorf("after the window: %v", err)
		}
		if err := refuse(t, b, wrong); err == nil {
			t.Error("the second of the first two still counts")
		}
	})
}

func TestBudget_AChangedSecretHasOneTryMoreAndASuccessGivesAllBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := tries()
		with := func(credential string) TryOptions { return TryOptions{Limit: twoInQuarter, Credential: credential} }
		for _, credential := range []string{"old", "old", "typo"} {
			if err := refuse(t, b, with(credential)); err != nil {
				t.Fatalf("%s: %v", credential, err)
			}
		}
		for _, credential := range []string{"old", "typo", "another"} {
			if err := refuse(t, b, with(credential)); err == nil {
				t.Errorf("%s was sent", credential)
			}
		}
		if err := end(b, TryOptions{Limit: twoInQuarter, Credential: "right", Force: true}, OutcomeAccepted); err != nil {
			t.Fatal(err)
		}
		if got := b.Budget(twoInQuarter, "old"); got.Left != 2 || !got.Until.IsZero() {
			t.Errorf("after a success: %+v", got)
		}
	})
}

func TestBudget_RequestsWithoutAnAnswerCountUnlessTheCredentialWasAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			first Outcome
			left  int
		}{{OutcomeAccepted, 2}, {OutcomeUncounted, 0}, {OutcomeRefused, 0}} {
			b, one := tries(), TryOptions{Limit: twoInQuarter, Credential: "one"}
			for _, outcome := range []Outcome{tt.first, OutcomeUnknown, OutcomeUnknown} {
				if err := end(b, one, outcome); err != nil && tt.left > 0 {
					t.Error(err)
				}
			}
			if got := b.Budget(twoInQuarter, "one"); got.Left != tt.left {
				t.Errorf("after %v: %+v", tt.first, got)
			}
		}
	})
}

func TestBudget_LoginsAtOnceWithARightSecretWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var storage memorystore.Storage
		results := make(chan error)
		const logins = 12
		for i := range logins {
			b, sh := tries(), over(storage.Process()) // a process each
			_ = i
			go func() {
				y, err := b.Begin(context.Background(), TryOptions{Limit: twoInQuarter, Credential: "right", Shared: sh})
				if err == nil {
					time.Sleep(100 * time.Millisecond)
					y.End(context.Background(), OutcomeAccepted)
				}
				results <- err
			}()
		}
		for range logins {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
	})
}

// A server that takes longer than other processes wait for an outcome.
func TestBudget_ALoginThatTakesMinutesIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var storage memorystore.Storage
		b, options := tries(), TryOptions{Limit: Limit{Tries: 1, Window: 15 * time.Minute}, Credential: "right", Shared: over(storage.Process())}
		slow, err := b.Begin(t.Context(), options)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(4 * time.Minute)
			slow.End(t.Context(), OutcomeAccepted)
		}()
		began := time.Now()
		if err := end(b, options, OutcomeAccepted); err != nil || time.Since(began) < 4*time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestBudget_AProcessThatDiesOfItsLoginHasUsedATry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var storage memorystore.Storage
		sent := 0
		for range 10 {
			process := storage.Process()
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			if _, err := tries().Begin(ctx, TryOptions{Limit: twoInQuarter, Credential: "wrong", Shared: over(process)}); err == nil {
				sent++
			}
			cancel()
			process.Kill()
			time.Sleep(20 * time.Second) // the lock that it may have left behind
		}
		if sent != 2 {
			t.Errorf("sent %d times", sent)
		}
	})
}

// A process that is killed again and again while it logs in with a secret that was good
// before: nothing says that it was refused, and nobody waits for the dead.
func TestBudget_InterruptedLoginsDoNotCountForASecretThatWasAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var storage memorystore.Storage
		n := 0
		start := func() *sealed.Store {
			n++
			sh := sealed.New(sealed.Options{
				Keys: func() (sealed.Sealer, error) { return bare{}, nil }, Process: fmt.Sprint("process ", n),
				Ended: func(process string) bool { return process != fmt.Sprint("process ", n) },
			})
			sh.Attach(storage.Process())
			return sh
		}
		interrupted := func(credential string) bool {
			t.Helper()
			began := time.Now()
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			_, err := tries().Begin(ctx, TryOptions{Limit: twoInQuarter, Credential: credential, Shared: start()})
			if waited := time.Since(began); waited > 0 {
				t.Errorf("waited %v", waited)
			}
			return err == nil
		}
		left := func(credential string) int {
			b := tries()
			b.Look(t.Context(), start())
			return b.Budget(twoInQuarter, credential).Left
		}
		if err := end(tries(), TryOptions{Limit: twoInQuarter, Credential: "good", Shared: start()}, OutcomeAccepted); err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			if !interrupted("good") {
				t.Fatalf("login %d was not sent", i)
			}
		}
		if left("good") != 2 {
			t.Errorf("%d tries left", left("good"))
		}
		// Another process of the same secret has no answer, either.
		if err := end(tries(), TryOptions{Limit: twoInQuarter, Credential: "good", Shared: start()}, OutcomeUnknown); err != nil || left("good") != 2 {
			t.Errorf("%d tries left, %v", left("good"), err)
		}
		first, second := interrupted("another"), interrupted("another")
		if !first || !second || left("another") != 0 || interrupted("another") {
			t.Errorf("%d tries left of a secret that was never accepted, sent: %v", left("another"), first && second)
		}
		// A refusal: the server may have refused those without an answer, too.
		if err := end(tries(), TryOptions{Limit: twoInQuarter, Credential: "good", Shared: start(), Force: true}, OutcomeRefused); err != nil {
			t.Fatal(err)
		}
		time.Sleep(twoInQuarter.Window + time.Second)
		first, second = interrupted("good"), interrupted("good")
		if !first || !second || left("good") != 0 || interrupted("good") {
			t.Errorf("%d tries left of a secret that was refused, sent: %v", left("good"), first && second)
		}
	})
}

// Of 257 credentials, two have the same eight bits.
func TestBudget_ACredentialIsNotGoodForTheChecksumOfAnotherOneThatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, other := "good", ""
		for i := 0; other == ""; i++ {
			if c := fmt.Sprint("other ", i); checksum(c) == checksum(good) {
				other = c
			}
		}
		b := tries()
		if err := end(b, TryOptions{Limit: twoInQuarter, Credential: good}, OutcomeAccepted); err != nil {
			t.Fatal(err)
		}
		for credential, left := range map[string]int{good: 2, other: 1} {
			if err := end(b, TryOptions{Limit: twoInQuarter, Credential: credential}, OutcomeUnknown); err != nil {
				t.Fatal(err)
			}
			if got := b.Budget(twoInQuarter, credential); got.Left != left && credential == other {
				t.Errorf("%s: %+v", credential, got)
			}
		}
	})
}

// behind is a sealed.Sealer of a process whose clock is behind that of the others.
type behind struct {
	bare
	by time.Duration
}

func (b behind) Encrypt(plaintext, _ []byte) ([]byte, error)  { return b.shift(plaintext, -b.by) }
func (b behind) Decrypt(ciphertext, _ []byte) ([]byte, error) { return b.shift(ciphertext, b.by) }

func (behind) shift(text []byte, by time.Duration) ([]byte, error) {
	var rec triesRecord
	if err := json.Unmarshal(text, &rec); err != nil {
		return nil, err
	}
	for i := range rec.Tries {
		rec.Tries[i].At = rec.Tries[i].At.Add(by)
	}
	if !rec.Reset.IsZero() {
		rec.Reset = rec.Reset.Add(by)
	}
	return json.Marshal(rec)
}

// Two processes that look at the tries every minute.
func TestBudget_ClocksThatDifferGiveNoMoreTries(t *testing.T) {
	for _, by := range []time.Duration{-3 * time.Hour, -20 * time.Minute, -time.Second, time.Second, 20 * time.Minute, 3 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			var storage memorystore.Storage
			apart := sealed.New(sealed.Options{Keys: func() (sealed.Sealer, error) { return behind{by: by}, nil }})
			apart.Attach(storage.Process())
			processes, stores := []*Tries{tries(), tries()}, []*sealed.Store{over(storage.Process()), apart}
			for i := range 2 {
				if err := end(processes[i], TryOptions{Limit: twoInQuarter, Credential: "good", Shared: stores[i]}, OutcomeAccepted); err != nil {
					t.Fatal(err)
				}
			}
			var sent []time.Time
			for minute := range 120 {
				for i := range 2 {
					i = (i + minute) % 2
					if refuse(t, processes[i], TryOptions{Limit: twoInQuarter, Credential: "wrong", Shared: stores[i]}) == nil {
						sent = append(sent, time.Now())
					}
				}
				time.Sleep(time.Minute)
			}
			for i := range sent[2:] {
				if between := sent[i+2].Sub(sent[i]); between < twoInQuarter.Window {
					t.Errorf("clocks %v apart: three in %v", by, between)
				}
			}
			if len(sent) < 8 {
				t.Errorf("clocks %v apart: %d were sent in two hours", by, len(sent))
			}
		})
	}
}

func TestBudget_AClockThatIsPutBackGivesNoMoreTries(t *testing.T) {
	for name, restart := range map[string]bool{"": false, "a restart": true} {
		synctest.Test(t, func(t *testing.T) {
			var storage memorystore.Storage
			sh := sealed.New(sealed.Options{Keys: func() (sealed.Sealer, error) { return behind{by: -10 * time.Minute}, nil }})
			sh.Attach(storage.Process())
			b, ahead := tries(), 10*time.Minute
			good, wrong := TryOptions{Limit: twoInQuarter, Credential: "good", Shared: sh}, TryOptions{Limit: twoInQuarter, Credential: "wrong", Shared: over(storage.Process())}
			if err := end(b, good, OutcomeAccepted); err != nil {
				t.Fatal(err)
			}
			// From now on the clock shows ten minutes less than at the login.
			b.reset = b.reset.Add(ahead)
			sent := 0
			for range 10 {
				if restart {
					b = tries()
				}
				if refuse(t, b, wrong) == nil {
					sent++
				}
				time.Sleep(time.Second)
			}
			if sent != 2 {
				t.Errorf("%s: %d were sent", name, sent)
			}
		})
	}
}

func TestBudget_WithoutItsStoreIsKeptInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var storage memorystore.Storage
		process := storage.Process()
		b, wrong := tries(), TryOptions{Limit: twoInQuarter, Credential: "wrong", Shared: over(process)}
		if err := refuse(t, b, wrong); err != nil {
			t.Fatal(err)
		}
		process.Kill() // the store fails from now on
		if err := refuse(t, b, wrong); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := refuse(t, b, wrong); err == nil {
			t.Error("a third try")
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// A record may be readable, and a password used at many servers. With other bits at each of
// them, a few records would be enough to guess the password.
func TestBudget_RecordsHaveEightBitsOfACredentialWhereverItIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var storage memorystore.Storage
		sh, sums := over(storage.Process()), map[byte]bool{}
		for i := range 50 {
			b := NewTries("vbr", fmt.Sprintf("tcp vbr%02d:9419", i), fmt.Sprint("svc-", i%5))
			if err := refuse(t, b, TryOptions{Limit: twoInQuarter, Credential: "reused", Shared: sh}); err != nil {
				t.Fatal(err)
			}
			at, err := b.recordKey(sh)
			if err != nil {
				t.Fatal(err)
			}
			found, err := sealed.Load[triesRecord](t.Context(), sh, at)
			if err != nil || len(found.Tries) != 1 {
				t.Fatalf("%+v, %v", found, err)
			}
			one := found.Tries[0]
			if sums[*one.Checksum] = true; one.Mark != 0 {
				t.Errorf("%+v has other bits, too", one)
			}
		}
		if len(sums) != 1 {
			t.Errorf("50 servers have %d checksums of one credential", len(sums))
		}
	})
}

// The server's own count: refused logins since the last success, in a window.
func TestBudget_Property(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limit := Limit{Tries: rapid.IntRange(1, 4).Draw(rt, "tries"), Window: 15 * time.Minute}
		steps := rapid.SliceOfN(rapid.IntRange(0, 9), 1, 80).Draw(rt, "steps")
		synctest.Test(t, func(*testing.T) {
			var storage memorystore.Storage
			processes := []*Tries{tries(), tries()}
			stores := []*sealed.Store{over(storage.Process()), over(storage.Process())}
			var refusals []time.Time
			perSecret := map[string][]time.Time{}
			recent := func(list []time.Time) (n int) {
				for _, at := range list {
					if time.Since(at) < limit.Window {
						n++
					}
				}
				return n
			}
			for i, step := range steps {
				p := i % 2
				switch {
				case step == 0:
					processes[p], stores[p] = tries(), over(storage.Process()) // a restart
				case step <= 2:
					time.Sleep(time.Duration(step*step) * 2 * time.Minute)
				case step == 3:
					if end(processes[p], TryOptions{Limit: limit, Credential: "right", Shared: stores[p]}, OutcomeAccepted) == nil {
						refusals, perSecret = nil, map[string][]time.Time{}
					}
				default:
					secret := fmt.Sprint("secret ", step%3)
					if refuse(t, processes[p], TryOptions{Limit: limit, Credential: secret, Shared: stores[p]}) == nil {
						refusals = append(refusals, time.Now())
						perSecret[secret] = append(perSecret[secret], time.Now())
					}
				}
				time.Sleep(time.Second)
				if n := recent(refusals); n > limit.Tries+1 {
					rt.Fatalf("the server has counted %d refusals of %d", n, limit.Tries)
				}
				for secret, list := range perSecret {
					if n := recent(list); n > limit.Tries {
						rt.Fatalf("%s was refused %d times of %d", secret, n, limit.Tries)
					}
				}
			}
		})
	})
}
