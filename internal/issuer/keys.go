// The signing key: made once, kept in a store that all replicas share.

package issuer

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync/atomic"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/store"
)

// Store stores the keys. certmagic.Storage, which is Caddy's storage, implements it.
type Store interface {
	store.Locker
	Store(ctx context.Context, key string, value []byte) error
	// Load returns an error that wraps fs.ErrNotExist if there is no such key.
	Load(ctx context.Context, key string) ([]byte, error)
	Delete(ctx context.Context, key string) error
}

// KeyPath is the path of the keys in the store.
const KeyPath = "veeam_auth/signing_keys.json"

const (
	keyBytes = 32
	storeFor = store.For // bounds the exchange with the store, the wait for its lock included

	// RotateEvery is the period in which a key signs new tokens. Older keys are
	// accepted until the last token that they signed has expired.
	RotateEvery = 30 * 24 * time.Hour

	reloadEvery = time.Second // at most, for keys that are not known here
)

// KeysError reports that the keys or the revocations could not be read, or that no key
// could be generated.
type KeysError struct{ Err error }

// Error returns the reason.
func (e *KeysError) Error() string { return "signing keys: " + e.Err.Error() }

// Unwrap returns the reason.
func (e *KeysError) Unwrap() error { return e.Err }

// Key is a signing key.
type Key struct {
	ID      string    `json:"id"`
	Secret  []byte    `json:"secret"`
	Created time.Time `json:"created"`
}

// Keys reads the signing keys on first use, and generates one if the store has none. It
// does not access the store before.
type Keys struct {
	store    Store
	first    func(ctx context.Context) error // what has to be known before a key is used
	turn     chan struct{}                   // of who asks the store
	loaded   atomic.Pointer[[]Key]           // the newest first
	reloaded time.Time                       // when that has ended, well or not
	failed   error                           // of the last time
}

// NewKeys returns the keys of a store, without accessing it.
func NewKeys(store Store) *Keys { return &Keys{store: store, turn: make(chan struct{}, 1)} }

// signing returns the key for new tokens, a new one if the last has served its
// time.
func (k *Keys) signing(ctx context.Context) (Key, error) {
	keys, err := k.all(ctx)
	if err != nil {
		return Key{}, err
	}
	if time.Since(keys[0].Created) < RotateEvery {
		return keys[0], nil
	}
	keys, err = k.again(ctx, func(keys []Key) bool { return time.Since(keys[0].Created) < RotateEvery })
	if err != nil {
		return Key{}, err
	}
	return keys[0], nil
}

// verifying returns the secret of a key. One that is not known here may have been
// made by another replica.
func (k *Keys) verifying(ctx context.Context, id string) ([]byte, error) {
	keys, err := k.all(ctx)
	if err != nil {
		return nil, err
	}
	if secret := find(keys, id); secret != nil {
		return secret, nil
	}
	keys, err = k.again(ctx, nil)
	if err != nil {
		return nil, err
	}
	if secret := find(keys, id); secret != nil {
		return secret, nil
	}
	return nil, ErrInvalid
}

// anyIs reports whether a key of the store satisfies good.
func (k *Keys) anyIs(ctx context.Context, good func(Key) bool) (bool, error) {
	keys, err := k.all(ctx)
	if err == nil && !slices.ContainsFunc(keys, good) {
		keys, err = k.again(ctx, nil)
	}
	return err == nil && slices.ContainsFunc(keys, good), err
}

func find(keys []Key, id string) []byte {
	for _, key := range keys {
		if key.ID == id {
			return key.Secret
		}
	}
	return nil
}

// again reads the keys again, and makes another one if enough says that those are
// not enough. Without enough it reads once a second at most, because anybody can
// name a key that does not exist.
func (k *Keys) again(ctx context.Context, enough func([]Key) bool) ([]Key, error) {
	since := time.Now()
	if err := k.wait(ctx); err != nil {
		return nil, err
	}
	defer func() { <-k.turn }()
	known := *k.loaded.Load()
	if enough != nil && enough(known) {
		return known, nil
	}
	if enough == nil && time.Since(k.reloaded) < reloadEvery || k.failedSince(since) {
		return known, k.failed
	}
	return k.reload(ctx, enough)
}

// wait waits for the turn, as long as the request is of interest.
func (k *Keys) wait(ctx context.Context) error {
	select {
	case k.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &KeysError{Err: ctx.Err()}
	}
}

// failedSince reports whether the store has failed while others waited: it is not
// asked again for each of them, which would add up if it hangs.
func (k *Keys) failedSince(since time.Time) bool { return k.failed != nil && k.reloaded.After(since) }

func (k *Keys) reload(ctx context.Context, enough func([]Key) bool) ([]Key, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeFor)
	defer cancel()
	keys, err := k.loadOrMake(ctx, enough)
	if err == nil && k.first != nil && k.loaded.Load() == nil {
		err = k.first(ctx)
	}
	k.reloaded, k.failed = time.Now(), nil
	if err != nil {
		k.failed = &KeysError{Err: err}
		return nil, k.failed
	}
	k.loaded.Store(&keys)
	return keys, nil
}

func (k *Keys) all(ctx context.Context) ([]Key, error) {
	if keys := k.loaded.Load(); keys != nil {
		return *keys, nil
	}
	since := time.Now()
	if err := k.wait(ctx); err != nil {
		return nil, err
	}
	defer func() { <-k.turn }()
	if keys := k.loaded.Load(); keys != nil {
		return *keys, nil
	}
	if k.failedSince(since) {
		return nil, k.failed
	}
	return k.reload(ctx, nil)
}

// loadOrMake reads the keys, and makes one if there is none or if enough says that
// those are not enough.
func (k *Keys) loadOrMake(ctx context.Context, enough func([]Key) bool) (keys []Key, err error) {
	done := func() bool {
		keys, err = k.load(ctx)
		return err == nil && (enough == nil || enough(keys)) || err != nil && !errors.Is(err, fs.ErrNotExist)
	}
	if done() {
		return keys, err
	}
	lock, err := store.Lock(ctx, k.store, KeyPath, nil)
	if err != nil {
		return nil, fmt.Errorf("locking: %w", err)
	}
	defer lock.Unlock(ctx)
	if done() {
		return keys, err // another replica was faster
	}
	key := Key{ID: rand.Text()[:12], Secret: make([]byte, keyBytes), Created: time.Now().UTC()}
	_, _ = rand.Read(key.Secret) // never fails, see crypto/rand
	keys = append([]Key{key}, stillNeeded(keys)...)
	text, err := json.Marshal(keys)
	if err != nil {
		return nil, err
	}
	if err := lock.Store(ctx, KeyPath, text); err != nil {
		return nil, err
	}
	return keys, nil
}

// stillNeeded leaves out the keys whose tokens have all expired: those whose
// successor has been signing for longer than a token lives.
func stillNeeded(keys []Key) []Key {
	for i := 1; i < len(keys); i++ {
		if time.Since(keys[i-1].Created) > RefreshLifetime {
			return keys[:i]
		}
	}
	return keys
}

func (k *Keys) load(ctx context.Context) ([]Key, error) {
	text, err := k.store.Load(ctx, KeyPath)
	if err != nil {
		return nil, fmt.Errorf("loading: %w", err)
	}
	var keys []Key
	if err := json.Unmarshal(text, &keys); err != nil {
		// The text of the error could quote a key.
		return nil, fmt.Errorf("%s is not a list of keys: remove it to create a new key", KeyPath)
	}
	for _, key := range keys {
		if key.ID == "" || len(key.Secret) < keyBytes {
			return nil, fmt.Errorf("%s has a key that is too short: remove it to create a new key", KeyPath)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s has no key: remove it to create a new key", KeyPath)
	}
	return keys, nil
}
