// Pacer: the limit on token requests to a server.

package veeam

import (
	"context"
	"errors"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
)

// Pacer decides when token requests may be sent.
type Pacer interface {
	// Pace returns when a token request may be sent. If that would take too long it returns
	// an error at once, which may have the method Delay() time.Duration: the time after which
	// it may be retried.
	Pace(ctx context.Context, step ratelimit.Step) error

	// Throttled records that the server has refused a token request because there were too
	// many, or has asked to wait. wait is 0 if the server does not say how long.
	Throttled(ctx context.Context, wait time.Duration)
}

// pace waits until a token request may be sent.
func (c *Client) pace(ctx context.Context, g Grant, step ratelimit.Step) error {
	if c.Pacer == nil {
		return nil
	}
	err := c.Pacer.Pace(ctx, step)
	if err == nil {
		return nil
	}
	var delayed interface{ Delay() time.Duration }
	if errors.As(err, &delayed) {
		e := c.fail(KindThrottled, g, "")
		e.RetryAfter, e.Err = delayed.Delay(), err
		return e
	}
	e := transportError(ctx, err, nil)
	e.Hint, e.Unsent = "waiting to send a token request (see pace)", true
	return c.complete(e, g)
}

// throttled tells the pacer if the answer to a token request asks to wait.
func (c *Client) throttled(ctx context.Context, err error) {
	e, ok := errors.AsType[*Error](err)
	if ok && c.Pacer != nil && (e.Kind == KindThrottled || e.RetryAfter > 0) {
		c.Pacer.Throttled(ctx, e.RetryAfter)
	}
}

// firstStep is the step of a request that the server answers by requiring a code.
func (c *Client) firstStep(a *Account) ratelimit.Step {
	if c.Product.TakesCodes() && (a.TOTP != nil || a.ScratchCode != nil || !a.EnteredCode.IsZero()) {
		return ratelimit.StepFirst
	}
	return ratelimit.StepOnly
}
