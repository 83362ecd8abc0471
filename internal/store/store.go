// Package store holds the common parts of storages that several processes share: they
// outlive the configurations that open them, they may hang, and their locks may be left
// behind by a process that ended.
package store

import (
	"context"
	"time"
)

// Folder is the folder that holds all keys of the module in a storage.
const Folder = "veeam_auth"

// Store keeps values by their keys. certmagic.Storage, Caddy's storage, has these
// methods.
type Store interface {
	// Lock waits for a lock, Unlock releases it. A lock that its holder does not keep
	// alive may be taken over.
	Locker

	// Store replaces the whole value or nothing.
	Store(ctx context.Context, key string, value []byte) error

	// Load returns an error that is fs.ErrNotExist if the key does not exist.
	Load(ctx context.Context, key string) ([]byte, error)

	// Delete removes the value.
	Delete(ctx context.Context, key string) error
}

// Lister is a Store that knows the age of its values. In other stores, old records are
// not removed.
type Lister interface {
	// Before lists the keys in a folder that were last stored before a moment.
	Before(ctx context.Context, folder string, moment time.Time) ([]string, error)
}
