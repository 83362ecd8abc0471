// The records of a store: how they are sealed, and bounded exchanges that read them and
// change them under a lock.

package sealed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/internal/store"
)

// recordVersion is part of what a record is bound to: records of another version
// do not open.
const recordVersion = 1

// RecordKey is where a record lies, and what it is bound to.
type RecordKey struct {
	// Key is the key in the storage.
	Key string

	// Bound is what the record is bound to, see Join. It does not open in place of one
	// that is bound to something else.
	Bound []byte

	// Sealer seals the record and opens it.
	Sealer Sealer
}

// Join joins parts so that no two lists of parts look the same.
func Join(parts ...string) []byte {
	joined := strconv.AppendInt([]byte("veeam_auth "), recordVersion, 10)
	for _, part := range parts {
		joined = strconv.AppendInt(append(joined, ' '), int64(len(part)), 10)
		joined = append(append(joined, ':'), part...)
	}
	return joined
}

// ErrNotOpened is the error of a record that does not open.
var ErrNotOpened = errors.New("it is damaged, or was sealed with an unknown key")

// Open reads the value of a record.
func (k RecordKey) Open(sealed []byte, into any) error {
	plain, err := k.Sealer.Decrypt(sealed, k.Bound)
	if err != nil {
		return ErrNotOpened // the text of the cause helps nobody
	}
	decoder := json.NewDecoder(bytes.NewReader(plain))
	if err := decoder.Decode(into); err != nil {
		return ErrNotOpened
	}
	return nil
}

// Seal returns a value as it is stored.
func (k RecordKey) Seal(from any) ([]byte, error) {
	plain, err := json.Marshal(from)
	if err != nil {
		return nil, err
	}
	return k.Sealer.Encrypt(plain, k.Bound)
}

// Load returns the value of a record, nil if there is none that opens.
func Load[T any](ctx context.Context, s *Store, at RecordKey) (*T, error) {
	to, err := s.Storage()
	if err != nil {
		return nil, err
	}
	return loadFrom[T](ctx, s, to, at)
}

func loadFrom[T any](ctx context.Context, s *Store, to *store.Attachment, at RecordKey) (*T, error) {
	sealed, err := exchange(ctx, func(ctx context.Context) ([]byte, error) { return to.Load(ctx, at.Key) })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.worked()
		return nil, nil //nolint:nilnil // a miss is no error
	case err != nil:
		return nil, s.Failed(ctx, to, fmt.Errorf("loading: %w", err))
	}
	s.worked()
	value := new(T)
	err = at.Open(sealed, value)
	s.opened(at.Key, err)
	if err != nil {
		return nil, nil //nolint:nilnil,nilerr // so is what does not open
	}
	return value, nil
}

// Update changes a record under the lock of the storage: change gets its value, or nil, and
// returns what to store, or nil to leave it. While another process has the lock, glance is
// called now and then; the wait ends when it returns true. It may be nil.
func Update[T any](ctx context.Context, s *Store, at RecordKey, glance func() bool, change func(found *T) *T) error {
	to, err := s.Storage()
	if err != nil {
		return err
	}
	return updateIn(ctx, s, to, at, glance, change)
}

// UpdateNow is Update even if the storage failed a moment ago.
func UpdateNow[T any](ctx context.Context, s *Store, at RecordKey, change func(found *T) *T) error {
	s.mu.Lock()
	s.away = time.Time{}
	s.mu.Unlock()
	return Update(ctx, s, at, nil, change)
}

func updateIn[T any](ctx context.Context, s *Store, to *store.Attachment, at RecordKey, glance func() bool, change func(found *T) *T) error {
	lock, err := store.Lock(ctx, to, at.Key, glance)
	if errors.Is(err, store.ErrTaken) { // the store has not failed
		return fmt.Errorf("locking: %w", err)
	}
	if err != nil {
		return s.Failed(ctx, to, fmt.Errorf("locking: %w", err))
	}
	if lock == nil { // glance has ended the wait
		return nil
	}
	ctx = context.WithoutCancel(ctx) // only the wait for the lock can be given up
	defer lock.Unlock(ctx)
	found, err := loadFrom[T](ctx, s, to, at)
	if err != nil {
		return err
	}
	next := change(found)
	if next == nil {
		return nil
	}
	sealed, err := at.Seal(next)
	if err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, 2*exchangeFor) // a read and the write
	defer cancel()
	if err := lock.Store(within, at.Key, sealed); err != nil {
		return s.Failed(ctx, to, err)
	}
	s.worked()
	s.sweepSometimes(to)
	return nil
}

// UpdateWithin is Update with a time limit. A storage that is too slow for it is left alone
// for a while, as one that fails.
func UpdateWithin[T any](ctx context.Context, within time.Duration, s *Store, at RecordKey, change func(found *T) *T) error {
	to, err := s.Storage()
	if err != nil {
		return err
	}
	bound, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	err = updateIn(bound, s, to, at, nil, change)
	if err != nil && bound.Err() != nil && ctx.Err() == nil && !errors.Is(err, store.ErrTaken) {
		return s.Failed(ctx, to, err)
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
