// Passthrough users that are logged in, and their challenges.

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
	// loginFor is how long a login is valid. After it the client has to log in again, so
	// that a password that was changed at the server stops working here, too.
	loginFor = 24 * time.Hour

	// Idle is how long the unused session of a user is kept.
	Idle = time.Hour

	// ChallengeFor is how long a client has to send its verification code.
	ChallengeFor = 5 * time.Minute

	// ChallengeTries is how many codes a client may send for one challenge.
	ChallengeTries = 5

	maxUsers      = 10_000
	maxAttempts   = 1_000
	maxChallenges = 1_000
)

// Account stands for all passthrough users where an account is named, as in metrics and
// in the list of sessions.
var Account = &account.Account{Name: "passthrough"}

// User is a client that acts at the server as the user whose credential it has sent.
type User struct {
	id      string // keyed hash of the credential
	account *veeam.Account
	until   time.Time

	// elsewhere tells that the login was at another process, or before a restart. The
	// credential is not known here, but the session may be in the cache.
	elsewhere bool
}

// forServer returns the user for a login at a server with these accounts. Its name tells
// sessions apart, also in a cache, where other processes know it from a token only: in
// lower case, see policy.Caller.Identity.
func (u *User) forServer(accounts []*account.Account) *upstream.Passthrough {
	return &upstream.Passthrough{User: strings.ToLower(u.account.Username), Read: func(ctx context.Context) *account.Secrets { return u.credentials(ctx, accounts) }}
}

// Token returns the text that names the login in tokens issued here: its id and when it
// ends.
func (u *User) Token() string { return u.id + "." + strconv.FormatInt(u.until.Unix(), 36) }

// credentials returns what the user logs in with. The second factor is that of the
// configured account with the same user, which may have changed since the last login.
func (u *User) credentials(ctx context.Context, accounts []*account.Account) *account.Secrets {
	own := *u.account
	if own.Grant == veeam.GrantPassword {
		own.TOTP = totpOf(ctx, accounts, own.Username)
	}
	return &account.Secrets{Account: &own, Fingerprint: u.id, Digest: secret.New(u.id)}
}

// admitted returns the user without the verification code, which was used.
func (u *User) admitted() *User {
	if u.account.Grant != veeam.GrantMFA {
		return u
	}
	account := *u.account
	account.Password, account.MFAToken = secret.Value{}, secret.Value{}
	return &User{id: u.id, account: &account, until: u.until}
}

// userID returns the id of a login at a site: a keyed hash, from which the password
// cannot be found out. The text must stay as it is, "guest" included: stored sessions and
// valid tokens have the id in them.
func userID(audience, username, password string, readOnly bool) string {
	return account.Keyed(fmt.Sprintf("guest %d:%s %d:%s %t %s", len(audience), audience, len(username), username, readOnly, password))
}

// Users holds the logins of the process. It outlives reloads, because clients do not log
// in again for one, and is emptied with the last configuration that has passthrough.
type Users struct {
	logins     *lru.Cache[string, *User]                // by id: the server has accepted the credential
	attempts   *lru.Cache[attempt, *tokencache.Session] // pending logins, and their holds
	challenges *lru.Cache[string, *pendingChallenge]    // by the mfa_token that the client has
	guesses    *ratelimit.Limiter                       // counts credentials that the server has not accepted
	accepted   *lru.Cache[string, struct{}]             // ids of credentials that it has, also after the end of their logins
}

// processUsers holds the Users of the process, under the key "", while a configuration
// uses them. They outlive a reload, because their clients hold tokens.
var processUsers = pool.New[string](func(u *Users) {
	u.logins.Purge()
	u.attempts.Purge()
	u.challenges.Purge()
	u.accepted.Purge()
})

// Acquire returns the Users of the process for one configuration, which calls Release
// when it ends.
func Acquire() *Users { return processUsers.Acquire("", New) }

// Release ends the use by one configuration. The last one empties the Users.
func Release() { processUsers.Release("") }

// New returns empty Users, apart from those of the process.
func New() *Users {
	return &Users{
		logins:     newLRU[string, *User](maxUsers),
		attempts:   newLRU[attempt, *tokencache.Session](maxAttempts),
		challenges: newLRU[string, *pendingChallenge](maxChallenges),
		guesses:    ratelimit.New(maxUsers),
		accepted:   newLRU[string, struct{}](maxUsers),
	}
}

func newLRU[K comparable, V any](size int) *lru.Cache[K, V] {
	cache, err := lru.New[K, V](size)
	if err != nil {
		panic(err) // the sizes are positive constants
	}
	return cache
}

// find returns the user with a valid login of this id, nil if there is none.
func (u *Users) find(id string) *User {
	if u == nil || id == "" {
		return nil
	}
	user, ok := u.logins.Get(id)
	if !ok {
		return nil
	}
	if !time.Now().Before(user.until) {
		u.logins.Remove(id)
		return nil
	}
	return user
}

// Of returns the user whose login a token names, see User.Token, nil if the client has to
// log in again.
func (u *Users) Of(login, username string) *User {
	id, end, _ := strings.Cut(login, ".")
	seconds, err := strconv.ParseInt(end, 36, 64)
	until := time.Unix(seconds, 0)
	if u == nil || err != nil || !time.Now().Before(until) {
		return nil // also if the client has logged in again meanwhile: that is another login
	}
	if user := u.find(id); user != nil {
		return user
	}
	return &User{
		id: id, until: until, elsewhere: true,
		account: &veeam.Account{Name: Account.Name, Username: username, Grant: veeam.GrantMFA},
	}
}

// add remembers a user whose credential the server has accepted.
func (u *Users) add(user *User) {
	u.logins.Add(user.id, user)
	if user.account.Grant == veeam.GrantPassword { // a code is good for one login
		u.accepted.Add(user.id, struct{}{})
	}
	time.AfterFunc(time.Until(user.until), func() {
		if now, ok := u.logins.Peek(user.id); ok && now == user {
			u.logins.Remove(user.id)
		}
	})
}

// attempt is a login with a credential that the server has not accepted yet. Each server has
// its own: what one of them answers, or that it does not, says nothing of another.
type attempt struct{ id, origin string }

// attempt returns the pending login of an attempt, or its hold. A refused one is on hold,
// like that of an account.
func (u *Users) attempt(key attempt, options tokencache.Options) *tokencache.Session {
	fresh := tokencache.NewSession(options)
	if found, ok, _ := u.attempts.PeekOrAdd(key, fresh); ok {
		return found
	}
	return fresh
}

// pendingChallenge is a challenge of the server's that waits for a code.
type pendingChallenge struct {
	account  *veeam.Account  // whose password the server has accepted
	token    secret.Value    // the server's mfa_token
	place    upstream.Place  // of the server, which alone knows the token
	values   context.Context // for dialing it
	audience string
	until    time.Time

	mu    sync.Mutex // locked while a code is tried
	tries int
}

// addChallenge remembers a challenge and returns the mfa_token for the client. It looks
// like those of the servers: the Base64 of 64 hex digits.
func (u *Users) addChallenge(c *pendingChallenge) string {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails, see crypto/rand
	text := base64.StdEncoding.EncodeToString(hex.AppendEncode(nil, raw[:]))
	u.challenges.Add(text, c)
	time.AfterFunc(time.Until(c.until), func() { u.challenges.Remove(text) })
	return text
}

// pending returns the challenge of an mfa_token, nil if it is unknown or expired.
func (u *Users) pending(token secret.Value, audience string) *pendingChallenge {
	c, ok := u.challenges.Get(token.Reveal())
	if !ok || c.audience != audience || !time.Now().Before(c.until) {
		return nil
	}
	return c
}

// Len returns how many users are logged in.
func (u *Users) Len() int { return u.logins.Len() }

// Forget forgets all logins: each client has to log in again.
func (u *Users) Forget() { u.logins.Purge() }
