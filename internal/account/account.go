// Package account is an account as it is configured: the options of its grant, and its
// secrets, read at the moment of use.
package account

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/placeholders"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// Account is an identity at the Veeam server. Every text but the name may hold
// placeholders; they are resolved when the account logs in, and again when a login fails, so
// that a changed secret is used without a reload. Secrets should be placeholders,
// such as {env.VBR_PASSWORD} or {file./run/secrets/vbr_password}: what is written
// here in plain can be read in the configuration.
type Account struct {
	// The name of the account, by which rules, metrics and the log refer to it.
	// Required.
	Name string `json:"name"`

	// How the account gets its token. Default: `password`. Which grants there are
	// depends on the product:
	//
	// - `password` (all): a user and its password; the step with a verification
	//   code follows by itself if the server asks for one
	// - `refresh_token` (all): a refresh token that somebody else has got
	// - `authorization_code` (vbr up to 12.3, aws): a one-time code, or one that
	//   the session of another account creates
	// - `public_key` (vspc): an RSA key whose public half is assigned to the user
	// - `as` (vspc): another user, by the session of an account that may edit it
	// - `api_key` (vspc): a simple API key
	// - `saml`, `sso_token`, `updater_token` (azure): what an identity provider or
	//   another appliance has issued
	// - `vbr_token` (vbr): the platform token of one of its own integrations
	// - `jwt-bearer`, `operator` (vb365): an assertion that an identity provider has
	//   issued to the application `client_id`
	Grant string `json:"grant,omitempty"`

	// The user to log in as. For VBR and VSPC often in the form `DOMAIN\user`.
	// Default: the name of the account.
	Username string `json:"username,omitempty"`

	// The secret of the grant: the password of the user, the refresh token, the API
	// key, the SAML response or the token. Required by these grants. A refresh token
	// is good once: the session is kept by the newer ones that follow it.
	Password string `json:"password,omitempty"`

	// The password that is to follow, for a change of passwords without a gap: it is
	// tried once when the server refuses `password`, and used from then on for as
	// long as `password` is refused. It is not tried before. Only for the grant
	// `password`. A file that does not exist, or is empty, counts as none. Default:
	// none.
	NextPassword string `json:"next_password,omitempty"`

	// The secret that answers a demand for a verification code: Base32 with or
	// without spaces, or an otpauth:// URI. Not for VBR, whose REST API knows no
	// codes. It may be sealed with the key of the `cache`, as `caddy veeam-auth
	// enroll --sealed` does. Default: none.
	TOTPSecret string `json:"totp_secret,omitempty"`

	// The one-time code of the grant `authorization_code`. It is good for about a
	// minute after it was made, and once; the session is kept by its refresh token
	// afterwards. Default: `parent` creates one.
	Code string `json:"code,omitempty"`

	// The file with the private key of the grant `public_key`: PEM, PKCS#12 (also
	// as Base64) or .NET XML. Required by that grant.
	Key string `json:"key,omitempty"`

	// The passphrase of a PKCS#12 file. Default: none.
	KeyPassphrase string `json:"key_passphrase,omitempty"`

	// How the server pads the code that the key decrypts: `pkcs1v15`, `oaep_sha1`,
	// `oaep_sha256`, or `auto`, which tries them on the same code. Which of them
	// servers use is not documented. Default: `auto`.
	Padding string `json:"padding,omitempty"`

	// The form in which the public key was assigned to the user and is sent:
	// `xml`, `spki`, or `raw` for the content of the file `public_key`. Default:
	// `xml`.
	PublicKeyFormat string `json:"public_key_format,omitempty"`

	// The file with the public key as it was assigned. Required by
	// `public_key_format raw`.
	PublicKey string `json:"public_key,omitempty"`

	// The UUID of the user that the grant `as` acts as. Without it the account is a
	// template: `act_as` of the handler yields the UUID for each request.
	UserUID string `json:"user_uid,omitempty"`

	// The account whose session serves the grants `as` and `authorization_code`. It
	// gets a session of its own for that.
	Parent string `json:"parent,omitempty"`

	// The application that the assertion was issued to, or `userId.tenantId` of a
	// user. Required by the grants `jwt-bearer` and `operator`.
	ClientID string `json:"client_id,omitempty"`

	// The assertion of the grants `jwt-bearer` and `operator`: a token that an identity
	// provider has issued, as a rule in a file that something else renews. Required by
	// these grants.
	Assertion string `json:"assertion,omitempty"`

	// Whether to ask VSPC for tokens that can change nothing. Default: false.
	ReadOnly bool `json:"read_only,omitempty"`

	// Whether to ask VBR or Azure for a refresh token that lives little longer than
	// the access token. Default: false.
	ShortLived bool `json:"short_lived,omitempty"`

	env      Env
	readings *readings // under way
}

// Env is what an account takes from its surroundings.
type Env struct {
	// Product is the name of the product that the account logs in at: sealed secrets are
	// bound to it.
	Product string

	// Expand replaces placeholders.
	Expand secret.Expand

	// ReadTimeout is how long a reading is waited for. Default: 10 seconds.
	ReadTimeout time.Duration

	// Serves says that the account is the parent of others.
	Serves bool

	// Keys has the keys for sealed secrets; nil if there is no cache.
	Keys func() (tokencache.Sealer, error)
}

// Prepare gives the account its surroundings. Without them it cannot be read.
func (a *Account) Prepare(env Env) { a.env, a.readings = env, new(readings) }

// Serves reports whether the account is the parent of others.
func (a *Account) Serves() bool { return a.env.Serves }

// Seal opens what is sealed for the account.
func (a *Account) Seal() Seal {
	return Seal{Product: a.env.Product, Account: a.Name, Keys: a.env.Keys}
}

// grantOptions are the options that each grant takes beside read_only and
// short_lived; those with an exclamation mark are required.
var grantOptions = map[veeam.Grant][]string{
	veeam.GrantPassword:          {"username", "password!", "next_password", "totp_secret"},
	veeam.GrantRefreshToken:      {"username", "password!"},
	veeam.GrantAuthorizationCode: {"username", "code", "parent"},
	veeam.GrantPublicKey:         {"username", "key!", "key_passphrase", "padding", "public_key_format", "public_key"},
	veeam.GrantAs:                {"username", "parent!", "user_uid"},
	veeam.GrantAPIKey:            {"username", "password!"},
	veeam.GrantSAML:              {"username", "password!"},
	veeam.GrantSSOToken:          {"username", "password!"},
	veeam.GrantUpdaterToken:      {"username", "password!"},
	veeam.GrantVBRToken:          {"username", "password!"},
	veeam.GrantJWTBearer:         {"username", "client_id!", "assertion!"},
	veeam.GrantOperator:          {"username", "client_id!", "assertion!"},
}

// Options are the account's texts by the names of their options.
func (a *Account) Options() map[string]*string {
	return map[string]*string{
		"grant": &a.Grant, "username": &a.Username, "password": &a.Password,
		"next_password": &a.NextPassword, "totp_secret": &a.TOTPSecret,
		"code": &a.Code, "key": &a.Key, "key_passphrase": &a.KeyPassphrase, "padding": &a.Padding,
		"public_key_format": &a.PublicKeyFormat, "public_key": &a.PublicKey,
		"user_uid": &a.UserUID, "parent": &a.Parent, "client_id": &a.ClientID, "assertion": &a.Assertion,
	}
}

// Flags are the account's switches by the names of their options.
func (a *Account) Flags() map[string]*bool {
	return map[string]*bool{"read_only": &a.ReadOnly, "short_lived": &a.ShortLived}
}

// SecretOptions are the options that hold secrets.
var SecretOptions = []string{"password", "next_password", "totp_secret", "code", "key_passphrase", "assertion"}

// GrantType is the grant, or its default.
func (a *Account) GrantType() veeam.Grant {
	if a.Grant == "" {
		return veeam.GrantPassword
	}
	return veeam.Grant(a.Grant)
}

// Template reports whether the user to act as comes with each request.
func (a *Account) Template() bool { return a.GrantType() == veeam.GrantAs && a.UserUID == "" }

// Validate reports what is wrong with the account as it is written.
func (a *Account) Validate(p *veeam.Product) error {
	if a.Name == "" {
		return errors.New("an account requires a name")
	}
	if err := a.validateFor(p); err != nil {
		return fmt.Errorf("account %s: %w", a.Name, err)
	}
	return nil
}

func (a *Account) validateFor(p *veeam.Product) error {
	grant := a.GrantType()
	if !p.Accepts(grant) {
		return fmt.Errorf("grant %q is not supported by %s (allowed: %s)", a.Grant, p.Name, grantNames(p))
	}
	if err := a.validateOptions(grant); err != nil {
		return err
	}
	options := a.Options()
	for _, name := range slices.Sorted(maps.Keys(options)) {
		if err := placeholders.Check(name, *options[name]); err != nil {
			return err
		}
	}
	switch {
	case a.TOTPSecret != "" && p.Values[veeam.GrantMFA] == "":
		return fmt.Errorf("%s does not support verification codes in its REST API: remove totp_secret, and %s", p.Title, p.MFAHint)
	case a.ReadOnly && p.Fields.ReadOnly == "":
		return fmt.Errorf("%s does not support read_only tokens", p.Title)
	case a.ShortLived && p.Fields.ShortLived == "":
		return fmt.Errorf("%s does not support short_lived refresh tokens", p.Title)
	case grant == veeam.GrantAuthorizationCode && (a.Code == "") == (a.Parent == ""):
		return errors.New("grant authorization_code accepts either code or parent")
	case a.UserUID != "" && !HasPlaceholder(a.UserUID) && !UUID.MatchString(a.UserUID):
		return fmt.Errorf("user_uid %q is not a UUID", a.UserUID)
	}
	if a.TOTPSecret != "" && !HasPlaceholder(a.TOTPSecret) && !IsSealed(a.TOTPSecret) {
		if _, err := veeam.NewTOTP(secret.New(a.TOTPSecret)); err != nil {
			return fmt.Errorf("totp_secret: %w", err)
		}
	}
	return oneOf(
		choice{"padding", a.Padding, []string{"auto", "pkcs1v15", "oaep_sha1", "oaep_sha256"}},
		choice{"public_key_format", a.PublicKeyFormat, []string{"xml", "spki", "raw"}},
	)
}

// validateOptions checks that the grant has what it needs and nothing that it
// would ignore.
func (a *Account) validateOptions(grant veeam.Grant) error {
	options := a.Options()
	takes := []string{"grant"}
	for _, name := range grantOptions[grant] {
		name, required := strings.CutSuffix(name, "!")
		takes = append(takes, name)
		if required && *options[name] == "" {
			if name == "password" {
				return errors.New("password is missing: write a placeholder such as {env.VEEAM_PASSWORD} or {file./run/secrets/veeam_password}")
			}
			return fmt.Errorf("grant %s requires %s", grant, name)
		}
	}
	for name, text := range options {
		if *text != "" && !slices.Contains(takes, name) {
			return fmt.Errorf("grant %s does not accept %s (allowed: %s)", grant, name, strings.Join(takes[1:], ", "))
		}
	}
	if a.PublicKeyFormat == "raw" && a.PublicKey == "" {
		return errors.New("public_key_format raw requires public_key, the file with the key as assigned")
	}
	return nil
}

type choice struct {
	option, value string
	allowed       []string
}

func oneOf(choices ...choice) error {
	for _, c := range choices {
		if c.value != "" && !slices.Contains(c.allowed, c.value) {
			return fmt.Errorf("%s %q is not allowed (allowed: %s)", c.option, c.value, strings.Join(c.allowed, ", "))
		}
	}
	return nil
}

// ValidateAll checks what concerns several accounts.
func ValidateAll(accounts []*Account) error {
	byName := map[string]*Account{}
	templates := 0
	for _, a := range accounts {
		if byName[a.Name] != nil {
			return fmt.Errorf("account %s is defined twice", a.Name)
		}
		byName[a.Name] = a
		if a.Template() {
			templates++
		}
	}
	if templates > 1 {
		return errors.New("several accounts with the grant as have no user_uid: act_as would be ambiguous")
	}
	for _, a := range accounts {
		if a.Parent == "" {
			continue
		}
		parent := byName[a.Parent]
		switch {
		case parent == nil:
			return fmt.Errorf("account %s: unknown parent %s", a.Name, a.Parent)
		case parent.Parent != "":
			return fmt.Errorf("account %s: its parent %s has a parent itself, which is not allowed", a.Name, a.Parent)
		case parent.GrantType() == veeam.GrantAPIKey:
			return fmt.Errorf("account %s: its parent %s has the grant api_key, which has no session", a.Name, a.Parent)
		}
	}
	return nil
}

func grantNames(p *veeam.Product) string {
	names := make([]string, len(p.Accounts))
	for i, g := range p.Accounts {
		names[i] = string(g)
	}
	return strings.Join(names, ", ")
}

// UUID is the form of the ids of users.
var UUID = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)

// HasPlaceholder reports whether a text has a placeholder.
func HasPlaceholder(text string) bool {
	return strings.Contains(text, "{") && strings.Contains(text, "}")
}

// PlainSecrets names the options whose secrets are written in plain.
func (a *Account) PlainSecrets() (plain []string) {
	options := a.Options()
	for _, name := range SecretOptions {
		if text := *options[name]; text != "" && !HasPlaceholder(text) && !IsSealed(text) {
			plain = append(plain, name)
		}
	}
	return plain
}

// Choose finds an account by its name; without one it is the first. A UUID is a user for
// the account that acts as whom it is told. It returns nil if there is none.
func Choose(accounts []*Account, name string) (chosen *Account, user string) {
	if name == "" && len(accounts) > 0 {
		return accounts[0], ""
	}
	for _, a := range accounts {
		if a.Name == name {
			return a, ""
		}
	}
	if UUID.MatchString(name) {
		for _, a := range accounts {
			if a.Template() {
				return a, strings.ToLower(name)
			}
		}
	}
	return nil, ""
}

// UnknownError says that a request shall act as somebody who is not configured. Name is
// empty where the request names nobody.
type UnknownError struct{ Name string }

func (e *UnknownError) Error() string {
	if e.Name == "" {
		return "act_as is required: the first account acts as a user named by each request"
	}
	return fmt.Sprintf("act_as: unknown account %q", e.Name)
}

// Reason implements veeam.Reasoner.
func (*UnknownError) Reason() veeam.Reason { return veeam.ReasonNoAccount }
