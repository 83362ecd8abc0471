// Access of commands to a server: by the transport of the configuration, with its TLS
// options, pins, proxy, placeholders and lock-out budget.

package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/caddy-veeam/veeam-auth/caddymodule/dialing"
	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/lockout"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/tlspin"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// Reached is an account at a server that a command can reach as Caddy's logins do.
type Reached struct {
	// Transport is the configured transport, provisioned.
	Transport *Transport

	// Account is the requested account, as configured.
	Account *account.Account

	// Client sends requests to the server. Its methods require a context of Within.
	// After Credentials its logins spend from the user's lock-out budget.
	Client *veeam.Client

	place  upstream.Place  // of the server
	values context.Context // values of a request's context that dialing requires
	guard  *upstream.Guard // of the account's logins, after Credentials
}

// Reach prepares requests to the server of an upstream (host:port, or another address
// that Caddy accepts, with placeholders) for an account of the transport. It sends
// nothing. It returns an error if the address is invalid.
func (t *Transport) Reach(upstream, name string) (*Reached, error) {
	r := &Reached{Transport: t}
	r.Account, _ = account.Choose(t.Accounts, name)
	var err error
	if r.place, r.values, err = t.dialing(upstream); err != nil {
		return nil, err
	}
	r.Client = t.server.Client(r.place, nil)
	return r, nil
}

// dialing returns the place of an upstream and the context values for a grant, as for a
// request to it.
func (t *Transport) dialing(address string) (upstream.Place, context.Context, error) {
	dial, err := dialing.Info(address)
	if err != nil {
		return upstream.Place{}, nil, err
	}
	ctx := dialing.To(context.Background(), dial)
	return t.place((&http.Request{URL: &url.URL{Host: dial.Address}}).WithContext(ctx)), dialing.Values(ctx), nil
}

// Within returns a context with the values that dialing requires and with a deadline.
func (r *Reached) Within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(upstream.WithValues(ctx, r.values), d)
}

// Credentials reads the secrets of the account, and of its parent if it has one. Logins
// with them spend from the users' lock-out budgets, as Caddy's do. It returns an error
// if a secret cannot be read, or if the account acts as users that are named by each
// request.
func (r *Reached) Credentials() (*veeam.Account, error) {
	resolved, err := r.Account.Resolve()
	if err != nil {
		return nil, err
	}
	r.guard = r.Transport.server.Guard(r.place.Origin, resolved, journal.Journal{})
	r.Client.Guard, r.Client.Pacer = r.guard, r.Transport.server.Pacer(r.place.Origin, resolved.Account.User(), journal.Journal{})
	a := *resolved.Account
	a.Confirm = func(context.Context) error {
		now, err := r.Account.Resolve()
		if err == nil && !resolved.Pipes && now.Fingerprint != resolved.Fingerprint {
			return upstream.ErrSecretChanged
		}
		return nil
	}
	switch {
	case r.Account.Template():
		return nil, fmt.Errorf("account %s acts as a user named by each request; commands require an account with a fixed user", a.Name)
	case r.Account.Parent != "":
		parent, _ := account.Choose(r.Transport.Accounts, r.Account.Parent)
		parentCredentials, err := parent.Resolve()
		if err != nil {
			return nil, err
		}
		a.Parent = func(ctx context.Context, refused *veeam.Token) (*veeam.Token, error) {
			if refused != nil {
				return nil, errors.New("the server does not accept the session of the parent")
			}
			client := *r.Client
			client.Guard = r.Transport.server.Guard(r.place.Origin, parentCredentials, journal.Journal{})
			return client.Login(ctx, parentCredentials.Account)
		}
	}
	return &a, nil
}

// Budget returns the number of tries that the account's user has left. Call Credentials
// first.
func (r *Reached) Budget() lockout.Budget { return r.guard.Budget() }

// Logout ends a session, with its own time limit. A session that the product cannot end
// expires.
func (r *Reached) Logout(t *veeam.Token) {
	ctx, cancel := r.Within(context.Background(), upstream.LogoutFor)
	defer cancel()
	_ = r.Client.Logout(ctx, t)
}

// Proxy describes the proxy between Caddy and the servers; empty if none can be used.
func (r *Reached) Proxy() string {
	return upstream.Proxy(r.Transport.hasProxy, r.Transport.ProxyFromEnvironment)
}

// Trust says how the server's certificate is verified: trusted, pinned or NOT VERIFIED.
func (r *Reached) Trust() string {
	switch t := r.Transport; {
	case len(t.pins) > 0:
		return "pinned"
	case t.TLS != nil && t.TLS.InsecureSkipVerify:
		return "NOT VERIFIED"
	}
	return "trusted"
}

// Handshake returns the certificate chain and TLS parameters of the server at an
// address (host:port), dialed as for logins. It does not verify them and sends no
// request.
func (r *Reached) Handshake(ctx context.Context, address, serverName string) (*tlspin.Handshake, error) {
	return tlspin.Dial(upstream.WithValues(ctx, r.values), r.Transport.HTTPTransport.Transport, address, serverName)
}

// TryCache reads the key of the cache and tests its storage. ok is false if the key can be
// used and the cache has no storage of its own.
func (r *Reached) TryCache(ctx context.Context) (ok bool, err error) {
	return r.Transport.Cache.Probe(ctx)
}

// OtherProduct returns a sentence if the server answered a login like a product other
// than the configured one, otherwise an empty string.
func (r *Reached) OtherProduct(t *veeam.Token) string {
	other := t.LooksLike(r.Client.Product)
	if other == r.Client.Product {
		return ""
	}
	return upstream.OtherProduct(r.Client.Product, other)
}

// BudgetReason says why the lock-out budget prevented a login: no try is left, or
// logins of the same user are in progress. ok is false for other errors.
func BudgetReason(err error) (reason veeam.Reason, ok bool) {
	if spent, ok := errors.AsType[*upstream.BudgetError](err); ok {
		return spent.Reason(), true
	}
	return "", false
}

// ReadPlaceholder reads the secret of a placeholder, {env.NAME} or {file./path}, as the
// options of accounts do.
func ReadPlaceholder(text string) (string, error) { return secret.Expand(expand).Read(text) }
