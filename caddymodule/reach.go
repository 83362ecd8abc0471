// How commands reach a server: by the transport of the configuration, with its TLS
// options, pins, proxy and placeholders, and with the lock-out budget that its logins
// share.

package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/store"
	"github.com/caddy-veeam/veeam-auth/internal/tlspin"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// Reached is an account at a server that a command can talk to as Caddy's logins do.
type Reached struct {
	// Transport is the one of the configuration, provisioned.
	Transport *Transport

	// Account is the one that was asked for, as it is configured.
	Account *account.Account

	// Client talks to the server. What it is asked needs a context of Within. Credentials
	// makes its logins spend from the lock-out budget of the user.
	Client *veeam.Client

	place  upstream.Place  // of the server, as Caddy knows it
	values context.Context // what dialing needs of a request's context
	guard  *upstream.Guard // of the account's logins, after Credentials
}

// Reach finds the way to the server of an upstream (host:port, or what else Caddy takes
// for an address, with placeholders) for an account of the transport. Nothing is sent.
// An error says what is wrong with the address.
func (t *Transport) Reach(upstream, name string) (*Reached, error) {
	r := &Reached{Transport: t}
	r.Account, _ = account.Choose(t.Accounts, name)
	dial, err := dialInfo(upstream)
	if err != nil {
		return nil, err
	}
	ctx := context.WithValue(context.Background(), dialInfoKey, dial)
	r.values, r.place = grantValues(ctx), t.place((&http.Request{URL: &url.URL{Host: dial.Address}}).WithContext(ctx))
	r.Client = t.server.Client(r.place, nil)
	return r, nil
}

// dialInfo is what reverse_proxy makes of the address of an upstream.
func dialInfo(upstream string) (reverseproxy.DialInfo, error) {
	text, err := caddy.NewReplacer().ReplaceOrErr(upstream, true, true)
	if err != nil {
		return reverseproxy.DialInfo{}, fmt.Errorf("upstream %s: %w", upstream, err)
	}
	address, err := caddy.ParseNetworkAddress(text)
	if err != nil {
		return reverseproxy.DialInfo{}, fmt.Errorf("upstream %s: %w", text, err)
	}
	if address.PortRangeSize() != 1 {
		return reverseproxy.DialInfo{}, fmt.Errorf("upstream %s: a single port is required", text)
	}
	return reverseproxy.DialInfo{
		Network: address.Network, Address: address.JoinHostPort(0), Host: address.Host, Port: fmt.Sprint(address.StartPort),
	}, nil
}

// Within gives the values that dialing needs to a context, and a deadline.
func (r *Reached) Within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(upstream.WithValues(ctx, r.values), d)
}

// Credentials reads the secrets of the account, and of its parent if it has one.
// Logins with them spend from the lock-out budgets of the users, as Caddy's do. The
// error is that of a secret that cannot be read, or says that the account acts as users
// that come with each request.
func (r *Reached) Credentials() (*veeam.Account, error) {
	resolved, err := r.Account.Resolve()
	if err != nil {
		return nil, err
	}
	r.guard = r.Transport.server.Guard(r.place.Origin, resolved, journal.Journal{})
	r.Client.Guard = r.guard
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

// Budget says how many tries the user of the account has left. Credentials must have
// been read.
func (r *Reached) Budget() tokencache.Budget { return r.guard.Budget() }

// Logout ends a session, in a time of its own. What the product cannot end ends by
// itself.
func (r *Reached) Logout(t *veeam.Token) {
	ctx, cancel := r.Within(context.Background(), upstream.LogoutFor)
	defer cancel()
	_ = r.Client.Logout(ctx, t)
}

// Proxy says for people by which proxy servers are reached; empty if the question does
// not arise.
func (r *Reached) Proxy() string { return r.Transport.proxySaid(r.Transport.hasProxy) }

// Trust says why the certificate of the server counts: trusted, pinned or NOT VERIFIED.
func (r *Reached) Trust() string {
	switch t := r.Transport; {
	case len(t.pins) > 0:
		return "pinned"
	case t.TLS != nil && t.TLS.InsecureSkipVerify:
		return "NOT VERIFIED"
	}
	return "trusted"
}

// Handshake fetches what the server shows of itself at an address (host:port), dialed
// as logins are. It is not trusted, and nothing is sent.
func (r *Reached) Handshake(ctx context.Context, address, serverName string) (*tlspin.Handshake, error) {
	return tlspin.Dial(upstream.WithValues(ctx, r.values), r.Transport.HTTPTransport.Transport, address, serverName)
}

// TryCache tries the storage of the cache. ok is false if the cache has no storage of
// its own.
func (r *Reached) TryCache(ctx context.Context) (ok bool, err error) {
	cache := r.Transport.Cache
	if cache == nil || cache.StorageRaw == nil {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, store.ProbeTimeout)
	defer cancel()
	_, err = store.Within(ctx, func() (any, error) {
		opened, err := cache.store.Open()
		if err != nil {
			return nil, err
		}
		return nil, TryStorageAsGuest(ctx, opened.(dated).Storage)
	})
	return true, err
}

// OtherProduct says, in a sentence, that the server answered a login like another
// product than the configured one; empty if it did not.
func (r *Reached) OtherProduct(t *veeam.Token) string {
	other := t.LooksLike(r.Client.Product)
	if other == r.Client.Product {
		return ""
	}
	return upstream.OtherProduct(r.Client.Product, other)
}

// BudgetReason is why the lock-out budget has kept a login from being sent: no try is
// left, or logins of the same user are under way. ok is false for errors of another
// kind.
func BudgetReason(err error) (reason veeam.Reason, ok bool) {
	if spent, ok := errors.AsType[*upstream.BudgetError](err); ok {
		return spent.Reason(), true
	}
	return "", false
}

// ReadPlaceholder reads the secret that a placeholder stands for, {env.NAME} or
// {file./path}, as the options of accounts do.
func ReadPlaceholder(text string) (string, error) { return secret.Expand(expand).Read(text) }
