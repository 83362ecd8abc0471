// Refresh with rotation, and the end of a family of tokens.

package issuer

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// family is what is remembered of the descendants of one login.
type family struct {
	mu       sync.Mutex
	current  string // id of the refresh token that is good now
	previous string // id of the one before
	usedAt   time.Time
	answer   Pair // what previous got
}

// CheckRefresh returns who a refresh token speaks for without using it up.
func (i *Issuer) CheckRefresh(ctx context.Context, token, audience string) (Subject, error) {
	c, err := i.parse(ctx, token, audience, useRefresh)
	if err != nil {
		return Subject{}, err
	}
	if f, ok := i.families.Get(c.Family); ok {
		f.mu.Lock()
		defer f.mu.Unlock()
		if !f.knows(c.ID) {
			return Subject{}, i.reused(c)
		}
	}
	return c.subject(), nil
}

// Refresh uses a refresh token up and returns the next pair. The same token
// sent again within Grace gets the same pair; later it ends its whole family,
// because then two parties hold it.
//
// A family that is not remembered - it is older than the process - is taken up
// where the token says it is.
func (i *Issuer) Refresh(ctx context.Context, token, audience string, lifetime time.Duration) (Pair, error) {
	c, err := i.parse(ctx, token, audience, useRefresh)
	if err != nil {
		return Pair{}, err
	}
	fresh := &family{current: c.ID}
	f, known, _ := i.families.PeekOrAdd(c.Family, fresh)
	if !known {
		f = fresh
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.knows(c.ID) {
		return Pair{}, i.reused(c)
	}
	if c.ID == f.previous {
		return f.answer, nil
	}
	pair, id, err := i.pair(ctx, c.subject(), audience, lifetime)
	if err != nil {
		return Pair{}, err
	}
	f.previous, f.usedAt, f.answer = f.current, pair.Issued, pair
	f.current = id
	return pair, nil
}

// knows reports whether a refresh token is good now, or was a moment ago.
func (f *family) knows(id string) bool {
	return id == f.current || id == f.previous && time.Since(f.usedAt) < Grace
}

func (i *Issuer) reused(c claims) error {
	i.End(c.Family)
	return ErrReused
}

// End logs a family out: none of its tokens is accepted any more.
// Other replicas learn it within a second if Watch runs.
func (i *Issuer) End(family string) {
	i.families.Remove(family)
	i.ended.add(family)
	i.revoked.publish(family)
}

// ended holds the families that were logged out, until their last token has
// expired by itself. Reading takes no lock.
type ended struct {
	families sync.Map // family → time.Time
	size     atomic.Int64
	swept    atomic.Int64 // unix seconds
}

func (e *ended) has(family string) bool {
	if e.size.Load() == 0 {
		return false
	}
	_, ok := e.families.Load(family)
	return ok
}

func (e *ended) add(family string) {
	now := time.Now()
	if _, loaded := e.families.Swap(family, now.Add(RefreshLifetime)); !loaded {
		e.size.Add(1)
	}
	if last := e.swept.Load(); now.Unix()-last < 3600 || !e.swept.CompareAndSwap(last, now.Unix()) {
		return
	}
	e.families.Range(func(family, until any) bool {
		if now.After(until.(time.Time)) {
			e.families.Delete(family)
			e.size.Add(-1)
		}
		return true
	})
}
