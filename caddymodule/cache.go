// The shared cache as it is configured: where sessions are kept for other
// processes and for the next start, and what seals them.

package caddymodule

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/internal/placeholders"
	"github.com/caddy-veeam/veeam-auth/internal/pool"
	"github.com/caddy-veeam/veeam-auth/internal/process"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/store"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// Cache keeps sessions in a storage that several processes share: all of them
// together log in once, and one that starts again goes on with the session that
// it had. Whatever happens to the storage, requests are served: without it every
// process has sessions of its own.
type Cache struct {
	// The keyset that seals what is stored, as `caddy veeam-auth keygen` makes it;
	// the same for all processes. It should be a placeholder, such as
	// {file./run/secrets/veeam_auth_key}: what is written here in plain can be read
	// in the configuration. It is read again for every login, so that a rotated
	// keyset needs no reload. Required.
	EncryptionKey string `json:"encryption_key,omitempty"`

	// The storage, one of Caddy's storage modules. Default: Caddy's own storage.
	StorageRaw json.RawMessage `json:"storage,omitempty" caddy:"namespace=caddy.storage inline_key=module"`

	keys   *keyFile
	pooled *pooledCache
	store  *store.Attachment
	once   sync.Once // of cleanup
}

// cachePool holds what transports with the same cache share. It outlives reloads,
// and with it what is known of the storage.
var cachePool = pool.New[string](func(*pooledCache) {})

// pooledCache is a cache of the process.
type pooledCache struct {
	upstream.Shared
	begin sync.Once
}

// check reports what is wrong with the cache as it is written.
func (c *Cache) check() error {
	switch {
	case c == nil:
		return nil
	case c.EncryptionKey == "":
		return errors.New("cache requires encryption_key: make a key with `caddy veeam-auth keygen` and write a placeholder, such as {file./run/secrets/veeam_auth_key}")
	case account.HasPlaceholder(c.EncryptionKey):
		if err := placeholders.Check("encryption_key", c.EncryptionKey); err != nil {
			return fmt.Errorf("cache: %w", err)
		}
		return nil
	}
	if _, err := tokencache.ReadKeyset(c.EncryptionKey); err != nil {
		return fmt.Errorf("cache: encryption_key: %w", err)
	}
	return nil
}

// provision prepares the cache. It reads no key and touches no storage: one that
// cannot be reached is no reason not to start.
func (c *Cache) provision(ctx caddy.Context) error {
	open, err := c.opener(ctx)
	if err != nil {
		return fmt.Errorf("cache: storage: %w", err)
	}
	keys := &keyFile{text: c.EncryptionKey}
	c.keys = keys
	sum := sha256.Sum256(append([]byte(c.EncryptionKey+"\n"), c.StorageRaw...))
	id := hex.EncodeToString(sum[:8])
	c.pooled = cachePool.Acquire(id, func() *pooledCache {
		shared := tokencache.NewShared(tokencache.SharedOptions{
			Keys: keys.read, Log: logCache, Holder: processName(),
			Process: process.ID(), Ended: process.Ended,
		})
		return &pooledCache{Shared: upstream.Shared{Shared: shared, ID: id}}
	})
	c.store = c.pooled.AttachLate(open)
	return nil
}

// start says what keeps the cache from working. Only the first call for a cache does
// anything: later, exchanges tell.
func (c *Cache) start(ctx context.Context, logger *zap.Logger) {
	c.pooled.begin.Do(func() {
		if _, err := c.keys.read(); err != nil {
			logger.Warn("the encryption key cannot be read: until it can, sessions are kept in memory only", zap.Error(err))
		}
		storage, err := c.store.Open()
		if err == nil {
			err = store.Probe(ctx, storage)
		}
		if err != nil && ctx.Err() == nil {
			logger.Warn("the storage of the cache does not work: until it does, sessions are kept in memory only",
				zap.String("reason", string(veeam.ReasonStorage)), zap.Error(err))
		}
	})
}

// cleanup lets go of the storage.
func (c *Cache) cleanup() {
	if c == nil || c.pooled == nil {
		return
	}
	c.once.Do(func() {
		c.store.Detach()
		cachePool.Release(c.pooled.ID)
	})
}

// shared is what sessions share it as; nil without a cache.
func (c *Cache) shared() *upstream.Shared {
	if c == nil || c.pooled == nil {
		return nil
	}
	return &c.pooled.Shared
}

// logCache logs in the process's current log: the cache outlives configurations.
func logCache(message string, err error) {
	logger := caddy.Log().Named("http.reverse_proxy.transport.veeam_auth.cache")
	if err == nil {
		logger.Info(message)
		return
	}
	logger.Warn(message, zap.Error(err))
}

// processName is how other processes name this one to their operators.
func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "?"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}

// keyFile reads the keyset again each time and parses it when it has changed.
type keyFile struct {
	text    string
	timeout time.Duration // default: readFor
	reading bounded.Flight[string]

	mu     sync.Mutex
	last   string
	keyset *tokencache.Keyset
}

func (k *keyFile) read() (tokencache.Sealer, error) {
	found := k.reading.Join(context.Background(), cmp.Or(k.timeout, account.ReadTimeout), func(*bounded.LateError) (string, error) {
		return secret.Expand(expand).Read(k.text)
	})
	if late, ok := errors.AsType[*bounded.LateError](found.Err); ok {
		return nil, fmt.Errorf("encryption_key: %w", late)
	}
	text := found.Value
	if found.Err == nil && strings.TrimSpace(text) == "" {
		found.Err = secret.ErrEmpty
	}
	if found.Err != nil {
		return nil, fmt.Errorf("encryption_key: %w", found.Err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keyset != nil && k.last == text {
		return k.keyset, nil
	}
	keyset, err := tokencache.ReadKeyset(text)
	if err != nil {
		return nil, fmt.Errorf("encryption_key: %w", err)
	}
	k.last, k.keyset = text, keyset
	return keyset, nil
}
