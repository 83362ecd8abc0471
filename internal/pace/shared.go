// The pace of token requests over all processes: one record for each server, which
// is changed for all requests of a process that wait for it at once.

package pace

import (
	"context"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/sealed"
)

// exchangeFor is how long a token request waits for the store. Without it, what
// this process knows has to do.
const exchangeFor = 5 * time.Second

// recordKey is where the record of the server lies.
func (p *Limiter) recordKey(shared *sealed.Store) (sealed.RecordKey, error) {
	sealer, err := shared.Sealer()
	if err != nil {
		return sealed.RecordKey{}, err
	}
	return sealed.RecordKey{
		Key:    "veeam_auth/pace/" + sealer.Name("pace", p.Product, p.Origin),
		Bound:  sealed.Join("pace", p.Product, p.Origin),
		Sealer: sealer,
	}, nil
}

// ask has the store answer a question. Those that come while it answers wait, and
// are then answered together: the store's lock is slow where many want it.
func (p *Limiter) ask(ctx context.Context, shared *sealed.Store, a *question) error {
	a.done = make(chan struct{})
	p.mu.Lock()
	p.queue = append(p.queue, a)
	begin := !p.serving
	p.serving = true
	p.mu.Unlock()
	if begin {
		go p.serve(context.WithoutCancel(ctx), shared)
	}
	select {
	case <-a.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// serve answers questions until there are none.
func (p *Limiter) serve(ctx context.Context, shared *sealed.Store) {
	for {
		p.mu.Lock()
		batch := p.queue
		p.queue = nil
		p.serving = len(batch) > 0
		p.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		p.exchange(ctx, shared, batch)
		for _, a := range batch {
			close(a.done)
		}
	}
}

// exchange answers questions by the record of the store. If the store cannot be
// used, what is known here answers them.
func (p *Limiter) exchange(ctx context.Context, shared *sealed.Store, batch []*question) {
	ctx, cancel := context.WithTimeout(ctx, exchangeFor)
	defer cancel()
	var agreed *history
	at, err := p.recordKey(shared)
	if err == nil {
		err = sealed.Update(ctx, shared, at, nil, func(found *history) *history {
			var news bool
			agreed, news = p.merge(found)
			if !agreed.answer(batch) && !news {
				return nil
			}
			return agreed
		})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil && agreed != nil {
		agreed.pause(p.known.NotBefore)
		p.known, p.unsaved = *agreed, history{}
		return
	}
	p.known.answer(batch)
	p.unsaved.prune(time.Now())
	for _, a := range batch {
		for _, moment := range a.taken() {
			p.unsaved.add(moment)
		}
	}
}

// merge adds to a record what the store does not know yet, and reports whether
// there was anything. A store that was emptied gets what is known here.
func (p *Limiter) merge(found *history) (all *history, news bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unsaved.prune(time.Now())
	if found == nil {
		return p.known.clone(), !p.known.empty()
	}
	p.correct(found)
	found.join(&p.unsaved)
	return found, !p.unsaved.empty()
}

// correct bounds the pause in a record that a process with a wrong clock has
// written. p.mu is held.
func (p *Limiter) correct(found *history) {
	now := time.Now()
	var left time.Duration
	if p.ahead, left = p.ahead.Left(found.NotBefore, now, maxPause); p.ahead != nil {
		found.NotBefore = now.Round(0).Add(left)
	}
}

// answer answers questions in their order, and reports whether the history has changed.
func (l *history) answer(batch []*question) (changed bool) {
	for _, a := range batch {
		if !a.pause.IsZero() {
			changed = changed || a.pause.After(l.NotBefore)
			l.pause(a.pause)
			continue
		}
		if l.reserve(a, time.Now()) || len(a.back) > 0 {
			changed = true
		}
	}
	return changed
}

// taken are the moments that a question has got.
func (a *question) taken() (moments []time.Time) {
	if a.wait > 0 || !a.pause.IsZero() {
		return nil
	}
	moments = append(moments, a.at)
	if a.more {
		moments = append(moments, a.second)
	}
	return moments
}

// pausedUntil is when the server wants to hear of us again, as far as it is known
// here or, with a store, anywhere.
func (p *Limiter) pausedUntil(ctx context.Context, shared *sealed.Store) time.Time {
	var found *history
	if shared != nil {
		if at, err := p.recordKey(shared); err == nil {
			found, _ = sealed.Load[history](ctx, shared, at)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if found != nil {
		p.correct(found)
		found.prune(time.Now())
		p.known.pause(found.NotBefore)
	}
	p.known.prune(time.Now())
	return p.known.NotBefore
}
