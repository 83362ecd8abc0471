// What a configuration says about an identity provider.

package jwtcaller

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/username"
	"github.com/caddy-veeam/veeam-auth/policy"
)

// Config says which tokens of an identity provider count, and who their callers are.
type Config struct {
	// The name of the provider: the first part of the names of its callers, as in
	// jwt:k8s:alice. Lower-case letters, digits, - and _, at most 32. Default: `idp`.
	Name string `json:"name,omitempty"`

	// The claim iss of its tokens, exactly. Required.
	Issuer string `json:"issuer,omitempty"`

	// The names of this site in the claim aud; a token requires one of them. Required.
	Audience []string `json:"audience,omitempty"`

	// A file with the keys of the provider (JWKS). It is read again when it changes.
	// Default: the keys are those of jwks_url.
	JWKSFile string `json:"jwks_file,omitempty"`

	// The address of the keys: https, or http on this machine. Default: the keys are
	// those of jwks_file.
	JWKSURL string `json:"jwks_url,omitempty"`

	// A file of authorities, in PEM, that the certificate at jwks_url is verified with.
	// Default: those of the system.
	JWKSCA string `json:"jwks_ca,omitempty"`

	// A file with a bearer token for jwks_url, read each time: an API server of
	// Kubernetes requires one. Default: none is sent.
	JWKSTokenFile string `json:"jwks_token_file,omitempty"`

	// Whether jwks_url may be http on another machine: whoever answers for it decides who
	// gets in. Default: false.
	JWKSInsecureHTTP bool `json:"jwks_insecure_http,omitempty"`

	// How often the keys of jwks_url are read, such as `15m`; 1 minute to 24 hours.
	// Default: `15m`.
	JWKSRefresh string `json:"jwks_refresh,omitempty"`

	// How long keys count that cannot be read again, such as `24h`; at least
	// jwks_refresh, at most 7 days. Default: `24h`.
	JWKSMaxAge string `json:"jwks_max_age,omitempty"`

	// The claim that names the caller, with dots for claims inside of others:
	// `kubernetes.io.serviceaccount.name`. Default: `sub`.
	Claim string `json:"claim,omitempty"`

	// What tokens must have. Default: nothing more.
	Require []Requirement `json:"require,omitempty"`

	// The tokens whose callers are clients of the site. Default: none; callers are named
	// by their provider and claim.
	Clients []Client `json:"clients,omitempty"`

	// The accounts of the callers; the first that fits counts. Default: the first account.
	Accounts []Account `json:"accounts,omitempty"`

	// How far the clocks may differ, such as `30s`; at most 5 minutes. Default: `30s`.
	Leeway string `json:"leeway,omitempty"`

	// The longest lifetime of a token, such as `24h`; 1 minute to 14 days. Default: `24h`.
	MaxLifetime string `json:"max_lifetime,omitempty"`
}

// Requirement is a claim that a token must have.
type Requirement struct {
	// The claim, with dots for claims inside of others.
	Claim string `json:"claim"`

	// Its values: the claim must be, or have among others, one of them.
	Values []string `json:"values"`
}

// Client makes the callers of some tokens a client of the site.
type Client struct {
	// The value of the claim that names the caller.
	Value string `json:"value"`

	// The name of the client.
	Client string `json:"client"`
}

// Account is the account of some callers.
type Account struct {
	// The name of the account.
	Account string `json:"account"`

	// The claim that the tokens must have, and its values. Default: all tokens.
	Claim  string   `json:"claim,omitempty"`
	Values []string `json:"values,omitempty"`
}

// Options are the options of an identity provider in the Caddyfile, sorted.
var Options = []string{
	"account", "audience", "claim", "client", "issuer", "jwks_ca", "jwks_file", "jwks_insecure_http", "jwks_max_age", "jwks_refresh", "jwks_token_file", "jwks_url",
	"leeway", "max_lifetime", "require",
}

// Repeatable reports whether an option may be written more than once.
func Repeatable(option string) bool {
	return option == "account" || option == "client" || option == "require"
}

const (
	defaultName  = "idp"
	defaultClaim = "sub"
)

// SetName sets the name that stands behind trust_jwt.
func (c *Config) SetName(args []string) error {
	if len(args) > 1 {
		return errors.New("trust_jwt accepts one name, and a block")
	}
	c.Name = defaultName
	if len(args) == 1 {
		c.Name = args[0]
	}
	return nil
}

// Set sets one of the Options. Check validates them.
func (c *Config) Set(option string, args []string) error {
	if option == "jwks_insecure_http" {
		if len(args) > 0 {
			return errors.New("jwks_insecure_http accepts no value")
		}
		c.JWKSInsecureHTTP = true
		return nil
	}
	if len(args) == 0 {
		return fmt.Errorf("%s requires a value", option)
	}
	switch option {
	case "audience":
		c.Audience = args
		return nil
	case "require":
		c.Require = append(c.Require, Requirement{args[0], args[1:]})
		return nil
	case "client":
		if len(args) != 2 {
			return errors.New("client accepts a value of the claim and the name of a client")
		}
		c.Clients = append(c.Clients, Client{args[0], args[1]})
		return nil
	case "account":
		account := Account{Account: args[0]}
		if len(args) > 1 {
			account.Claim, account.Values = args[1], args[2:]
		}
		c.Accounts = append(c.Accounts, account)
		return nil
	}
	if len(args) > 1 {
		return fmt.Errorf("%s accepts one value", option)
	}
	*map[string]*string{
		"claim": &c.Claim, "issuer": &c.Issuer, "jwks_ca": &c.JWKSCA, "jwks_file": &c.JWKSFile, "jwks_max_age": &c.JWKSMaxAge, "jwks_refresh": &c.JWKSRefresh,
		"jwks_token_file": &c.JWKSTokenFile, "jwks_url": &c.JWKSURL, "leeway": &c.Leeway, "max_lifetime": &c.MaxLifetime,
	}[option] = args[0]
	return nil
}

// limits are the durations of a Config.
type limits struct{ refresh, maxAge, leeway, maxLifetime time.Duration }

const (
	week       = 7 * 24 * time.Hour
	maxNames   = 100 // values in a list of the configuration
	longestURI = 2048
)

var providerName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9_-]{1,32}$`) })

// Check returns an error if the configuration is not valid. It reads no file.
func (c *Config) Check() error {
	_, err := c.check()
	return err
}

func (c *Config) check() (l limits, err error) {
	if !providerName().MatchString(c.name()) {
		return l, fmt.Errorf("trust_jwt: the name %q is not allowed: write lower-case letters, digits, - and _, at most 32", c.Name)
	}
	if err := errors.Join(c.checkIdentity(), c.checkKeys(), c.checkClaims()); err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		return l, c.wrong("%s", first)
	}
	for _, d := range []struct {
		option, text       string
		target             *time.Duration
		usual, least, most time.Duration
	}{
		{"jwks_refresh", c.JWKSRefresh, &l.refresh, 15 * time.Minute, time.Minute, 24 * time.Hour},
		{"jwks_max_age", c.JWKSMaxAge, &l.maxAge, 24 * time.Hour, time.Minute, week},
		{"leeway", c.Leeway, &l.leeway, 30 * time.Second, 0, 5 * time.Minute},
		{"max_lifetime", c.MaxLifetime, &l.maxLifetime, 24 * time.Hour, time.Minute, 2 * week},
	} {
		if *d.target = d.usual; d.text == "" {
			continue
		}
		value, err := policy.ParseDuration(d.text)
		if err != nil || value < d.least || value > d.most {
			return l, c.wrong("%s: %q is not a duration from %v to %v, for example 90s, 5m or 1h", d.option, d.text, d.least, d.most)
		}
		*d.target = value
	}
	if l.maxAge < l.refresh {
		return l, c.wrong("jwks_max_age %v is shorter than jwks_refresh %v", l.maxAge, l.refresh)
	}
	return l, nil
}

func (c *Config) wrong(format string, args ...any) error {
	return fmt.Errorf("trust_jwt %s: %w", c.name(), fmt.Errorf(format, args...))
}

func (c *Config) name() string  { return cmp.Or(c.Name, defaultName) }
func (c *Config) claim() string { return cmp.Or(c.Claim, defaultClaim) }

func (c *Config) checkIdentity() error {
	switch {
	case c.Issuer == "":
		return errors.New("issuer is missing")
	case c.Issuer == policy.TokenIssuer:
		return fmt.Errorf("issuer %s is not allowed: it is that of the tokens issued by veeam-auth", c.Issuer)
	case len(c.Audience) == 0:
		return errors.New("audience is missing: without it, tokens for other services would be accepted")
	}
	return checkTexts(append([]string{c.Issuer}, c.Audience...))
}

func (c *Config) checkKeys() error {
	switch {
	case c.JWKSFile == "" && c.JWKSURL == "":
		return errors.New("the keys are missing: write jwks_url or jwks_file")
	case c.JWKSFile != "" && c.JWKSURL != "":
		return errors.New("jwks_url and jwks_file exclude each other")
	case c.JWKSFile != "" && (c.JWKSCA != "" || c.JWKSTokenFile != "" || c.JWKSInsecureHTTP || c.JWKSRefresh != ""):
		return errors.New("jwks_ca, jwks_token_file, jwks_refresh and jwks_insecure_http require jwks_url")
	}
	for option, path := range map[string]string{"jwks_file": c.JWKSFile, "jwks_ca": c.JWKSCA, "jwks_token_file": c.JWKSTokenFile} {
		if path != "" && !filepath.IsAbs(path) {
			return fmt.Errorf("%s requires an absolute path", option)
		}
	}
	if c.JWKSFile != "" {
		return nil
	}
	address, err := url.Parse(c.JWKSURL)
	if err != nil || address.Host == "" || address.User != nil || address.Fragment != "" || len(c.JWKSURL) > longestURI {
		return errors.New("jwks_url is not a URL such as https://idp.lab.local/keys")
	}
	local := policy.LocalHost(address.Host, nil)
	switch {
	case address.Scheme == "https":
	case address.Scheme == "http" && !local && c.JWKSTokenFile != "":
		return errors.New("jwks_token_file requires https: the token would be sent in clear text")
	case address.Scheme == "http" && (c.JWKSInsecureHTTP || local):
	default:
		return errors.New("jwks_url requires https: without TLS, the keys can be replaced on their way. jwks_insecure_http allows it")
	}
	return nil
}

func (c *Config) checkClaims() error {
	if err := checkTexts([]string{c.claim()}); err != nil {
		return fmt.Errorf("claim: %w", err)
	}
	for _, r := range c.Require {
		if err := checkClaim("require", r.Claim, r.Values); err != nil {
			return err
		}
	}
	seen := make(map[string]bool)
	for _, client := range c.Clients {
		if seen[client.Value] {
			return fmt.Errorf("client: %q is mapped twice", client.Value)
		}
		seen[client.Value] = true
		if err := checkTexts([]string{client.Value, client.Client}); err != nil {
			return fmt.Errorf("client: %w", err)
		}
	}
	for i, account := range c.Accounts {
		if account.Account == "" {
			return errors.New("account requires the name of an account")
		}
		if account.Claim == "" && len(account.Values) == 0 {
			if i < len(c.Accounts)-1 {
				return errors.New("account without a claim must be the last: later ones would never be used")
			}
			continue
		}
		if err := checkClaim("account "+account.Account, account.Claim, account.Values); err != nil {
			return err
		}
	}
	return nil
}

func checkClaim(option, claim string, values []string) error {
	if claim == "" || len(values) == 0 {
		return fmt.Errorf("%s accepts a claim and its values", option)
	}
	if err := checkTexts(append([]string{claim}, values...)); err != nil {
		return fmt.Errorf("%s: %w", option, err)
	}
	return nil
}

// checkTexts refuses texts that nobody can compare by sight, and lists that are too long.
func checkTexts(texts []string) error {
	if len(texts) > maxNames {
		return fmt.Errorf("more than %d values", maxNames)
	}
	if slices.ContainsFunc(texts, func(text string) bool { return text == "" || len(text) > longestURI || username.Check(text) != nil }) {
		return errors.New("a value is empty, too long, or has invisible characters")
	}
	return nil
}

// CheckAccounts returns the error of known for an account that the configuration names.
func (c *Config) CheckAccounts(known func(name string) error) error {
	for _, account := range c.Accounts {
		if err := known(account.Account); err != nil {
			return c.wrong("%w", err)
		}
	}
	return nil
}
