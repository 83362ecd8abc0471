// Second factors of the appliances, VB for Azure and for AWS: enableMfa,
// acceptMfa, disableMfa.

package veeam

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

var errNoUser = errors.New("the answer has no user ID")

// appliance returns the steps of an appliance that has its users under one of the
// paths: the next is tried if a server answers 404.
func appliance(paths ...string) *enrolling {
	return &enrolling{
		offer: func(ctx context.Context, c *Client, a *Account, t *Token, recreate bool) (*Enrollment, error) {
			return c.offerAppliance(ctx, a, t, paths, recreate)
		},
		accept: acceptAppliance,
		disable: func(ctx context.Context, c *Client, a *Account, t *Token) error {
			path, user, err := c.findUser(ctx, a, t, paths)
			if err != nil {
				return err
			}
			_, err = c.do(ctx, t, userCall(path, user, "disableMfa", nil))
			return err
		},
	}
}

func (c *Client) offerAppliance(ctx context.Context, a *Account, t *Token, paths []string, recreate bool) (*Enrollment, error) {
	path, user, err := c.findUser(ctx, a, t, paths)
	if err != nil {
		return nil, err
	}
	o, err := c.do(ctx, t, userCall(path, user, "enableMfa", map[string]any{"recreate": recreate}))
	var refused *Error
	if errors.As(err, &refused) && refused.Status == http.StatusConflict {
		refused.Hint = "the user already has a second factor: replace it with --recreate"
	}
	if err != nil {
		return nil, err
	}
	e, err := newEnrollment(c.Product, a.username(), o.text("secretkey"), o.text("qrstring"))
	if errors.As(err, &refused) {
		refused.Product, refused.Call = c.Product.Name, "enableMfa"
	}
	if err != nil {
		return nil, err
	}
	for _, code := range o.texts("scratchcodes") {
		e.ScratchCodes = append(e.ScratchCodes, secret.New(code))
	}
	e.user, e.path, e.token = user, path, secret.New(o.text("token"))
	return e, nil
}

func acceptAppliance(ctx context.Context, c *Client, t *Token, e *Enrollment, code string) error {
	k := userCall(e.path, e.user, "acceptMfa", map[string]any{"code": code, "token": e.token.Reveal()})
	k.secrets = []string{code, e.token.Reveal()}
	_, err := c.do(ctx, t, k)
	var refused *Error
	if errors.As(err, &refused) && refused.Status == http.StatusBadRequest {
		refused.Hint = "the server does not accept the code: check the clocks of both machines"
	}
	return err
}

// userCall is a call about one user.
func userCall(path, user, name string, body map[string]any) call {
	k := call{name: name, method: http.MethodPost, path: path + "/" + url.PathEscape(user) + "/" + name}
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			panic(err) // strings and booleans always encode
		}
		k.contentType, k.body = "application/json", string(raw)
	}
	return k
}

// findUser finds the id of the session's user: the token names it (Azure), or the
// list of users does.
func (c *Client) findUser(ctx context.Context, a *Account, t *Token, paths []string) (path, user string, err error) {
	var o object
	for _, path = range paths {
		o, err = c.do(ctx, t, call{name: "users", method: http.MethodGet, path: path})
		var missing *Error
		if !errors.As(err, &missing) || missing.Status != http.StatusNotFound {
			break
		}
	}
	named := t.userID()
	var e *Error
	switch {
	case errors.As(err, &e) && e.Kind == KindForbidden && named != "":
		return path, named, nil // may not read the list, but perhaps change itself
	case err != nil:
		return "", "", err
	case named != "":
		return path, named, nil
	}
	for _, found := range o.objects("results") {
		for _, key := range []string{"name", "username"} {
			if sameUser(found.text(key), a.username()) && found.id() != "" {
				return path, found.id(), nil
			}
		}
	}
	return "", "", &Error{Kind: KindMalformed, Product: c.Product.Name, Call: "users", Err: errNoUser}
}

// id is the id of an item, whether it is a string or a number.
func (o object) id() string {
	if id := o.text("id"); id != "" {
		return id
	}
	return strings.Trim(string(o.get("id")), `"`)
}

// userID is the id that the token answer or the token itself names, empty if
// neither does.
func (t *Token) userID() string {
	var id string
	if t.Shape != nil && json.Unmarshal(t.Shape.Extras["userid"], &id) == nil && id != "" {
		return id
	}
	if json.Unmarshal(jwtClaim(t.Access.Reveal(), "nameid"), &id) == nil {
		return id
	}
	return ""
}

// sameUser compares names of users, in any case. A name without a domain is the
// same in every domain.
func sameUser(a, b string) bool {
	domainA, nameA := splitUser(a)
	domainB, nameB := splitUser(b)
	return strings.EqualFold(nameA, nameB) && nameA != "" &&
		(domainA == "" || domainB == "" || strings.EqualFold(domainA, domainB))
}

// splitUser cuts DOMAIN\name in two. A single point stands for the machine.
func splitUser(name string) (domain, user string) {
	if at := strings.LastIndexByte(name, '\\'); at >= 0 {
		domain, name = name[:at], name[at+1:]
	}
	if domain == "." {
		domain = ""
	}
	return domain, name
}
