// Which account a request acts as.

package caddymodule

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/policy"
)

// slotFor finds the place of the guest, the account, or the user as whom an account
// acts. Without a name it is the first account.
func (t *Transport) slotFor(req *http.Request, e *exchange) (*slot, error) {
	if e.caller.Via == policy.ViaPassthrough {
		return t.guestSlot(req, e.guest)
	}
	var account *account.Account
	var user string
	switch name := e.account; {
	case name != "":
		account, user = t.choose(name)
	case len(t.Accounts) > 0:
		account = t.Accounts[0]
	default:
		return nil, errGuestsOnly
	}
	if account == nil || account.Template() && user == "" {
		return nil, &noAccountError{name: e.account}
	}
	key := t.place(req, account.Name, user)
	return t.sessions.slot(key, func() *slot { return t.newSlot(key, account, t.target(req, key)) }), nil
}

// place is the one of an account at the upstream of a request.
func (t *Transport) place(req *http.Request, account, user string) slotKey {
	key := slotKey{account: account, address: req.URL.Host, user: user}
	if dial, ok := reverseproxy.GetDialInfo(req.Context()); ok {
		key.network, key.address = dial.Network, dial.Address
	}
	return key
}

// target is where the account of a place logs in.
func (t *Transport) target(req *http.Request, key slotKey) target {
	origin := t.origin(t.scheme(req), key.network, key.address)
	return target{origin: origin, baseURL: t.baseURL(req), host: t.host(req)}
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

// upstreamHost is the host of the upstream's URL. With proxy_protocol,
// reverse_proxy writes the address of the client before it.
func (t *Transport) upstreamHost(req *http.Request) string {
	if !t.ProxyProtocolEnabled() {
		return req.URL.Host
	}
	host, err := url.QueryUnescape(req.URL.Host)
	if err != nil {
		return req.URL.Host
	}
	if _, upstream, ok := strings.Cut(host, "->"); ok {
		return upstream
	}
	return req.URL.Host
}

func (t *Transport) newSlot(key slotKey, account *account.Account, at target) *slot {
	s := &slot{transport: t, account: account, key: key, target: at, turn: newParentTurn(), health: new(health)}
	s.touch(time.Now())
	if key.user == "" {
		s.health = configuredAccounts.at(t.product.Name, account.Name, at.origin)
		t.watch.add(account)
	}
	s.version.Store(foundVersions.get(t.product.Name, at.origin))
	return s
}

// choose finds the account by its name; a UUID is a user for the account that
// acts as whom it is told.
func (t *Transport) choose(name string) (chosen *account.Account, user string) {
	for _, a := range t.Accounts {
		if a.Name == name {
			return a, ""
		}
	}
	if account.UUID.MatchString(name) {
		for _, a := range t.Accounts {
			if a.Template() {
				return a, strings.ToLower(name)
			}
		}
	}
	return nil, ""
}

// noAccountError says that a request shall act as somebody who is not configured.
type noAccountError struct{ name string }

func (e *noAccountError) Error() string {
	if e.name == "" {
		return "act_as is needed: the first account acts as the user that each request names"
	}
	return fmt.Sprintf("there is no account named %q to act as", e.name)
}
