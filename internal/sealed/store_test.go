// Whether a storage works, and what one that does not may cost.

package sealed

import (
	"context"
	"io/fs"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/store"
	"github.com/caddy-veeam/veeam-auth/test/harness/memorystore"
)

func newKeys(t interface{ Fatal(...any) }) *Keyset {
	k, err := NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// over is the Store of a process with this storage.
func over(storage store.Store, k *Keyset) *Store {
	s := New(Options{Keys: func() (Sealer, error) { return k, nil }})
	s.Attach(storage)
	return s
}

// value is what records hold in these tests.
type value struct{ N int }

func keyOf(k *Keyset, name string) RecordKey {
	return RecordKey{Key: "veeam_auth/sessions/" + name, Bound: Join("test", name), Sealer: k}
}

// away is a store that fails or hangs.
type away struct {
	*memorystore.Process
	fails, hangs atomic.Bool
	calls        atomic.Int64
}

func (a *away) Load(ctx context.Context, key string) ([]byte, error) {
	a.calls.Add(1)
	for a.hangs.Load() {
		time.Sleep(time.Minute)
	}
	if a.fails.Load() {
		return nil, fs.ErrPermission
	}
	return a.Process.Load(ctx, key)
}

// Nobody needs the store while all have tokens, and yet it is known when it is gone.
func TestAStoreThatIsGoneIsNoticedWithoutAGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var storage memorystore.Storage
		store := &away{Process: storage.Process()}
		s := over(store, newKeys(t))
		look := func(works bool) {
			t.Helper()
			time.Sleep(lookAtStoreEvery)
			ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
			defer cancel()
			began := time.Now()
			s.Look(ctx)
			if took := time.Since(began); took > 250*time.Millisecond {
				t.Errorf("a look took %v", took)
			}
			time.Sleep(exchangeFor)
			if s.Works() != works {
				t.Errorf("the store works: %v", !works)
			}
		}
		look(true)
		store.fails.Store(true)
		look(false)
		store.fails.Store(false)
		look(true)
		store.hangs.Store(true)
		before := store.calls.Load()
		for range 20 {
			look(false)
		}
		if calls := store.calls.Load() - before; calls != 1 {
			t.Errorf("%d calls wait for a store that hangs", calls)
		}
		store.hangs.Store(false)
		time.Sleep(time.Minute)
		look(true)
		before = store.calls.Load()
		for range 10 {
			s.Look(t.Context())
		}
		if calls := store.calls.Load() - before; calls != 0 {
			t.Errorf("%d calls at once", calls)
		}
	})
}
