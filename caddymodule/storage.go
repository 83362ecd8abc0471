// Whether a storage works, found out before a request needs it.

package caddymodule

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/caddyserver/certmagic"
)

const (
	storageFolder   = "veeam_auth" // of all that is kept in Caddy's storage
	probeStorageFor = 20 * time.Second
)

// ErrStorageAbsent is the error of a storage in a folder that does not exist.
var ErrStorageAbsent = errors.New("the folder does not exist")

// tryStorage locks, writes, reads and deletes a key of its own, as Caddy does.
func tryStorage(ctx context.Context, storage certmagic.Storage) error {
	return probeStorage(ctx, func(ctx context.Context) error {
		key := storageFolder + "/probe_" + rand.Text()
		if err := storage.Lock(ctx, key); err != nil {
			return fmt.Errorf("locking: %w", err)
		}
		err := tryKey(ctx, storage, key)
		if failed := storage.Unlock(context.WithoutCancel(ctx), key); err == nil && failed != nil {
			err = fmt.Errorf("unlocking: %w", failed)
		}
		return err
	})
}

// TryStorageAsGuest writes, reads and deletes a key of its own, for commands. It waits 20
// seconds at most. It does what Caddy does, but makes no folder that is not there yet: it
// would belong to the user of the command, and Caddy could not write into it. Where
// the folder of the storage itself is missing the error is ErrStorageAbsent.
func TryStorageAsGuest(ctx context.Context, storage certmagic.Storage) error {
	if files, ok := storage.(*certmagic.FileStorage); ok {
		if _, err := os.Stat(files.Path); errors.Is(err, os.ErrNotExist) {
			return ErrStorageAbsent
		}
	}
	used := false
	err := probeStorage(ctx, func(ctx context.Context) error {
		if used = storage.Exists(ctx, storageFolder); used {
			return nil
		}
		return tryKey(ctx, storage, storageFolder+"_probe_"+rand.Text())
	})
	if err == nil && used {
		return tryStorage(ctx, storage)
	}
	return err
}

// probeStorage waits for an exchange with a storage that may hang.
func probeStorage(ctx context.Context, exchange func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, probeStorageFor)
	defer cancel()
	_, err := within(ctx, func() (any, error) { return nil, exchange(ctx) })
	return err
}

func tryKey(ctx context.Context, storage certmagic.Storage, key string) error {
	if err := storage.Store(ctx, key, []byte(key)); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	text, err := storage.Load(ctx, key)
	switch {
	case err != nil:
		err = fmt.Errorf("reading: %w", err)
	case string(text) != key:
		err = errors.New("reading: it does not return what was written")
	}
	if failed := storage.Delete(context.WithoutCancel(ctx), key); err == nil && failed != nil {
		err = fmt.Errorf("deleting: %w", failed)
	}
	return err
}

// StorageName is how an operator finds a storage. Others than files may have
// secrets in their text.
func StorageName(storage certmagic.Storage) string {
	if files, ok := storage.(*certmagic.FileStorage); ok {
		return files.Path
	}
	return fmt.Sprintf("%T", storage)
}
