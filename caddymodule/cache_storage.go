// The storage module of a cache, provisioned when it is first needed: modules
// connect to their servers then, and a server that is away must not keep Caddy
// from starting.

package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"

	"github.com/caddy-veeam/veeam-auth/tokencache"
)

const storageNamespace = "caddy.storage"

// lateStore is the storage of a cache.
type lateStore struct {
	ctx   caddy.Context
	cache *Cache

	mu      sync.Mutex
	storage certmagic.Storage
	cancel  context.CancelFunc
	closed  bool
	waiting int             // for a lock
	locked  map[string]bool // the locks that it has
}

var errClosed = errors.New("the configuration that it belongs to is gone")

// newLateStore checks what can be checked without provisioning.
func newLateStore(ctx caddy.Context, cache *Cache) (*lateStore, error) {
	s := &lateStore{ctx: ctx, cache: cache}
	if cache.StorageRaw == nil {
		s.storage = ctx.Storage()
		return s, nil
	}
	return s, checkStorage(cache.StorageRaw)
}

// checkStorage reports an unknown module or option.
func checkStorage(raw json.RawMessage) error {
	var options map[string]json.RawMessage
	if err := json.Unmarshal(raw, &options); err != nil {
		return err
	}
	var name string
	if err := json.Unmarshal(options["module"], &name); err != nil || name == "" {
		return errors.New("it names no module")
	}
	info, err := caddy.GetModule(storageNamespace + "." + name)
	if err != nil {
		return err
	}
	delete(options, "module")
	bare, err := json.Marshal(options)
	if err != nil {
		return err
	}
	module := info.New()
	if _, ok := module.(caddy.StorageConverter); !ok {
		return fmt.Errorf("%s is no storage", name)
	}
	return caddy.StrictUnmarshalJSON(bare, module)
}

// open returns the storage. Where a first try has failed, the next one provisions
// again.
func (s *lateStore) open() (certmagic.Storage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.openLocked()
}

func (s *lateStore) openLocked() (certmagic.Storage, error) {
	if s.closed && !s.busy() {
		return nil, errClosed
	}
	if s.storage != nil {
		return s.storage, nil
	}
	ctx, cancel := caddy.NewContext(s.ctx)
	// A copy, because loading a module clears the field.
	module, err := ctx.LoadModule(&Cache{StorageRaw: s.cache.StorageRaw}, "StorageRaw")
	if err == nil {
		s.storage, err = module.(caddy.StorageConverter).CertMagicStorage()
	}
	if err != nil {
		cancel()
		return nil, err
	}
	s.cancel = cancel
	return s.storage, nil
}

// close lets go of the storage as soon as no lock is waited for or held: one that
// could not be given back any more would be kept fresh by this process for as long
// as it lives.
func (s *lateStore) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.shutLocked()
}

func (s *lateStore) busy() bool { return s.waiting > 0 || len(s.locked) > 0 }

func (s *lateStore) shutLocked() {
	if !s.closed || s.busy() {
		return
	}
	s.storage = nil
	if s.cancel != nil {
		s.cancel()
		s.cancel = nil
	}
}

// Lock implements tokencache.Store.
func (s *lateStore) Lock(ctx context.Context, name string) error {
	storage, err := s.await()
	if err != nil {
		return err
	}
	err = storage.Lock(ctx, name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting--
	if err == nil {
		if s.locked == nil {
			s.locked = make(map[string]bool)
		}
		s.locked[name] = true
	}
	s.shutLocked()
	return err
}

// await opens the storage for one who waits for a lock.
func (s *lateStore) await() (certmagic.Storage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	storage, err := s.openLocked()
	if err == nil {
		s.waiting++
	}
	return storage, err
}

// Unlock implements tokencache.Store.
func (s *lateStore) Unlock(ctx context.Context, name string) error {
	storage, err := s.open()
	if err != nil {
		return err
	}
	err = storage.Unlock(ctx, name)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.locked, name)
	s.shutLocked()
	return err
}

// Store implements tokencache.Store.
func (s *lateStore) Store(ctx context.Context, key string, value []byte) error {
	storage, err := s.open()
	if err != nil {
		return err
	}
	return storage.Store(ctx, key, value)
}

// Load implements tokencache.Store.
func (s *lateStore) Load(ctx context.Context, key string) ([]byte, error) {
	storage, err := s.open()
	if err != nil {
		return nil, err
	}
	return storage.Load(ctx, key)
}

// Delete implements tokencache.Store.
func (s *lateStore) Delete(ctx context.Context, key string) error {
	storage, err := s.open()
	if err != nil {
		return err
	}
	return storage.Delete(ctx, key)
}

// Before implements tokencache.Lister.
func (s *lateStore) Before(ctx context.Context, folder string, moment time.Time) (old []string, err error) {
	storage, err := s.open()
	if err != nil {
		return nil, err
	}
	keys, err := storage.List(ctx, folder, false)
	for _, key := range keys {
		info, err := storage.Stat(ctx, key)
		if err == nil && info.IsTerminal && !info.Modified.IsZero() && info.Modified.Before(moment) {
			old = append(old, key)
		}
	}
	return old, err
}

// Interface guards
var (
	_ tokencache.Store  = (*lateStore)(nil)
	_ tokencache.Lister = (*lateStore)(nil)
)
