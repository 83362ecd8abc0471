// One-time authorization codes: one client asks for a code, another redeems it.

package issuer

import (
	"crypto/rand"
	"encoding/base64"
	"time"
)

type code struct {
	subject  Subject
	audience string
	made     time.Time
}

// Code returns a one-time code for sub, valid for CodeLifetime. Like the codes of the
// products it is Base64 with padding, so it may contain the characters +, / and =.
func (i *Issuer) Code(sub Subject, audience string) string {
	raw := make([]byte, 48)
	_, _ = rand.Read(raw) // never fails, see crypto/rand
	text := base64.StdEncoding.EncodeToString(raw)
	i.codes.add(sub.Client, text, code{subject: sub, audience: audience, made: i.ledger.next(sub.Client)})
	return text
}

// Redeem consumes a code and returns its subject. A code is consumed by its first use,
// even if that fails.
func (i *Issuer) Redeem(text, audience string) (Subject, error) {
	c, ok := i.codes.take(text)
	if !ok || c.audience != audience {
		return Subject{}, ErrInvalid
	}
	if time.Since(c.made) >= CodeLifetime || !c.subject.Until.IsZero() && !time.Now().Before(c.subject.Until) {
		return Subject{}, ErrExpired
	}
	asToken := claims{Family: c.subject.Family, Made: c.made.UnixMilli()}
	asToken.Subject = c.subject.Client
	if i.ledger.judge(&asToken) != nil {
		return Subject{}, ErrInvalid
	}
	return c.subject, nil
}
