// Storages that do not work in one way or another.

package caddymodule

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddyserver/certmagic"

	"github.com/caddy-veeam/veeam-auth/caddymodule/storages"
	"github.com/caddy-veeam/veeam-auth/internal/store"
	"github.com/caddy-veeam/veeam-auth/test/harness/memorystore"
)

// brokenStorage fails at one of its methods.
type brokenStorage struct {
	certmagic.Storage
	at string
}

var errBroken = errors.New("read-only file system")

func (s brokenStorage) fails(at string) error {
	if s.at == at {
		return errBroken
	}
	return nil
}

func (s brokenStorage) Lock(ctx context.Context, name string) error {
	return errors.Join(s.fails("locking"), s.Storage.Lock(ctx, name))
}

func (s brokenStorage) Unlock(ctx context.Context, name string) error {
	return errors.Join(s.fails("unlocking"), s.Storage.Unlock(ctx, name))
}

func (s brokenStorage) Store(ctx context.Context, key string, value []byte) error {
	return errors.Join(s.fails("writing"), s.Storage.Store(ctx, key, value))
}

func (s brokenStorage) Load(ctx context.Context, key string) ([]byte, error) {
	text, err := s.Storage.Load(ctx, key)
	if s.at == "reading: the value differs" {
		return nil, nil
	}
	return text, errors.Join(s.fails("reading"), err)
}

func (s brokenStorage) Delete(ctx context.Context, key string) error {
	return errors.Join(s.fails("deleting"), s.Storage.Delete(ctx, key))
}

func TestEachFaultOfAStorageIsFound(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"locking", "writing", "reading", "reading: the value differs", "deleting", "unlocking"} {
		err := store.Probe(t.Context(), brokenStorage{inMemory(new(memorystore.Storage)), at})
		if err == nil || !strings.HasPrefix(err.Error(), at) {
			t.Errorf("%s: %v", at, err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		storage := hangingStorage{hang: make(chan struct{})}
		defer close(storage.hang)
		if err := store.Probe(t.Context(), storage); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("one that hangs: %v", err)
		}
	})
}

func TestAStorageThatWorksIsLeftAsItWas(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	storage := &certmagic.FileStorage{Path: dir}
	if err := storages.Probe(t.Context(), storage); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("a command leaves %v, %v", left, err)
	}
	if err := storages.Probe(t.Context(), &certmagic.FileStorage{Path: filepath.Join(dir, "absent")}); !errors.Is(err, storages.ErrAbsent) {
		t.Errorf("a folder that is not there: %v", err)
	}
	if err := store.Probe(t.Context(), storage); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, store.Folder)); err != nil || len(left) > 0 {
		t.Errorf("the start leaves %v, %v", left, err)
	}
	// A folder that is there already is tried itself.
	if err := os.RemoveAll(filepath.Join(dir, store.Folder)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, store.Folder), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := storages.Probe(t.Context(), storage); err == nil {
		t.Error("a folder that cannot be written into passes")
	}
}
