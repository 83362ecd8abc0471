// Guard: wrong credentials are counted before the server counts them.

package veeam

import (
	"context"
	"errors"
)

// Guard decides whether a credential may be sent. Servers lock users after a number of
// refused logins.
type Guard interface {
	// Begin is called before each token request that carries the account's credential,
	// or a code that follows from it. If it returns an error, the request is not sent
	// and the login returns that error. Otherwise end is called with the result of the
	// request.
	Begin(ctx context.Context) (end func(context.Context, Verdict), err error)
}

// Verdict is the result of a token request for its credential.
type Verdict int

// The verdicts.
const (
	VerdictNone     Verdict = iota // the credential was not checked, or accepted so far
	VerdictAccepted                // the server created a session
	VerdictRefused
	VerdictUnknown // there was no response
)

// verdict returns the verdict of a token request.
func verdict(r *reply, err error) Verdict {
	failed, ok := errors.AsType[*Error](err)
	switch {
	case err == nil && r.token != nil:
		return VerdictAccepted
	case err == nil:
		return VerdictNone // a code is required
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
