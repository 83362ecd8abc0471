// The secrets of an account, resolved at the moment of use.

package account

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/totp"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// Secrets is an account with all placeholders resolved.
type Secrets struct {
	Account     *veeam.Account
	Fingerprint string
	Digest      secret.Value // distinguishes other processes' secrets, see tokencache.Identity

	Source   string // the fingerprint of the configured text
	Identity string // the fingerprint of what is not secret: user and grant
	parts    parts  // fingerprints of the options

	Doubts []string        // about probably wrong secrets
	Files  secret.Versions // they come from, if any
	Pipes  bool            // some files are pipes, which can be read once
}

// Changed names the options that differ.
func (c *Secrets) Changed(since *Secrets) string {
	var names []string
	for _, p := range c.parts {
		if since.parts.of(p.option) != p.fingerprint {
			names = append(names, p.option)
		}
	}
	for _, p := range since.parts {
		if c.parts.of(p.option) == "" {
			names = append(names, p.option)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// parts are the fingerprints of the options of an account, which are few.
type parts []part

type part struct{ option, fingerprint string }

// of is the fingerprint of an option, empty if the account does not have it.
func (p *parts) of(option string) string {
	for _, part := range *p {
		if part.option == option {
			return part.fingerprint
		}
	}
	return ""
}

// add adds a fingerprint to those of an option.
func (p *parts) add(option, fingerprint string) {
	for i, part := range *p {
		if part.option == option {
			(*p)[i].fingerprint += fingerprint
			return
		}
	}
	*p = append(*p, part{option, fingerprint})
}

// Error reports that a secret could not be read. It names the option and its reference,
// never a value.
type Error struct {
	Account, Option string
	Err             error
}

func (e *Error) Error() string {
	// No colon after the option: the log would take what follows for its value.
	return fmt.Sprintf("account %s: option %s, %v", e.Account, e.Option, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Reason implements veeam.Reasoner.
func (*Error) Reason() veeam.Reason { return veeam.ReasonSecretUnreadable }

var readable = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\{(env|file|exec|vault)\.[^{}]*\}`) })

// IsPlaceholder reports whether a text is one placeholder of a secret, and nothing else.
func IsPlaceholder(text string) bool { return text != "" && readable().FindString(text) == text }

// fingerprintKey makes fingerprints useless outside of this process. It outlives a reload,
// because fingerprints from before it tell whether a secret was replaced.
var fingerprintKey = func() []byte {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails, see crypto/rand
	return key
}()

// resolver reads the texts and files of one account. After the first failure it
// reads nothing more.
type resolver struct {
	account string
	reader  *secret.Reader
	sealing Seal
	mac     hash.Hash
	err     error

	late   *bounded.LateError // is told what is being read, if not nil
	next   bool               // next_password takes the place of password
	parts  parts
	doubts []string
}

// keep makes a value part of the fingerprint.
func (r *resolver) keep(option, value string) {
	line := appendPart(nil, option, value)
	_, _ = r.mac.Write(line)
	r.parts.add(strings.TrimSuffix(option, " file"), keyed(line))
}

// appendPart appends an option and its value so that no two lists of them look the same.
func appendPart(to []byte, option, value string) []byte {
	to = append(append(to, option...), ' ')
	to = append(strconv.AppendInt(to, int64(len(value)), 10), ':')
	return append(append(to, value...), '\n')
}

// Keyed returns a digest that is valid in this process only, in hex.
func Keyed(text string) string { return hex.EncodeToString([]byte(keyed([]byte(text)))) }

// keyed is Keyed as bytes.
func keyed(text []byte) string {
	mac := hmac.New(sha256.New, fingerprintKey)
	_, _ = mac.Write(text)
	return string(mac.Sum(nil))
}

// text resolves an option. An option that is written must not turn out empty.
func (r *resolver) text(option, text string) string {
	if r.err != nil || text == "" {
		return ""
	}
	written := option
	if r.next && option == "password" {
		written = "next_password"
	}
	r.late.Does(written)
	value, err := r.reader.Text(text)
	if err == nil {
		value, err = r.sealing.Option(written, value)
	}
	if err != nil {
		r.err = &Error{Account: r.account, Option: written, Err: err}
		return ""
	}
	r.keep(option, value)
	return value
}

// doubted is text for a value that is sent as it is: what is likely a mistake in it
// is said before a login is spent.
func (r *resolver) doubted(option, text string) string {
	value := r.text(option, text)
	if r.next && option == "password" {
		option = "next_password"
	}
	for _, doubt := range secret.Doubts(value) {
		r.doubts = append(r.doubts, "option "+option+from(text)+" "+doubt)
	}
	return value
}

// from names where a value comes from, if that is a placeholder and nothing else.
func from(text string) string {
	if IsPlaceholder(text) {
		return " from " + text
	}
	return ""
}

// file reads the file that an option names.
func (r *resolver) file(option, text string) []byte {
	path := r.text(option, text)
	if path == "" {
		return nil
	}
	content, err := r.reader.Plain(path)
	if err != nil {
		r.fail(option, fileError(text, path, err))
		return nil
	}
	r.keep(option+" file", string(content))
	return content
}

// fileError is the error of a file without the path that a placeholder has
// yielded: who writes {file./path} there, as for other secrets, names a file by the
// key itself.
func fileError(text, path string, err error) error {
	if HasPlaceholder(text) {
		return fmt.Errorf("the file whose path is in %s cannot be read: %w; write the path of the key without a placeholder", text, err)
	}
	return &fs.PathError{Op: "open", Path: path, Err: err}
}

func (r *resolver) fail(option string, err error) {
	if r.err == nil && err != nil {
		r.err = &Error{Account: r.account, Option: option, Err: err}
	}
}

// Resolve reads the account's secrets without a time limit. Requests use Read.
func (a *Account) Resolve() (*Secrets, error) { return a.resolveAs(a.Password, false, nil) }

// resolveAs reads them with this password. It makes no difference to the
// fingerprint by which option a password has come: a session outlives the move of
// its password from next_password to password.
func (a *Account) resolveAs(password string, next bool, late *bounded.LateError) (*Secrets, error) {
	c, err := secret.ReadSettled(a.env.Expand, func(reader *secret.Reader) (*Secrets, error) { return a.resolveFrom(reader, password, next, late) })
	if errors.Is(err, secret.ErrChanging) {
		return nil, &Error{Account: a.Name, Option: "password", Err: err}
	}
	return c, err
}

func (a *Account) resolveFrom(reader *secret.Reader, password string, next bool, late *bounded.LateError) (*Secrets, error) {
	r := &resolver{account: a.Name, reader: reader, sealing: a.Seal(), mac: sha256.New(), late: late, next: next}
	fixed := a.fixed()
	_, _ = io.WriteString(r.mac, fixed)
	account := &veeam.Account{
		Name:       a.Name,
		Grant:      a.GrantType(),
		Username:   r.doubted("username", a.Username),
		Password:   secret.New(r.doubted("password", password)),
		UserUID:    r.text("user_uid", a.UserUID),
		ClientID:   r.text("client_id", a.ClientID),
		ReadOnly:   a.ReadOnly,
		ShortLived: a.ShortLived,
	}
	if a.Assertion != "" {
		account.Password = secret.New(r.doubted("assertion", a.Assertion))
	}
	if a.Code != "" {
		account.Password = secret.New(strings.TrimSpace(r.text("code", a.Code)))
	}
	if seed := r.text("totp_secret", a.TOTPSecret); seed != "" {
		var err error
		account.TOTP, err = totp.Parse(secret.New(seed))
		r.fail("totp_secret", err)
	}
	if a.Key != "" {
		account.Key = a.key(r)
	}
	if r.err != nil {
		return nil, r.err
	}
	files, pipes := reader.Files()
	digest := string(r.mac.Sum(nil))
	return &Secrets{
		Account:     account,
		Fingerprint: keyed([]byte(digest)),
		Digest:      secret.New(digest),
		Source:      a.Source(),
		Identity:    keyed([]byte(fixed + r.parts.of("username") + r.parts.of("user_uid") + r.parts.of("client_id"))),
		parts:       r.parts,
		Doubts:      r.doubts,
		Files:       files,
		Pipes:       pipes,
	}, nil
}

// fixed is what is no text: how the account logs in.
func (a *Account) fixed() string {
	return fmt.Sprintf("%s %t %t %s\n", a.GrantType(), a.ReadOnly, a.ShortLived, a.Parent)
}

// Source is a fingerprint of the account as it is written. Secrets that come from
// the same source at different times are those of one account.
func (a *Account) Source() string {
	text := []byte(a.fixed())
	for name, value := range a.Options() {
		if name != "next_password" {
			text = appendPart(text, name, value)
		}
	}
	return keyed(text)
}

func (a *Account) key(r *resolver) *veeam.Key {
	private, public := r.file("key", a.Key), r.file("public_key", a.PublicKey)
	passphrase := secret.New(r.doubted("key_passphrase", a.KeyPassphrase))
	if r.err != nil {
		return nil
	}
	form := fmt.Sprintf("%s %s\n", a.Padding, a.PublicKeyFormat)
	_, _ = io.WriteString(r.mac, form)
	r.parts.add("key", keyed([]byte(form)))
	key, err := veeam.ReadKey(private, veeam.KeyOptions{
		Passphrase: passphrase,
		Padding:    veeam.Padding(a.Padding),
		Format:     veeam.PublicKeyFormat(a.PublicKeyFormat),
		Public:     public,
	})
	if err != nil {
		r.fail("key", fmt.Errorf("%s: %w", a.Key, err))
	}
	return key
}

// FilePlaceholder is a placeholder for the content of a file; its first group is the path.
var FilePlaceholder = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\{file\.([^{}]+)\}`) })

// Files returns the files of the account's secrets. That of next_password is read only
// when it is needed.
func (a *Account) Files() (paths []string) {
	seen := map[string]bool{}
	add := func(path string) {
		if path != "" && !seen[path] {
			seen[path] = true
			paths = append(paths, path)
		}
	}
	for option, text := range a.Options() {
		if option == "next_password" {
			continue
		}
		for _, match := range FilePlaceholder().FindAllStringSubmatch(text, -1) {
			add(match[1])
		}
	}
	for _, text := range []string{a.Key, a.PublicKey} {
		if FilePlaceholder().MatchString(text) {
			continue // a file that names the file: that one is read at each login
		}
		if path, err := a.env.Expand.Read(text); err == nil {
			add(path)
		}
	}
	return paths
}

// filled reports whether all files that a text names have something in them.
func filled(text string) bool {
	for _, match := range FilePlaceholder().FindAllStringSubmatch(text, -1) {
		info, err := os.Stat(match[1])
		if err != nil || info.Size() == 0 {
			return false
		}
	}
	return true
}
