// A store that hangs and heeds no context, as a folder on a server that is gone.

package tokencache

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

type hanging struct {
	*memory
	end     chan struct{}
	pending atomic.Int64
}

func (h *hanging) hang() error {
	h.pending.Add(1)
	defer h.pending.Add(-1)
	<-h.end
	return errors.New("stale file handle")
}

func (h *hanging) Lock(context.Context, string) error { return h.hang() }

func (h *hanging) Load(context.Context, string) ([]byte, error) { return nil, h.hang() }

func TestAStoreThatHangsForDaysTakesNoMoreThanItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k, srv := &hanging{memory: newMemory(), end: make(chan struct{})}, newKeys(t), &server{lifetime: time.Second}
		p := start(store, k)
		for range 3 * maxRunning {
			mustGet(t, p.Session, srv)
			time.Sleep(10 * time.Second)
		}
		if n := store.pending.Load(); n > maxRunning {
			t.Errorf("%d exchanges were left behind", n)
		}
		close(store.end)
		synctest.Wait()
		if n := store.pending.Load(); n != 0 {
			t.Errorf("%d exchanges still", n)
		}
	})
}
