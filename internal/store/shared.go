// What the process shares of a storage with other processes, over reloads.

package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"
)

// Shared is a storage that outlives the configurations that open it, with a task that
// keeps what the process knows of it in step with other processes. Create it with
// NewShared.
type Shared struct {
	Fallback

	storage Reattachable
	begin   sync.Once
	ctx     context.Context // ends with the task
	stop    context.CancelFunc
	done    chan struct{} // closed when nothing is told any more
}

// LastFor bounds what the task may tell the others when it ends. tellFor is how long Stop
// waits for that: a storage that hangs need not heed that it is not wanted any more.
const (
	LastFor = 3 * time.Second
	tellFor = 5 * time.Second
)

// NewShared returns a Shared without a storage.
func NewShared() *Shared {
	s := &Shared{done: make(chan struct{})}
	s.Inner = &s.storage
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// Attach makes a storage of a configuration the one that is used. Detach it when the
// configuration is unloaded.
func (s *Shared) Attach(storage Store) *Attachment { return s.storage.Attach(Opened(storage)) }

// Start begins the task, then calls first, which may be nil. Only the first call has an
// effect.
func (s *Shared) Start(task func(context.Context), first func()) {
	s.begin.Do(func() {
		go func() {
			defer close(s.done)
			task(s.ctx)
		}()
		if first != nil {
			first()
		}
	})
}

// Stop ends the task, and waits a moment until it has told the others what they do not
// know.
func (s *Shared) Stop() {
	s.stop()
	s.begin.Do(func() { close(s.done) }) // it has never started
	timer := time.NewTimer(tellFor)
	defer timer.Stop()
	select {
	case <-s.done:
	case <-timer.C:
	}
}

// LookEvery is how often processes look at what others have stored.
const LookEvery = 500 * time.Millisecond

// Look calls look every LookEvery, and first at once, until ctx ends. failed is called
// once for each period in which it fails.
func Look(ctx context.Context, look func(context.Context) error, failed func(error)) {
	ticker := time.NewTicker(LookEvery)
	defer ticker.Stop()
	broken := false
	for {
		err := look(ctx)
		if err != nil && !broken && ctx.Err() == nil {
			failed(err)
		}
		broken = err != nil
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Mark returns a text that no other call returns. It stands in an index for what has
// changed.
func Mark() string { return rand.Text()[:12] }

// LoadIfAny returns the value of a key, nil if there is none.
func LoadIfAny(ctx context.Context, from Store, key string) ([]byte, error) {
	text, err := from.Load(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("loading %s: %w", key, err)
	}
	return text, nil
}

// Changed returns the value of a key if it is not the one of before. Both are nil for
// none.
func Changed(ctx context.Context, from Store, key string, before []byte) (text []byte, changed bool, err error) {
	text, err = LoadIfAny(ctx, from, key)
	return text, err == nil && !bytes.Equal(text, before), err
}

// StoreLocked stores a value that was read under a lock of LockOnly which was got at a time.
func StoreLocked(ctx context.Context, to Store, key string, value []byte, since time.Time) error {
	if elapsed(since) > Section {
		return ErrSlow
	}
	if err := to.Store(ctx, key, value); err != nil {
		return fmt.Errorf("storing %s: %w", key, err)
	}
	return nil
}
