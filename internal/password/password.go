// Package password checks passwords against slow hashes, and limits the processor time
// that guesses can use.
//
// A hash of `caddy hash-password` takes about a second of processor time. Guesses must
// neither exhaust the processors nor displace clients that know their password:
//
//   - A correct password is remembered as a keyed hash under a random key of the process.
//     The next login with it takes microseconds and does not wait.
//   - A wrong password is remembered in the same way. A program that repeats an outdated
//     password uses no processor time and no place in the queue.
//   - Other passwords wait for one of a few places, half as many as there are processors,
//     for all sites of the process together. A source of requests (an address, an IPv6
//     network of 64 bits, a user at a unix socket) has one check at a time. The order is:
//     a source whose last password was correct, then one without wrong passwords, then the
//     one whose last wrong password is the oldest. So guesses from any number of addresses
//     come after a source that has not guessed. Among the sources without wrong passwords,
//     the first and the last one seen alternate, so that neither an existing crowd nor an
//     endless series of new sources keeps one of them out.
//   - The queue is bounded for each source and in total. In a full queue a new request
//     replaces a random one, preferably one with a wrong guess on the same connection, or
//     for the same name at the same source.
//   - After some wrong guesses, a source or a name at a source gets one check per second,
//     and wrong passwords are answered with the time to wait. The correct password is still
//     accepted: its check is slow, not refused.
//
// A correct password that was not seen before, from a source where others guess without
// pause, competes with those guesses until its first check. Nothing in a request
// distinguishes them before a hash is computed.
//
// A name that does not exist is treated in the same way: it waits in the same queue,
// costs the same hashes and gets the same answers. If the hashes of a site differ in
// cost, a wrong password is compared with one of each cost, so that the answer takes
// equally long for every name.
package password

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"runtime"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
)

// NameRate and SourceRate are the wrong guesses that are not limited, for a name at a
// source and for a source: Burst at once, and one more after each Every.
var (
	NameRate   = ratelimit.Rate{Burst: 5, Every: 12 * time.Second}
	SourceRate = ratelimit.Rate{Burst: 30, Every: 2 * time.Second}
)

const (
	// RetryAfter is the minimum time to wait in a WaitError.
	RetryAfter = time.Second

	// patience is how long an attempt waits for its check at most.
	patience = 10 * time.Second

	// looks is how often an attempt looks at what is known: before its check, after it,
	// and after each of those it waited for that gave up.
	looks = perFlight + 2

	// GoodFor is the time for which an unused password is remembered. It is longer than
	// a day, for clients that log in once a day.
	GoodFor = 25 * time.Hour

	// memory bounds each of the memories, in entries of some 200 bytes. maxGood is
	// the most clients whose passwords are remembered.
	memory  = 8192
	maxGood = 10_000
)

// Attempt is a login with a name and a password.
type Attempt struct {
	// Site distinguishes clients with the same name at different sites. Required if
	// there are several sites.
	Site string

	// Name and Password are the values of the request.
	Name, Password string

	// Hash is the hash of the name's password, empty if there is no such name.
	Hash string

	// Hashes contains one hash of each cost that the site has, as returned by Costs.
	// Required.
	Hashes []Hash

	// Source is the source of the request, as far as it is known, Connection its
	// connection. A proxy may use one connection for several sources.
	Source, Connection string
}

// Options are the options of a Checker.
type Options struct {
	// Compare reports whether a password matches a hash that Parse accepts. Required.
	Compare func(hash, password string) bool

	// Parallel is the maximum number of hashes computed at the same time. Default: half
	// the number of processors, at least one.
	Parallel int
}

// Checker checks passwords. One serves all sites of a process.
type Checker struct {
	compare func(hash, password string) bool
	key     []byte
	good    *lru.Cache[ratelimit.Key, remembered] // by site, name and hash
	wrong   *lru.Cache[ratelimit.Key, struct{}]   // by these and the password
	room    *room
	flights flights

	// Failures counts wrong guesses by source, and by name at a source.
	Failures *ratelimit.Limiter

	connections *ratelimit.Limiter // on which there was a wrong guess
}

// remembered is the keyed hash of a good password.
type remembered struct {
	password ratelimit.Key
	until    time.Time
}

// New returns a Checker that remembers nothing.
func New(o Options) *Checker {
	if o.Parallel <= 0 {
		o.Parallel = max(1, runtime.GOMAXPROCS(0)/2)
	}
	c := &Checker{
		compare:     o.Compare,
		key:         make([]byte, sha256.Size),
		good:        newLRU[ratelimit.Key, remembered](maxGood),
		wrong:       newLRU[ratelimit.Key, struct{}](memory),
		room:        newRoom(o.Parallel),
		Failures:    ratelimit.New(memory),
		connections: ratelimit.New(memory),
	}
	_, _ = rand.Read(c.key) // never fails, see crypto/rand
	return c
}

func newLRU[K comparable, V any](size int) *lru.Cache[K, V] {
	cache, err := lru.New[K, V](size)
	if err != nil {
		panic(err) // the sizes are positive constants
	}
	return cache
}

// Counts returns the counts that a wrong guess for a name from a source increments.
func Counts(site, name, source string) []ratelimit.Count {
	return []ratelimit.Count{
		{Key: ratelimit.KeyOf("source", source), Rate: SourceRate},
		{Key: ratelimit.KeyOf("name", source, site, name), Rate: NameRate},
	}
}

// ErrWrong is the error of an invalid name or password.
var ErrWrong = errors.New("the name or the password is invalid")

// WaitError is the error after too many wrong guesses, or if too many checks are
// waiting. It does not say whether the password is correct: it was wrong, or not
// checked.
type WaitError struct {
	// After is the time after which to retry, at least RetryAfter.
	After time.Duration
}

// Error returns the reason.
func (e *WaitError) Error() string { return "too many wrong passwords" }

// Check returns nil if the password is that of the name. Otherwise the error is ErrWrong, a
// *WaitError, or that of a ctx which has ended.
func (c *Checker) Check(ctx context.Context, a Attempt) error {
	id := c.digest(a.Site, a.Name, a.Hash)
	password := c.digest(a.Site, a.Name, a.Hash, a.Password)
	counts := Counts(a.Site, a.Name, a.Source)
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for range looks {
		if c.isGood(id, password) {
			c.room.let(a.Source)
			return nil
		}
		if c.wrong.Contains(password) {
			return c.refuse(counts)
		}
		err := c.flights.do(patient, ratelimit.KeyOf(string(password[:]), a.Source), func() error {
			return c.look(patient, a, id, password, counts)
		})
		if err == nil {
			continue // somebody has looked: it is known now
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		break
	}
	return &WaitError{After: max(c.Failures.Wait(counts...), RetryAfter)}
}

// look finds out whether a password is good, and remembers it.
func (c *Checker) look(ctx context.Context, a Attempt, id, password ratelimit.Key, counts []ratelimit.Count) error {
	leave, err := c.room.enter(ctx, &visitor{source: a.Source, slow: c.Failures.Wait(counts...) > 0, rank: c.rank(a, counts)})
	if err != nil {
		return err
	}
	right := false
	defer func() { leave(right) }()
	if right = c.matches(a); !right {
		c.wrong.Add(password, struct{}{})
		c.connections.Add(connection(a))
		return nil
	}
	c.good.Add(id, remembered{password, time.Now().Add(GoodFor)})
	c.Failures.Forget(counts[1].Key)
	return nil
}

// digest is a hash that tells nothing without the key of the process.
func (c *Checker) digest(parts ...string) (key ratelimit.Key) {
	parted := ratelimit.KeyOf(parts...)
	mac := hmac.New(sha256.New, c.key)
	mac.Write(parted[:])
	mac.Sum(key[:0])
	return key
}

// isGood reports whether the password was found good before.
func (c *Checker) isGood(id, password ratelimit.Key) bool {
	now := time.Now()
	known, ok := c.good.Get(id)
	if !hmac.Equal(known.password[:], password[:]) || !ok || !now.Before(known.until) {
		return false
	}
	if known.until.Sub(now) < GoodFor-time.Minute {
		c.good.Add(id, remembered{password, now.Add(GoodFor)})
	}
	return true
}

// matches compares the password with the hash of its name. A wrong one costs the same
// for every name: it is compared with one hash of each cost.
func (c *Checker) matches(a Attempt) bool {
	own := costOf(a.Hash)
	if a.Hash != "" && c.compare(a.Hash, a.Password) {
		return true
	}
	for _, h := range a.Hashes {
		if h.cost != own {
			c.compare(h.text, a.Password)
		}
	}
	return false
}

// Wrong counts a wrong credential of another kind, which was not checked here: a key. It
// returns how long the source has to wait after too many wrong passwords and credentials,
// zero if it need not.
func (c *Checker) Wrong(site, name, source string) time.Duration {
	if wait, ok := errors.AsType[*WaitError](c.refuse(Counts(site, name, source))); ok {
		return wait.After
	}
	return 0
}

// refuse counts a wrong guess.
func (c *Checker) refuse(counts []ratelimit.Count) error {
	wait := c.Failures.Wait(counts...)
	c.Failures.Add(counts...)
	if wait > 0 {
		return &WaitError{After: max(wait, RetryAfter)}
	}
	return ErrWrong
}

// connectionRate has a connection count as one that guesses for a while.
var connectionRate = ratelimit.Rate{Burst: 1, Every: 10 * time.Minute}

func connection(a Attempt) ratelimit.Count {
	return ratelimit.Count{Key: ratelimit.KeyOf(a.Source, a.Connection), Rate: connectionRate}
}

// rank orders those who wait at one source: zero for who has not guessed.
func (c *Checker) rank(a Attempt, counts []ratelimit.Count) (rank int) {
	for _, count := range []struct {
		in *ratelimit.Limiter
		at ratelimit.Count
	}{{c.connections, connection(a)}, {c.Failures, counts[1]}} {
		if count.in.Failed(count.at) {
			rank++
		}
	}
	return rank
}
