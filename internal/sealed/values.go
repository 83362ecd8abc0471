// Values that one process writes, so that no lock is taken.

package sealed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/internal/store"
)

const listFor = 30 * time.Second // one list, which may have a name for each of many accounts

// Put stores a value.
func (s *Store) Put(ctx context.Context, to *store.Attachment, key string, value []byte) error {
	_, err := exchange(ctx, func(ctx context.Context) (any, error) { return nil, to.Store(ctx, key, value) })
	if err != nil {
		return s.Failed(ctx, to, fmt.Errorf("storing: %w", err))
	}
	s.worked()
	return nil
}

// Remove removes a value that may not be there.
func (s *Store) Remove(ctx context.Context, to *store.Attachment, key string) error {
	_, err := exchange(ctx, func(ctx context.Context) (any, error) { return nil, to.Delete(ctx, key) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.Failed(ctx, to, fmt.Errorf("deleting: %w", err))
	}
	return nil // which does not tell that it can be written to
}

// Read reads a value.
func Read(ctx context.Context, from *store.Attachment, key string) ([]byte, error) {
	return exchange(ctx, func(ctx context.Context) ([]byte, error) { return from.Load(ctx, key) })
}

// List lists a folder, which need not exist.
func List(ctx context.Context, in *store.Attachment, folder string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, listFor)
	defer cancel()
	keys, err := bounded.Call(ctx, func(ctx context.Context) ([]string, error) { return in.List(ctx, folder) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return keys, err
}
