// One grant for all processes: the record says who is getting a token, the
// others wait for what it brings.

package tokencache

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/store"
)

const (
	// Lease is how long the grant of another process is waited for that gives no sign of
	// life.
	Lease = 8 * time.Second

	pollEvery = 100 * time.Millisecond
)

// lease is the right to get a token for all.
type lease struct {
	at    sealed.RecordKey
	id    string
	fence uint64
	found *record // what lay there when it was taken
	stop  func()  // ends the signs of life
}

// watch tells how long a lease of another process has shown no sign of life, by
// the local clock: those of two machines may differ.
type watch struct {
	lease string
	beat  uint64
	since time.Time
}

// expired reports whether the grant that rec tells of has been left behind.
func (w *watch) expired(rec *record, now time.Time, limit time.Duration) bool {
	if w.lease != rec.Lease || w.beat != rec.Beat {
		w.lease, w.beat, w.since = rec.Lease, rec.Beat, now
	}
	return now.Sub(w.since) >= limit
}

// orphaned reports whether the holder is known to have ended. It counts once in
// a row: processes that die of a login must not send one at each start.
func orphaned(sh *sealed.Store, rec *record) bool {
	return rec.Left == 0 && rec.Process != "" && sh.Options().Ended(rec.Process)
}

// sharedGrant gets a token for all processes, or takes over what another one has
// got. Without the store it gets one for this process alone.
func (s *Session) sharedGrant(ctx context.Context, grant GrantFunc, prev *Token) (*Token, error) {
	sh := s.options.Shared
	s.looked.Store(time.Now().UnixNano())
	defer s.holder.Store(nil)
	at, err := bind(sh, s.options.Identity)
	if err != nil {
		return s.unshared(ctx, grant, prev)
	}
	l, tok, err := s.acquire(ctx, at)
	var blocked *BlockedError
	switch {
	case tok != nil:
		s.succeeded(tok)
		return tok, nil
	case errors.As(err, &blocked):
		return nil, blocked
	case ctx.Err() != nil:
		return nil, s.failed(ctx.Err())
	case err != nil:
		return s.unshared(ctx, grant, prev)
	}
	s.inherit(l.found.Block)
	if t := l.found.Token; t != nil && t.Fence > s.floor.Load() {
		prev = t.token(time.Now(), s.Options()) // over, but its refresh token is the latest
	}
	tok, err = s.ask(ctx, grant, prev)
	l.stop()
	return s.commit(ctx, l, tok, err)
}

// unshared goes on without the store.
func (s *Session) unshared(ctx context.Context, grant GrantFunc, prev *Token) (*Token, error) {
	if blocked := s.blocked(time.Now()); blocked != nil {
		return nil, blocked // the grant was to have a look at the store, no more
	}
	return s.grantAlone(ctx, grant, prev)
}

// acquire waits until it has the lease, a token of another process, or a hold.
func (s *Session) acquire(ctx context.Context, at sealed.RecordKey) (*lease, *Token, error) {
	sh := s.options.Shared
	var (
		seen    watch
		tok     *Token
		blocked error
	)
	decided := func(rec *record) bool {
		tok, blocked = s.judge(rec, time.Now())
		return tok != nil || blocked != nil
	}
	open := func(rec *record) bool {
		return rec == nil || rec.Holder == "" || orphaned(sh, rec) || seen.expired(rec, time.Now(), Lease)
	}
	for {
		rec, err := sealed.Load[record](ctx, sh, at)
		if err != nil {
			return nil, nil, err
		}
		s.lookAtBudget(ctx, rec)
		if decided(rec) {
			return nil, tok, blocked
		}
		if open(rec) {
			l, err := s.take(ctx, at, decided, open)
			if err == nil {
				err = blocked
			}
			if l != nil || err != nil || tok != nil {
				return l, tok, err
			}
			continue
		}
		s.holder.Store(&rec.Holder)
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// take takes the lease, unless another process was faster.
func (s *Session) take(ctx context.Context, at sealed.RecordKey, decided, open func(*record) bool) (*lease, error) {
	sh := s.options.Shared
	l := &lease{at: at, id: rand.Text()}
	glance := func() bool {
		rec, err := sealed.Load[record](ctx, sh, at)
		return err != nil || decided(rec) || !open(rec)
	}
	err := sealed.Update(ctx, sh, at, glance, func(rec *record) *record {
		if decided(rec) || !open(rec) {
			return nil
		}
		if rec == nil {
			rec = new(record)
		}
		l.found = rec
		next := *rec
		next.Fence = max(rec.Fence, s.floor.Load()) + 1
		if rec.Holder != "" {
			next.Left++
		}
		next.Holder, next.Lease, next.Beat, next.Process = holder(sh), l.id, 0, sh.Options().Process
		next.Since, next.Writer = time.Now().Round(0), holder(sh)
		l.fence = next.Fence
		return &next
	})
	if err != nil || l.found == nil {
		return nil, err
	}
	if l.found.Holder != "" && s.options.LeftBehind != nil {
		s.options.LeftBehind(l.found.Since)
	}
	own := sh.Options().Holder
	s.holder.Store(&own)
	l.stop = s.beat(context.WithoutCancel(ctx), l)
	return l, nil
}

// holder is never empty: an empty one is nobody.
func holder(sh *sealed.Store) string { return cmp.Or(sh.Options().Holder, "?") }

// beat gives signs of life until it is stopped.
func (s *Session) beat(ctx context.Context, l *lease) (stop func()) {
	sh := s.options.Shared
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(Lease / 4)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			_ = sealed.Update(ctx, sh, l.at, nil, func(rec *record) *record {
				if rec == nil || rec.Lease != l.id {
					return nil
				}
				rec.Beat++
				return rec
			})
		}
	}()
	return func() {
		cancel()
		<-ended // a beat that is being written must not land on what follows
	}
}

// commit stores what a grant has brought, before anybody uses it. If the lease
// has passed to another process meanwhile, what that one has brought counts.
func (s *Session) commit(ctx context.Context, l *lease, tok *Token, cause error) (*Token, error) {
	var failure *BlockedError
	if cause != nil {
		failure = s.failed(cause)
		s.blockedAt.Store(l.fence)
	} else {
		tok.fence = l.fence
	}
	var newer *Token
	lost := false
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), store.For)
	defer cancel()
	written := s.write(ctx, l.at, func(rec *record) *record {
		if rec != nil && rec.Lease != l.id {
			lost = true
			newer, _ = s.judge(rec, time.Now())
			return nil
		}
		if rec == nil {
			rec = new(record) // the store was emptied
		}
		next := *rec
		next.Fence = max(rec.Fence, l.fence) // an operator may have changed the record
		next.Holder, next.Beat, next.Process, next.Left, next.Since = "", 0, "", 0, time.Time{}
		next.Writer = holder(s.options.Shared)
		if tok != nil {
			tok.fence = next.Fence
		}
		s.note(&next, tok, failure)
		return &next
	})
	switch {
	case newer != nil:
		if tok != nil && s.options.Discard != nil {
			s.options.Discard(tok)
		}
		s.succeeded(newer)
		return newer, nil
	case failure != nil:
		return nil, failure
	case lost:
		s.options.Shared.Options().Log("the login took too long, and another process took it over", nil)
	}
	if !tok.usable(time.Now()) {
		return nil, s.failed(errDeadOnArrival) // the store took its time
	}
	tok.stored = written && !lost && !s.options.HoldOnly
	s.succeeded(tok)
	return tok, nil
}

// write changes a record even if the store has just failed: a process that was
// stopped for a while takes its own absence for the store's.
func (s *Session) write(ctx context.Context, at sealed.RecordKey, change func(*record) *record) (written bool) {
	return sealed.UpdateNow(ctx, s.options.Shared, at, change) == nil
}

// note writes the outcome of a grant into a record.
func (s *Session) note(rec *record, tok *Token, failure *BlockedError) {
	if tok != nil && tok.Login {
		rec.Accepted = tok.Requested.Round(0)
	}
	switch {
	case failure == nil && s.options.HoldOnly:
		rec.Token, rec.Block = nil, nil
	case failure == nil:
		rec.Token, rec.Block = share(tok, tok.fence), nil
	case failure.Held || delay(failure.Cause) > 0 || failure.ping != nil:
		s.mu.Lock()
		defer s.mu.Unlock()
		rec.Block = &sharedBlock{Until: failure.Until.Round(0), Held: failure.Held, Suspended: failure.Suspended, Refusals: s.refusals, Cause: failure.Cause.Error()}
		if s.options.ReasonOf != nil {
			rec.Block.Reason = s.options.ReasonOf(failure.Cause)
		}
	}
}

// judge reads what a record means for this session: a token to use, a reason to
// wait, or neither.
func (s *Session) judge(rec *record, now time.Time) (*Token, error) {
	s.learn(rec)
	passes := s.past.Load().passes(rec)
	if rec != nil && rec.Token != nil && rec.Token.Fence > s.floor.Load() {
		if tok := rec.Token.token(now, s.Options()); tok.usable(now) {
			return tok, nil
		}
	}
	if rec != nil && rec.Block != nil && !passes {
		if b := s.stored(rec.Block, now); b != nil {
			return nil, s.adopt(b, rec)
		}
	}
	local := s.blocked(now)
	if local == nil {
		return nil, nil
	}
	if rec != nil && rec.Block == nil && rec.Fence > s.blockedAt.Load() {
		s.release(TurnElsewhere)
		return nil, nil
	}
	return nil, local
}

// learn takes over when the credential was accepted last.
func (s *Session) learn(rec *record) {
	if rec == nil || rec.Accepted.IsZero() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted.advance(rec.Accepted)
}

// lookAtBudget reads which tries have led to a hold that is new here: what is told of it
// says how many are left.
func (s *Session) lookAtBudget(ctx context.Context, rec *record) {
	if rec == nil || rec.Block == nil || !rec.Block.Held || rec.Fence == s.blockedAt.Load() {
		return
	}
	if look := s.Options().LookAtBudget; look != nil {
		look(ctx)
	}
}

// adopt takes over a hold or pause of another process, unless the one here lasts
// longer.
func (s *Session) adopt(b *BlockedError, rec *record) *BlockedError {
	s.inherit(rec.Block)
	if b.Held {
		defer s.turned(TurnHeld, b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.block == nil || b.Suspended && !s.block.Suspended || s.block.Until.Before(b.Until) {
		s.block = b
	}
	s.blockedAt.Store(rec.Fence)
	return s.block
}

// inherit goes on counting where others have stopped.
func (s *Session) inherit(b *sharedBlock) {
	if b == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusals = max(s.refusals, b.Refusals)
}
