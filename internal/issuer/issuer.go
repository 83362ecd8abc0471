// Issuing and checking: what is in a token and when it counts.

package issuer

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/caddy-veeam/veeam-auth/policy"
)

// Lifetimes of issued tokens and codes.
const (
	// DefaultLifetime of access tokens is that of VBR, Azure and VSPC.
	DefaultLifetime = time.Hour

	// RefreshLifetime is that of VBR and Azure. It is the maximum lifetime of all
	// tokens and of the memory of logouts.
	RefreshLifetime = 14 * 24 * time.Hour

	// DefaultMaxLifetime is the period in which the tokens of a login can be renewed.
	DefaultMaxLifetime = 30 * 24 * time.Hour

	// CodeLifetime is the lifetime of AWS's authorization codes.
	CodeLifetime = time.Minute

	// Grace is the period in which a used refresh token gets the same answer again, for
	// clients that send one several times at once.
	Grace = 30 * time.Second
)

const (
	algorithm = "HS256"

	maxRotations = 2_000

	// Of each caller, and of all together.
	codesEach, maxCodes     = 50, 1_000
	adoptedEach, maxAdopted = 100, 10_000

	// The sessions that a process keeps in memory. The one that has been unused the
	// longest ends.
	sessionsEach, maxSessions = 100, 10_000
)

// CheckLifetime returns an error for a lifetime of access tokens that is too short to be
// used, or exceeds the time for which logouts are remembered. Zero is the default.
func CheckLifetime(lifetime time.Duration) error {
	if err := policy.CheckLeast("token_lifetime", lifetime, time.Second); err != nil {
		return err
	}
	if lifetime > RefreshLifetime {
		return errors.New("token_lifetime exceeds 14 days (336h), which is how long logouts and revocations are remembered")
	}
	return nil
}

// The reasons for which a token is refused. Their texts go to clients.
var (
	ErrInvalid = errors.New("the token is not valid")
	ErrExpired = errors.New("the token has expired")
	ErrEnded   = errors.New("the token was logged out or revoked")
	ErrReused  = errors.New("the refresh token was used before")

	// ErrForgotten is the error for a token of a login about which it is no longer
	// known whether it was logged out or its refresh token was used, because its caller
	// had too many logins since.
	ErrForgotten = errors.New("the login of the token is no longer known")
)

// Subject identifies the caller of a token.
type Subject struct {
	// Client is the identity of the caller, which differs for callers authenticated by
	// different means.
	Client string

	// Account is the account that the caller acts as, empty for the default.
	Account string

	// Login is the login at the server that the token represents, empty if the caller
	// has none.
	Login string

	// Vouch is a Digest of the evidence for the caller at its login. The verifier of a
	// token compares it with the current evidence.
	Vouch string

	// Family identifies all tokens that descend from one login.
	Family string

	// Until is the expiry of all tokens that descend from the login, to the second.
	// Default: DefaultMaxLifetime after the login.
	Until time.Time

	// Made is when the token was made, in milliseconds since 1970, as its issuer's clock
	// says; it is not looked at when a token is issued.
	Made int64
}

// CheckMaxLifetime refuses logins that end before their first access token does.
func CheckMaxLifetime(longest, lifetime time.Duration) error {
	if err := policy.CheckLeast("token_max_lifetime", longest, time.Second); err != nil {
		return err
	}
	if longest < lifetime {
		return fmt.Errorf("token_max_lifetime %v is shorter than token_lifetime %v", longest, lifetime)
	}
	return nil
}

// Digest returns a one-way digest that differs if any part differs, for an audience or
// a Subject.Vouch.
func Digest(parts ...string) string {
	hash := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(hash, "%d:%s,", len(part), part)
	}
	return base64.RawURLEncoding.EncodeToString(hash.Sum(nil)[:18])
}

// CheckAudience refuses names of audiences that are too long, or contain blanks or
// invisible characters.
func CheckAudience(name string) error {
	if len(name) > 100 || strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
		return errors.New("audience: the name exceeds 100 bytes or has blanks or control characters")
	}
	return nil
}

// Pair is an access token with the refresh token that renews it.
type Pair struct {
	Access, Refresh string
	Issued          time.Time
	Lifetime        time.Duration
}

// Issuer issues and verifies tokens. All methods are safe for concurrent use. It
// remembers used refresh tokens, logouts and sessions; Watch shares them with other
// replicas, and with the next start, through the store of the keys.
type Issuer struct {
	keys      *Keys
	rotations *lru.Cache[string, *rotation] // by family
	codes     *shares[string, code]
	adopting  sync.Mutex
	adopted   *shares[[sha256.Size]byte, adoption]
	sessions  *shares[sessionID, *session]
	ending    *shares[sessionID, *session] // those that have ended, and that the store may still have
	storeSlow atomic.Bool                  // the last session could not be stored at once
	ledger    ledger
	checked   checked
	parser    *jwt.Parser
}

// New returns an issuer that signs with keys.
func New(keys *Keys) *Issuer {
	rotations, err := lru.New[string, *rotation](maxRotations)
	if err != nil {
		panic(err) // the size is a positive constant
	}
	i := &Issuer{
		keys:      keys,
		ledger:    ledger{limits: usual, now: time.Now},
		rotations: rotations,
		codes:     newShares[string, code](codesEach, maxCodes),
		adopted:   newShares[[sha256.Size]byte, adoption](adoptedEach, maxAdopted),
		sessions:  newShares[sessionID, *session](sessionsEach, maxSessions),
		ending:    newShares[sessionID, *session](usual.ended, maxSessions),
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{algorithm}),
			jwt.WithIssuer(policy.TokenIssuer),
			jwt.WithExpirationRequired(),
		),
	}
	keys.first = i.catchUp
	return i
}

type claims struct {
	jwt.RegisteredClaims
	Account string `json:"account,omitempty"`
	Login   string `json:"login,omitempty"`
	Vouch   string `json:"vouch,omitempty"`
	Until   int64  `json:"until"` // of all tokens of the family, in seconds since 1970
	Family  string `json:"family"`
	Use     string `json:"use"`
	Number  int64  `json:"n,omitempty"` // of a refresh token, counted from the login
	Made    int64  `json:"made"`        // when, in milliseconds since 1970

	// Known is when a session is known not to have ended, in milliseconds since 1970.
	Known int64 `json:"-"`
}

const (
	useAccess  = "access"
	useRefresh = "refresh"
)

// Issue starts a new family for a client and returns its first pair.
func (i *Issuer) Issue(ctx context.Context, sub Subject, audience string, lifetime time.Duration) (Pair, error) {
	sub.Family = rand.Text()
	now := i.ledger.next(sub.Client)
	if sub.Until.IsZero() {
		sub.Until = now.Add(DefaultMaxLifetime)
	}
	return i.pair(ctx, sub, audience, lifetime, 1, now)
}

// pair makes an access token, and the refresh token of the family with this number.
func (i *Issuer) pair(ctx context.Context, sub Subject, audience string, lifetime time.Duration, number int64, now time.Time) (pair Pair, err error) {
	if lifetime <= 0 {
		lifetime = DefaultLifetime
	}
	left := min(RefreshLifetime, time.Unix(sub.Until.Unix(), 0).Sub(now))
	if left <= 0 {
		return Pair{}, ErrExpired
	}
	lifetime = min(lifetime, left)
	pair = Pair{Issued: now, Lifetime: lifetime}
	if pair.Access, err = i.sign(ctx, sub, audience, useAccess, 0, now, lifetime); err != nil {
		return Pair{}, err
	}
	pair.Refresh, err = i.sign(ctx, sub, audience, useRefresh, number, now, left)
	return pair, err
}

func (i *Issuer) sign(ctx context.Context, sub Subject, audience, use string, number int64, now time.Time, lifetime time.Duration) (string, error) {
	key, err := i.keys.signing(ctx)
	if err != nil {
		return "", err
	}
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    policy.TokenIssuer,
			Subject:   sub.Client,
			Audience:  jwt.ClaimStrings{audience},
			ID:        rand.Text(),
			IssuedAt:  jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(now.Add(lifetime)),
		},
		Account: sub.Account,
		Login:   sub.Login,
		Vouch:   sub.Vouch,
		Until:   sub.Until.Unix(),
		Family:  sub.Family,
		Use:     use,
		Number:  number,
		Made:    now.UnixMilli(),
	})
	token.Header["kid"] = key.ID
	return token.SignedString(key.Secret)
}

// Check returns the subject of an access token. The error is one of this package's
// reasons, or reports that the keys could not be read.
func (i *Issuer) Check(ctx context.Context, token, audience string) (Subject, error) {
	keys := i.keys.loaded.Load()
	if v := i.checked.find(token, keys); v != nil {
		if err := i.again(v, audience); err != nil {
			return Subject{}, err
		}
		return v.claims.subject(), nil
	}
	if known := i.adoptionOf(token); known != nil {
		return i.judgeAdopted(known, audience)
	}
	if id, ok := readSessionID(token); ok {
		return i.checkSession(ctx, id, audience)
	}
	c, err := i.parse(ctx, token, audience, useAccess)
	if err != nil {
		return Subject{}, err
	}
	i.checked.add(token, c, keys)
	return c.subject(), nil
}

// Ended returns ErrEnded if a login, or all that its caller had got until a token was made, has
// ended. client, family and made are those of the Subject. That the token has expired meanwhile
// does not count.
func (i *Issuer) Ended(client, family string, made int64) error {
	err := i.ledger.judge(&claims{RegisteredClaims: jwt.RegisteredClaims{Subject: client}, Family: family, Made: made})
	if errors.Is(err, ErrEnded) {
		return err
	}
	return nil // forgotten: nothing is known against it
}

func (i *Issuer) parse(ctx context.Context, token, audience, use string) (claims, error) {
	var c claims
	_, err := i.parser.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) {
		id, _ := t.Header["kid"].(string)
		return i.keys.verifying(ctx, id)
	})
	var unreadable *KeysError
	switch {
	case errors.As(err, &unreadable):
		return claims{}, unreadable
	case errors.Is(err, jwt.ErrTokenExpired):
		return claims{}, ErrExpired
	case err != nil:
		return claims{}, ErrInvalid
	}
	if err := i.judge(&c, audience, use); err != nil {
		return claims{}, err
	}
	return c, nil
}

// judge looks at what may change, or differ, while the signature stays good.
func (i *Issuer) judge(c *claims, audience, use string) error {
	switch {
	case c.Use != use, c.Family == "", len(c.Audience) != 1, c.Audience[0] != audience, c.Until <= 0:
		return ErrInvalid
	case time.Now().Unix() >= c.Until:
		return ErrExpired
	}
	return i.ledger.judge(c)
}

// again is judge for a token that was found good before. It takes no lock as long as
// nothing has ended since.
func (i *Issuer) again(v *verified, audience string) error {
	changed := i.ledger.changed.Load()
	if v.judged.Load() == changed+1 && v.claims.Audience[0] == audience {
		return nil
	}
	if err := i.judge(&v.claims, audience, useAccess); err != nil {
		return err
	}
	v.judged.Store(changed + 1)
	return nil
}

func (c *claims) subject() Subject {
	return Subject{
		Client: c.Subject, Account: c.Account, Login: c.Login, Vouch: c.Vouch, Family: c.Family, Until: time.Unix(c.Until, 0), Made: c.Made,
	}
}
