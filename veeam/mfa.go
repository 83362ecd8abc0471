// The verification code, second step of a login with multi-factor
// authentication.

package veeam

import (
	"context"
	"errors"

	"github.com/caddy-veeam/veeam-auth/secret"
)

// mfaTries is how many codes are sent at most. One may be refused because
// somebody else used it or because the clocks differ, a second one is refused
// because the seed is wrong; servers lock accounts after a few more.
const mfaTries = 2

// mfa answers a demand for a verification code. A code that the server refuses
// is followed by that of the next step, then the login has failed.
func (c *Client) mfa(ctx context.Context, a *Account, mfaToken secret.Value) (*Token, error) {
	if a.TOTP == nil || c.Product.Values[GrantMFA] == "" {
		return nil, c.fail(KindMFARequired, GrantMFA, c.Product.MFAHint)
	}
	var refused *Error
	for range mfaTries {
		code, err := c.ledger().Next(ctx, a.TOTP)
		if err != nil {
			if refused != nil {
				return nil, refused
			}
			e := transportError(ctx, err, nil)
			e.Hint = "waiting for a verification code that was not used yet"
			return nil, c.complete(e, GrantMFA)
		}
		f := c.Product.newForm(GrantMFA)
		f.add(c.Product.Fields.MFAToken, mfaToken.Reveal())
		f.add(c.Product.Fields.MFACode, code)
		c.addOptions(f, a)
		f.secrets = append(f.secrets, a.secrets()...)
		r, err := c.ask(ctx, GrantMFA, f)
		switch {
		case err == nil && r.token != nil:
			return r.token, nil
		case err == nil:
			return nil, &Error{Kind: KindMalformed, Product: c.Product.Name, Grant: GrantMFA, Err: errNoToken}
		case !errors.As(err, &refused) || refused.Kind != KindRefused:
			return nil, err
		}
		refused.Hint = "check totp_secret and the clocks of both machines"
	}
	return nil, refused
}
