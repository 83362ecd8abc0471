// Clients with names and passwords of their own: who may log in at the token
// endpoint.

package caddymodule

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/veeam"
)

// Client may log in at the token endpoint with a name and a password that are
// good nowhere else.
type Client struct {
	// The name to log in with, and by which log and rules refer to the client.
	// Required.
	Name string `json:"name"`

	// The hash of the password, bcrypt or argon2id, as `caddy hash-password` makes
	// it. Required.
	Hash string `json:"hash"`

	// The account that the client acts as, unless `act_as` says which. Default: the
	// first account.
	Account string `json:"account,omitempty"`
}

func (c *Client) validate() error {
	switch {
	case c.Name == "":
		return errors.New("a client needs a name")
	case hasher(c.Hash) == nil:
		return fmt.Errorf("client %s: the hash is neither bcrypt nor argon2id; make one with: caddy hash-password", c.Name)
	}
	return nil
}

// hasher is what made a hash, told by its beginning; nil if unknown.
func hasher(hash string) caddyauth.Comparer {
	switch {
	case strings.HasPrefix(hash, "$2a$"), strings.HasPrefix(hash, "$2b$"), strings.HasPrefix(hash, "$2y$"):
		return caddyauth.BcryptHash{}
	case strings.HasPrefix(hash, "$argon2id$"):
		return caddyauth.Argon2idHash{}
	}
	return nil
}

// clients are those of one handler.
type clients struct {
	byName map[string]*Client
	fake   string // compared where there is no such client, so that it takes as long
	turn   chan struct{}
	brake  *guessBrake
}

func newClients(configured []*Client) (*clients, error) {
	c := &clients{byName: make(map[string]*Client, len(configured)), brake: newGuessBrake()}
	for _, client := range configured {
		if err := client.validate(); err != nil {
			return nil, fmt.Errorf("veeam_auth: %w", err)
		}
		if c.byName[client.Name] != nil {
			return nil, fmt.Errorf("veeam_auth: client %s is defined twice", client.Name)
		}
		c.byName[client.Name] = client
		c.fake = client.Hash // what matters is what it costs
	}
	// Hashes take the processor for a while: logins must not starve requests.
	c.turn = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1))
	return c, nil
}

// login checks a name and a password. Whether the name exists cannot be told
// from how long it takes. A refusal for too many wrong guesses comes before the
// password is looked at.
func (c *clients) login(r *http.Request, name, password string) (policy.Caller, *veeam.Refusal) {
	hash, client := c.fake, c.byName[name]
	if client != nil {
		hash = client.Hash
	}
	select {
	case c.turn <- struct{}{}:
	case <-r.Context().Done():
		return policy.Caller{}, &veeam.Refusal{Reason: veeam.ReasonCanceled}
	}
	defer func() { <-c.turn }()
	guesses := guessesAt(r.RemoteAddr, name)
	if wait := c.brake.wait(guesses...); wait > 0 {
		return policy.Caller{}, &veeam.Refusal{Reason: veeam.ReasonThrottled, RetryAfter: wait}
	}
	same, err := hasher(hash).Compare([]byte(hash), []byte(password))
	if err != nil || !same || client == nil {
		c.brake.wrong(guesses...)
		return policy.Caller{}, &veeam.Refusal{Reason: veeam.ReasonBadCredential}
	}
	return client.caller(), nil
}

func (c *Client) caller() policy.Caller {
	return policy.Caller{Name: c.Name, Via: policy.ViaClient, Account: c.Account}
}

// Wrong guesses: how many are free, and how fast they come back, for a client at
// an address and for an address.
const (
	guessBurst    = 5
	guessEvery    = 12 * time.Second
	addressBurst  = 30
	addressEvery  = 2 * time.Second
	guessMemory   = 8192
	guessMinDelay = time.Second
)

// guessBrake slows down who guesses passwords. It counts wrong guesses by address
// and by client at an address, so that guessing elsewhere locks nobody out. Only a
// wrong guess is remembered: asking for many names has it forget nothing.
type guessBrake struct {
	mu      sync.Mutex
	guesses *lru.Cache[[sha256.Size]byte, *guessed]
}

// guessed is what is remembered of one count: wrong guesses, and those that are
// being tried.
type guessed struct {
	wrong  *rate.Limiter
	trying int
}

func newGuessBrake() *guessBrake {
	return &guessBrake{guesses: newLRU[[sha256.Size]byte, *guessed](guessMemory)}
}

// guesses is one count of wrong guesses: how many are free, and how fast they come
// back.
type guesses struct {
	key   string
	every time.Duration
	burst int
}

// guessesAt are the counts for a client at an address.
func guessesAt(remoteAddr, name string) []guesses {
	host := hostOf(remoteAddr)
	return []guesses{{host, addressEvery, addressBurst}, {host + "\n" + name, guessEvery, guessBurst}}
}

// hostOf is an address without its port.
func hostOf(remoteAddr string) string {
	host, _, err := net.SplitHostPort(remoteAddr)
	if err != nil {
		return remoteAddr
	}
	return host
}

// wait is how long to wait before the next guess, zero if it is free.
func (b *guessBrake) wait(counts ...guesses) (longest time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range counts {
		longest = max(longest, b.waitLocked(c))
	}
	return longest
}

func (b *guessBrake) waitLocked(c guesses) time.Duration {
	g, ok := b.guesses.Get(sha256.Sum256([]byte(c.key)))
	if !ok {
		return 0
	}
	free := g.wrong.Tokens()
	switch {
	case free < 1:
		return max(guessMinDelay, time.Duration((1-free)/float64(g.wrong.Limit())*float64(time.Second)))
	case free-float64(g.trying) < 1:
		return guessMinDelay // until it is known what they were
	}
	return 0
}

// wrong counts a wrong guess.
func (b *guessBrake) wrong(counts ...guesses) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range counts {
		b.count(c).wrong.Allow()
	}
}

// try counts a guess as long as it is not known whether it is wrong, so that no
// more are tried at once than may be wrong. done must be called if wait is zero.
func (b *guessBrake) try(c guesses) (done func(wrong bool), wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if wait := b.waitLocked(c); wait > 0 {
		return nil, wait
	}
	g := b.count(c)
	g.trying++
	return func(wrong bool) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if g.trying--; wrong {
			g.wrong.Allow()
		}
	}, 0
}

func (b *guessBrake) count(c guesses) *guessed {
	key := sha256.Sum256([]byte(c.key))
	g, ok := b.guesses.Get(key)
	if !ok {
		g = &guessed{wrong: rate.NewLimiter(rate.Every(c.every), c.burst)}
		b.guesses.Add(key, g)
	}
	return g
}
