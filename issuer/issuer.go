// Issuing and checking: what is in a token and when it counts.

package issuer

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"
)

// Lifetimes of what the issuer gives out.
const (
	// DefaultLifetime of access tokens is what VBR, Azure and VSPC give theirs.
	DefaultLifetime = time.Hour

	// RefreshLifetime is what VBR and Azure give theirs. No token is good for longer,
	// and so long it is remembered who has logged out.
	RefreshLifetime = 14 * 24 * time.Hour

	// CodeLifetime is what AWS gives its authorization codes.
	CodeLifetime = time.Minute

	// Grace is how long a refresh token that has been used still gets the answer
	// that it got, for clients that send one several times at once.
	Grace = 30 * time.Second
)

const (
	name      = "veeam-auth"
	algorithm = "HS256"

	maxFamilies = 10_000
	maxCodes    = 1_000
	maxAdopted  = 10_000
)

// The reasons for which a token is refused. Their texts go to clients.
var (
	ErrInvalid = errors.New("the token is not valid")
	ErrExpired = errors.New("the token has expired")
	ErrEnded   = errors.New("the token was logged out")
	ErrReused  = errors.New("the refresh token was used before")
)

// Subject is who a token speaks for.
type Subject struct {
	// Client is the name of the caller.
	Client string

	// Account is the account that the caller acts as, empty for the default.
	Account string

	// Via is how the caller was known when it got the token.
	Via string

	// Login is the login at the server that the token stands for, empty if the
	// caller has none of its own.
	Login string

	// Family ties together all tokens that descend from one login.
	Family string
}

// Pair is an access token with the refresh token that renews it.
type Pair struct {
	Access, Refresh string
	Issued          time.Time
	Lifetime        time.Duration
}

// Issuer makes and checks tokens. All methods may be called from any goroutine.
// It remembers which refresh tokens were used and who has logged out, and Watch
// tells that to other replicas and to the next start by the store of the keys.
type Issuer struct {
	keys      *Keys
	families  *lru.Cache[string, *family]
	codes     *lru.Cache[string, code]
	adopted   *lru.Cache[[sha256.Size]byte, claims]
	ended     ended
	revoked   revocations
	refreshed refreshed
	checked   checked
	parser    *jwt.Parser
}

// New returns an issuer that signs with keys.
func New(keys *Keys) *Issuer {
	families, err := lru.New[string, *family](maxFamilies)
	if err != nil {
		panic(err) // the size is a positive constant
	}
	codes, err := lru.New[string, code](maxCodes)
	if err != nil {
		panic(err)
	}
	adopted, err := lru.New[[sha256.Size]byte, claims](maxAdopted)
	if err != nil {
		panic(err)
	}
	i := &Issuer{
		keys:      keys,
		adopted:   adopted,
		revoked:   revocations{store: keys.store},
		refreshed: refreshed{store: keys.store},
		families:  families,
		codes:     codes,
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{algorithm}),
			jwt.WithIssuer(name),
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
	Via     string `json:"via,omitempty"`
	Family  string `json:"family"`
	Use     string `json:"use"`
	Number  int64  `json:"n,omitempty"` // of a refresh token, counted from the login
	Made    int64  `json:"made"`        // when, in milliseconds since 1970
}

const (
	useAccess  = "access"
	useRefresh = "refresh"
)

// Issue logs a client in: a new family with its first pair.
func (i *Issuer) Issue(ctx context.Context, sub Subject, audience string, lifetime time.Duration) (Pair, error) {
	sub.Family = rand.Text()
	return i.pair(ctx, sub, audience, lifetime, 1)
}

// pair makes an access token, and the refresh token of the family with this number.
func (i *Issuer) pair(ctx context.Context, sub Subject, audience string, lifetime time.Duration, number int64) (pair Pair, err error) {
	if lifetime <= 0 {
		lifetime = DefaultLifetime
	}
	lifetime = min(lifetime, RefreshLifetime)
	now := time.Now()
	pair = Pair{Issued: now, Lifetime: lifetime}
	if pair.Access, err = i.sign(ctx, sub, audience, useAccess, 0, now, lifetime); err != nil {
		return Pair{}, err
	}
	pair.Refresh, err = i.sign(ctx, sub, audience, useRefresh, number, now, RefreshLifetime)
	return pair, err
}

func (i *Issuer) sign(ctx context.Context, sub Subject, audience, use string, number int64, now time.Time, lifetime time.Duration) (string, error) {
	key, err := i.keys.signing(ctx)
	if err != nil {
		return "", err
	}
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    name,
			Subject:   sub.Client,
			Audience:  jwt.ClaimStrings{audience},
			ID:        rand.Text(),
			IssuedAt:  jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(now.Add(lifetime)),
		},
		Account: sub.Account,
		Login:   sub.Login,
		Via:     sub.Via,
		Family:  sub.Family,
		Use:     use,
		Number:  number,
		Made:    now.UnixMilli(),
	})
	token.Header["kid"] = key.ID
	return token.SignedString(key.Secret)
}

// Check returns who an access token speaks for. The error is one of the reasons
// of this package or says that the keys could not be read.
func (i *Issuer) Check(ctx context.Context, token, audience string) (Subject, error) {
	keys := i.keys.loaded.Load()
	if c := i.checked.find(token, keys); c != nil {
		if err := i.judge(c, audience, useAccess); err != nil {
			return Subject{}, err
		}
		return c.subject(), nil
	}
	if c, ok := i.adoptedClaims(token); ok {
		return i.judgeAdopted(&c, audience)
	}
	c, err := i.parse(ctx, token, audience, useAccess)
	if err != nil {
		return Subject{}, err
	}
	i.checked.add(token, c, keys)
	return c.subject(), nil
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
	case c.Use != use, c.Family == "", len(c.Audience) != 1, c.Audience[0] != audience:
		return ErrInvalid
	case i.ended.has(c.Family), i.revoked.covers(c.Subject, c.Made):
		return ErrEnded
	}
	return nil
}

func (c *claims) subject() Subject {
	return Subject{Client: c.Subject, Account: c.Account, Login: c.Login, Via: c.Via, Family: c.Family}
}
