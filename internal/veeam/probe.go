// What a server shows to everybody: which product it is, and which versions of
// the API it serves. And what a session may read of itself.

package veeam

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
)

// sign is an answer by which a product can be told from others.
type sign struct {
	path   string
	status int
	key    string // a key of its JSON object, folded. Empty: any JSON

	// absent is a path that the server must not have, which tells it from one that
	// answers alike at every path. Empty: none is asked for.
	absent string

	// wrongVersion says that the answer is the refusal of an API version that the
	// server does not serve, whatever its keys.
	wrongVersion bool
}

// Identity is what a server shows of itself to everybody.
type Identity struct {
	// Product is what it is, nil if it is none of the table.
	Product *Product

	// VersionRefused says that it does not serve the API version that was named.
	VersionRefused bool
}

// Identify finds out which product answers, without a credential: the client's or
// another one. An error means that there was no answer at all, or a fault of the
// server's own.
func (c *Client) Identify(ctx context.Context) (Identity, error) {
	candidates := append([]*Product{c.Product}, slices.DeleteFunc(slices.Clone(products), func(p *Product) bool { return p == c.Product })...)
	// Products refuse API versions alike, so that says least.
	var refusing *Product
	for _, p := range candidates {
		for _, s := range p.signs {
			ans, err := c.seek(ctx, p, s.path)
			if err != nil {
				return Identity{}, err
			}
			fits := s.fits(p, ans)
			if fits && s.absent != "" {
				ans, err = c.seek(ctx, p, s.absent)
				fits = ans != nil && ans.status == http.StatusNotFound
			}
			if err != nil {
				return Identity{}, err
			}
			switch {
			case !fits:
			case !s.wrongVersion:
				return Identity{Product: p}, nil
			case refusing == nil:
				refusing = p
			}
		}
	}
	return Identity{Product: refusing, VersionRefused: refusing != nil}, nil
}

// Rivals reports whether a server of p may answer like one of other before a login: p has
// no sign of its own, and both are asked for tokens at one path, as relatives are.
func (p *Product) Rivals(other *Product) bool {
	return len(p.signs) == 0 && p.TokenPath == other.TokenPath
}

// Reach connects to the server and asks for nothing in particular, without a
// credential. An error says why there is no connection.
func (c *Client) Reach(ctx context.Context) error {
	_, err := c.send(ctx, outgoing{method: http.MethodHead, path: "/"})
	return err
}

// seek asks for what may be a sign of a product. The answer of something that is
// not even an API has no status.
func (c *Client) seek(ctx context.Context, p *Product, path string) (*answer, error) {
	asking := &Client{Product: p, Transport: c.Transport, BaseURL: c.BaseURL, Host: c.Host, Header: c.Header}
	if p == c.Product {
		asking.APIVersion = c.APIVersion
	}
	ans, err := asking.send(ctx, outgoing{method: http.MethodGet, path: path})
	var e *Error
	switch {
	case errors.As(err, &e) && e.Status != 0:
		return &answer{}, nil
	case err != nil:
		return nil, c.complete(err, "")
	case ans.status >= http.StatusInternalServerError && p == c.Product:
		return nil, &Error{Kind: KindServerFault, Product: p.Name, Status: ans.status}
	}
	return ans, nil
}

func (s sign) fits(p *Product, ans *answer) bool {
	if ans.status != s.status {
		return false
	}
	if s.key == "" && !s.wrongVersion {
		return json.Valid(ans.body)
	}
	o, err := readObject(ans.body)
	if s.wrongVersion {
		kind, _ := p.refusalKind(errorCode(o), GrantPassword)
		return kind == KindProtocol
	}
	return err == nil && o.get(s.key) != nil
}

// ServedVersions asks which of the known API versions the server serves, newest
// first. It sends no credential and one request for each known version. The list
// is empty for products that cannot be asked, and where the server shows none.
func (c *Client) ServedVersions(ctx context.Context) ([]string, error) {
	var served []string
	for _, version := range c.Product.Version.shown() {
		status, err := c.probe(ctx, c.Product.Version.probe(version), version)
		if err != nil {
			return nil, c.complete(err, "")
		}
		if c.Product.Version.serves(status) {
			served = append(served, version)
		}
	}
	return served, nil
}

// MayRead reads something that every role may read, to see whether the session
// is good for anything.
func (c *Client) MayRead(ctx context.Context, t *Token) error {
	path := c.path(c.Product.whoAmI)
	_, err := c.do(ctx, t, call{name: strings.TrimPrefix(strings.TrimPrefix(path, "/api"), "/"), method: http.MethodGet, path: path})
	return err
}

// ServiceAccount tells about one user whether it is a service account of VBR,
// which multi-factor authentication does not apply to.
type ServiceAccount struct {
	User string

	// Known is false if the server does not list the user, or does not say.
	Known, Is bool
}

// ServiceAccounts looks users up in the list of VBR's users, which version 13 has
// and which the session must be allowed to read.
func (c *Client) ServiceAccounts(ctx context.Context, t *Token, users ...string) ([]ServiceAccount, error) {
	if c.Product.usersPath == "" {
		return nil, c.noService("users")
	}
	o, err := c.do(ctx, t, call{name: "security/users", method: http.MethodGet, path: c.Product.usersPath})
	if err != nil {
		return nil, err
	}
	list := o.objects("data")
	found := make([]ServiceAccount, len(users))
	for i, user := range users {
		found[i].User = user
		for _, entry := range list {
			if !sameUser(entry.text("name"), user) {
				continue
			}
			switch string(entry.get("isserviceaccount")) {
			case "true":
				found[i].Known, found[i].Is = true, true
			case "false":
				found[i].Known = true
			}
		}
	}
	return found, nil
}
