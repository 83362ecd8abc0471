// Wrong credentials are counted before the server counts them.

package veeam

import (
	"context"
	"errors"
)

// Guard says whether a credential may be sent once more. Servers lock users after
// so many wrong logins.
type Guard interface {
	// Begin is asked before each token request that carries the account's credential,
	// or a code that follows from it. If it returns an error, the request is not sent
	// and that is the error of the login. Otherwise end is told what became of it.
	Begin(ctx context.Context) (end func(context.Context, Verdict), err error)
}

// Verdict is what an answer says about a credential.
type Verdict int

// The verdicts.
const (
	VerdictNone     Verdict = iota // nothing: it was not looked at, or is good so far
	VerdictAccepted                // there is a session
	VerdictRefused
	VerdictUnknown // there was no answer
)

// verdict reads the outcome of a token request.
func verdict(r *reply, err error) Verdict {
	failed, ok := errors.AsType[*Error](err)
	switch {
	case err == nil && r.token != nil:
		return VerdictAccepted
	case err == nil:
		return VerdictNone // a code is wanted
	case !ok:
		return VerdictUnknown
	case failed.Kind == KindRefused:
		return VerdictRefused
	case failed.Unsent:
		return VerdictNone
	case failed.Kind == KindTimeout, failed.Kind == KindUnavailable, failed.Kind == KindCanceled:
		return VerdictUnknown
	}
	return VerdictNone
}

// guarded sends a token request that carries a credential.
func (c *Client) guarded(ctx context.Context, g Grant, f *form) (*reply, error) {
	if c.Guard == nil || !f.guarded {
		return c.askNow(ctx, g, f)
	}
	end, err := c.Guard.Begin(ctx)
	if err != nil {
		return nil, err
	}
	r, err := c.askNow(ctx, g, f)
	end(ctx, verdict(r, err))
	return r, err
}
