package store

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

func TestExchangesThatHangForEverAreBounded(t *testing.T) {
	end := make(chan struct{})
	var running atomic.Int64
	ask := func(d time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		_, err := Within(ctx, func() (any, error) {
			running.Add(1)
			defer running.Add(-1)
			<-end
			return nil, nil
		})
		return err
	}
	for range cap(exchanges) + 100 {
		if err := ask(100 * time.Microsecond); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("an exchange that hangs: %v", err)
		}
	}
	if n := running.Load(); n > int64(cap(exchanges)) {
		t.Errorf("%d exchanges", n)
	}
	close(end)
	if err := ask(time.Minute); err != nil {
		t.Errorf("when they have ended: %v", err)
	}
}
