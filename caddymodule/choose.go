// Which account a request acts as.

package caddymodule

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/passthrough"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/policy"
)

// sourceFor finds the source of the guest, the account, or the user as whom an account
// acts. Without a name it is the first account.
func (t *Transport) sourceFor(req *http.Request, e *exchange) (*upstream.Source, error) {
	if e.caller.Via == policy.ViaPassthrough {
		return e.guest.Source(t.upstreamOf(req, e))
	}
	var chosen *account.Account
	var user string
	switch name := e.account; {
	case name != "":
		chosen, user = account.Choose(t.Accounts, name)
	case len(t.Accounts) > 0:
		chosen = t.Accounts[0]
	default:
		return nil, passthrough.ErrCredentialRequired
	}
	if chosen == nil || chosen.Template() && user == "" {
		return nil, &account.UnknownError{Name: e.account}
	}
	return t.server.Source(dialed(req), chosen, user, func() upstream.Place { return t.place(req) }), nil
}

// place is where accounts log in for a request. Idle connections are told apart by the
// host of the URL, so that a unix socket gets one of its own.
func (t *Transport) place(req *http.Request) upstream.Place {
	at, scheme := dialed(req), t.scheme(req)
	p := upstream.Place{Address: at, Origin: t.origin(scheme, at.Network, at.Address), BaseURL: t.baseURL(req), Host: t.host(req)}
	if isUnix(at.Network) {
		p.BaseURL = fmt.Sprintf("%s://%x.localhost%s", scheme, at.Address, t.BasePath)
	}
	return p
}

// dialed is the address of the upstream of a request.
func dialed(req *http.Request) upstream.Address {
	if dial, ok := reverseproxy.GetDialInfo(req.Context()); ok {
		return upstream.Address{Network: dial.Network, Address: dial.Address}
	}
	return upstream.Address{Address: req.URL.Host}
}

// origin tells servers apart.
func (t *Transport) origin(scheme, network, address string) string {
	origin := strings.Join([]string{scheme, network, address}, " ")
	if t.BasePath != "" {
		origin += " " + t.BasePath
	}
	if t.UpstreamHost != "" {
		origin += " " + t.UpstreamHost // another server may be behind each name
	}
	return origin
}

// upstreamOf is where a guest logs in for a request.
func (t *Transport) upstreamOf(req *http.Request, e *exchange) passthrough.Upstream {
	return passthrough.Upstream{
		Server: t.server, Address: dialed(req), Place: func() upstream.Place { return t.place(req) }, Request: e.request(),
	}
}
