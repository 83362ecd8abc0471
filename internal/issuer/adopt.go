// Tokens of a server that are accepted like issued ones.

package issuer

import (
	"crypto/sha256"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// adoption is what a server's token stands for: the logins that have got it, the latest
// last. Whoever logs in with the same credentials gets the same token.
type adoption []claims

// maxLogins is how many logins of one token are remembered.
const maxLogins = 20

// Adopt makes a server's token valid for sub until it expires, like an issued access
// token. Only this process remembers it, by the hash of the token. A token that several
// subjects have got is valid for the latest whose login has not ended.
func (i *Issuer) Adopt(token string, sub Subject, audience string, until time.Time) {
	i.adopting.Lock()
	defer i.adopting.Unlock()
	key := sha256.Sum256([]byte(token))
	before, _ := i.adopted.get(key)
	logins := slices.DeleteFunc(slices.Clone(before), func(c claims) bool { return i.ledger.judge(&c) != nil })
	i.adopted.add(sub.Client, key, append(logins[max(len(logins)-(maxLogins-1), 0):], claims{
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
	}))
}

// adoptionOf returns nil for a token that was not adopted.
func (i *Issuer) adoptionOf(token string) adoption {
	if i.adopted.len() == 0 {
		return nil
	}
	known, _ := i.adopted.use(sha256.Sum256([]byte(token)))
	return known
}

// judgeAdopted returns the subject of the latest login that has not ended. The error is that
// of the latest of all.
func (i *Issuer) judgeAdopted(known adoption, audience string) (sub Subject, err error) {
	for _, c := range slices.Backward(known) {
		refused := i.judge(&c, audience, useAccess)
		if refused == nil && !time.Now().Before(c.ExpiresAt.Time) {
			refused = ErrExpired
		}
		if refused == nil {
			return c.subject(), nil
		}
		if err == nil {
			err = refused
		}
	}
	return Subject{}, err
}

// sharing returns the logins that have the server's token of a login, besides it.
func (i *Issuer) sharing(client, family string) (others []claims) {
	is := func(c claims) bool { return c.Subject == client && c.Family == family }
	for _, known := range i.adopted.values() {
		if slices.ContainsFunc(known, is) {
			others = append(others, slices.DeleteFunc(slices.Clone(known), is)...)
		}
	}
	return others
}
