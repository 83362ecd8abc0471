package tokencache

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// dated is a store that knows when its values were stored.
type dated struct {
	*memory

	mu     sync.Mutex
	listed int
	at     map[string]time.Time
}

func (d *dated) Store(ctx context.Context, key string, value []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at[key] = time.Now()
	return d.memory.Store(ctx, key, value)
}

func (d *dated) Before(_ context.Context, folder string, moment time.Time) (old []string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.listed++
	for key := range d.snapshot() {
		if strings.HasPrefix(key, folder+"/") && d.at[key].Before(moment) {
			old = append(old, key)
		}
	}
	return old, nil
}

func TestRecordsThatNobodyNeedsAreRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k, srv := &dated{memory: newMemory(), at: map[string]time.Time{}}, newKeys(t), &server{lifetime: time.Hour}
		replaced := start(store, k, func(o *Options) { o.Identity.Account = "replaced" })
		mustGet(t, replaced.Session, srv)
		time.Sleep(keptFor - 12*time.Hour)
		kept := start(store, k)
		mustGet(t, kept.Session, srv)
		synctest.Wait()
		if n := len(store.snapshot()); n != 4 { // each with that of its lock
			t.Errorf("%d records while both may be needed", n)
		}
		for range 48 {
			time.Sleep(time.Hour)
			mustGet(t, kept.Session, srv)
			synctest.Wait()
		}
		if n := len(store.snapshot()); n != 2 {
			t.Errorf("%d records in the end", n)
		}
		if want := len(folders) * (1 + 1 + 2); store.listed > want {
			t.Errorf("the store was listed %d times, not %d", store.listed, want)
		}
	})
}
