// Which account a request acts as.

package caddymodule

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// slotFor finds the place of an account, or of the user that an account acts as.
// An empty name stands for the first account.
func (t *Transport) slotFor(req *http.Request, name string) (*slot, error) {
	account, user := t.Accounts[0], ""
	if name != "" {
		account, user = t.choose(name)
	}
	if account == nil || account.template() && user == "" {
		return nil, &noAccountError{name: name}
	}
	key := slotKey{account: account.Name, address: req.URL.Host, user: user}
	if dial, ok := reverseproxy.GetDialInfo(req.Context()); ok {
		key.network, key.address = dial.Network, dial.Address
	}
	return t.sessions.slot(key, func() *slot {
		return t.newSlot(key, account, target{
			origin:  strings.Join([]string{t.scheme(req), key.network, key.address}, " "),
			baseURL: t.scheme(req) + "://" + req.URL.Host,
		})
	}), nil
}

func (t *Transport) newSlot(key slotKey, account *Account, at target) *slot {
	s := &slot{transport: t, account: account, key: key, target: at, turn: newParentTurn()}
	s.version.Store(foundVersions.get(t.product.Name, at.origin))
	return s
}

// choose finds the account by its name; a UUID is a user for the account that
// acts as whom it is told.
func (t *Transport) choose(name string) (account *Account, user string) {
	for _, a := range t.Accounts {
		if a.Name == name {
			return a, ""
		}
	}
	if uuid.MatchString(name) {
		for _, a := range t.Accounts {
			if a.template() {
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
