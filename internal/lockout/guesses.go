// Guesses of users' credentials: how many processes have sent together, so that no
// server locks a user because there are several processes.

package lockout

import (
	"context"
	"sync"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
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
	// exchangeFor is how long a guess waits for the store.
	exchangeFor = 5 * time.Second

	// maxUsers bounds a record. There are 32 of them for each server, so more users
	// than fit are not guessed for in the time in which a guess is forgotten.
	maxUsers = 2000
)

// guessRecord is the value of one key of the store: some users of a server, by a keyed
// hash.
type guessRecord struct {
	Users map[string]ratelimit.Bucket `json:"users"`
}

// Guesses counts the guesses of all processes in a store. Its methods may be called from any
// goroutine.
type Guesses struct {
	store *sealed.Store

	// The changes that wait, by record. Those that come while the store answers are made
	// together: its lock is slow where many want it, and a guesser must not win by that.
	mu    sync.Mutex
	byKey map[string][]*guessAsk // a record that is being changed has an entry
}

// NewGuesses returns the Guesses in a store.
func NewGuesses(store *sealed.Store) *Guesses { return &Guesses{store: store} }

// recordKey returns where the record lies that a user belongs to, and the user's name in it.
func (g *Guesses) recordKey(of GuessCount) (at sealed.RecordKey, user string, err error) {
	sealer, err := g.store.Sealer()
	if err != nil {
		return sealed.RecordKey{}, "", err
	}
	user = sealer.Name("guess", of.Product, of.Origin, of.User)
	const digits = 26 // 130 bits of the hash
	user = user[:min(len(user), digits)]
	shard := user[:1]
	return sealed.RecordKey{
		Key:    "veeam_auth/guesses/" + sealer.Name("guesses", of.Product, of.Origin, shard),
		Bound:  sealed.Join("guesses", of.Product, of.Origin, shard),
		Sealer: sealer,
	}, user, nil
}

// Try counts a credential as wrong before it is sent, if one more may be wrong.
// Otherwise it counts nothing and returns after what time one more may be. It stays
// counted if the process ends meanwhile. The error is that of the store; nothing is
// counted then.
func (g *Guesses) Try(ctx context.Context, of GuessCount) (wait time.Duration, err error) {
	var answer time.Duration // not read if ctx ends while the change is made
	err = g.change(ctx, of, func(known map[string]ratelimit.Bucket, user string, now time.Time) bool {
		bucket, ok := known[user]
		if answer = bucket.Wait(now, of.Rate); answer == 0 && !ok && len(known) >= maxUsers {
			answer = of.Rate.Every
		}
		if answer > 0 {
			return false
		}
		bucket.Add(now, of.Rate)
		known[user] = bucket
		return true
	})
	if err != nil {
		return 0, err
	}
	return answer, nil
}

// Return undoes a Try whose credential was not wrong.
func (g *Guesses) Return(ctx context.Context, of GuessCount) error {
	return g.change(ctx, of, func(known map[string]ratelimit.Bucket, user string, _ time.Time) bool {
		bucket, ok := known[user]
		if bucket.Return(of.Rate); ok {
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

// change changes a record.
func (g *Guesses) change(ctx context.Context, of GuessCount, change guessChange) error {
	at, user, err := g.recordKey(of)
	if err != nil {
		return err
	}
	a := &guessAsk{user: user, change: change, done: make(chan struct{})}
	g.mu.Lock()
	queue, busy := g.byKey[at.Key]
	if g.byKey == nil {
		g.byKey = make(map[string][]*guessAsk)
	}
	g.byKey[at.Key] = append(queue, a)
	g.mu.Unlock()
	if !busy {
		go g.serve(context.WithoutCancel(ctx), at, of.Rate)
	}
	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// serve makes the changes of a record until there are none.
func (g *Guesses) serve(ctx context.Context, at sealed.RecordKey, rate ratelimit.Rate) {
	for {
		g.mu.Lock()
		batch := g.byKey[at.Key]
		if len(batch) == 0 {
			delete(g.byKey, at.Key)
			g.mu.Unlock()
			return
		}
		g.byKey[at.Key] = nil
		g.mu.Unlock()
		err := g.makeChanges(ctx, at, rate, batch)
		for _, a := range batch {
			a.err = err
			close(a.done)
		}
	}
}

func (g *Guesses) makeChanges(ctx context.Context, at sealed.RecordKey, rate ratelimit.Rate, batch []*guessAsk) error {
	ctx, cancel := context.WithTimeout(ctx, exchangeFor)
	defer cancel()
	return sealed.Update(ctx, g.store, at, nil, func(found *guessRecord) *guessRecord {
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
