// Package clients knows the clients that may log in at the token endpoint with a name
// and a password of their own.
package clients

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/password"
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

	// Holder is who holds the client's tokens. Default: nobody counts them.
	Holder *issuer.Holder `json:"-"`

	vouch string
}

// Check returns the hash of a client that is configured as it should be.
func (c *Client) Check() (password.Hash, error) {
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

// Vouch is what speaks for the tokens of the client: a digest of its password's hash.
func (c *Client) Vouch() string { return c.vouch }

// Clients are those of one handler. Its methods may be used at the same time.
type Clients struct {
	// Passwords checks their passwords.
	Passwords *password.Checker

	byName map[string]*Client
	hashes []password.Hash // one of each cost
}

// New returns the clients as they are configured. The error says what is wrong with
// them.
func New(configured []*Client, passwords *password.Checker) (*Clients, error) {
	c := &Clients{byName: make(map[string]*Client, len(configured)), Passwords: passwords}
	for _, client := range configured {
		hash, err := client.Check()
		if err != nil {
			return nil, err
		}
		if c.byName[client.Name] != nil {
			return nil, fmt.Errorf("client %s is defined twice", client.Name)
		}
		client.vouch = issuer.Digest("client", client.Hash)
		c.byName[client.Name] = client
		c.hashes = append(c.hashes, hash)
	}
	c.hashes = password.Costs(c.hashes)
	return c, nil
}

// Named is the client with a name, nil if there is none.
func (c *Clients) Named(name string) *Client { return c.byName[name] }

// Any reports whether there are clients.
func (c *Clients) Any() bool { return len(c.byName) > 0 }

// Warn logs what hashes of different cost mean.
func (c *Clients) Warn(logger *zap.Logger) {
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

// Login checks a name and a password. Whether the name exists can be told neither
// from the answer nor from how long it takes. The hashes of the attempt are set here.
func (c *Clients) Login(ctx context.Context, attempt password.Attempt) (policy.Caller, *veeam.Refusal) {
	name := attempt.Name
	attempt.Hashes = c.hashes
	client := c.byName[name]
	if client != nil {
		attempt.Hash = client.Hash
	}
	err := c.Passwords.Check(ctx, attempt)
	wait, ok := errors.AsType[*password.WaitError](err)
	switch {
	case err == nil && client != nil:
		return client.Caller(), nil
	case ok:
		return policy.Caller{}, &veeam.Refusal{Reason: veeam.ReasonThrottled, RetryAfter: wait.After, Detail: "too many concurrent or wrong passwords"}
	case err == nil, errors.Is(err, password.ErrWrong):
		detail := "the password is not that of the client " + quoteName(name)
		if client == nil {
			detail = "unknown client " + quoteName(name)
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

// Caller is the client as a caller who has logged in.
func (c *Client) Caller() policy.Caller {
	return policy.Caller{Name: c.Name, Via: policy.ViaClient, Account: c.Account}
}
