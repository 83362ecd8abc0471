// Package account holds the accounts of the configuration: the options of their grants,
// and their secrets, which are read when they are used.
package account

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/placeholders"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/totp"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// Account is an identity at the Veeam server. All texts but the name may contain
// placeholders. They are resolved when the account logs in, and again when a login
// fails, so that a changed secret requires no reload. Use placeholders for secrets,
// such as {env.VBR_PASSWORD} or {file./run/secrets/vbr_password}: a secret in clear
// text can be read in the configuration.
type Account struct {
	// The name of the account in rules, metrics and the log. Required.
	Name string `json:"name"`

	// How the account gets its token. Default: `password`. The product determines the
	// available grants:
	//
	// - `password` (all): a user and its password; the step with a verification
	//   code follows if the server requires it
	// - `refresh_token` (all): a refresh token that was issued to somebody else
	// - `authorization_code` (vbr up to 12.3, aws, gcp): a one-time code, or one that
	//   the session of another account creates
	// - `public_key` (vspc): an RSA key whose public half is assigned to the user
	// - `as` (vspc): another user, by the session of an account that may edit it
	// - `api_key` (vspc): a simple API key
	// - `saml`, `sso_token`, `updater_token` (azure): a token of an identity provider
	//   or of another appliance
	// - `vbr_token` (vbr): the platform token of one of its own integrations
	// - `jwt-bearer`, `operator` (vb365): an assertion that an identity provider
	//   issued to the application `client_id`
	Grant string `json:"grant,omitempty"`

	// The user to log in as. For VBR and VSPC often in the form `DOMAIN\user`.
	// Default: the name of the account.
	Username string `json:"username,omitempty"`

	// The secret of the grant: the user's password, the refresh token, the API key, the
	// SAML response or the token. Required by these grants. A refresh token is valid
	// for a single use; newer ones keep the session alive.
	Password string `json:"password,omitempty"`

	// The next password, for a password change without an interruption. It is tried
	// once when the server refuses `password`, never before, and used as long as
	// `password` is refused. Only for the grant `password`. A missing or empty file
	// counts as none. Default: none.
	NextPassword string `json:"next_password,omitempty"`

	// The secret for verification codes: Base32 with or without spaces, or an
	// otpauth:// URI. Not for VBR, whose REST API does not support codes. It may be
	// sealed with the key of the `cache`, as by `caddy veeam-auth enroll --sealed`.
	// Default: none.
	TOTPSecret string `json:"totp_secret,omitempty"`

	// The one-time code of the grant `authorization_code`. It is valid for about a
	// minute and a single use; the session is then kept alive by its refresh token.
	// Default: `parent` creates a code.
	Code string `json:"code,omitempty"`

	// The file with the private key of the grant `public_key`: PEM, PKCS#12 (also
	// as Base64) or .NET XML. Required by that grant.
	Key string `json:"key,omitempty"`

	// The passphrase of a PKCS#12 file. Default: none.
	KeyPassphrase string `json:"key_passphrase,omitempty"`

	// The padding of the code that the key decrypts: `pkcs1v15`, `oaep_sha1`,
	// `oaep_sha256`, or `auto`, which tries them on the same code. The padding that
	// servers use is not documented. Default: `auto`.
	Padding string `json:"padding,omitempty"`

	// The format in which the public key was assigned to the user and is sent: `xml`,
	// `spki`, or `raw` for the content of the file `public_key`. Default: `xml`.
	PublicKeyFormat string `json:"public_key_format,omitempty"`

	// The file with the public key as it was assigned. Required by
	// `public_key_format raw`.
	PublicKey string `json:"public_key,omitempty"`

	// The UUID of the user that the grant `as` acts as. Without it the account is a
	// template: `act_as` of the handler provides the UUID for each request.
	UserUID string `json:"user_uid,omitempty"`

	// The account whose session serves the grants `as` and `authorization_code`. It
	// uses a separate session for that.
	Parent string `json:"parent,omitempty"`

	// The application that the assertion was issued to, or `userId.tenantId` of a
	// user. Required by the grants `jwt-bearer` and `operator`.
	ClientID string `json:"client_id,omitempty"`

	// The assertion of the grants `jwt-bearer` and `operator`: a token of an identity
	// provider, usually in a file that another program renews. Required by these
	// grants.
	Assertion string `json:"assertion,omitempty"`

	// Whether VSPC is asked for read-only tokens. Default: false.
	ReadOnly bool `json:"read_only,omitempty"`

	// Whether VBR or Azure is asked for a refresh token whose lifetime is little longer
	// than that of the access token. Default: false.
	ShortLived bool `json:"short_lived,omitempty"`

	// Whether the process counts as not ready while the account cannot log in. Default:
	// true.
	Required *bool `json:"required,omitempty"`

	env      Env
	readings *readings // under way
}

// Env is the environment of an account.
type Env struct {
	// Product is the name of the account's product; sealed secrets are bound to it.
	Product string

	// Expand replaces placeholders.
	Expand secret.Expand

	// ReadTimeout is the time limit of reading secrets. Default: 10 seconds.
	ReadTimeout time.Duration

	// Serves reports whether the account is the parent of others.
	Serves bool

	// Keys holds the keys for sealed secrets; nil without a cache.
	Keys func() (sealed.Sealer, error)
}

// Prepare sets the account's environment. It is required before secrets are read.
func (a *Account) Prepare(env Env) { a.env, a.readings = env, new(readings) }

// Serves reports whether the account is the parent of others.
func (a *Account) Serves() bool { return a.env.Serves }

// Seal returns the keys for the account's sealed secrets.
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

// textOption is an option that is a text.
type textOption struct {
	name string
	of   func(*Account) *string
}

// textOptions are all of them, in the order of their names.
var textOptions = []textOption{
	{"assertion", func(a *Account) *string { return &a.Assertion }},
	{"client_id", func(a *Account) *string { return &a.ClientID }},
	{"code", func(a *Account) *string { return &a.Code }},
	{"grant", func(a *Account) *string { return &a.Grant }},
	{"key", func(a *Account) *string { return &a.Key }},
	{"key_passphrase", func(a *Account) *string { return &a.KeyPassphrase }},
	{"next_password", func(a *Account) *string { return &a.NextPassword }},
	{"padding", func(a *Account) *string { return &a.Padding }},
	{"parent", func(a *Account) *string { return &a.Parent }},
	{"password", func(a *Account) *string { return &a.Password }},
	{"public_key", func(a *Account) *string { return &a.PublicKey }},
	{"public_key_format", func(a *Account) *string { return &a.PublicKeyFormat }},
	{"totp_secret", func(a *Account) *string { return &a.TOTPSecret }},
	{"user_uid", func(a *Account) *string { return &a.UserUID }},
	{"username", func(a *Account) *string { return &a.Username }},
}

// Option returns the text of an option, nil if no option with a text has the name.
func (a *Account) Option(name string) *string {
	for _, option := range textOptions {
		if option.name == name {
			return option.of(a)
		}
	}
	return nil
}

// Options yields the options that are texts and not empty, in the order of their names.
func (a *Account) Options() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, option := range textOptions {
			if text := *option.of(a); text != "" && !yield(option.name, text) {
				return
			}
		}
	}
}

// Names returns the names of all options in the Caddyfile, sorted. The passphrase stands
// behind key there.
func Names() []string {
	names := append(slices.Collect(maps.Keys(new(Account).Flags())), "required")
	for _, option := range textOptions {
		if option.name != "key_passphrase" {
			names = append(names, option.name)
		}
	}
	slices.Sort(names)
	return names
}

// Flags are the account's switches by the names of their options.
func (a *Account) Flags() map[string]*bool {
	return map[string]*bool{"read_only": &a.ReadOnly, "short_lived": &a.ShortLived}
}

// SecretOptions are the options that hold secrets.
var SecretOptions = []string{"password", "next_password", "totp_secret", "code", "key_passphrase", "assertion"}

// IsRequired is Required or its default.
func (a *Account) IsRequired() bool { return a.Required == nil || *a.Required }

// GrantType is the grant, or its default.
func (a *Account) GrantType() veeam.Grant {
	if a.Grant == "" {
		return veeam.GrantPassword
	}
	return veeam.Grant(a.Grant)
}

// Template reports whether the user to act as comes with each request.
func (a *Account) Template() bool { return a.GrantType() == veeam.GrantAs && a.UserUID == "" }

var errNoName = errors.New("an account requires a name")

// Validate returns an error if the account's options are invalid.
func (a *Account) Validate(p *veeam.Product) error {
	if a.Name == "" {
		return errNoName
	}
	if strings.ContainsAny(a.Name, "{}") {
		return errors.New("the name of an account takes no placeholder: write account <name> <password>")
	}
	if err := a.validateFor(p); err != nil {
		return fmt.Errorf("account %s: %w", a.Name, err)
	}
	return nil
}

// CheckSources returns an error if an option of the accounts has a placeholder of a source,
// exec or vault, that secrets does not read. secrets has a method Reads, or reads nothing.
func CheckSources(accounts []*Account, secrets any) error {
	reader, _ := secrets.(interface{ Reads(source string) bool })
	for _, a := range accounts {
		for name, text := range a.Options() {
			for _, source := range [...]string{secret.SourceExec, secret.SourceVault} {
				if asksFor(text, source) && (reader == nil || !reader.Reads(source)) {
					return fmt.Errorf("account %s: %s has a placeholder of %s: say in the global option veeam_secrets how it is read", a.Name, name, source)
				}
			}
		}
	}
	return nil
}

// asksFor reports whether a text has a placeholder of a source. A brace behind a backslash
// begins none.
func asksFor(text, source string) bool {
	for before, rest, found := strings.Cut(text, "{"+source+"."); found; before, rest, found = strings.Cut(rest, "{"+source+".") {
		if !strings.HasSuffix(before, `\`) {
			return true
		}
	}
	return false
}

func (a *Account) validateFor(p *veeam.Product) error {
	grant := a.GrantType()
	if !p.Accepts(grant) {
		return fmt.Errorf("grant %q is not supported by %s (allowed: %s)", a.Grant, p.Name, grantNames(p))
	}
	if err := a.validateOptions(grant); err != nil {
		return err
	}
	for name, text := range a.Options() {
		if err := placeholders.Check(name, text); err != nil {
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
	case a.UserUID != "" && !HasPlaceholder(a.UserUID) && !IsUUID(a.UserUID):
		return fmt.Errorf("user_uid %q is not a UUID", a.UserUID)
	}
	if a.TOTPSecret != "" && !HasPlaceholder(a.TOTPSecret) && !IsSealed(a.TOTPSecret) {
		if _, err := totp.Parse(secret.New(a.TOTPSecret)); err != nil {
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
	for _, option := range grantOptions[grant] {
		switch name, required := strings.CutSuffix(option, "!"); {
		case !required || *a.Option(name) != "":
		case name == "password":
			return errors.New("password is missing: write a placeholder such as {env.VEEAM_PASSWORD} or {file./run/secrets/veeam_password}")
		default:
			return fmt.Errorf("grant %s requires %s", grant, name)
		}
	}
	for name := range a.Options() {
		if name != "grant" && !slices.Contains(grantOptions[grant], name) && !slices.Contains(grantOptions[grant], name+"!") {
			allowed := strings.ReplaceAll(strings.Join(grantOptions[grant], ", "), "!", "")
			return fmt.Errorf("grant %s does not accept %s (allowed: %s)", grant, name, allowed)
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

// InvalidError is the error of one account whose options are invalid.
type InvalidError struct {
	Number int // the place of the account, from 0
	Err    error
}

// Error names the account by its place in JSON if it has no name.
func (e *InvalidError) Error() string {
	if errors.Is(e.Err, errNoName) {
		return fmt.Sprintf("accounts[%d]: %v", e.Number, e.Err)
	}
	return e.Err.Error()
}

// ValidateAll returns an error if the options of an account are invalid, an *InvalidError,
// or if accounts contradict each other; it begins with the account.
func ValidateAll(accounts []*Account, p *veeam.Product) error {
	for i, a := range accounts {
		if err := a.Validate(p); err != nil {
			return &InvalidError{i, err}
		}
	}
	byName := make(map[string]*Account, len(accounts))
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

// IsUUID reports whether a text has the form of the ids of users.
func IsUUID(text string) bool {
	if len(text) != 36 {
		return false
	}
	for i := range len(text) {
		switch c := text[i]; i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
				return false
			}
		}
	}
	return true
}

// HasPlaceholder reports whether a text has a placeholder.
func HasPlaceholder(text string) bool {
	return strings.Contains(text, "{") && strings.Contains(text, "}")
}

// PlainSecrets returns the names of the options whose secrets are in clear text.
func (a *Account) PlainSecrets() []string {
	return a.secretOptions(func(text string) bool { return !HasPlaceholder(text) && !IsSealed(text) })
}

// SealedSecrets returns the names of the options whose secrets are sealed.
func (a *Account) SealedSecrets() []string { return a.secretOptions(IsSealed) }

// secretOptions returns the names of the options with such a secret.
func (a *Account) secretOptions(is func(text string) bool) (found []string) {
	for _, name := range SecretOptions {
		if text := *a.Option(name); text != "" && is(text) {
			found = append(found, name)
		}
	}
	return found
}

// Table finds accounts by their names, and what its user keeps of each. But for what is
// kept it is never changed, so it requires no lock.
type Table[Kept any] struct {
	entries         []Entry[Kept]
	first, template *Entry[Kept] // nil if there is none
	byName          map[string]*Entry[Kept]
}

// Entry is an account in a Table.
type Entry[Kept any] struct {
	Account  *Account
	Template bool // see Account.Template
	Kept     Kept // what the user of the table keeps; a zero value at first
}

// NewTable returns the table of some accounts.
func NewTable[Kept any](accounts []*Account) *Table[Kept] {
	t := &Table[Kept]{entries: make([]Entry[Kept], len(accounts)), byName: make(map[string]*Entry[Kept], len(accounts))}
	for i, a := range accounts {
		entry := &t.entries[i]
		entry.Account, entry.Template = a, a.Template()
		if i == 0 {
			t.first = entry
		}
		if t.byName[a.Name] == nil {
			t.byName[a.Name] = entry
		}
		if t.template == nil && entry.Template {
			t.template = entry
		}
	}
	return t
}

// Find returns the account with a name; without a name, the first one. A UUID selects
// the account that acts as the user of the request. It returns nil if there is none.
func (t *Table[Kept]) Find(name string) (entry *Entry[Kept], user string) {
	if name == "" {
		return t.first, ""
	}
	if entry := t.byName[name]; entry != nil {
		return entry, ""
	}
	if t.template != nil && IsUUID(name) {
		return t.template, strings.ToLower(name)
	}
	return nil, ""
}

// Known returns an error for a name that is not empty and of no account. The error does not
// repeat it: what stands where a name belongs may be a secret.
func (t *Table[Kept]) Known(name string) error {
	if found, _ := t.Find(name); name == "" || found != nil {
		return nil
	}
	const most = 20
	var names []string
	for i := range t.entries[:min(len(t.entries), most)] {
		names = append(names, t.entries[i].Account.Name)
	}
	if len(names) == 0 {
		return errors.New("unknown account; this block has none")
	}
	if len(t.entries) > most {
		names = append(names, "...")
	}
	return fmt.Errorf("unknown account; write the name of an account of this block: %s", strings.Join(names, ", "))
}

// Named returns the account with exactly this name, nil if there is none.
func (t *Table[Kept]) Named(name string) *Entry[Kept] { return t.byName[name] }

// All are all accounts, in their order.
func (t *Table[Kept]) All() iter.Seq[*Entry[Kept]] {
	return func(yield func(*Entry[Kept]) bool) {
		for i := range t.entries {
			if !yield(&t.entries[i]) {
				return
			}
		}
	}
}

// Choose is Find for who keeps nothing of the account.
func (t *Table[Kept]) Choose(name string) (chosen *Account, user string) {
	entry, user := t.Find(name)
	if entry == nil {
		return nil, ""
	}
	return entry.Account, user
}

// Choose returns which of some accounts Find finds in their table.
func Choose(accounts []*Account, name string) (chosen *Account, user string) {
	return NewTable[struct{}](accounts).Choose(name)
}

// Identities identifies the users that the accounts log in as, as far as the configuration
// names them.
func Identities(accounts []*Account) string {
	var text strings.Builder
	for _, a := range accounts {
		text.WriteString(issuer.Digest(a.Name, a.Username, a.Grant, a.UserUID, a.Parent) + " ")
	}
	return text.String()
}

// Parents are the names of the accounts through which others log in.
func Parents(accounts []*Account) map[string]bool {
	parents := make(map[string]bool)
	for _, a := range accounts {
		parents[a.Parent] = true
	}
	return parents
}

// UnknownError reports that the account or user to act as is not configured. Name is
// empty if the request names none.
type UnknownError struct{ Name string }

func (e *UnknownError) Error() string {
	if e.Name == "" {
		return "act_as is required: the first account acts as a user named by each request"
	}
	return fmt.Sprintf("act_as: unknown account %q", e.Name)
}

// Reason implements veeam.Reasoner.
func (*UnknownError) Reason() veeam.Reason { return veeam.ReasonNoAccount }
