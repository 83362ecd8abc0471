// The cache and its storage, without a transport.

package records

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"

	"github.com/caddy-veeam/veeam-auth/internal/store"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
)

func fileStorage(dir string) []byte {
	return []byte(`{"module": "file_system", "root": "` + dir + `"}`)
}

func TestCaddysOwnStorageIsTheDefault(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, err := caddy.ProvisionContext(&caddy.Config{StorageRaw: fileStorage(dir)})
	if err != nil {
		t.Fatal(err)
	}
	c := &Cache{EncryptionKey: "{env.NOT_SET}"}
	if err := c.Provision(ctx, upstream.NewState(), nil); err != nil {
		t.Fatal(err)
	}
	defer c.Cleanup()
	if err := c.store.Store(t.Context(), "veeam_auth/x", []byte("y")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "veeam_auth", "x")); err != nil {
		t.Error(err)
	}
}

func TestALockIsGivenBackAlsoIfTheConfigurationIsGone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
		defer cancel()
		open, err := (&Cache{StorageRaw: fileStorage(dir)}).opener(ctx)
		if err != nil {
			t.Fatal(err)
		}
		s := new(store.Reattachable).Attach(open)
		// In the middle of a change of a record, and of the wait for its lock.
		if err := s.Lock(ctx, "record"); err != nil {
			t.Fatal(err)
		}
		next := make(chan error)
		within, done := context.WithTimeout(ctx, 20*time.Second)
		defer done()
		go func() { next <- s.Lock(within, "record") }()
		synctest.Wait()
		s.Detach()
		if err := s.Lock(ctx, "other"); !errors.Is(err, store.ErrDetached) {
			t.Errorf("another lock: %v", err)
		}
		if err := s.Store(ctx, "record", []byte("x")); err != nil {
			t.Error(err)
		}
		if err := s.Unlock(ctx, "record"); err != nil {
			t.Error(err)
		}
		if err := <-next; err != nil {
			t.Errorf("who waited: %v", err)
		}
		if err := s.Unlock(ctx, "record"); err != nil {
			t.Error(err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "locks", "*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		if _, err := s.Load(ctx, "record"); !errors.Is(err, store.ErrDetached) {
			t.Errorf("the storage is still used: %v", err)
		}
		time.Sleep(time.Minute) // what keeps a lock fresh ends
	})
}
