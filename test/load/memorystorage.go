// A storage that costs nothing, to tell what the storage of Caddy costs.

package main

import (
	"context"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/certmagic"
)

func init() {
	caddy.RegisterModule(memoryStorage{})
	caddy.RegisterModule(memoryAdmin{})
}

// memoryAdmin empties the storage, so that what it holds is not counted as memory of the
// process: other storages are elsewhere.
type memoryAdmin struct{}

const emptyPath = "/load/empty"

// CaddyModule returns the Caddy module information.
func (memoryAdmin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.load_memory", New: func() caddy.Module { return new(memoryAdmin) }}
}

// Routes implements caddy.AdminRouter.
func (memoryAdmin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: emptyPath, Handler: caddy.AdminHandlerFunc(func(http.ResponseWriter, *http.Request) error {
		inMemory.values.Clear()
		return nil
	})}}
}

// memoryStorage is a module of the Caddys that load starts. A lock is nobody else's: there
// is one process.
type memoryStorage struct {
	// Ballast is how many bytes the process has in use for nothing.
	Ballast int `json:"ballast,omitempty"`
}

// ballast is memory in small objects of several sizes with pointers, among which there are
// holes, as among sessions that came between requests.
var ballast [][]cell

type cell struct{ to *cell }

// cells are the sizes of the objects in turn, in words.
var cells = [...]int{4, 6, 8, 12, 16, 26, 32, 52}

const (
	wordBytes  = 8
	sliceBytes = 3 * wordBytes
	holes      = 4 // for each object
)

// CaddyModule returns the Caddy module information.
func (memoryStorage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.storage.load_memory", New: func() caddy.Module { return new(memoryStorage) }}
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler: load_memory [<bytes of ballast>].
func (m *memoryStorage) UnmarshalCaddyfile(d *caddyfile.Dispenser) (err error) {
	d.Next()
	if d.NextArg() {
		m.Ballast, err = strconv.Atoi(d.Val())
	}
	return err
}

// Provision implements caddy.Provisioner.
func (m *memoryStorage) Provision(caddy.Context) error {
	for used, i := 0, 0; used < m.Ballast; i++ {
		object := make([]cell, cells[i/(holes+1)%len(cells)])
		if i%(holes+1) > 0 {
			continue
		}
		if len(ballast) > 0 {
			object[0].to = &ballast[len(ballast)/2][0]
		}
		ballast = append(ballast, object)
		used += len(object)*wordBytes + sliceBytes
	}
	return nil
}

// CertMagicStorage implements caddy.StorageConverter.
func (*memoryStorage) CertMagicStorage() (certmagic.Storage, error) { return inMemory, nil }

var inMemory = &memory{locks: make(map[string]chan struct{})}

type memory struct {
	values sync.Map

	mu    sync.Mutex
	locks map[string]chan struct{} // closed when they are released
}

// Lock implements certmagic.Locker.
func (m *memory) Lock(ctx context.Context, name string) error {
	for {
		m.mu.Lock()
		held := m.locks[name]
		if held == nil {
			m.locks[name] = make(chan struct{})
			m.mu.Unlock()
			return nil
		}
		m.mu.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Unlock implements certmagic.Locker.
func (m *memory) Unlock(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if held := m.locks[name]; held != nil {
		close(held)
		delete(m.locks, name)
	}
	return nil
}

// Store implements certmagic.Storage.
func (m *memory) Store(_ context.Context, key string, value []byte) error {
	m.values.Store(key, append([]byte(nil), value...))
	return nil
}

// Load implements certmagic.Storage.
func (m *memory) Load(_ context.Context, key string) ([]byte, error) {
	value, ok := m.values.Load(key)
	if !ok {
		return nil, fs.ErrNotExist
	}
	return value.([]byte), nil
}

// Delete implements certmagic.Storage.
func (m *memory) Delete(_ context.Context, key string) error {
	m.values.Delete(key)
	return nil
}

// Exists implements certmagic.Storage.
func (m *memory) Exists(_ context.Context, key string) bool {
	_, ok := m.values.Load(key)
	return ok
}

// List implements certmagic.Storage.
func (m *memory) List(_ context.Context, prefix string, _ bool) (keys []string, err error) {
	m.values.Range(func(key, _ any) bool {
		if strings.HasPrefix(key.(string), prefix) {
			keys = append(keys, key.(string))
		}
		return true
	})
	return keys, nil
}

// Stat implements certmagic.Storage.
func (m *memory) Stat(_ context.Context, key string) (certmagic.KeyInfo, error) {
	value, ok := m.values.Load(key)
	if !ok {
		return certmagic.KeyInfo{}, fs.ErrNotExist
	}
	return certmagic.KeyInfo{Key: key, Modified: time.Now(), Size: int64(len(value.([]byte))), IsTerminal: true}, nil
}

// Interface guards
var (
	_ caddy.AdminRouter      = (*memoryAdmin)(nil)
	_ caddy.Provisioner      = (*memoryStorage)(nil)
	_ caddy.StorageConverter = (*memoryStorage)(nil)
	_ caddyfile.Unmarshaler  = (*memoryStorage)(nil)
	_ certmagic.Storage      = (*memory)(nil)
)
