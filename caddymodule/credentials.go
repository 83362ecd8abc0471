// Accounts as configured, and their secrets as resolved at the moment of use.

package caddymodule

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-veeam/veeam-auth/secret"
	"github.com/caddy-veeam/veeam-auth/veeam"
)

// Account is an identity at the Veeam server. Every text may hold placeholders;
// they are resolved when the account logs in, and again when a login fails, so
// that a changed secret is used without a reload. Secrets should be placeholders,
// such as {env.VBR_PASSWORD} or {file./run/secrets/vbr_password}: what is written
// here in plain can be read in the configuration.
type Account struct {
	// The name of the account, by which rules, metrics and the log refer to it.
	// Required.
	Name string `json:"name"`

	// How the account gets its token: `password` or `refresh_token`. The step with
	// a verification code follows by itself if the server asks for one. Default:
	// `password`.
	Grant string `json:"grant,omitempty"`

	// The user to log in as. For VBR and VSPC often in the form `DOMAIN\user`.
	// Default: the name of the account.
	Username string `json:"username,omitempty"`

	// The password of the user, or with the grant `refresh_token` the refresh
	// token. Required.
	Password string `json:"password,omitempty"`

	// The secret that answers a demand for a verification code: Base32 with or
	// without spaces, or an otpauth:// URI. Not for VBR, whose REST API knows no
	// codes. Default: none.
	TOTPSecret string `json:"totp_secret,omitempty"`
}

// validate reports what is wrong with the account as it is written.
func (a *Account) validate(p *veeam.Product) error {
	grant := veeam.Grant(a.Grant)
	switch {
	case a.Name == "":
		return errors.New("an account needs a name")
	case a.Grant != "" && !p.Accepts(grant) || a.Grant != "" && !configurable(grant):
		return fmt.Errorf("account %s: grant %q is not one of %s for %s", a.Name, a.Grant, grantNames(p), p.Name)
	case a.Password == "":
		return fmt.Errorf("account %s: no password; write a placeholder such as {env.VEEAM_PASSWORD} or {file./run/secrets/veeam_password}", a.Name)
	case a.TOTPSecret != "" && p.Values[veeam.GrantMFA] == "":
		return fmt.Errorf("account %s: %s has no verification codes in its REST API; %s instead of setting totp_secret", a.Name, p.Title, p.MFAHint)
	}
	if a.TOTPSecret != "" && !placeholder(a.TOTPSecret) {
		if _, err := veeam.NewTOTP(secret.New(a.TOTPSecret)); err != nil {
			return fmt.Errorf("account %s: totp_secret: %w", a.Name, err)
		}
	}
	return nil
}

// configurable reports whether accounts may be configured with a grant.
func configurable(g veeam.Grant) bool {
	return g == veeam.GrantPassword || g == veeam.GrantRefreshToken
}

func grantNames(p *veeam.Product) string {
	var names []string
	for _, g := range p.Accounts {
		if configurable(g) {
			names = append(names, string(g))
		}
	}
	return strings.Join(names, ", ")
}

func placeholder(text string) bool { return strings.Contains(text, "{") && strings.Contains(text, "}") }

// plainSecrets names the options whose secrets are written in plain.
func (a *Account) plainSecrets() (options []string) {
	for _, s := range []struct{ option, text string }{
		{"password", a.Password}, {"totp_secret", a.TOTPSecret},
	} {
		if s.text != "" && !placeholder(s.text) {
			options = append(options, s.option)
		}
	}
	return options
}

// credentials are an account with everything resolved.
type credentials struct {
	account     *veeam.Account
	fingerprint string
}

// secretError says that a placeholder could not be resolved. It names the option
// and the placeholder and never a value.
type secretError struct {
	account, option string
	err             error
}

func (e *secretError) Error() string {
	return fmt.Sprintf("account %s: %s: %v", e.account, e.option, e.err)
}

func (e *secretError) Unwrap() error { return e.err }

var readable = regexp.MustCompile(`\{(env|file)\.[^{}]*\}`)

// errUnresolved names the placeholders of a text that could not be resolved. It
// names only those that are meant for secrets: any other text between braces
// may be part of a password.
func errUnresolved(text string) error {
	if names := readable.FindAllString(text, -1); len(names) > 0 {
		return fmt.Errorf("%s is empty or cannot be read", strings.Join(names, ", "))
	}
	return errors.New(`it holds a placeholder that is not known here; use {env.NAME} or {file./path}, and write \{ for a brace that belongs to the secret`)
}

// fingerprintKey makes fingerprints useless outside of this process.
var fingerprintKey = func() []byte {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key)
	return key
}()

// resolve reads the account's secrets now.
func (a *Account) resolve() (*credentials, error) {
	repl := caddy.NewReplacer()
	mac := hmac.New(sha256.New, fingerprintKey)
	read := func(option, text string, required bool) (string, error) {
		value, err := repl.ReplaceOrErr(text, required, true)
		if err != nil {
			return "", &secretError{account: a.Name, option: option, err: errUnresolved(text)}
		}
		fmt.Fprintf(mac, "%s %d:%s\n", option, len(value), value)
		return value, nil
	}
	acct := &veeam.Account{Name: a.Name, Grant: veeam.Grant(a.Grant)}
	fmt.Fprintf(mac, "grant %s\n", a.Grant)
	var err error
	if acct.Username, err = read("username", a.Username, a.Username != ""); err != nil {
		return nil, err
	}
	password, err := read("password", a.Password, true)
	if err != nil {
		return nil, err
	}
	acct.Password = secret.New(password)
	seed, err := read("totp_secret", a.TOTPSecret, a.TOTPSecret != "")
	if err != nil {
		return nil, err
	}
	if seed != "" {
		if acct.TOTP, err = veeam.NewTOTP(secret.New(seed)); err != nil {
			return nil, &secretError{account: a.Name, option: "totp_secret", err: err}
		}
	}
	return &credentials{account: acct, fingerprint: hex.EncodeToString(mac.Sum(nil))}, nil
}
