// The store that several processes share: bounded exchanges with it, changes
// under its lock, and what happens while it is away.

package tokencache

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

// Store keeps shared sessions. certmagic.Storage, Caddy's storage, has these methods.
type Store = store.Store

// Sealer encrypts what is stored. *Keyset implements it.
type Sealer interface {
	Encrypt(plaintext, associatedData []byte) ([]byte, error)
	Decrypt(ciphertext, associatedData []byte) ([]byte, error)

	// Name returns the key in the store for parts that may be secret. All processes
	// with the same keys get the same name.
	Name(parts ...string) string
}

// Limits of the calls of a store.
const (
	DefaultLease = 8 * time.Second

	exchangeFor = time.Second     // one exchange
	awayFor     = 5 * time.Second // how long a store that failed is left alone
	pollEvery   = 100 * time.Millisecond
	maxBroken   = 1000

	lookAtStoreEvery = 10 * time.Second

	// So many exchanges under way are those that a store which hangs has never ended,
	// each of them perhaps a thread of the system. It is left alone until they end.
	maxRunning = 5000
)

// SharedOptions are the options of a Shared.
type SharedOptions struct {
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

	// Lease is how long the grant of another process is waited for that gives no sign
	// of life. Default: 8s.
	Lease time.Duration

	// Process identifies this process for Ended. Ended reports whether another process
	// is known to have ended. Its grant is taken over at once then, unless it was
	// itself taken over that way. Default: not known of any process.
	Process string
	Ended   func(process string) bool
}

// Shared keeps sessions in a store. Many sessions use one Shared.
type Shared struct {
	options SharedOptions

	stores store.Reattachable

	mu     sync.Mutex
	away   time.Time       // until when the store is left alone
	broken map[string]bool // records that did not open
	book   *Book           // nil until it is asked for

	guesses guessQueues

	swept atomic.Int64 // when old records were looked for, unix seconds

	gone atomic.Bool // the store has failed and nothing has worked since

	probed  atomic.Int64 // when Look has looked last, unix nanoseconds
	probing bounded.Flight[any]
}

// NewShared returns a Shared without a store. Sessions are not shared until one is
// attached.
func NewShared(options SharedOptions) *Shared {
	if options.Log == nil {
		options.Log = func(string, error) {}
	}
	if options.Lease <= 0 {
		options.Lease = DefaultLease
	}
	options.Away = cmp.Or(options.Away, "the storage does not work: sessions are kept in memory only")
	options.Back = cmp.Or(options.Back, "the storage works again: sessions are shared")
	if options.Ended == nil {
		options.Ended = func(string) bool { return false }
	}
	return &Shared{options: options}
}

// Attach makes s use a store. detach ends that, and the store before it is used again
// if it is still attached.
func (s *Shared) Attach(to Store) (detach func()) {
	return s.AttachLate(store.Opened(to)).Detach
}

// AttachLate is Attach for a store that is opened when it is first used.
func (s *Shared) AttachLate(open store.Open) *store.Attachment {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = time.Time{}
	return s.stores.Attach(open)
}

var (
	errNoStore = errors.New("there is no store")
	errAway    = errors.New("the store failed a moment ago")
)

// last returns the store to use.
func (s *Shared) last() (*store.Attachment, error) {
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

// lastNow is last for what is worth a try although the store has just failed.
func (s *Shared) lastNow() (*store.Attachment, error) {
	s.mu.Lock()
	s.away = time.Time{}
	s.mu.Unlock()
	return s.last()
}

// worked and failed record how the store answers.
func (s *Shared) worked() {
	if s.gone.CompareAndSwap(true, false) {
		s.options.Log(s.options.Back, nil)
	}
}

func (s *Shared) failed(ctx context.Context, to *store.Attachment, err error) error {
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
func (s *Shared) Works() bool { return !s.gone.Load() }

// Look reads a key of the store that does not exist, and with ProbeWrites writes and deletes
// it, so that Works is true of now. It
// waits until ctx ends. It does nothing less than lookAtStoreEvery after it was called
// last, or while another call of the store is running, which tells the same.
func (s *Shared) Look(ctx context.Context) {
	now := time.Now().UnixNano()
	if last := s.probed.Load(); now-last < int64(lookAtStoreEvery) || !s.probed.CompareAndSwap(last, now) {
		return
	}
	to, err := s.last()
	if err != nil || to.Running() > 0 {
		return
	}
	s.probing.Join(ctx, exchangeFor, func(*bounded.LateError) (any, error) {
		within := context.WithoutCancel(ctx)
		_, err := exchange(within, func(ctx context.Context) ([]byte, error) { return to.Load(ctx, probeKey) })
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, s.failed(within, to, fmt.Errorf("loading: %w", err))
		}
		if s.options.ProbeWrites {
			_, err := exchange(within, func(ctx context.Context) (any, error) {
				return nil, errors.Join(to.Store(ctx, probeKey, []byte{}), to.Delete(ctx, probeKey))
			})
			if err != nil {
				return nil, s.failed(within, to, fmt.Errorf("storing: %w", err))
			}
		}
		s.worked()
		return nil, nil //nolint:nilnil // the outcome is in s
	})
}

// Attached reports whether there is a store.
func (s *Shared) Attached() bool { return s.stores.Last() != nil }

// probeKey is the key of the store that Look reads. Nothing stays there.
const probeKey = store.Folder + "/probe"

// opened reports once that a record does not open.
func (s *Shared) opened(key string, err error) {
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

// place is where a record lies, and what it is bound to.
type place struct {
	key        string
	associated []byte
	sealer     Sealer
}

// load returns what lies at a place, nil if there is nothing that opens.
func load[T any](ctx context.Context, s *Shared, p place) (*T, error) {
	to, err := s.last()
	if err != nil {
		return nil, err
	}
	return loadFrom[T](ctx, s, to, p)
}

func loadFrom[T any](ctx context.Context, s *Shared, to *store.Attachment, p place) (*T, error) {
	sealed, err := exchange(ctx, func(ctx context.Context) ([]byte, error) { return to.Load(ctx, p.key) })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.worked()
		return nil, nil //nolint:nilnil // a miss is no error
	case err != nil:
		return nil, s.failed(ctx, to, fmt.Errorf("loading: %w", err))
	}
	s.worked()
	value := new(T)
	err = p.open(sealed, value)
	s.opened(p.key, err)
	if err != nil {
		return nil, nil //nolint:nilnil,nilerr // so is what does not open
	}
	return value, nil
}

// update changes what lies at a place under the store's lock: change gets what
// was found, or nil, and returns what to store, or nil to leave it. While the
// lock is somebody else's, glance is called now and then; the wait ends when it
// returns true.
func update[T any](ctx context.Context, s *Shared, p place, glance func() bool, change func(found *T) *T) error {
	to, err := s.last()
	if err != nil {
		return err
	}
	return updateIn(ctx, s, to, p, glance, change)
}

func updateIn[T any](ctx context.Context, s *Shared, to *store.Attachment, p place, glance func() bool, change func(found *T) *T) error {
	lock, err := store.Lock(ctx, to, p.key, glance)
	if errors.Is(err, store.ErrTaken) { // the store has not failed
		return fmt.Errorf("locking: %w", err)
	}
	if err != nil {
		return s.failed(ctx, to, fmt.Errorf("locking: %w", err))
	}
	if lock == nil { // glance has ended the wait
		return nil
	}
	ctx = context.WithoutCancel(ctx) // only the wait for the lock can be given up
	defer lock.Unlock(ctx)
	found, err := loadFrom[T](ctx, s, to, p)
	if err != nil {
		return err
	}
	next := change(found)
	if next == nil {
		return nil
	}
	sealed, err := p.seal(next)
	if err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, 2*exchangeFor) // a read and the write
	defer cancel()
	if err := lock.Store(within, p.key, sealed); err != nil {
		return s.failed(ctx, to, err)
	}
	s.worked()
	s.sweepSometimes(to)
	return nil
}

// updateWithin is update with a bound of its own. A store that is too slow for it
// is left alone for a while, as one that fails.
func updateWithin[T any](ctx context.Context, within time.Duration, s *Shared, p place, change func(found *T) *T) error {
	to, err := s.last()
	if err != nil {
		return err
	}
	bound, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	err = updateIn(bound, s, to, p, nil, change)
	if err != nil && bound.Err() != nil && ctx.Err() == nil && !errors.Is(err, store.ErrTaken) {
		return s.failed(ctx, to, err)
	}
	return err
}

// exchange runs one exchange. Stores need not heed ctx: a file system that hangs
// does not, so the exchange is left to itself when its time is over.
func exchange[T any](ctx context.Context, call func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, exchangeFor)
	defer cancel()
	return bounded.Call(ctx, call)
}
