// Probes that find out whether a storage works before a request needs it.

package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"
)

// ProbeTimeout is how long a probe waits for the storage.
const ProbeTimeout = 20 * time.Second

// Probe locks, writes, reads and deletes a test key in Folder. Its error names the
// operation that failed. It takes at most ProbeTimeout.
func Probe(ctx context.Context, s Store) error {
	return probe(ctx, func(ctx context.Context) error {
		key := Folder + "/probe_" + rand.Text()
		if err := s.Lock(ctx, key); err != nil {
			return fmt.Errorf("locking: %w", err)
		}
		err := tryKey(ctx, s, key)
		if failed := s.Unlock(context.WithoutCancel(ctx), key); err == nil && failed != nil {
			err = fmt.Errorf("unlocking: %w", failed)
		}
		return err
	})
}

// Browsable is a Store that can tell whether a key exists.
type Browsable interface {
	Store
	Exists(ctx context.Context, key string) bool
}

// ProbeForCommand is Probe for commands. It does not create Folder, because the folder
// would belong to the user of the command and Caddy could not write into it.
func ProbeForCommand(ctx context.Context, s Browsable) error {
	used := false
	err := probe(ctx, func(ctx context.Context) error {
		if used = s.Exists(ctx, Folder); used {
			return nil
		}
		return tryKey(ctx, s, Folder+"_probe_"+rand.Text())
	})
	if err == nil && used {
		return Probe(ctx, s)
	}
	return err
}

// probe calls exchange, and returns after ProbeTimeout even if the storage hangs.
func probe(ctx context.Context, exchange func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, ProbeTimeout)
	defer cancel()
	_, err := Within(ctx, func() (any, error) { return nil, exchange(ctx) })
	return err
}

func tryKey(ctx context.Context, s Store, key string) error {
	if err := s.Store(ctx, key, []byte(key)); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	text, err := s.Load(ctx, key)
	switch {
	case err != nil:
		err = fmt.Errorf("reading: %w", err)
	case string(text) != key:
		err = errors.New("reading: the value differs from the written one")
	}
	if failed := s.Delete(context.WithoutCancel(ctx), key); err == nil && failed != nil {
		err = fmt.Errorf("deleting: %w", failed)
	}
	return err
}
