// Issuing and checking: what is in a token and when it counts.

package issuer

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
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

	// DefaultMaxLifetime is how long the tokens of one login can be renewed.
	DefaultMaxLifetime = 30 * 24 * time.Hour

	// CodeLifetime is what AWS gives its authorization codes.
	CodeLifetime = time.Minute

	// Grace is how long a refresh token that has been used still gets the answer
	// that it got, for clients that send one several times at once.
	Grace = 30 * time.Second
)

const (
	name      = "veeam-auth"
	algorithm = "HS256"

	maxRotations = 2_000

	// Of each caller, and of all together.
	codesEach, maxCodes     = 50, 1_000
	adoptedEach, maxAdopted = 100, 10_000
)

// The reasons for which a token is refused. Their texts go to clients.
var (
	ErrInvalid = errors.New("the token is not valid")
	ErrExpired = errors.New("the token has expired")
	ErrEnded   = errors.New("the token was logged out")
	ErrReused  = errors.New("the refresh token was used before")

	// ErrForgotten is the answer to a token of a login that cannot be told any more from
	// one that has ended, or whose refresh token was used, because its caller has had
	// very many of them since.
	ErrForgotten = errors.New("the login of the token is no longer known")
)

// Subject is who a token speaks for.
type Subject struct {
	// Client is the identity of the caller, which tells apart callers that were
	// authenticated in different ways.
	Client string

	// Account is the account that the caller acts as, empty for the default.
	Account string

	// Login is the login at the server that the token stands for, empty if the
	// caller has none of its own.
	Login string

	// Vouch is a Digest of what has spoken for the caller when it logged in. Whoever
	// checks a token compares it with what speaks for the caller now.
	Vouch string

	// Family ties together all tokens that descend from one login.
	Family string

	// Until is the end of all tokens that descend from the login, to the second.
	// Default: DefaultMaxLifetime after the login.
	Until time.Time
}

// Digest tells apart what differs in any of the parts, for an audience or a
// Subject.Vouch. It gives none of them away.
func Digest(parts ...string) string {
	hash := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(hash, "%d:%s,", len(part), part)
	}
	return base64.RawURLEncoding.EncodeToString(hash.Sum(nil)[:18])
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
	rotations *lru.Cache[string, *rotation] // by family
	codes     *shares[string, code]
	adopted   *shares[[sha256.Size]byte, claims]
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
		adopted:   newShares[[sha256.Size]byte, claims](adoptedEach, maxAdopted),
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
	Vouch   string `json:"vouch,omitempty"`
	Until   int64  `json:"until"` // of all tokens of the family, in seconds since 1970
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
	now := time.Now()
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
			Issuer:    name,
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

// Check returns who an access token speaks for. The error is one of the reasons
// of this package or says that the keys could not be read.
func (i *Issuer) Check(ctx context.Context, token, audience string) (Subject, error) {
	keys := i.keys.loaded.Load()
	if v := i.checked.find(token, keys); v != nil {
		if err := i.again(v, audience); err != nil {
			return Subject{}, err
		}
		return v.claims.subject(), nil
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
		Client: c.Subject, Account: c.Account, Login: c.Login, Vouch: c.Vouch, Family: c.Family, Until: time.Unix(c.Until, 0),
	}
}
