// Refresh with rotation, and the end of a family of tokens.

package issuer

import (
	"context"
	"errors"
	"sync"
	"time"
)

// rotation has the renewals of one family wait for each other. What it remembers
// may be forgotten: the same token sent again then gets another answer.
type rotation struct {
	mu       sync.Mutex
	answered string // the id of the refresh token that was used last
	answer   Pair   // what it got
}

// CheckRefresh returns the subject of a refresh token without consuming it.
func (i *Issuer) CheckRefresh(ctx context.Context, token, audience string) (Subject, error) {
	c, err := i.parse(ctx, token, audience, useRefresh)
	if err != nil {
		return Subject{}, err
	}
	if err := i.ledger.check(&c); err != nil {
		return Subject{}, i.reused(&c, err)
	}
	return c.subject(), nil
}

// Refresh consumes a refresh token and returns the next pair. The same token sent again
// within Grace gets the same pair, at another replica another one. A later use, or one
// after the next token was used, ends the whole family: two parties have the token.
//
// Other replicas apply it within a second if Watch runs.
func (i *Issuer) Refresh(ctx context.Context, token, audience string, lifetime time.Duration) (Pair, error) {
	c, err := i.parse(ctx, token, audience, useRefresh)
	if err != nil {
		return Pair{}, err
	}
	r := i.rotation(c.Family)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := i.ledger.check(&c); err != nil {
		return Pair{}, i.reused(&c, err)
	}
	if c.ID == r.answered {
		return r.answer, nil
	}
	now := time.Now()
	if made := time.UnixMilli(c.Made); made.After(now) {
		now = made // by the clock of another replica: no token is older than the one before it
	}
	pair, err := i.pair(ctx, c.subject(), audience, lifetime, c.Number+1, now)
	if err != nil {
		return Pair{}, err
	}
	if err := i.ledger.use(&c, now); err != nil {
		return Pair{}, i.reused(&c, err)
	}
	r.answered, r.answer = c.ID, pair
	return pair, nil
}

func (i *Issuer) rotation(family string) *rotation {
	fresh := new(rotation)
	if found, known, _ := i.rotations.PeekOrAdd(family, fresh); known {
		return found
	}
	return fresh
}

// reused ends the family of a refresh token that was used twice.
func (i *Issuer) reused(c *claims, err error) error {
	if errors.Is(err, ErrReused) {
		i.End(c.Subject, c.Family)
	}
	return err
}

// End logs out a family of a caller: its tokens are no longer accepted. Other replicas
// apply it within a second if Watch runs. With it end the families that have got the same
// token of a server: that would still be good for theirs.
func (i *Issuer) End(client, family string) {
	for _, other := range i.sharing(client, family) {
		i.endAlone(other.Subject, other.Family)
	}
	i.endAlone(client, family)
}

func (i *Issuer) endAlone(client, family string) {
	i.rotations.Remove(family)
	i.ledger.end(client, family)
}
