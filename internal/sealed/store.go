// Package sealed keeps encrypted records in a storage that several processes share: it
// finds them by names that reveal nothing, changes them under a lock, bounds each call,
// and leaves a storage alone that has failed.
package sealed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/internal/store"
)

// Sealer encrypts what is stored. *Keyset implements it.
type Sealer interface {
	Encrypt(plaintext, associatedData []byte) ([]byte, error)
	Decrypt(ciphertext, associatedData []byte) ([]byte, error)

	// Name returns the key in the store for parts that may be secret. All processes
	// with the same keys get the same name.
	Name(parts ...string) string
}

// Limits of the calls of a storage.
const (
	exchangeFor = time.Second     // one exchange
	awayFor     = 5 * time.Second // how long a store that failed is left alone
	maxBroken   = 1000

	lookAtStoreEvery = 10 * time.Second

	// So many exchanges under way are those that a store which hangs has never ended,
	// each of them perhaps a thread of the system. It is left alone until they end.
	maxRunning = 5000
)

// Options are the options of a Store.
type Options struct {
	// Keys returns what seals the records. It is called for every call of the store, so
	// that rotated keys are used at once. Required.
	Keys func() (Sealer, error)

	// Log is called when the store fails, with the error, when it works again, with
	// nil, and for each record that cannot be opened. Default: not called.
	Log func(message string, err error)

	// Away and Back are the messages for a store that fails, and that works again. Default:
	// those of a cache.
	Away, Back string

	// ProbeWrites has Look write, too: for a store that is seldom written to.
	ProbeWrites bool

	// Holder names this process for operators. Default: empty.
	Holder string

	// Process identifies this process for Ended. Ended reports whether another process
	// is known to have ended. Default: not known of any process.
	Process string
	Ended   func(process string) bool
}

// Store keeps records in a storage that processes share.
type Store struct {
	options Options

	stores store.Reattachable

	mu     sync.Mutex
	away   time.Time       // until when the store is left alone
	broken map[string]bool // records that did not open
	sweeps []string        // folders that only this process sweeps

	swept atomic.Int64 // when old records were looked for, unix seconds

	gone atomic.Bool // the store has failed and nothing has worked since

	probed  atomic.Int64 // when Look has looked last, unix nanoseconds
	probing bounded.Flight[any]
}

// New returns a Store without a storage. Nothing is stored until one is attached.
func New(options Options) *Store {
	if options.Log == nil {
		options.Log = func(string, error) {}
	}
	options.Away = cmp.Or(options.Away, "the storage does not work: sessions are kept in memory only")
	options.Back = cmp.Or(options.Back, "the storage works again: sessions are shared")
	if options.Ended == nil {
		options.Ended = func(string) bool { return false }
	}
	return &Store{options: options}
}

// Options returns the options with their defaults.
func (s *Store) Options() Options { return s.options }

// Sealer returns what seals the records now.
func (s *Store) Sealer() (Sealer, error) {
	sealer, err := s.options.Keys()
	if err != nil && s.gone.CompareAndSwap(false, true) {
		s.options.Log("the encryption key cannot be used: sessions are kept in memory only", err)
	}
	return sealer, err
}

// Attach makes s use a store. detach ends that, and the store before it is used again
// if it is still attached.
func (s *Store) Attach(to store.Store) (detach func()) {
	return s.AttachLate(store.Opened(to)).Detach
}

// AttachLate is Attach for a store that is opened when it is first used.
func (s *Store) AttachLate(open store.Open) *store.Attachment {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = time.Time{}
	return s.stores.Attach(open)
}

var (
	errNoStore = errors.New("there is no store")
	errAway    = errors.New("the store failed a moment ago")
)

// Storage returns the storage to use now. The error says that there is none, or that it has
// failed a moment ago.
func (s *Store) Storage() (*store.Attachment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.stores.Last()
	if last == nil {
		return nil, errNoStore
	}
	if time.Now().Before(s.away) || last.Running() >= maxRunning {
		return nil, errAway
	}
	return last, nil
}

// worked records that the storage has answered.
func (s *Store) worked() {
	if s.gone.CompareAndSwap(true, false) {
		s.options.Log(s.options.Back, nil)
	}
}

// Failed records that a call of the storage has failed, and returns err.
func (s *Store) Failed(ctx context.Context, to *store.Attachment, err error) error {
	if ctx.Err() != nil {
		return err // the caller has given up, which says nothing about the store
	}
	s.mu.Lock()
	current := s.stores.Last() == to
	if current {
		s.away = time.Now().Add(awayFor)
	}
	s.mu.Unlock()
	if current && s.gone.CompareAndSwap(false, true) {
		s.options.Log(s.options.Away, err)
	}
	return err
}

// Works reports whether the store worked when it was last used. It is true for a store
// that was not used yet.
func (s *Store) Works() bool { return !s.gone.Load() }

// Look reads a key of the store that does not exist, and with ProbeWrites writes and deletes
// it, so that Works is true of now. It waits until ctx ends. It does nothing less than
// lookAtStoreEvery after it was called last, or while another call of the store is running,
// which tells the same.
func (s *Store) Look(ctx context.Context) {
	now := time.Now().UnixNano()
	if last := s.probed.Load(); now-last < int64(lookAtStoreEvery) || !s.probed.CompareAndSwap(last, now) {
		return
	}
	to, err := s.Storage()
	if err != nil || to.Running() > 0 {
		return
	}
	s.probing.Join(ctx, exchangeFor, func(*bounded.LateError) (any, error) {
		within := context.WithoutCancel(ctx)
		_, err := exchange(within, func(ctx context.Context) ([]byte, error) { return to.Load(ctx, probeKey) })
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, s.Failed(within, to, fmt.Errorf("loading: %w", err))
		}
		if s.options.ProbeWrites {
			_, err := exchange(within, func(ctx context.Context) (any, error) {
				return nil, errors.Join(to.Store(ctx, probeKey, []byte{}), to.Delete(ctx, probeKey))
			})
			if err != nil {
				return nil, s.Failed(within, to, fmt.Errorf("storing: %w", err))
			}
		}
		s.worked()
		return nil, nil //nolint:nilnil // the outcome is in s
	})
}

// Hold keeps the storage attached until release is called, also if its configuration is
// unloaded meanwhile.
func (s *Store) Hold() (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := s.stores.Last(); last != nil {
		return last.Hold()
	}
	return func() {}
}

// Attached reports whether there is a store.
func (s *Store) Attached() bool { return s.stores.Last() != nil }

// probeKey is the key of the store that Look reads. Nothing stays there.
const probeKey = store.Folder + "/probe"

// opened reports once that a record does not open.
func (s *Store) opened(key string, err error) {
	s.mu.Lock()
	known := s.broken[key]
	switch {
	case err == nil:
		delete(s.broken, key)
	case s.broken == nil || len(s.broken) >= maxBroken:
		s.broken = map[string]bool{key: true}
	default:
		s.broken[key] = true
	}
	s.mu.Unlock()
	if err != nil && !known {
		s.options.Log("ignoring a record of the storage: "+key, err)
	}
}
