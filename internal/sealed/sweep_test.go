package sealed

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness/memorystore"
)

// dated is a store that knows when its values were stored.
type dated struct {
	*memorystore.Process

	mu     sync.Mutex
	listed int
	at     map[string]time.Time
}

func (d *dated) Store(ctx context.Context, key string, value []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at[key] = time.Now()
	return d.Process.Store(ctx, key, value)
}

func (d *dated) Delete(ctx context.Context, key string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.at, key)
	return d.Process.Delete(ctx, key)
}

func (d *dated) Before(_ context.Context, folder string, moment time.Time) (old []string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.listed++
	for key, at := range d.at {
		if strings.HasPrefix(key, folder+"/") && at.Before(moment) {
			old = append(old, key)
		}
	}
	return old, nil
}

func (d *dated) keys() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.at))
}

func TestRecordsThatNobodyNeedsAreRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var storage memorystore.Storage
		store, k := &dated{Process: storage.Process(), at: map[string]time.Time{}}, newKeys(t)
		write := func(s *Store, name string) {
			t.Helper()
			if err := Update(t.Context(), s, keyOf(k, name), nil, func(*value) *value { return new(value) }); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		write(over(store, k), "replaced")
		time.Sleep(keptFor - 12*time.Hour)
		kept := over(store, k)
		write(kept, "kept")
		if n := len(store.keys()); n != 4 { // each with that of its lock
			t.Errorf("%d records while both may be needed", n)
		}
		for range 48 {
			time.Sleep(time.Hour)
			write(kept, "kept")
		}
		if n := len(store.keys()); n != 2 {
			t.Errorf("%d records in the end", n)
		}
		if want := len(folders) * (1 + 1 + 2); store.listed > want {
			t.Errorf("the store was listed %d times, not %d", store.listed, want)
		}
	})
}

// A folder that belongs to one process is swept by that process alone.
func TestAFolderOfAProcessIsSweptByThatProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var storage memorystore.Storage
		store, k := &dated{Process: storage.Process(), at: map[string]time.Time{}}, newKeys(t)
		for _, key := range []string{"veeam_auth/mine/a", "veeam_auth/other/a"} {
			if err := store.Store(t.Context(), key, nil); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(keptFor + time.Hour)
		s := over(store, k)
		s.Sweep("veeam_auth/mine")
		if err := Update(t.Context(), s, keyOf(k, "a"), nil, func(*value) *value { return new(value) }); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if keys := store.keys(); slices.Contains(keys, "veeam_auth/mine/a") || !slices.Contains(keys, "veeam_auth/other/a") {
			t.Errorf("what is left: %v", keys)
		}
	})
}
