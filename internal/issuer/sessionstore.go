// Sessions in the store, one record each, so that a login writes a few bytes.

package issuer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/store"
)

// SessionsFolder is the folder of the sessions in the store.
const SessionsFolder = "veeam_auth/client_sessions"

const (
	// saveEvery is how often it is looked for what the store does not have.
	saveEvery = 5 * time.Second

	// savedUses is the time in which one use of a session, the last, is stored. It is
	// how much too early a session may end at another replica after a crash.
	savedUses = time.Minute

	// saveFor bounds how long a login waits for the store.
	saveFor = time.Second

	// sweepEvery is how often a process looks for sessions that nobody ended. It removes
	// those that were not stored for that time.
	sweepEvery = 6 * time.Hour
)

// saveAtOnce stores a session that was issued, so that the next request may go to
// another replica. A store that fails or is slow does not keep the login: saveSessions
// tries again.
func (i *Issuer) saveAtOnce(ctx context.Context, s *session) {
	if i.storeSlow.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveFor)
	defer cancel()
	i.storeSlow.Store(i.save(ctx, s) != nil)
}

// saveSessions stores what is to be stored until ctx ends.
func (i *Issuer) saveSessions(ctx context.Context) {
	ticker := time.NewTicker(saveEvery)
	defer ticker.Stop()
	var swept time.Time
	for {
		if now := time.Now(); now.Sub(swept) >= sweepEvery {
			swept = now
			i.sweepSessions(ctx, now)
		}
		select {
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), store.LastFor)
			defer cancel()
			i.saveDue(ctx, time.Now().Add(savedUses))
			return
		case <-ticker.C:
			i.saveDue(ctx, time.Now())
		}
	}
}

// saveDue stores the sessions of which the store has an old state, and removes those that
// have ended, or were idle for too long. After a failure the rest waits for the next time.
func (i *Issuer) saveDue(ctx context.Context, now time.Time) {
	for _, s := range i.ending.values() {
		err := i.removeEnded(ctx, s)
		if i.storeSlow.Store(err != nil); err != nil {
			return
		}
	}
	for _, s := range i.sessions.values() {
		used, saved := s.used.Load(), s.saved.Load()
		var err error
		switch {
		case now.Sub(time.UnixMilli(used)) >= time.Duration(s.kept.Idle)*time.Second+2*savedUses:
			err = i.forgetIdle(ctx, s, now)
		case saved == 0, used > saved && now.Sub(time.UnixMilli(saved)) >= savedUses:
			err = i.save(ctx, s)
		default:
			continue
		}
		if i.storeSlow.Store(err != nil); err != nil {
			return
		}
	}
}

// save stores a session and its last use, unless another replica has stored a later one.
// A session that another one has removed has ended.
func (i *Issuer) save(ctx context.Context, s *session) error {
	ctx, cancel := context.WithTimeout(ctx, storeFor)
	defer cancel()
	kept := s.kept
	kept.Used = s.used.Load()
	if s.saved.Load() != 0 {
		switch stored, err := i.loadSession(ctx, s.id); {
		case errors.Is(err, fs.ErrNotExist): // it has ended elsewhere
			i.sessions.take(s.id)
			return nil
		case err == nil && stored.Used >= kept.Used:
			s.saved.Store(kept.Used)
			return nil
		case err != nil:
			return err
		}
	}
	if s.ended.Load() {
		return nil
	}
	text, err := json.Marshal(kept)
	if err == nil {
		err = i.keys.store.Store(ctx, s.id.path(), text)
	}
	if err == nil {
		s.saved.Store(kept.Used)
		if s.ended.Load() {
			i.ending.add(kept.Client, s.id, s)
		}
	}
	return err
}

// forgetIdle forgets a session that is unused here, and removes it from the store if
// that has no later use.
func (i *Issuer) forgetIdle(ctx context.Context, s *session, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, storeFor)
	defer cancel()
	stored, err := i.loadSession(ctx, s.id)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	i.sessions.take(s.id)
	other := &session{kept: stored}
	if other.used.Store(stored.Used); err == nil && !other.living(now.Add(-2*savedUses)) {
		return i.keys.store.Delete(ctx, s.id.path())
	}
	return nil
}

// removeEnded removes a session that has ended where forget could not.
func (i *Issuer) removeEnded(ctx context.Context, s *session) error {
	ctx, cancel := context.WithTimeout(ctx, storeFor)
	defer cancel()
	if err := i.keys.store.Delete(ctx, s.id.path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	i.ending.take(s.id)
	return nil
}

// forget removes a session from the store, and reports whether it could. That it has
// ended says the ledger.
func (i *Issuer) forget(ctx context.Context, id sessionID) bool {
	if i.storeSlow.Load() {
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveFor)
	defer cancel()
	err := i.keys.store.Delete(ctx, id.path())
	return err == nil || errors.Is(err, fs.ErrNotExist)
}

// sweepSessions removes sessions that no process has in memory any more.
func (i *Issuer) sweepSessions(ctx context.Context, now time.Time) {
	lister, ok := i.keys.store.(store.Lister)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, storeFor)
	defer cancel()
	old, _ := lister.Before(ctx, SessionsFolder, now.Add(-sweepEvery)) // of a fault others tell
	for _, path := range old {
		_ = i.keys.store.Delete(ctx, path)
	}
}

func (i *Issuer) loadSession(ctx context.Context, id sessionID) (kept keptSession, err error) {
	text, err := i.keys.store.Load(ctx, id.path())
	if err != nil {
		return keptSession{}, fmt.Errorf("loading %s: %w", id.path(), err)
	}
	if err := json.Unmarshal(text, &kept); err != nil || kept.Client == "" || kept.Family == "" {
		return keptSession{}, fmt.Errorf("%s is corrupt: remove it", id.path())
	}
	return kept, nil
}
