// Guests: clients that log in with Veeam credentials of their own, and what the
// process remembers of them.

package passthrough

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/pool"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

const (
	// loginFor is how long a login of a guest counts. The guest has to log in again
	// then, so that a password that was changed at the server ends here too.
	loginFor = 24 * time.Hour

	// Idle is how long the session of a guest is kept that nobody uses.
	Idle = time.Hour

	// ChallengeFor is how long a guest has to send its verification code.
	ChallengeFor = 5 * time.Minute

	// ChallengeTries is how many codes it may send.
	ChallengeTries = 5

	maxGuests   = 10_000
	maxAttempts = 1_000
	maxDemands  = 1_000
)

// Account stands for all guests where an account is named: in metrics, in the
// list of sessions.
var Account = &account.Account{Name: "passthrough"}

// User is a client that acts as a user of the server's whose credential it has
// sent.
type User struct {
	id      string // keyed hash of the credential
	account *veeam.Account
	until   time.Time

	// elsewhere: it has logged in at another process, or before a restart. Its
	// credential is not known here, its session may be in the cache.
	elsewhere bool
}

// as is the guest as whoever logs in at a server with these accounts.
func (g *User) as(accounts []*account.Account) *upstream.Guest {
	return &upstream.Guest{User: g.account.Username, Read: func(ctx context.Context) *account.Secrets { return g.credentials(ctx, accounts) }}
}

// Token is how a token of ours names the guest: by its id, and until when it
// counts.
func (g *User) Token() string { return g.id + "." + strconv.FormatInt(g.until.Unix(), 36) }

// credentials are what the guest logs in with. Its second factor is that of the
// configured account with the same user, which may have changed.
func (g *User) credentials(ctx context.Context, accounts []*account.Account) *account.Secrets {
	own := *g.account
	if own.Grant == veeam.GrantPassword {
		own.TOTP = totpOf(ctx, accounts, own.Username)
	}
	return &account.Secrets{Account: &own, Fingerprint: g.id, Digest: secret.New(g.id)}
}

// admitted is the guest without a verification code, which was used.
func (g *User) admitted() *User {
	if g.account.Grant != veeam.GrantMFA {
		return g
	}
	account := *g.account
	account.Password, account.MFAToken = secret.Value{}, secret.Value{}
	return &User{id: g.id, account: &account, until: g.until}
}

// guestID is the id of whoever logs in at a site with these. Nobody can find out
// the password with it.
func guestID(audience, username, password string, readOnly bool) string {
	return account.Keyed(fmt.Sprintf("guest %d:%s %d:%s %t %s", len(audience), audience, len(username), username, readOnly, password))
}

// Users is what the process remembers of guests. It outlives reloads, and ends
// with the last configuration that has guests.
type Users struct {
	logins   *lru.Cache[string, *User]               // by id: the server has taken the credential
	attempts *lru.Cache[string, *tokencache.Session] // by id: the login under way, or on hold
	demands  *lru.Cache[string, *challenged]         // by what the guest got in place of the server's
	users    *ratelimit.Limiter                      // of credentials that the server has not taken
}

// books has the one book, while a configuration has guests. It outlives a reload, because
// clients do not log in again for one.
var books = pool.New[string](func(b *Users) {
	b.logins.Purge()
	b.attempts.Purge()
	b.demands.Purge()
})

// Acquire makes a configuration with guests a user of the book.
func Acquire() *Users { return books.Acquire("", New) }

// Release ends one use of the book. The last one empties it.
func Release() { books.Release("") }

// New returns a book without guests.
func New() *Users {
	return &Users{
		logins:   newLRU[string, *User](maxGuests),
		attempts: newLRU[string, *tokencache.Session](maxAttempts),
		demands:  newLRU[string, *challenged](maxDemands),
		users:    ratelimit.New(maxGuests),
	}
}

func newLRU[K comparable, V any](size int) *lru.Cache[K, V] {
	cache, err := lru.New[K, V](size)
	if err != nil {
		panic(err) // the sizes are positive constants
	}
	return cache
}

// find returns nil for who is not a guest, or not any more.
func (b *Users) find(id string) *User {
	if b == nil || id == "" {
		return nil
	}
	g, ok := b.logins.Get(id)
	if !ok {
		return nil
	}
	if !time.Now().Before(g.until) {
		b.logins.Remove(id)
		return nil
	}
	return g
}

// Of returns the guest that a token names, nil if it has to log in again.
func (b *Users) Of(login, username string) *User {
	id, end, _ := strings.Cut(login, ".")
	seconds, err := strconv.ParseInt(end, 36, 64)
	until := time.Unix(seconds, 0)
	if b == nil || err != nil || !time.Now().Before(until) {
		return nil // also if it has logged in again meanwhile: that is another login
	}
	if g := b.find(id); g != nil {
		return g
	}
	return &User{
		id: id, until: until, elsewhere: true,
		account: &veeam.Account{Name: Account.Name, Username: username, Grant: veeam.GrantMFA},
	}
}

// add remembers a guest whose credential the server has taken.
func (b *Users) add(g *User) {
	b.logins.Add(g.id, g)
	b.attempts.Remove(g.id)
	time.AfterFunc(time.Until(g.until), func() {
		if now, ok := b.logins.Peek(g.id); ok && now == g {
			b.logins.Remove(g.id)
		}
	})
}

// attempt is the one login of a credential that the server has not taken yet. A
// refused one is on hold as that of an account would be.
func (b *Users) attempt(id string, options tokencache.Options) *tokencache.Session {
	fresh := tokencache.NewSession(options)
	if found, ok, _ := b.attempts.PeekOrAdd(id, fresh); ok {
		return found
	}
	return fresh
}

// challenged is what the server wants of a guest before it gives a token.
type challenged struct {
	account  *veeam.Account // whose password was good
	token    secret.Value   // the server's mfa_token
	audience string
	until    time.Time

	mu    sync.Mutex // held while a code is tried
	tries int
}

// challenge remembers a demand and returns the mfa_token that the guest gets. It looks
// like those of the servers: the Base64 of 64 hex digits.
func (b *Users) challenge(d *challenged) string {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails, see crypto/rand
	text := base64.StdEncoding.EncodeToString(hex.AppendEncode(nil, raw[:]))
	b.demands.Add(text, d)
	time.AfterFunc(time.Until(d.until), func() { b.demands.Remove(text) })
	return text
}

// challenged finds the demand that an mfa_token stands for.
func (b *Users) challenged(token secret.Value, audience string) *challenged {
	d, ok := b.demands.Get(token.Reveal())
	if !ok || d.audience != audience || !time.Now().Before(d.until) {
		return nil
	}
	return d
}

// Len is how many guests are remembered.
func (b *Users) Len() int { return b.logins.Len() }

// Forget forgets all guests: each has to log in again.
func (b *Users) Forget() { b.logins.Purge() }
