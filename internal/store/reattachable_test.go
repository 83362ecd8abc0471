// Storages over reloads.

package store

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// folder has one lock with certmagic's habits: it is looked at once in a second.
type folder struct{ held atomic.Bool }

func (f *folder) Lock(ctx context.Context, _ string) error {
	for !f.held.CompareAndSwap(false, true) {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (f *folder) Unlock(context.Context, string) error {
	f.held.Store(false)
	return nil
}

// opened is a store that a configuration has opened.
type opened struct {
	*folder
	values map[string][]byte
	closed int
}

func open() *opened { return &opened{folder: new(folder), values: make(map[string][]byte)} }

func (o *opened) Open() (Store, func(), error) { return o, func() { o.closed++ }, nil }

func (o *opened) Store(_ context.Context, key string, value []byte) error {
	o.values[key] = value
	return nil
}

func (o *opened) Load(_ context.Context, key string) ([]byte, error) {
	value, ok := o.values[key]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return value, nil
}

func (o *opened) Delete(_ context.Context, key string) error {
	delete(o.values, key)
	return nil
}

func TestTheStoreThatWasAttachedLastIsUsed(t *testing.T) {
	ctx := t.Context()
	var r Reattachable
	if _, err := r.Load(ctx, "x"); !errors.Is(err, ErrDetached) {
		t.Errorf("without a store: %v", err)
	}
	first, second, third := open(), open(), open()
	a, b, c := r.Attach(first.Open), r.Attach(second.Open), r.Attach(third.Open)
	writes := func() {
		t.Helper()
		if err := r.Store(ctx, "x", nil); err != nil {
			t.Error(err)
		}
	}
	writes()
	c.Detach() // a configuration that did not load
	writes()
	a.Detach()
	writes()
	if len(first.values) != 0 || len(second.values) != 1 || len(third.values) != 1 {
		t.Error(first.values, second.values, third.values)
	}
	if err := r.Delete(ctx, "x"); err != nil || len(second.values) != 0 {
		t.Error(err, second.values)
	}
	b.Detach()
	b.Detach()
	if first.closed != 0 || second.closed != 1 || third.closed != 1 {
		t.Errorf("closed %d, %d and %d times; the first was never opened", first.closed, second.closed, third.closed)
	}
	if err := r.Lock(ctx, "x"); !errors.Is(err, ErrDetached) {
		t.Errorf("a lock of none: %v", err)
	}
}

func TestALockIsGivenBackToTheStoreThatItIsOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		var r Reattachable
		first, second := open(), open()
		a := r.Attach(first.Open)
		if err := r.Lock(ctx, "x"); err != nil {
			t.Fatal(err)
		}
		waited := make(chan error)
		go func() { waited <- a.Lock(ctx, "y") }() // folders have one lock
		synctest.Wait()
		r.Attach(second.Open)
		a.Detach()
		if first.closed != 0 || !first.held.Load() {
			t.Error("it is closed while a lock is held")
		}
		if err := a.Lock(ctx, "z"); !errors.Is(err, ErrDetached) {
			t.Errorf("another lock: %v", err)
		}
		if err := r.Unlock(ctx, "x"); err != nil {
			t.Error(err)
		}
		if err := <-waited; err != nil || first.closed != 0 {
			t.Errorf("who waited: %v, closed %d times", err, first.closed)
		}
		if err := a.Unlock(ctx, "y"); err != nil || first.closed != 1 || first.held.Load() {
			t.Errorf("%v, closed %d times, held %v", err, first.closed, first.held.Load())
		}
		if _, err := a.Load(ctx, "x"); !errors.Is(err, ErrDetached) {
			t.Errorf("it is still used: %v", err)
		}
		// One that was left behind is removed where it would be waited for.
		second.held.Store(true)
		if err := r.Unlock(ctx, "x"); err != nil || second.held.Load() {
			t.Errorf("%v, held %v", err, second.held.Load())
		}
	})
}

func TestAStoreIsOpenedWhenItIsNeeded(t *testing.T) {
	var r Reattachable
	tries, away := 0, errors.New("away")
	a := r.Attach(func() (Store, func(), error) {
		if tries++; tries < 3 {
			return nil, nil, away
		}
		return open(), nil, nil
	})
	if tries != 0 {
		t.Error("opened at once")
	}
	var seen []error
	for range 4 {
		_, err := a.Open()
		seen = append(seen, err)
	}
	if !slices.Equal(seen, []error{away, away, nil, nil}) || tries != 3 {
		t.Errorf("%v, opened %d times", seen, tries)
	}
	a.Detach()
}

// hung answers nothing.
type hung struct {
	*opened
	until chan struct{}
}

func (h hung) Load(context.Context, string) ([]byte, error) {
	<-h.until
	return nil, fs.ErrNotExist
}

func TestAStoreThatHangsHoldsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hung{open(), make(chan struct{})}
		var r Reattachable
		a := r.Attach(Opened(h))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := r.Load(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) || a.Running() != 1 {
			t.Errorf("%v, %d under way", err, a.Running())
		}
		a.Detach()
		close(h.until)
		synctest.Wait()
		if a.Running() != 0 {
			t.Errorf("%d under way", a.Running())
		}
	})
}
