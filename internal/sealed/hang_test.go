// A store that hangs and heeds no context, as a folder on a server that is gone.

package sealed

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness/memorystore"
)

type hanging struct {
	*memorystore.Process
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
		var storage memorystore.Storage
		store, k := &hanging{Process: storage.Process(), end: make(chan struct{})}, newKeys(t)
		s := over(store, k)
		for range 3 * maxRunning {
			if _, err := Load[value](t.Context(), s, keyOf(k, "a")); err == nil {
				t.Fatal("loaded from a store that hangs")
			}
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
