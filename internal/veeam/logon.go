// Sessions that are no bearers: Enterprise Manager logs in by Basic, gives a session in
// a header, and ends it when it was idle for a while.

package veeam

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// Carrier is the header by which a request presents a session.
type Carrier struct {
	// Header is the name of the header in the server's spelling, which may differ from the
	// canonical one.
	Header string

	// Prefix precedes the session, such as "Bearer ".
	Prefix string
}

// bearerCarrier presents a session at products whose row says nothing else (RFC 6750).
var bearerCarrier = Carrier{Header: "Authorization", Prefix: "Bearer "}

// Presents returns how requests present a session.
func (p *Product) Presents() Carrier {
	if p.carrier.Header == "" {
		return bearerCarrier
	}
	return p.carrier
}

// present puts a session into the headers of a request.
func (p *Product) present(h http.Header, session secret.Value) {
	c := p.Presents()
	delete(h, http.CanonicalHeaderKey(c.Header))
	delete(h, c.Header)
	if !session.IsZero() {
		h[c.Header] = []string{c.Prefix + session.Reveal()}
	}
}

// Challenge returns the WWW-Authenticate header of a 401.
func (p *Product) Challenge() string { return cmp.Or(p.challenge, "Bearer") }

// Idling reports whether sessions of the product end when they are not used for a while
// and have no refresh token. A renewal then asks the server whether the session is
// alive, which prolongs it, and returns the same session.
func (p *Product) Idling() bool { return p.idle > 0 }

var (
	errColon     = errors.New("a user name with a colon cannot be sent by Basic authentication")
	errNoSession = errors.New("the answer has no session header")
)

// basicAuthorization is the header of a login by Basic (RFC 7617).
func basicAuthorization(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// readLogon reads the answer to a login by Basic: 201 with the session in a header. The
// value of the header is taken as it is and never computed.
func (p *Product) readLogon(ans *answer, g Grant, requested time.Time) (*reply, error) {
	malformed := func(err error) error {
		return &Error{Kind: KindMalformed, Status: ans.status, Err: err, Hint: "there is no " + p.Title + " at this address: check product and upstream"}
	}
	access := headerValue(ans.header, p.carrier.Header)
	switch {
	case ans.status != http.StatusCreated, access == "":
		return nil, malformed(errNoSession)
	case !bearerSafe(access):
		return nil, malformed(errBadBearer)
	}
	o, _ := readObject(ans.body) // XML has no shape to repeat
	tok := &Token{Access: secret.New(access), Requested: requested, Lifetime: p.idle, Grant: g, Shape: readShape(o, requested)}
	tok.Shape.Links = LinkBase(cmp.Or(o.text("href"), ans.header.Get("Location")))
	id := o.text("sessionid")
	if id == "" {
		id = path.Base(strings.TrimSuffix(ans.header.Get("Location"), "/"))
	}
	if sessionID(id) {
		tok.Refresh = secret.New(id + " " + access)
	}
	return &reply{token: tok}, nil
}

// headerValue finds a header whatever its spelling: Go makes those of answers canonical.
func headerValue(h http.Header, name string) string {
	if values := h[name]; len(values) > 0 {
		return values[0]
	}
	return h.Get(name)
}

// sessionID reports whether a text may be the last segment of the path of a session.
func sessionID(id string) bool {
	return len(id) >= 8 && len(id) <= 128 && plain(id) && strings.Trim(id, ".") != "" && !strings.Contains(id, "/")
}

// splitIdle splits the value that keeps a session alive into its id and the session.
func splitIdle(refresh secret.Value) (id string, session secret.Value, ok bool) {
	id, value, ok := strings.Cut(refresh.Reveal(), " ")
	return id, secret.New(value), ok && id != "" && value != ""
}

// keep asks the server whether a session is alive, which prolongs it. KindRefused means
// that it is not, or that the answer does not say.
func (c *Client) keep(ctx context.Context, refresh secret.Value) (*Token, error) {
	id, session, ok := splitIdle(refresh)
	if !ok {
		return nil, c.fail(KindAccount, GrantRefreshToken, "there is no session to keep")
	}
	if err := c.pace(ctx, GrantRefreshToken, 0); err != nil {
		return nil, err
	}
	requested := time.Now()
	ans, err := c.send(ctx, outgoing{
		method: http.MethodGet, path: strings.Replace(c.Product.SessionLogout.Path, "{}", id, 1), bearer: session, secrets: []string{id, refresh.Reveal()},
	})
	switch {
	case err != nil:
		return nil, c.complete(err, GrantRefreshToken)
	case ans.status >= 200 && ans.status <= 299:
		o, _ := readObject(ans.body)
		tok := &Token{Access: session, Refresh: refresh, Requested: requested, Lifetime: c.Product.idle, Grant: GrantRefreshToken, Shape: readShape(o, requested)}
		tok.Shape.Links = LinkBase(o.text("href"))
		return tok, nil
	case ans.status == http.StatusNotFound, ans.status == http.StatusMethodNotAllowed:
		return nil, c.fail(KindRefused, GrantRefreshToken, "")
	}
	err = c.Product.readRefusal(ans, GrantRefreshToken, []string{id, session.Reveal(), refresh.Reveal()})
	c.throttled(ctx, err)
	return nil, c.complete(err, GrantRefreshToken)
}
