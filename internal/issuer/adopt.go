// Tokens of a server that are accepted like issued ones.

package issuer

import (
	"crypto/sha256"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Adopt makes a server's token valid for sub until it expires, like an issued access
// token. Only this process remembers it, by the hash of the token.
func (i *Issuer) Adopt(token string, sub Subject, audience string, until time.Time) {
	i.adopted.add(sub.Client, sha256.Sum256([]byte(token)), claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Subject: sub.Client, Audience: jwt.ClaimStrings{audience}, ExpiresAt: jwt.NewNumericDate(until),
		},
		Account: sub.Account,
		Login:   sub.Login,
		Vouch:   sub.Vouch,
		Until:   until.Unix() + 1, // ExpiresAt says it to the nanosecond
		Family:  sub.Family,
		Use:     useAccess,
		Made:    i.ledger.next(sub.Client).UnixMilli(),
	})
}

func (i *Issuer) adoptedClaims(token string) (claims, bool) {
	if i.adopted.len() == 0 {
		return claims{}, false
	}
	return i.adopted.use(sha256.Sum256([]byte(token)))
}

func (i *Issuer) judgeAdopted(c *claims, audience string) (Subject, error) {
	if err := i.judge(c, audience, useAccess); err != nil {
		return Subject{}, err
	}
	if !time.Now().Before(c.ExpiresAt.Time) {
		return Subject{}, ErrExpired
	}
	return c.subject(), nil
}
