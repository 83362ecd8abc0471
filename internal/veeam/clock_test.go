package veeam

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestTheOffsetOfAServersClockIsRead(t *testing.T) {
	sent := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for date, want := range map[string]time.Duration{
		"Sun, 01 Mar 2026 12:00:00 GMT": 0,
		"Sun, 01 Mar 2026 12:00:02 GMT": 0,
		"Sun, 01 Mar 2026 12:01:05 GMT": 65 * time.Second,
		"Sun, 01 Mar 2026 11:58:55 GMT": -65 * time.Second,
	} {
		got, ok := readOffset(http.Header{"Date": {date}}, sent, sent.Add(time.Second))
		if !ok || (got-want).Abs() > time.Second {
			t.Errorf("%s: %v", date, got)
		}
	}
	for _, date := range []string{"", "yesterday", "Sun, 99 Mar 2026 12:00:00 GMT"} {
		if got, ok := readOffset(http.Header{"Date": {date}}, sent, sent); ok || got != 0 {
			t.Errorf("%q: %v", date, got)
		}
	}
	totp := newTOTP(t, rfcSHA1)
	for offset, want := range map[time.Duration]time.Duration{
		10 * time.Second: 10 * time.Second, time.Hour: 75 * time.Second, -time.Hour: -75 * time.Second,
	} {
		if got := totp.follow(offset); got != want {
			t.Errorf("%v: follows by %v", offset, got)
		}
	}
}

// sharedSteps is a StepStore in memory, with replicas that may lose it.
type sharedSteps struct {
	mu    sync.Mutex
	last  map[[32]byte]int64
	takes time.Duration
	once  bool // takes that long once
	err   error
}

func (s *sharedSteps) TakeStep(_ context.Context, seed [32]byte, step int64) (int64, bool, error) {
	time.Sleep(s.takes)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.once {
		s.takes = 0
	}
	if s.err != nil {
		return 0, false, s.err
	}
	if last, ok := s.last[seed]; ok && last >= step {
		return last, false, nil
	}
	s.last[seed] = step
	return 0, true, nil
}

// mfaReplica is a process that logs in with codes.
func mfaReplica(t *testing.T, server *veeamtest.Server, steps StepStore) (*Client, *Account) {
	t.Helper()
	totp, err := NewTOTP(secret.New(veeamtest.DefaultTOTPSecret))
	if err != nil {
		t.Fatal(err)
	}
	client := &Client{
		Product: lookup(t, "vspc"), Transport: server.Transport(), BaseURL: "https://veeam.test",
		TOTPLedger: &TOTPLedger{}, TOTPSteps: steps,
	}
	return client, &Account{
		Username: veeamtest.DefaultMFAUser, Password: secret.New(veeamtest.DefaultMFAPassword), TOTP: totp,
	}
}

func TestAStepThatTheStoreTookTooLongForIsNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		steps := &sharedSteps{last: map[[32]byte]int64{}, takes: 29500 * time.Millisecond, once: true}
		l, totp := &TOTPLedger{}, newTOTP(t, rfcSHA1)
		code, err := l.next(t.Context(), totp, 0, steps)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		if want, _ := totp.code(totp.step(now)); code != want || !totp.lasts(totp.step(now), now) {
			t.Error("a code of a step that is over")
		}
	})
}

func TestWithoutTheStoreOfStepsOurOwnLedgerCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		steps := &sharedSteps{err: errors.New("away")}
		l, totp := &TOTPLedger{}, newTOTP(t, rfcSHA1)
		first, err := l.next(t.Context(), totp, 0, steps)
		second, err2 := l.next(t.Context(), totp, 0, steps)
		if err != nil || err2 != nil || first == second {
			t.Errorf("%v, %v", err, err2)
		}
	})
}

func TestTheClientTellsOfTheOffset(t *testing.T) {
	server := veeamtest.New(veeamtest.VSPC, veeamtest.WithClock(func() time.Time { return time.Now().Add(40 * time.Second) }))
	c, a := mfaReplica(t, server, nil)
	var told time.Duration
	c.Clock = func(offset time.Duration) { told = offset }
	if _, err := c.Login(t.Context(), a); err != nil || (told-40*time.Second).Abs() > 2*time.Second {
		t.Errorf("%v, told %v", err, told)
	}
}
