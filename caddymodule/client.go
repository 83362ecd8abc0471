// Clients with names and passwords of their own: who may log in at the token
// endpoint.

package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/password"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/username"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
)

// Client may log in at the token endpoint with a name and a password that are
// good nowhere else.
type Client struct {
	// The name to log in with, and by which log and rules refer to the client.
	// Required.
	Name string `json:"name"`

	// The hash of the password, bcrypt or argon2id, as `caddy hash-password` makes
	// it. Required.
	Hash string `json:"hash"`

	// The account that the client acts as, unless `act_as` says which. Default: the
	// first account.
	Account string `json:"account,omitempty"`

	holder *issuer.Holder // of its tokens
	vouch  string         // for tokens of the client, see Handler.vouch
}

// check returns the hash of a client that is configured as it should be.
func (c *Client) check() (password.Hash, error) {
	if c.Name == "" {
		return password.Hash{}, errors.New("a client requires a name")
	}
	if err := policy.CheckClientName(c.Name); err != nil {
		return password.Hash{}, fmt.Errorf("client %s: %w", c.Name, err)
	}
	if err := username.Check(c.Name); err != nil {
		return password.Hash{}, fmt.Errorf("client %q: %w", c.Name, err)
	}
	hash, err := password.Parse(c.Hash)
	if err != nil {
		return password.Hash{}, fmt.Errorf("client %s: %w", c.Name, err)
	}
	return hash, nil
}

// passwords checks those of all clients of the process, so that all sites together
// take no more of its processors than one, and a reload forgets nothing.
var passwords = password.New(password.Options{Compare: hasHash})

// hasHash reports whether a password has a hash, as basic_auth finds out.
func hasHash(hash, password string) bool {
	comparer := caddyauth.Comparer(caddyauth.Argon2idHash{})
	if strings.HasPrefix(hash, "$2") {
		comparer = caddyauth.BcryptHash{}
	}
	same, err := comparer.Compare([]byte(hash), []byte(password))
	return err == nil && same
}

// clients are those of one handler.
type clients struct {
	byName    map[string]*Client
	hashes    []password.Hash // one of each cost
	passwords *password.Checker
}

func newClients(configured []*Client, passwords *password.Checker) (*clients, error) {
	c := &clients{byName: make(map[string]*Client, len(configured)), passwords: passwords}
	for _, client := range configured {
		hash, err := client.check()
		if err != nil {
			return nil, fmt.Errorf("veeam_auth: %w", err)
		}
		if c.byName[client.Name] != nil {
			return nil, fmt.Errorf("veeam_auth: client %s is defined twice", client.Name)
		}
		client.vouch = digestOf("client", client.Hash)
		c.byName[client.Name] = client
		c.hashes = append(c.hashes, hash)
	}
	c.hashes = password.Costs(c.hashes)
	return c, nil
}

// warn tells what hashes of different cost mean.
func (c *clients) warn(logger *zap.Logger) {
	if len(c.hashes) < 2 {
		return
	}
	costs := make([]string, 0, len(c.hashes))
	for _, hash := range c.hashes {
		costs = append(costs, hash.Cost())
	}
	logger.Warn("the password hashes of the clients differ in cost: each wrong password is compared with one of each cost, so that its answer does not tell which names exist; hash all passwords in the same way to avoid this",
		zap.Strings("costs", costs))
}

// login checks a name and a password. Whether the name exists can be told neither
// from the answer nor from how long it takes. site tells apart clients of different
// sites that have the same name.
func (c *clients) login(r *http.Request, site, name, pass string) (policy.Caller, *veeam.Refusal) {
	attempt := password.Attempt{
		Site: site, Name: name, Password: pass, Hashes: c.hashes,
		Source: sourceOf(r), Connection: r.RemoteAddr,
	}
	client := c.byName[name]
	if client != nil {
		attempt.Hash = client.Hash
	}
	err := c.passwords.Check(r.Context(), attempt)
	wait, ok := errors.AsType[*password.WaitError](err)
	switch {
	case err == nil && client != nil:
		return client.caller(), nil
	case ok:
		return policy.Caller{}, &veeam.Refusal{Reason: veeam.ReasonThrottled, RetryAfter: wait.After, Detail: "too many passwords are being tried, or were wrong"}
	case err == nil, errors.Is(err, password.ErrWrong):
		detail := "the password is not that of the client " + quoteName(name)
		if client == nil {
			detail = "no client is named " + quoteName(name)
		}
		return policy.Caller{}, &veeam.Refusal{Reason: veeam.ReasonBadCredential, Detail: detail}
	}
	return policy.Caller{}, &veeam.Refusal{Reason: veeam.ReasonCanceled}
}

// quoteName is the beginning of a name that somebody has typed, for the log.
func quoteName(name string) string {
	const longest = 64
	if len(name) > longest {
		return strconv.Quote(name[:longest]) + "..."
	}
	return strconv.Quote(name)
}

func (c *Client) caller() policy.Caller {
	return policy.Caller{Name: c.Name, Via: policy.ViaClient, Account: c.Account}
}

// sourceOf is where a request comes from, as far as it can be told: a user at a unix
// socket, or an address. Behind a proxy that Caddy trusts it is the address that the
// proxy names.
func sourceOf(r *http.Request) string {
	if found, ok := requestPeer(r.Context()); ok {
		return "uid " + strconv.Itoa(found.UID)
	}
	if address, ok := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string); ok && address != "" {
		return ratelimit.Source(address)
	}
	return ratelimit.Source(r.RemoteAddr)
}
