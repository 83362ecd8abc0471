// The signing key: made once, kept in a store that all replicas share.

package issuer

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"
)

// Store is where the keys are kept. certmagic.Storage, which is Caddy's storage,
// has these methods.
type Store interface {
	Lock(ctx context.Context, name string) error
	Unlock(ctx context.Context, name string) error
	Store(ctx context.Context, key string, value []byte) error
	// Load returns an error that is fs.ErrNotExist if there is no such key.
	Load(ctx context.Context, key string) ([]byte, error)
}

// KeyPath is where the keys lie in the store.
const KeyPath = "veeam_auth/signing_keys.json"

const (
	keyBytes = 32
	storeFor = 10 * time.Second // bounds one exchange with the store
)

// KeysError says that the keys could not be read or made.
type KeysError struct{ Err error }

// Error gives the reason.
func (e *KeysError) Error() string { return "signing keys: " + e.Err.Error() }

// Unwrap returns the reason.
func (e *KeysError) Unwrap() error { return e.Err }

// Key is one signing key.
type Key struct {
	ID      string    `json:"id"`
	Secret  []byte    `json:"secret"`
	Created time.Time `json:"created"`
}

// Keys reads the signing keys when they are first needed, and makes one if the
// store has none. Nothing touches the store before that.
type Keys struct {
	store  Store
	mu     sync.Mutex
	loaded atomic.Pointer[[]Key]
}

// NewKeys returns the keys that lie in store.
func NewKeys(store Store) *Keys { return &Keys{store: store} }

func (k *Keys) signing(ctx context.Context) (Key, error) {
	keys, err := k.all(ctx)
	if err != nil {
		return Key{}, err
	}
	return keys[0], nil
}

func (k *Keys) verifying(ctx context.Context, id string) ([]byte, error) {
	keys, err := k.all(ctx)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if key.ID == id {
			return key.Secret, nil
		}
	}
	return nil, ErrInvalid
}

func (k *Keys) all(ctx context.Context) ([]Key, error) {
	if keys := k.loaded.Load(); keys != nil {
		return *keys, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if keys := k.loaded.Load(); keys != nil {
		return *keys, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeFor)
	defer cancel()
	keys, err := k.loadOrMake(ctx)
	if err != nil {
		return nil, &KeysError{Err: err}
	}
	k.loaded.Store(&keys)
	return keys, nil
}

func (k *Keys) loadOrMake(ctx context.Context) (keys []Key, err error) {
	if keys, err = k.load(ctx); !errors.Is(err, fs.ErrNotExist) {
		return keys, err
	}
	if err := k.store.Lock(ctx, KeyPath); err != nil {
		return nil, fmt.Errorf("locking: %w", err)
	}
	defer func() {
		if unlockErr := k.store.Unlock(context.WithoutCancel(ctx), KeyPath); unlockErr != nil && err == nil {
			err = fmt.Errorf("unlocking: %w", unlockErr)
		}
	}()
	if keys, err = k.load(ctx); !errors.Is(err, fs.ErrNotExist) {
		return keys, err // another replica was faster
	}
	key := Key{ID: rand.Text()[:12], Secret: make([]byte, keyBytes), Created: time.Now().UTC()}
	_, _ = rand.Read(key.Secret) // never fails, see crypto/rand
	keys = []Key{key}
	text, err := json.Marshal(keys)
	if err != nil {
		return nil, err
	}
	if err := k.store.Store(ctx, KeyPath, text); err != nil {
		return nil, fmt.Errorf("storing: %w", err)
	}
	return keys, nil
}

func (k *Keys) load(ctx context.Context) ([]Key, error) {
	text, err := k.store.Load(ctx, KeyPath)
	if err != nil {
		return nil, fmt.Errorf("loading: %w", err)
	}
	var keys []Key
	if err := json.Unmarshal(text, &keys); err != nil {
		// The text of the error could quote a key.
		return nil, fmt.Errorf("%s is not a list of keys; remove it to have a new key made", KeyPath)
	}
	for _, key := range keys {
		if key.ID == "" || len(key.Secret) < keyBytes {
			return nil, fmt.Errorf("%s holds a key that is too short; remove it to have a new key made", KeyPath)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s holds no key; remove it to have a new key made", KeyPath)
	}
	return keys, nil
}
