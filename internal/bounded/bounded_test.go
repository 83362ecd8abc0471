package bounded_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
)

func TestACallIsLeftToItselfWhenItsTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		hang := make(chan struct{})
		_, err := bounded.Call(ctx, func(context.Context) (int, error) { <-hang; return 1, nil })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		close(hang)
		got, err := bounded.Call(t.Context(), func(context.Context) (int, error) { return 2, nil })
		if got != 2 || err != nil {
			t.Error(got, err)
		}
	})
}

func TestCallersOfAFlightShareOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f bounded.Flight[int]
		var calls atomic.Int32
		hang := make(chan struct{})
		call := func(late *bounded.LateError) (int, error) {
			late.Does("option password")
			calls.Add(1)
			<-hang
			return 1, nil
		}
		var callers sync.WaitGroup
		for range 20 {
			callers.Go(func() {
				began := time.Now()
				r := f.Join(t.Context(), 10*time.Second, call)
				late, ok := errors.AsType[*bounded.LateError](r.Err)
				if !ok || late.Doing() != "option password" || time.Since(began) != 10*time.Second {
					t.Errorf("%v after %v", r.Err, time.Since(began))
				}
			})
		}
		callers.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if r := f.Join(ctx, time.Hour, call); !errors.Is(r.Err, context.Canceled) {
			t.Error(r.Err)
		}
		ended := f.Ended()
		close(hang)
		<-ended
		if got := calls.Load(); got != 1 {
			t.Errorf("%d calls", got)
		}
		if r := f.Join(t.Context(), time.Second, call); r.Value != 1 || r.Err != nil || f.Ended() != nil {
			t.Error(r.Value, r.Err)
		}
	})
}

func TestAFlightGoesOnAfterAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f bounded.Flight[int]
		fault := errors.New("fault")
		for i := range 3 {
			r := f.Join(t.Context(), time.Second, func(*bounded.LateError) (int, error) { return i, fault })
			if r.Value != i || !errors.Is(r.Err, fault) {
				t.Error(r.Value, r.Err)
			}
		}
	})
}

func TestALateCallIsToldOfOnce(t *testing.T) {
	var late bounded.LateError
	if !late.Tell() || late.Tell() {
		t.Error("not once")
	}
	(*bounded.LateError)(nil).Does("anything")
	if said := late.Error(); strings.Contains(said, "file") || !strings.Contains(said, "its source does not answer") {
		t.Errorf("%s: it may be a program or a vault", said)
	}
}
