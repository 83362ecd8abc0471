// The password grant.

package veeam

import (
	"context"
	"strings"
)

// password logs in with user name and password, and answers the challenge for a
// verification code if there is one.
func (c *Client) password(ctx context.Context, a *Account) (*Token, error) {
	if a.Password.IsZero() {
		return nil, c.fail(KindAccount, GrantPassword, "the account has no password")
	}
	f := c.Product.newForm(GrantPassword)
	f.add("username", a.username())
	f.add("password", a.Password.Reveal())
	c.addOptions(f, a)
	if f.step != nil && f.step.basic {
		if strings.Contains(a.username(), ":") {
			return nil, &Error{Kind: KindAccount, Product: c.Product.Name, Grant: GrantPassword, Err: errColon}
		}
		f.basic = basicAuthorization(a.username(), a.Password.Reveal())
		f.secrets = append(f.secrets, f.basic, strings.TrimPrefix(f.basic, "Basic "))
	}
	f.pace, f.guarded = c.firstStep(a), true
	r, err := c.ask(ctx, GrantPassword, f)
	if err != nil {
		return nil, err
	}
	return c.finish(ctx, a, GrantPassword, r)
}

// addOptions adds the fields that any grant may have.
func (c *Client) addOptions(f *form, a *Account) {
	f.flag(c.Product.Fields.ReadOnly, a.ReadOnly)
	f.flag(c.Product.Fields.ShortLived, a.ShortLived)
}

// finish returns the session in the answer to a primary grant.
func (c *Client) finish(ctx context.Context, a *Account, g Grant, r *reply) (*Token, error) {
	switch {
	case r.token != nil:
		return r.token, nil
	case !r.mfaToken.IsZero():
		return c.mfa(ctx, a, r)
	}
	return nil, &Error{Kind: KindMalformed, Product: c.Product.Name, Grant: g, Err: errNoToken}
}
