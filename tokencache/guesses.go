// Guesses of users' credentials: how many processes have sent together, so that no
// server locks a user because there are several processes.

package tokencache

import (
	"context"
	"sync"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
)

// GuessCount identifies the count of one user's credentials that a server has not
// accepted yet.
type GuessCount struct {
	// Product and Origin identify the server. Required.
	Product, Origin string

	// User is the user in one spelling for all its spellings. Required.
	User string

	// Rate is how many credentials may be wrong. Required.
	Rate ratelimit.Rate
}

const (
	// guessExchangeFor is how long a guess waits for the store.
	guessExchangeFor = 5 * time.Second

	// maxGuessUsers bounds a record. There are 32 of them for each server, so more users
	// than fit are not guessed for in the time in which a guess is forgotten.
	maxGuessUsers = 2000
)

// guessRecord is the value of one key of the store: some users of a server, by a keyed
// hash.
type guessRecord struct {
	Users map[string]ratelimit.Bucket `json:"users"`
}

// guessesAt finds the record that a user belongs to, and the user's name in it.
func (s *Shared) guessesAt(g GuessCount) (at place, user string, err error) {
	sealer, err := s.options.Keys()
	if err != nil {
		return place{}, "", s.keyless(err)
	}
	user = sealer.Name("guess", g.Product, g.Origin, g.User)
	const digits = 26 // 130 bits of the hash
	user = user[:min(len(user), digits)]
	shard := user[:1]
	return place{
		key:        "veeam_auth/guesses/" + sealer.Name("guesses", g.Product, g.Origin, shard),
		associated: associated("guesses", g.Product, g.Origin, shard),
		sealer:     sealer,
	}, user, nil
}

// TryGuess counts a credential as wrong before it is sent, if one more may be wrong.
// Otherwise it counts nothing and returns after what time one more may be. It stays
// counted if the process ends meanwhile. The error is that of the store; nothing is
// counted then.
func (s *Shared) TryGuess(ctx context.Context, g GuessCount) (wait time.Duration, err error) {
	var answer time.Duration // not read if ctx ends while the change is made
	err = s.changeGuesses(ctx, g, func(known map[string]ratelimit.Bucket, user string, now time.Time) bool {
		bucket, ok := known[user]
		if answer = bucket.Wait(now, g.Rate); answer == 0 && !ok && len(known) >= maxGuessUsers {
			answer = g.Rate.Every
		}
		if answer > 0 {
			return false
		}
		bucket.Add(now, g.Rate)
		known[user] = bucket
		return true
	})
	if err != nil {
		return 0, err
	}
	return answer, nil
}

// ReturnGuess undoes a TryGuess whose credential was not wrong.
func (s *Shared) ReturnGuess(ctx context.Context, g GuessCount) error {
	return s.changeGuesses(ctx, g, func(known map[string]ratelimit.Bucket, user string, _ time.Time) bool {
		bucket, ok := known[user]
		if bucket.Return(g.Rate); ok {
			known[user] = bucket
		}
		return ok
	})
}

// guessChange changes what is known of the users of a record, and reports whether it has.
type guessChange = func(known map[string]ratelimit.Bucket, user string, now time.Time) bool

// guessAsk is a change that waits for the store.
type guessAsk struct {
	user   string
	change guessChange
	err    error
	done   chan struct{}
}

// guessQueues are the changes that wait, by record. Those that come while the store
// answers are made together: its lock is slow where many want it, and a guesser must not
// win by that.
type guessQueues struct {
	mu    sync.Mutex
	byKey map[string][]*guessAsk // a record that is being changed has an entry
}

// changeGuesses changes a record.
func (s *Shared) changeGuesses(ctx context.Context, g GuessCount, change guessChange) error {
	at, user, err := s.guessesAt(g)
	if err != nil {
		return err
	}
	a := &guessAsk{user: user, change: change, done: make(chan struct{})}
	q := &s.guesses
	q.mu.Lock()
	queue, busy := q.byKey[at.key]
	if q.byKey == nil {
		q.byKey = make(map[string][]*guessAsk)
	}
	q.byKey[at.key] = append(queue, a)
	q.mu.Unlock()
	if !busy {
		go s.serveGuesses(context.WithoutCancel(ctx), at, g.Rate)
	}
	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// serveGuesses makes the changes of a record until there are none.
func (s *Shared) serveGuesses(ctx context.Context, at place, rate ratelimit.Rate) {
	q := &s.guesses
	for {
		q.mu.Lock()
		batch := q.byKey[at.key]
		if len(batch) == 0 {
			delete(q.byKey, at.key)
			q.mu.Unlock()
			return
		}
		q.byKey[at.key] = nil
		q.mu.Unlock()
		err := s.makeChanges(ctx, at, rate, batch)
		for _, a := range batch {
			a.err = err
			close(a.done)
		}
	}
}

func (s *Shared) makeChanges(ctx context.Context, at place, rate ratelimit.Rate, batch []*guessAsk) error {
	ctx, cancel := context.WithTimeout(ctx, guessExchangeFor)
	defer cancel()
	return update(ctx, s, at, nil, func(found *guessRecord) *guessRecord {
		if found == nil || found.Users == nil {
			found = &guessRecord{Users: make(map[string]ratelimit.Bucket)}
		}
		now := time.Now().Round(0)
		changed := found.prune(now, rate)
		for _, a := range batch {
			if a.change(found.Users, a.user, now) {
				changed = true
			}
		}
		if !changed {
			return nil
		}
		return found
	})
}

// prune forgets what does not count any more, and bounds what only a clock that is
// wrong can have noted: it reports whether there was any.
func (r *guessRecord) prune(now time.Time, rate ratelimit.Rate) (corrected bool) {
	most := now.Add(time.Duration(rate.Burst) * rate.Every)
	for user, bucket := range r.Users {
		switch {
		case !bucket.Full.After(now):
			delete(r.Users, user)
		case bucket.Full.After(most):
			r.Users[user] = ratelimit.Bucket{Full: most}
			corrected = true
		}
	}
	return corrected
}
