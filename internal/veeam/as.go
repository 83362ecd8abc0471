// The "as" grant of VSPC: a session of one user for a session of another.

package veeam

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
)

var errWrongUser = errors.New("the token does not name the user to act as")

// as exchanges the refresh token of the parent's session for a session of
// another user.
func (c *Client) as(ctx context.Context, a *Account) (*Token, error) {
	if a.Parent == nil || a.UserUID == "" {
		return nil, c.fail(KindAccount, GrantAs, "the account requires parent and user_uid")
	}
	return c.withParent(ctx, a, func(parent *Token) (*Token, error) {
		if parent.Refresh.IsZero() {
			return nil, c.fail(KindRefused, GrantAs, "the session of the parent account has no refresh token")
		}
		f := c.Product.newForm(GrantAs)
		f.add("refresh_token", parent.Refresh.Reveal())
		f.add(c.Product.Fields.UserUID, a.UserUID)
		c.addOptions(f, a)
		r, err := c.ask(ctx, GrantAs, f)
		if err != nil {
			return nil, err
		}
		if r.token == nil {
			return nil, &Error{Kind: KindMalformed, Product: c.Product.Name, Grant: GrantAs, Err: errNoToken}
		}
		if err := c.checkUser(ctx, a, GrantAs, r.token); err != nil {
			return nil, err
		}
		return r.token, nil
	})
}

// checkUser checks that the token of an account that acts as another user is of that
// user: a server that ignored the field would return one with the rights of the parent.
// VSPC names the user in sub; without it the server is asked for the user of the
// session.
func (c *Client) checkUser(ctx context.Context, a *Account, g Grant, t *Token) error {
	if a.grant() != GrantAs {
		return nil
	}
	if strings.Count(t.Access.Reveal(), ".") != 2 { // no JWT
		uid, err := c.vspcUser(ctx, t)
		if failed, ok := errors.AsType[*Error](err); ok {
			failed.Grant, failed.Hint = g, "the access token is not used: neither it nor the server names its user"
		}
		if err != nil {
			return err
		}
		if strings.EqualFold(strings.Trim(uid, "{}"), strings.Trim(a.UserUID, "{}")) {
			return nil
		}
	}
	for _, name := range []string{"sub", "uid", "nameid"} {
		var user string
		if raw := jwtClaim(t.Access.Reveal(), name); raw != nil && json.Unmarshal(raw, &user) == nil {
			if strings.EqualFold(strings.Trim(user, "{}"), strings.Trim(a.UserUID, "{}")) {
				return nil
			}
		}
	}
	return &Error{
		Kind: KindWrongUser, Product: c.Product.Name, Grant: g, Err: errWrongUser,
		Hint: "check user_uid and whether the parent may edit that user",
	}
}
