// Locks that several processes share, including locks left behind by a killed process.

package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
)

// Locker has locks by name. certmagic.Storage, Caddy's storage, has these methods.
type Locker interface {
	Lock(ctx context.Context, name string) error
	Unlock(ctx context.Context, name string) error
}

// Time limits of locks.
const (
	// For is how long to wait for a lock. A lock that was left behind is stale after
	// ten seconds.
	For = 15 * time.Second

	// Section is the maximum time from the lock to the start of the write. After it
	// another process may have the lock, and nothing may be written.
	Section = 4 * time.Second

	// Abandoned is the time after which a lock that is not released counts as left
	// behind: Section, the time of the write and a second.
	Abandoned = Section + writeFor + time.Second

	// HoldersFolder has a record for each lock that somebody has.
	HoldersFolder = Folder + "/locks"

	writeFor    = 3 * time.Second
	unlockFor   = 3 * time.Second
	holderFor   = time.Second // one exchange about who has a lock
	glanceEvery = 100 * time.Millisecond

	// settle is how long who replaces a lock that was left behind waits for those who have
	// seen it free before. They are done, or have given up, within enterFor.
	settle   = 1600 * time.Millisecond
	enterFor = 3 * settle / 4
)

// ErrSlow is the error of a value that was not stored, because the lock may be somebody
// else's by now.
var ErrSlow = errors.New("the store was too slow to change a value under its lock")

// ErrTaken is the error of a wait for a lock that others had meanwhile, one after the other:
// the storage works, and nobody has left the lock behind.
var ErrTaken = errors.New("others have the lock")

// Held is a lock that this process has.
type Held struct {
	at         Store
	name, id   string
	generation uint64
	since      time.Time
	writing    <-chan struct{} // closed at the end of a write that was given up
}

// Lock waits for a lock, at most for the duration For. The error is ErrTaken if the time
// was too short for all who wanted the lock. glance, which may be nil, is called now and then meanwhile.
// If it returns true, the wait ends without the lock, and Lock returns nil.
//
// The lock of the storage alone does not keep others away. A storage gives it to the next
// one when its holder, who may have been stopped only, has shown no sign of life for a while;
// with a file storage, who was stopped releases the lock of the next one afterwards; and the
// processes that had a lock in the last seconds keep fresh what a killed one has left behind,
// as long as they run. So who has the lock says so in a record of its own, which others
// respect until it has not changed for Abandoned. Then one of them replaces the lock by one
// of the next generation, which has another name in the storage.
func Lock(ctx context.Context, at Store, name string, glance func() bool) (*Held, error) {
	ctx, cancel := context.WithTimeout(ctx, For)
	defer cancel()
	w := &wait{at: at, name: name, glance: glance, seen: sightingsOf(at), patience: glanceEvery}
	held, err := w.turn(ctx)
	if err != nil && w.turns > 0 && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil, fmt.Errorf("%w: %w", ErrTaken, err)
	}
	return held, err
}

// wait is a wait for a lock.
type wait struct {
	at     Store
	name   string
	glance func() bool
	seen   *sightings

	// patience is how long the lock of the storage is waited for while nobody is recorded.
	patience time.Duration

	last  *holder // that was seen
	turns int     // how often that was another one than before
}

// turn waits until it has the lock.
func (w *wait) turn(ctx context.Context) (*Held, error) {
	h, err := w.look(ctx)
	for err == nil {
		var locked, over bool
		if h.id == "" {
			locked, over, err = w.lock(ctx, h.generation)
		} else {
			over, err = w.rest(ctx)
		}
		if over || err != nil {
			return nil, err
		}
		if locked {
			if held, err := w.enter(ctx, h.generation); held != nil || err != nil {
				return held, err
			}
		}
		h, err = w.look(ctx)
	}
	return nil, err
}

// lock waits for the lock of the storage, until somebody is recorded to have it, or it was
// replaced. over reports whether the wait is over. While nobody is recorded, the wait begins
// again after a while, which gets longer: a file storage looks once a second only whether a
// lock is free, but others may take long to lock.
func (w *wait) lock(ctx context.Context, generation uint64) (locked, over bool, err error) {
	attempt, giveUp := context.WithCancel(ctx)
	defer giveUp()
	done := try(attempt, w.at, lockName(w.name, generation))
	for begun := time.Now(); ; {
		select {
		case err := <-done:
			return err == nil, false, err
		case <-time.After(glanceEvery):
		case <-ctx.Done():
			return false, true, ctx.Err()
		}
		if w.glance != nil && w.glance() {
			return false, true, nil
		}
		h, err := w.look(ctx)
		switch { // the storage tells itself whether it works
		case err == nil && (h.generation != generation || h.id != ""):
			w.patience = glanceEvery
			return false, false, nil
		case err == nil && time.Since(begun) >= w.patience:
			if w.patience *= 2; w.patience > settle {
				w.patience = glanceEvery
			}
			return false, false, nil
		}
	}
}

// rest waits a moment for somebody who is recorded.
func (w *wait) rest(ctx context.Context) (over bool, err error) {
	if err := bounded.Sleep(ctx, glanceEvery); err != nil {
		return true, err
	}
	return w.glance != nil && w.glance(), nil
}

// enter records who has the lock of the storage. It returns nil if somebody else is still
// recorded, or the lock was replaced; the lock of the storage is released then, as after an
// error.
func (w *wait) enter(ctx context.Context, generation uint64) (*Held, error) {
	h := &Held{at: w.at, name: w.name, id: rand.Text(), generation: generation, since: time.Now()}
	now, err := w.look(ctx)
	if err != nil || now.id != "" || now.generation != generation {
		Unlock(ctx, w.at, lockName(w.name, generation))
		return nil, err
	}
	if err = h.put(ctx, holder{generation: generation, id: h.id}); err == nil && elapsed(h.since) > enterFor {
		err = ErrSlow
	}
	if err != nil {
		h.Unlock(ctx)
		return nil, err
	}
	w.seen.forget(w.name)
	return h, nil
}

// look returns who is recorded, and has the lock replaced if it was left behind.
func (w *wait) look(ctx context.Context) (holder, error) {
	now, err := loadHolder(ctx, w.at, w.name)
	if err == nil {
		if w.last != nil && *w.last != now {
			w.turns++
		}
		w.last = &now
	}
	if err == nil && w.seen.abandoned(w.name, now, time.Now()) {
		go func() {
			defer w.seen.forget(w.name)
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), For)
			defer cancel()
			replace(ctx, w.at, w.name, now)
		}()
	}
	return now, err
}

// replace has the next generation of a lock begin in place of one that was left behind, by
// who is recorded or by somebody who is not. Of several processes that try, the last one that
// has recorded itself does: who has seen the same before that has done so as well, or given
// up, when settle has passed.
func replace(ctx context.Context, at Store, name string, left holder) {
	h := &Held{at: at, name: name, id: rand.Text(), generation: left.generation, since: time.Now()}
	if now, err := loadHolder(ctx, at, name); err != nil || now != left {
		return
	}
	if h.put(ctx, holder{generation: left.generation, id: h.id}) != nil || elapsed(h.since) > enterFor {
		h.leave(ctx, left.generation)
		return
	}
	time.Sleep(settle)
	h.leave(ctx, left.generation+1)
}

// Check returns ErrSlow if the lock may be somebody else's.
func (h *Held) Check(ctx context.Context) error {
	now, err := loadHolder(ctx, h.at, h.name)
	switch {
	case err != nil:
		return fmt.Errorf("loading who has the lock: %w", err)
	case now.generation != h.generation, now.id != h.id && now.id != "", elapsed(h.since) > Section:
		return ErrSlow
	}
	return nil
}

// Store stores a value, unless the lock may be somebody else's. A write that is still running
// when ctx ends goes on, and the lock is kept until it is done: what the next holder writes
// would be overwritten. Nothing more can be stored then.
func (h *Held) Store(ctx context.Context, key string, value []byte) error {
	if h.writing != nil {
		return ErrSlow
	}
	if err := h.Check(ctx); err != nil {
		return err
	}
	done, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeFor)
		defer cancel()
		done <- h.at.Store(within, key, value)
	}()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		h.writing, err = ended, ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("storing %s: %w", key, err)
	}
	return nil
}

// Unlock releases the lock, even if ctx has ended. If that fails, the lock is left behind.
func (h *Held) Unlock(ctx context.Context) {
	if h.writing == nil {
		h.unlock(ctx)
		return
	}
	go func() {
		<-h.writing
		h.unlock(ctx)
	}()
}

func (h *Held) unlock(ctx context.Context) {
	next := h.generation
	if elapsed(h.since) > Section {
		next++ // the lock of the storage may be somebody else's
	}
	h.leave(ctx, next)
	Unlock(ctx, h.at, lockName(h.name, h.generation))
}

// leave records that nobody has the lock any more, if this holder is recorded.
func (h *Held) leave(ctx context.Context, next uint64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockFor)
	defer cancel()
	if now, err := loadHolder(ctx, h.at, h.name); err == nil && now.id == h.id {
		_ = h.put(ctx, holder{generation: next, last: h.id})
	}
}

// elapsed is the time since a moment of this process, also by the clock of the machine: the
// other one does not count while a machine is suspended.
func elapsed(since time.Time) time.Duration {
	return max(time.Since(since), time.Since(since.Round(0)))
}

// holder is who is recorded to have a lock: nobody, if there is no id. last is who had it
// then: a lock that many have, one after the other, is not left behind.
type holder struct {
	generation uint64
	id, last   string
}

// holderPath is where it lies who has a lock.
func holderPath(name string) string {
	return HoldersFolder + "/" + strings.ReplaceAll(strings.TrimPrefix(name, Folder+"/"), "/", ".")
}

// lockName is the name of a lock in the storage.
func lockName(name string, generation uint64) string {
	if generation == 0 {
		return name
	}
	return name + "." + strconv.FormatUint(generation, 10)
}

func loadHolder(ctx context.Context, at Store, name string) (h holder, err error) {
	ctx, cancel := context.WithTimeout(ctx, holderFor)
	defer cancel()
	text, err := bounded.Call(ctx, func(ctx context.Context) ([]byte, error) { return at.Load(ctx, holderPath(name)) })
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	}
	generation, ids, _ := strings.Cut(string(text), " ")
	h.id, h.last, _ = strings.Cut(ids, " ")
	if h.generation, _ = strconv.ParseUint(generation, 10, 64); h.generation == 0 && h.id == "" && h.last == "" {
		h.id = string(text) // nobody writes this; it is replaced after a while
	}
	return h, err
}

// put writes who has the lock. It does not heed the end of ctx: a write that was given up may
// be done all the same. If the write takes too long, the lock is released when it is done.
func (h *Held) put(ctx context.Context, now holder) error {
	ctx = context.WithoutCancel(ctx)
	waited, cancel := context.WithTimeout(ctx, holderFor)
	defer cancel()
	text := fmt.Appendf(nil, "%d %s %s", now.generation, now.id, now.last)
	_, err := bounded.Call(waited, func(waited context.Context) (any, error) {
		within, cancel := context.WithTimeout(ctx, writeFor)
		defer cancel()
		err := h.at.Store(within, holderPath(h.name), text)
		if waited.Err() != nil && now.id != "" {
			h.leave(ctx, h.generation)
			return nil, waited.Err()
		}
		return nil, err
	})
	return err
}

// LockOnly waits for a lock of the storage, at most for the duration For. It is for what must
// happen once at most, and has a lock of its own: nobody removes it. If nobody releases it,
// the error is that of a context that has ended.
func LockOnly(ctx context.Context, locker Locker, name string) error {
	ctx, cancel := context.WithTimeout(ctx, For)
	defer cancel()
	select {
	case err := <-try(ctx, locker, name):
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// try acquires a lock until ctx ends, and sends the result. A lock that comes later is
// released.
func try(ctx context.Context, locker Locker, name string) <-chan error {
	done := make(chan error)
	go func() {
		err := locker.Lock(ctx, name)
		select {
		case done <- err:
		case <-ctx.Done():
			if err == nil {
				Unlock(ctx, locker, name)
			}
		}
	}()
	return done
}

// Unlock releases a lock of the storage, even if ctx has ended. If that fails, the lock is
// left behind.
func Unlock(ctx context.Context, locker Locker, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockFor)
	defer cancel()
	_, _ = bounded.Call(ctx, func(ctx context.Context) (any, error) { return nil, locker.Unlock(ctx, name) })
}
