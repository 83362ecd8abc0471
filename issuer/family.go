// Refresh with rotation, and the end of a family of tokens.

package issuer

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// family is what is remembered of the descendants of one login. Its refresh tokens
// are counted, from 1 on.
type family struct {
	mu       sync.Mutex
	used     int64 // the last one that was used
	usedAt   time.Time
	answered string // its id, if it was used here
	answer   Pair   // what it got
}

// CheckRefresh returns who a refresh token speaks for without using it up.
func (i *Issuer) CheckRefresh(ctx context.Context, token, audience string) (Subject, error) {
	c, err := i.parse(ctx, token, audience, useRefresh)
	if err != nil {
		return Subject{}, err
	}
	f := i.family(&c)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over(&c) {
		return Subject{}, i.reused(c)
	}
	return c.subject(), nil
}

// Refresh uses a refresh token up and returns the next pair. The same token
// sent again within Grace gets the same pair, at another replica another one;
// later it ends its whole family, because then two parties hold it.
//
// Other replicas learn of it within a second if Watch runs. A family that nobody
// remembers is taken up where the token says it is.
func (i *Issuer) Refresh(ctx context.Context, token, audience string, lifetime time.Duration) (Pair, error) {
	c, err := i.parse(ctx, token, audience, useRefresh)
	if err != nil {
		return Pair{}, err
	}
	f := i.family(&c)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over(&c) {
		return Pair{}, i.reused(c)
	}
	if c.ID == f.answered {
		return f.answer, nil
	}
	pair, err := i.pair(ctx, c.subject(), audience, lifetime, c.Number+1)
	if err != nil {
		return Pair{}, err
	}
	if c.Number > f.used {
		f.used, f.usedAt = c.Number, pair.Issued
		i.refreshed.publish(c.Family, use{Number: c.Number, At: pair.Issued.UnixMilli()})
	}
	f.answered, f.answer = c.ID, pair
	return pair, nil
}

// family returns what is known of a token's family here and at other replicas.
func (i *Issuer) family(c *claims) *family {
	fresh := &family{used: c.Number - 1}
	f, known, _ := i.families.PeekOrAdd(c.Family, fresh)
	if !known {
		f = fresh
	}
	if u, ok := i.refreshed.last(c.Family); ok {
		f.mu.Lock()
		defer f.mu.Unlock()
		if u.Number > f.used {
			f.used, f.usedAt, f.answered = u.Number, time.UnixMilli(u.At), ""
		}
	}
	return f
}

// over reports whether a token was used, and not just a moment ago.
func (f *family) over(c *claims) bool {
	return c.Number < f.used || c.Number == f.used && time.Since(f.usedAt) >= Grace
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
