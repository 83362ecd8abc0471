// The caches of a process: where sessions are kept for other processes and for the next
// start, and what seals them.

package upstream

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/internal/lockout"
	"github.com/caddy-veeam/veeam-auth/internal/process"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/store"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// Cache is a cache of the process. Transports with the same key and the same storage
// share it. It outlives reloads, with what is known of the storage.
type Cache struct {
	*sealed.Store
	ID      string // identifies the cache
	Keys    *KeyFile
	Guesses *lockout.Guesses // of clients with Veeam credentials of their own

	tried sync.Once
}

// AcquireCache returns the cache of a keyset and a storage, as they are configured. log
// is called when the storage fails, and with a nil error when it works again. The
// caller calls ReleaseCache when it no longer uses the cache.
func (s *State) AcquireCache(keyset string, storage []byte, expand secret.Expand, log func(message string, err error)) *Cache {
	sum := sha256.Sum256(append([]byte(keyset+"\n"), storage...))
	id := hex.EncodeToString(sum[:8])
	return s.caches.Acquire(id, func() *Cache {
		keys := &KeyFile{Text: keyset, Expand: expand}
		shared := sealed.New(sealed.Options{
			Keys: keys.Read, Log: log, Holder: processName(),
			Process: process.ID(), Ended: process.Ended,
		})
		return &Cache{Store: shared, ID: id, Keys: keys, Guesses: lockout.NewGuesses(shared)}
	})
}

// ReleaseCache ends one use of a cache.
func (s *State) ReleaseCache(c *Cache) { s.caches.Release(c.ID) }

// Try logs what prevents the cache from working. Only the first call for a cache does
// anything, because later calls of the storage report its errors.
func (c *Cache) Try(ctx context.Context, storage *store.Attachment, log *zap.Logger) {
	c.tried.Do(func() {
		if _, err := c.Keys.Read(); err != nil {
			log.Warn("the encryption key cannot be read: until it can, sessions are kept in memory only", zap.Error(err))
		}
		opened, err := storage.Open()
		if err == nil {
			err = store.Probe(ctx, opened)
		}
		if err != nil && ctx.Err() == nil {
			log.Warn("the storage of the cache does not work: until it does, sessions are kept in memory only",
				zap.String("reason", string(veeam.ReasonStorage)), zap.Error(err))
		}
	})
}

// processName is how other processes name this one to their operators.
func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "?"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}

// KeyFile reads a keyset and parses it when it has changed.
type KeyFile struct {
	Text    string // the keyset or, usually, a placeholder for it
	Expand  secret.Expand
	Timeout time.Duration // default: account.ReadTimeout

	reading bounded.Flight[string]

	mu     sync.Mutex
	last   string
	keyset *sealed.Keyset
}

// Read returns the current keyset. The error names the option encryption_key.
func (k *KeyFile) Read() (sealed.Sealer, error) {
	found := k.reading.Join(context.Background(), cmp.Or(k.Timeout, account.ReadTimeout), func(*bounded.LateError) (string, error) {
		return k.Expand.Read(k.Text)
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
	keyset, err := sealed.ReadKeyset(text)
	if err != nil {
		return nil, fmt.Errorf("encryption_key: %w", err)
	}
	k.last, k.keyset = text, keyset
	return keyset, nil
}
