package memorystore

import (
	"context"
	"errors"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"
)

func TestALockIsOneProcesssUntilItIsGivenBackOrStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(Storage)
		one, other := s.Process(), s.Process()
		lock := func(p *Process, least, most time.Duration) {
			t.Helper()
			began := time.Now()
			if err := p.Lock(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took < least || took > most {
				t.Errorf("took %v", took)
			}
		}
		lock(one, 0, 0)
		time.AfterFunc(2500*time.Millisecond, func() { _ = one.Unlock(context.Background(), "a") })
		lock(other, 2*lookEvery, 3*lookEvery)
		other.Kill()
		lock(one, staleAfter, staleAfter+2*lookEvery)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := other.Lock(ctx, "b"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a killed process: %v", err)
		}
	})
}

func TestWhatAKilledProcessWritesIsNotWritten(t *testing.T) {
	s := new(Storage)
	one, other := s.Process(), s.Process()
	written := 0
	one.Written = func(string) {
		written++
		one.Kill()
	}
	ctx := t.Context()
	if err := one.Store(ctx, "a", []byte("x")); err != nil || written != 1 {
		t.Fatalf("%v, written %d", err, written)
	}
	if value, err := other.Load(ctx, "a"); err != nil || string(value) != "x" {
		t.Errorf("%q, %v", value, err)
	}
	if one.Store(ctx, "a", nil) == nil || one.Delete(ctx, "a") == nil || one.Unlock(ctx, "a") == nil || written != 1 {
		t.Error("a killed process goes on")
	}
	if _, err := one.Load(ctx, "a"); err == nil {
		t.Error("a killed process reads")
	}
	if err := other.Delete(ctx, "a"); err != nil {
		t.Error(err)
	}
	if _, err := other.Load(ctx, "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a removed value: %v", err)
	}
}

func TestCallsFailThatAreToFail(t *testing.T) {
	p := new(Storage).Process()
	broken := errors.New("broken")
	p.Break(func(call, key string) error {
		if call == "Store" && key == "a" || call == "Lock" {
			return broken
		}
		return nil
	})
	ctx := t.Context()
	if err := p.Store(ctx, "a", nil); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if err := p.Lock(ctx, "a"); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if err := p.Store(ctx, "b", nil); err != nil {
		t.Error(err)
	}
	if _, err := p.Load(ctx, "b"); err != nil {
		t.Error(err)
	}
}
