// What limits one client.

package clients

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/keys"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/policy"
)

// Limits are the limits of one client.
type Limits struct {
	// The only operations, as in a rule: `monitor`, `report` or `operate`. Rules decide
	// about them as usual. Default: those that the rules allow.
	Preset string `json:"preset,omitempty"`

	// Lifetime of access tokens, such as `15m`; at most 14 days. Default: that of the site.
	TokenLifetime string `json:"token_lifetime,omitempty"`

	// The end: a date, which is included, or a time, with an optional time zone:
	// `2027-01-31 Europe/Berlin`. Afterwards each request is refused. Default: none.
	Until string `json:"until,omitempty"`

	// The only times: `mon-fri 08:00-18:00 Europe/Berlin`. Days are optional, the default
	// of the time zone is UTC. Default: always.
	Hours []string `json:"hours,omitempty"`

	// The request rate, instead of the site's. Default: that of the site.
	RateLimit *ratelimit.PerCaller `json:"rate_limit,omitempty"`
}

// Options are the options of a client in the Caddyfile, sorted.
var Options = []string{"account", "hours", "key", "preset", "rate_limit", "token_lifetime", "until"}

// KeyOptions are the options of a key of a client, sorted.
var KeyOptions = []string{"account", "from", "preset", "until"}

// Repeatable reports whether an option may be written more than once.
func Repeatable(option string) bool { return option == "hours" || option == "key" }

// Set sets one of the Options of a client. Check validates them.
func (c *Client) Set(option string, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("%s requires a value", option)
	}
	switch option {
	case "account":
		if c.Account != "" {
			return errors.New("account is set twice")
		}
		return one(&c.Account, option, args)
	case "preset":
		return one(&c.Preset, option, args)
	case "token_lifetime":
		return one(&c.TokenLifetime, option, args)
	case "until":
		c.Until = strings.Join(args, " ")
	case "hours":
		c.Hours = append(c.Hours, strings.Join(args, " "))
	case "rate_limit":
		limit, err := ratelimit.ParsePerCaller(args)
		c.RateLimit = limit
		return err
	case "key":
		if len(args) != 2 {
			return errors.New("key accepts a name and a hash (see caddy veeam-auth keys hash)")
		}
		if err := keys.CheckName(args[0]); err != nil {
			return fmt.Errorf("key: %w", err)
		}
		c.Keys = append(c.Keys, &keys.Config{Name: args[0], Hash: args[1]})
	}
	return nil
}

// SetKey sets one of the KeyOptions of the key that Set has added last.
func (c *Client) SetKey(option string, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("%s requires a value", option)
	}
	key := c.Keys[len(c.Keys)-1]
	switch option {
	case "account":
		return one(&key.Account, option, args)
	case "preset":
		return one(&key.Preset, option, args)
	case "from":
		key.From = args
	case "until":
		key.Until = strings.Join(args, " ")
	}
	return nil
}

func one(target *string, option string, args []string) error {
	if len(args) > 1 {
		return fmt.Errorf("%s accepts one value", option)
	}
	*target = args[0]
	return nil
}

// read reads and validates the limits. Ring validates the keys.
func (c *Client) read() (err error) {
	c.scope = policy.Scope{Preset: c.Preset}
	if c.scope.Classes, err = keys.Classes(c.Preset); err != nil {
		return err
	}
	if c.Until != "" {
		if c.scope.Until, err = policy.ParseUntil(strings.Fields(c.Until)); err != nil {
			return fmt.Errorf("until: %w", err)
		}
	}
	for _, text := range c.Hours {
		window, err := policy.ParseWindow(strings.Fields(text))
		if err != nil {
			return fmt.Errorf("hours: %w", err)
		}
		c.scope.Hours = append(c.scope.Hours, window)
	}
	if c.lifetime, err = parseLifetime(c.TokenLifetime); err != nil {
		return err
	}
	if err := c.RateLimit.Check(); err != nil {
		return err
	}
	return nil
}

func parseLifetime(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	lifetime, err := policy.ParseDuration(text)
	if err != nil || lifetime <= 0 {
		return 0, fmt.Errorf("token_lifetime: %q is not a duration above zero, for example 90s, 5m or 1h", text)
	}
	return lifetime, issuer.CheckLifetime(lifetime)
}

// Scope returns what narrows the client.
func (c *Client) Scope() *policy.Scope { return &c.scope }

// Lifetime returns the lifetime of the client's access tokens, or that of the site. The
// client may be nil.
func (c *Client) Lifetime(site time.Duration) time.Duration {
	if c == nil || c.lifetime == 0 {
		return site
	}
	return c.lifetime
}

// Denies returns why the limits of a caller, those of its client and of its key, deny an
// operation of a class at a time, empty if they do not. class is empty for what is no
// operation of the server.
func (c *Clients) Denies(caller *policy.Caller, now time.Time, class string) string {
	if client := c.byName[caller.Client()]; client != nil {
		if denied := denies(&client.scope, now, class); denied != "" {
			return "client " + client.Name + " " + denied
		}
	}
	if key := caller.Key; key != nil {
		if denied := denies(&key.Scope, now, class); denied != "" {
			return "key " + key.Name + " " + denied
		}
	}
	return ""
}

func denies(scope *policy.Scope, now time.Time, class string) string {
	denied := scope.DeniesAt(now)
	if denied == "" && class != "" {
		denied = scope.DeniesClass(class)
	}
	return denied
}

// Ends returns when the client and the key of a caller end, each zero if it does not.
func (c *Clients) Ends(caller *policy.Caller) (ends [2]time.Time) {
	if client := c.byName[caller.Client()]; client != nil {
		ends[0] = client.scope.Until
	}
	if caller.Key != nil {
		ends[1] = caller.Key.Until
	}
	return ends
}

// Limit prepares the rates of the clients that have their own. parallel is the number of
// concurrent requests of each caller of the site; zero is no limit.
func (c *Clients) Limit(parallel int) {
	for _, client := range c.byName {
		if client.RateLimit != nil {
			client.rate = client.RateLimit.Callers(parallel)
		}
	}
}

// Callers returns what limits the requests of the client: its own rate or that of the
// site. The client and the result may be nil.
func (c *Client) Callers(site *ratelimit.Callers) *ratelimit.Callers {
	if c == nil || c.rate == nil {
		return site
	}
	return c.rate
}
