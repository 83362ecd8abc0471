// The authorization code grant: a session creates a code, the code makes another
// session.

package veeam

import (
	"context"
	"errors"
	"net/http"

	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

var errNoCode = errors.New("the answer has no code")

// authorizationCode logs in with a code: one that a session of the parent creates, or the
// account's own, which is valid for a minute after it was created.
func (c *Client) authorizationCode(ctx context.Context, a *Account) (*Token, error) {
	if a.Parent == nil {
		if a.Password.IsZero() {
			return nil, c.fail(KindAccount, GrantAuthorizationCode, "the account has neither a code nor a parent")
		}
		return c.redeem(ctx, a, a.Password, c.firstStep(a))
	}
	return c.withParent(ctx, a, func(parent *Token) (*Token, error) {
		code, err := c.CreateCode(ctx, parent)
		if err != nil {
			return nil, err
		}
		return c.redeem(ctx, a, code, c.firstStep(a))
	})
}

// redeem exchanges a code for a session.
func (c *Client) redeem(ctx context.Context, a *Account, code secret.Value, step ratelimit.Step) (*Token, error) {
	f := c.Product.newForm(GrantAuthorizationCode)
	f.add(c.Product.Fields.Code, code.Reveal())
	c.addOptions(f, a)
	f.pace, f.guarded = step, a.Parent == nil // that of a parent is valid
	r, err := c.ask(ctx, GrantAuthorizationCode, f)
	if err != nil {
		return nil, err
	}
	return c.finish(ctx, a, GrantAuthorizationCode, r)
}

// CreateCode creates an authorization code with a session. VBR supports it up to
// version 12.3. VB for AWS has two paths for it, depending on the version. It returns
// an error of KindAccount if the product does not support it.
func (c *Client) CreateCode(ctx context.Context, t *Token) (secret.Value, error) {
	var err error = c.fail(KindAccount, GrantAuthorizationCode, "the product cannot create authorization codes")
	for _, path := range c.Product.CodePaths {
		var ans *answer
		ans, err = c.exchange(ctx, http.MethodPost, path, t.Access, nil)
		if err == nil && ans.status == http.StatusOK {
			o, _ := readObject(ans.body)
			if code := o.text("code"); code != "" {
				return secret.New(code), nil
			}
			err = &Error{Kind: KindMalformed, Status: ans.status, Err: errNoCode}
		} else if err == nil {
			err = c.codeRefusal(ans, t)
		}
		err = c.complete(err, GrantAuthorizationCode)
		if ans == nil || ans.status != http.StatusNotFound {
			break
		}
	}
	return secret.Value{}, err
}

func (c *Client) codeRefusal(ans *answer, t *Token) error {
	if ans.status < 400 {
		return &Error{Kind: KindMalformed, Status: ans.status, Err: errNoCode}
	}
	e := c.Product.readRefusal(ans, GrantAuthorizationCode, []string{t.Access.Reveal()})
	if ans.status == http.StatusNotFound || ans.status == http.StatusMethodNotAllowed {
		e.Hint = "this version of the server does not support authorization codes: use the grant password"
	}
	return e
}
