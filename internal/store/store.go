// Package store holds the common parts of storages that several processes share: they
// outlive the configurations that open them, they may hang, and their locks may be left
// behind by a process that ended.
package store

import (
	"context"
	"time"
)

// Folder is where everything lies that the module keeps in a storage.
const Folder = "veeam_auth"

// Store keeps values by their keys. certmagic.Storage, which is Caddy's storage, has
// these methods.
type Store interface {
	// Lock waits for the lock, Unlock gives it back. A lock that its holder does
	// not keep alive may be taken over.
	Locker

	// Store replaces the value whole or not at all.
	Store(ctx context.Context, key string, value []byte) error

	// Load returns an error that is fs.ErrNotExist if there is no such key.
	Load(ctx context.Context, key string) ([]byte, error)

	// Delete removes the value.
	Delete(ctx context.Context, key string) error
}

// Lister is a Store that knows how old its values are. In one that is none, old
// records stay.
type Lister interface {
	// Before lists the keys in a folder that were stored last before a moment.
	Before(ctx context.Context, folder string, moment time.Time) ([]string, error)
}
