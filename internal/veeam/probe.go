// Probes: the product of a server and the API versions that it serves, without a
// credential, and what a session may read.

package veeam

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
)

// identityProbe is a request without a credential, and the answer to it that tells a
// product from the others.
type identityProbe struct {
	path   string
	status int
	key    string // a key of the answer's JSON object, folded. Empty: any JSON

	// absent is a path that must answer 404, which excludes servers that give the same
	// answer at every path. Empty: not checked.
	absent string

	// wrongVersion means that the answer is the refusal of an API version that the server
	// does not serve. key is ignored then.
	wrongVersion bool
}

// Identity is the information about a server that is available without a credential.
type Identity struct {
	// Product is the server's product, nil if it is none of those supported.
	Product *Product

	// VersionRefused reports whether the server does not serve the API version of the
	// request.
	VersionRefused bool
}

// Identify determines the product of the server. It sends no credential and tries the
// client's product first. It returns an error if the connection fails or the server
// answers with a 5xx status.
func (c *Client) Identify(ctx context.Context) (Identity, error) {
	candidates := append([]*Product{c.Product}, slices.DeleteFunc(slices.Clone(products), func(p *Product) bool { return p == c.Product })...)
	// Several products refuse API versions in the same way, so that counts last.
	var refusing *Product
	for _, p := range candidates {
		for _, s := range p.identityProbes {
			ans, err := c.sendProbe(ctx, p, s.path)
			if err != nil {
				return Identity{}, err
			}
			fits := s.fits(p, ans)
			if fits && s.absent != "" {
				ans, err = c.sendProbe(ctx, p, s.absent)
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
// no identity probe, and both have the same token path.
func (p *Product) Rivals(other *Product) bool {
	return len(p.identityProbes) == 0 && p.TokenPath == other.TokenPath
}

// Reach sends HEAD / without a credential. It returns an error if there is no
// connection.
func (c *Client) Reach(ctx context.Context) error {
	_, err := c.send(ctx, outgoing{method: http.MethodHead, path: "/"})
	return err
}

// sendProbe sends an identity probe of p. An answer that is not that of an API has
// status 0.
func (c *Client) sendProbe(ctx context.Context, p *Product, path string) (*answer, error) {
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

func (s identityProbe) fits(p *Product, ans *answer) bool {
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

// ServedVersions returns which of the known API versions the server serves, newest
// first. It sends one request for each known version, without a credential. The list is
// empty if the server serves none of them or the product does not tell.
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

// MayRead reads a resource that every role may read, to find out whether the session
// works.
func (c *Client) MayRead(ctx context.Context, t *Token) error {
	path := c.path(c.Product.whoAmI)
	_, err := c.do(ctx, t, call{name: strings.TrimPrefix(strings.TrimPrefix(path, "/api"), "/"), method: http.MethodGet, path: path})
	return err
}

// ServiceAccount reports whether a user is a service account of VBR. Service accounts
// do not use multi-factor authentication.
type ServiceAccount struct {
	User string

	// Known is false if the server does not list the user or does not report the
	// property.
	Known, Is bool
}

// ServiceAccounts returns the entries of users in the server's list of users, in the
// same order. VBR has the list since version 13. The session must have permission to
// read it.
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
