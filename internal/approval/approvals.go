// Asking for approvals, giving and using them, in step with other processes.

package approval

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/caddy-veeam/veeam-auth/internal/pool"
	"github.com/caddy-veeam/veeam-auth/internal/store"
	"github.com/caddy-veeam/veeam-auth/metrics"
)

// Approvals are the approvals of one storage. All methods are safe for concurrent use.
type Approvals struct {
	store  store.Store
	loaded atomic.Pointer[view]
	flight singleflight.Group
	turn   chan struct{} // of who changes the list

	// told is called after each change of an approval in this process, with its new status.
	told func(Status, State)
}

// view is the list as it was read last.
type view struct {
	*book
	mark []byte
}

// New returns the approvals of a store, without accessing it. told is called with each
// approval that this process has changed, once in all processes: Waiting for one that was
// asked for.
func New(store store.Store, told func(Status, State)) *Approvals {
	a := &Approvals{store: store, turn: make(chan struct{}, 1), told: told}
	a.loaded.Store(&view{book: new(book)})
	return a
}

func (a *Approvals) tell(status Status, s State) {
	if a.told != nil {
		s.Status = status
		a.told(status, s)
	}
}

// read returns the list as it is now. Those who ask at the same time share the answer.
func (a *Approvals) read(ctx context.Context) (*book, error) {
	done := a.flight.DoChan("", func() (any, error) {
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), store.For)
		defer cancel()
		before := a.loaded.Load()
		mark, changed, err := store.Changed(within, a.store, IndexPath, before.mark)
		if err != nil || !changed {
			return before.book, err
		}
		b, err := load(within, a.store)
		if err != nil {
			return nil, err
		}
		if !a.loaded.CompareAndSwap(before, &view{b, mark}) {
			return a.loaded.Load().book, nil // changed here meanwhile
		}
		return b, nil
	})
	select {
	case result := <-done:
		if result.Err != nil {
			return nil, &StorageError{result.Err}
		}
		return result.Val.(*book), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// List describes the approvals, the oldest first: those that wait, and those that have ended
// within the last hour. The error is a *StorageError or that of ctx.
func (a *Approvals) List(ctx context.Context) (states []State, err error) {
	b, err := a.read(ctx)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	for _, rec := range b.Approvals {
		s := rec.State
		s.Status = rec.standing(now)
		states = append(states, s)
	}
	return states, nil
}

// NotFoundError reports that there is no approval with an id.
type NotFoundError struct{ ID string }

// Error says so.
func (e *NotFoundError) Error() string {
	return fmt.Sprintf("there is no approval %q, or it has ended more than an hour ago", e.ID)
}

// EndedError reports that an approval has ended.
type EndedError struct {
	ID     string
	Status Status
}

// Error says how.
func (e *EndedError) Error() string {
	return fmt.Sprintf("the approval %s cannot be changed: it is %s", e.ID, e.Status)
}

// Decide approves or denies a request that waits, or denies one that was approved and has
// not passed yet. by is the operator. The error is a *NotFoundError, an *EndedError or a
// *StorageError: then nothing was decided, or it is not known.
func (a *Approvals) Decide(ctx context.Context, id string, approve bool, by string) (s State, err error) {
	b, err := a.read(ctx)
	if err != nil {
		return State{}, err
	}
	if b.byID(id) == nil {
		return State{}, &NotFoundError{id}
	}
	changed := false
	err = a.alone(ctx, id, func(ctx context.Context) error {
		spent, err := a.spent(ctx, id)
		if err != nil {
			return &StorageError{err}
		}
		return a.change(ctx, func(b *book, now time.Time) error {
			rec := b.byID(id)
			switch {
			case rec == nil:
				return &NotFoundError{id}
			case spent != nil && rec.Status == Approved:
				return &EndedError{id, Used}
			case rec.standing(now) == Approved && approve:
				s = rec.State
				return errSame
			case rec.standing(now) != Waiting && rec.standing(now) != Approved:
				return &EndedError{id, rec.standing(now)}
			}
			changed, rec.Decided, rec.By = true, now, short(by)
			if approve {
				rec.Status, rec.Expires = Approved, now.Add(rec.UseWithin)
			} else {
				rec.end(Denied)
				rec.Expires = now.Add(rec.Wait)
			}
			s = rec.State
			return nil
		})
	})
	if err != nil {
		return State{}, err
	}
	if changed {
		a.tell(s.Status, s)
	}
	return s, nil
}

// Watch keeps the approvals in step with other processes, and ends those whose time is over,
// until ctx ends. failed is called once for each period in which the store fails.
func (a *Approvals) Watch(ctx context.Context, failed func(error)) {
	store.Look(ctx, func(ctx context.Context) error {
		b, err := a.read(ctx)
		if err != nil || !b.due(time.Now()) {
			return err
		}
		return a.change(ctx, func(*book, time.Time) error { return errSame }) // another process may have done it
	}, failed)
}

// waiting adds the requests that wait, by product. It reads no storage.
func (a *Approvals) waiting(now time.Time, of map[string]metrics.Waits) {
	for _, rec := range a.loaded.Load().Approvals {
		if rec.standing(now) != Waiting {
			continue
		}
		waits := of[rec.Product]
		if left := rec.Expires.Sub(now); waits.Number == 0 || left < waits.First {
			waits.First = left
		}
		waits.Number++
		of[rec.Product] = waits
	}
}

// Pooled are the approvals of a storage over reloads.
type Pooled struct {
	*Approvals
	*store.Shared
}

// pooled keeps the approvals of each storage over reloads: those that are asked for stay.
var pooled = pool.New[string]((*Pooled).Stop)

// Acquire returns the approvals of the storage that key identifies. Call release when the
// configuration of the storage is unloaded. Before Start, the storage is accessed only when
// an approval is asked for or listed. told is as for New.
func Acquire(key string, storage store.Store, told func(Status, State)) (p *Pooled, release func()) {
	p = pooled.Acquire(key, func() *Pooled {
		shared := store.NewShared()
		return &Pooled{New(shared, told), shared}
	})
	attached := p.Attach(storage)
	return p, func() {
		pooled.Release(key)
		attached.Detach()
	}
}

// Start begins to keep the approvals in step with other processes. failed is called as by
// Watch. Only the first call of the process has an effect.
func (p *Pooled) Start(failed func(error)) {
	p.Shared.Start(func(ctx context.Context) { p.Watch(ctx, failed) }, nil)
}

// Live returns the approvals of the storages of the running configuration.
func Live() (live []*Approvals) {
	for _, p := range pooled.All() {
		live = append(live, p.Approvals)
	}
	return live
}

// WaitingAt returns the requests that wait at a time, by product. It reads no storage.
func WaitingAt(now time.Time) map[string]metrics.Waits {
	of := make(map[string]metrics.Waits)
	for _, a := range Live() {
		a.waiting(now, of)
	}
	return of
}
