// Verification codes, the second step of a login with multi-factor authentication.

package veeam

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/totp"
	"github.com/caddy-veeam/veeam-auth/internal/tracing"
)

// mfaTries is the default of Client.MFATries.
const mfaTries = 2

var errNoScratchCodes = errors.New("the product does not support scratch codes")

// MFAChallengeError ends a login for which the server requires a verification code that
// only the client has, see Account.ReturnMFAChallenge.
type MFAChallengeError struct {
	failed *Error

	Token secret.Value // the server's mfa_token
	Shape *Shape       // shape of the server's answer
	Until time.Time    // when the mfa_token expires, see ChallengeLifetime

	claimed atomic.Bool
}

// Error returns the message of the *Error of KindMFARequired.
func (e *MFAChallengeError) Error() string { return e.failed.Error() }

// Unwrap returns the *Error of KindMFARequired.
func (e *MFAChallengeError) Unwrap() error { return e.failed }

// CredentialRefused returns false, because the server has accepted the password.
func (e *MFAChallengeError) CredentialRefused() bool { return false }

// Claim reports whether the caller is the first to claim the challenge. The server
// accepts one code for it.
func (e *MFAChallengeError) Claim() bool { return e.claimed.CompareAndSwap(false, true) }

// mfa answers the server's request for a verification code. If the server refuses the
// code, the one of the next step is sent, up to Client.MFATries codes.
func (c *Client) mfa(ctx context.Context, a *Account, r *reply) (*Token, error) {
	mfaToken, offset := r.mfaToken, r.offset
	if a.ScratchCode != nil {
		return c.mfaByScratchCode(ctx, a, mfaToken)
	}
	switch {
	case !c.Product.TakesCodes():
		return nil, c.fail(KindMFARequired, GrantMFA, c.Product.MFAHint)
	case !a.EnteredCode.IsZero():
		return c.mfaByEnteredCode(ctx, a, mfaToken)
	case a.TOTP == nil && a.ReturnMFAChallenge:
		failed := &Error{Kind: KindMFARequired, Product: c.Product.Name, Grant: GrantPassword}
		return nil, &MFAChallengeError{failed: failed, Token: mfaToken, Shape: r.shape, Until: r.until}
	case a.TOTP == nil:
		return nil, c.fail(KindMFARequired, GrantMFA, c.Product.MFAHint)
	}
	var refused *Error
	for range cmp.Or(c.MFATries, mfaTries) {
		if err := c.paceCode(ctx, a, offset); err != nil {
			if refused != nil {
				return nil, refused
			}
			return nil, err
		}
		code, err := c.ledger().Next(ctx, a.TOTP, codeOptions(offset, c.TOTPSteps))
		if err != nil {
			if refused != nil {
				return nil, refused
			}
			return nil, c.noCode(ctx, err)
		}
		token, err := c.sendCode(ctx, a, mfaToken, code)
		if _, sent := errors.AsType[*Error](err); err != nil && !sent && refused != nil {
			return nil, refused // one more code may not be sent
		}
		if !errors.As(err, &refused) || refused.Kind != KindRefused {
			return token, err
		}
		refused.Hint = "check totp_secret and the clocks of both machines"
	}
	return nil, refused
}

// codeOptions are those of a code for a server whose clock is ahead by offset. A wait for an
// unused code is a span.
func codeOptions(offset time.Duration, steps totp.Steps) totp.Options {
	return totp.Options{Offset: offset, Steps: steps, Sleep: func(ctx context.Context, wait time.Duration) error {
		_, end := tracing.Start(ctx, tracing.Code, tracing.About{})
		err := bounded.Sleep(ctx, wait)
		if err != nil {
			end(string(ReasonOf(err)))
		} else {
			end("")
		}
		return err
	}}
}

// paceCode waits until the rate limit allows to send a code. The code is made after
// that, so that it is fresh. If no unused code is available yet, it waits for that first.
func (c *Client) paceCode(ctx context.Context, a *Account, offset time.Duration) error {
	if c.Pacer == nil {
		return nil
	}
	if err := c.ledger().Await(ctx, a.TOTP, codeOptions(offset, nil)); err != nil {
		return c.noCode(ctx, err)
	}
	return c.pace(ctx, GrantMFA, ratelimit.StepNext)
}

func (c *Client) noCode(ctx context.Context, err error) error {
	e := transportError(ctx, err, nil)
	e.Hint, e.Unsent = "waiting for an unused verification code", true
	return c.complete(e, GrantMFA)
}

// TakesCodes reports whether the REST API of the product has a grant for verification
// codes.
func (p *Product) TakesCodes() bool { return p.Values[GrantMFA] != "" }

// mfaByEnteredCode sends the code that somebody has entered, once.
func (c *Client) mfaByEnteredCode(ctx context.Context, a *Account, mfaToken secret.Value) (*Token, error) {
	if err := c.pace(ctx, GrantMFA, ratelimit.StepNext); err != nil {
		return nil, err
	}
	return c.sendCode(ctx, a, mfaToken, a.EnteredCode.Reveal())
}

// mfaByScratchCode sends one scratch code, once.
func (c *Client) mfaByScratchCode(ctx context.Context, a *Account, mfaToken secret.Value) (*Token, error) {
	if !c.Product.ScratchCodes {
		e := c.fail(KindAccount, GrantMFA, "")
		e.Err = errNoScratchCodes
		return nil, e
	}
	if err := c.pace(ctx, GrantMFA, ratelimit.StepNext); err != nil {
		return nil, err
	}
	code, err := a.ScratchCode(ctx)
	if err != nil {
		return nil, err
	}
	token, err := c.sendCode(ctx, a, mfaToken, code.Reveal())
	var refused *Error
	if errors.As(err, &refused) && refused.Kind == KindRefused {
		refused.Hint = "the scratch code is unknown to the server, or was used before"
	}
	return token, err
}

// sendCode sends one code. The caller has waited for the rate limit already.
func (c *Client) sendCode(ctx context.Context, a *Account, mfaToken secret.Value, code string) (*Token, error) {
	f := c.Product.newForm(GrantMFA)
	f.add(c.Product.Fields.MFAToken, mfaToken.Reveal())
	f.add(c.Product.Fields.MFACode, code)
	c.addOptions(f, a)
	f.secrets = append(f.secrets, a.secrets()...)
	f.paced, f.guarded = true, true
	r, err := c.ask(ctx, GrantMFA, f)
	switch {
	case err != nil:
		return nil, err
	case r.token == nil:
		return nil, &Error{Kind: KindMalformed, Product: c.Product.Name, Grant: GrantMFA, Err: errNoToken}
	}
	return r.token, nil
}
