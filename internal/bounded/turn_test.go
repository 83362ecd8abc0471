package bounded_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
)

func TestATurnHasOneHolder(t *testing.T) {
	var turn bounded.Turn
	held, count := 0, 0
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if err := turn.Take(t.Context()); err != nil {
				t.Error(err)
				return
			}
			defer turn.End()
			if held++; held != 1 {
				t.Error("held by", held)
			}
			count++
			held--
		})
	}
	all.Wait()
	if count != 50 {
		t.Error(count)
	}
}

func TestWhoStopsWaitingForATurnLeavesItToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turn bounded.Turn
		if err := turn.Take(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() { failed <- turn.Take(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		got := make(chan error, 1)
		go func() { got <- turn.Take(t.Context()) }()
		synctest.Wait()
		select {
		case <-got:
			t.Fatal("two have it")
		default:
		}
		turn.End()
		if err := <-got; err != nil {
			t.Error(err)
		}
		turn.End()
	})
}
