// Multi-factor authentication: enabling and disabling the second factor of a user.

package veeam

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/totp"
)

// Enrollment is a second factor that a server issued.
type Enrollment struct {
	// Secret is the value for the option totp_secret of an account: Base32, or an
	// otpauth URI if the codes are not of the usual form.
	Secret secret.Value

	// URI is the otpauth URI for a QR code.
	URI secret.Value

	// ScratchCodes are codes that each replace one verification code. Empty for
	// products without scratch codes.
	ScratchCodes []secret.Value

	user  string       // as the API calls it
	path  string       // under which the server has users
	token secret.Value // goes with the first code
	totp  *totp.Secret
}

// MFAState is the result of an attempt to change a user's second factor.
type MFAState int

// The states.
const (
	// MFAUnchanged means that the user's second factor is as before.
	MFAUnchanged MFAState = iota

	// MFAChanged means that the new second factor is active, or the old one removed.
	MFAChanged

	// MFAUnknown means that there was no response to the change and its result could
	// not be found out by a login.
	MFAUnknown
)

// MFAError is the error of a change of a user's second factor. Step is the step that
// failed, State the resulting state of the user.
type MFAError struct {
	Step  string
	State MFAState
	Err   error
}

// Error returns the step and the error in one line for the log.
func (e *MFAError) Error() string { return e.Step + ": " + e.Err.Error() }

// Unwrap returns Err.
func (e *MFAError) Unwrap() error { return e.Err }

// enrolling describes how a product issues second factors. Each function is one step.
type enrolling struct {
	// offer makes the server issue a second factor, which is not active yet.
	offer func(ctx context.Context, c *Client, a *Account, t *Token, recreate bool) (*Enrollment, error)

	// accept activates it with a first code.
	accept func(ctx context.Context, c *Client, t *Token, e *Enrollment, code string) error

	// disable removes the active one.
	disable func(ctx context.Context, c *Client, a *Account, t *Token) error
}

var (
	errNotEnrolled = errors.New("the server accepted the code, but requires none at the next login")
	errStillOn     = errors.New("the server reported multi-factor authentication as off, but still requires a code")
	errNoSecret    = errors.New("the answer has no secret in Base32")
	errNoKeep      = errors.New("no destination for the secret")
)

// afterwards bounds what follows once the server may have changed the user: that
// goes on when the caller gives up. A verification may have to wait for two codes.
const afterwards = 3 * time.Minute

// Enroll gives the user of a session a second factor, or with recreate replaces the
// active one.
//
// The server issues a secret, keep stores it, a first code activates it, and a login
// with the next code verifies it. This takes up to half a minute. keep is called before
// the secret is active and must store it permanently, because nobody can log in without
// it afterwards. If the verification fails, the new second factor is disabled again,
// except with recreate, which would leave the user without any. The error is an
// *MFAError.
func (c *Client) Enroll(ctx context.Context, a *Account, t *Token, recreate bool, keep func(*Enrollment) error) (*Enrollment, error) {
	fail := func(step string, err error) (*Enrollment, error) {
		return nil, &MFAError{Step: step, Err: err}
	}
	if keep == nil {
		return fail("saving the secret", errNoKeep)
	}
	steps := c.Product.enrolling
	if steps == nil {
		return fail("requesting a secret", c.fail(KindAccount, "", c.Product.MFAHint))
	}
	e, err := steps.offer(ctx, c, a, t, recreate)
	if err != nil {
		return fail("requesting a secret", err)
	}
	if err := keep(e); err != nil {
		return fail("saving the secret", err)
	}
	code, err := c.ledger().Next(ctx, e.totp, codeOptions(t.offset, nil))
	if err != nil {
		return fail("generating the first code", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	accepted := steps.accept(ctx, c, t, e, code)
	if accepted != nil && !ambiguous(accepted) {
		return fail("confirming the first code", accepted)
	}
	asked, err := c.verify(ctx, a, e.totp)
	switch {
	case err == nil && asked:
		return e, nil
	case err == nil && accepted != nil: // the code has not arrived
		return fail("confirming the first code", accepted)
	case err == nil:
		err = errNotEnrolled
	}
	failed := &MFAError{Step: "verifying with a login", State: MFAChanged, Err: err}
	if accepted != nil {
		failed.State, failed.Err = MFAUnknown, errors.Join(accepted, err)
	}
	if recreate {
		return nil, failed
	}
	if undone := steps.disable(ctx, c, a, t); undone == nil {
		failed.State = MFAUnchanged
	}
	return nil, failed
}

// DisableMFA removes the second factor of the session's user and verifies the removal
// by a login. The error is an *MFAError.
func (c *Client) DisableMFA(ctx context.Context, a *Account, t *Token) error {
	const step = "turning off multi-factor authentication"
	steps := c.Product.enrolling
	if steps == nil {
		return &MFAError{Step: step, Err: c.fail(KindAccount, "", c.Product.MFAHint)}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	err := steps.disable(ctx, c, a, t)
	if err != nil && !ambiguous(err) {
		return &MFAError{Step: step, Err: err}
	}
	_, wrong := c.verify(ctx, a, nil)
	var refused *Error
	switch {
	case wrong == nil:
		return nil
	case errors.As(wrong, &refused) && refused.Kind == KindMFARequired && refused.Grant == GrantMFA:
		return &MFAError{Step: step, Err: cmp.Or(err, errStillOn)}
	case err != nil:
		return &MFAError{Step: step, State: MFAUnknown, Err: errors.Join(err, wrong)}
	}
	return &MFAError{Step: "verifying with a login", State: MFAChanged, Err: wrong}
}

// verify logs in and out, and reports whether the server required a code.
func (c *Client) verify(ctx context.Context, a *Account, seed *totp.Secret) (asked bool, err error) {
	fresh := *a
	fresh.TOTP, fresh.ScratchCode = seed, nil
	t, err := c.Login(ctx, &fresh)
	if err != nil {
		return false, err
	}
	_ = c.Logout(ctx, t) // the session ends by itself too
	return t.Grant == GrantMFA, nil
}

// ambiguous reports whether a failed call may have been carried out.
func ambiguous(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Kind {
	case KindUnavailable, KindTimeout, KindCanceled, KindServerFault, KindMalformed:
		return true
	}
	return false
}

// newEnrollment reads what a server has issued: the secret in Base32, the otpauth
// URI, or both. If they contradict each other the secret counts, which is what
// people are told to type.
func newEnrollment(p *Product, user, text, uri string) (*Enrollment, error) {
	e := &Enrollment{}
	fromURI, err := totp.Parse(secret.New(uri))
	if err != nil || !strings.Contains(uri, ":") {
		fromURI = nil
	}
	e.totp, err = totp.Parse(secret.New(text))
	switch {
	case err == nil && fromURI != nil && fromURI.Base32().Equal(e.totp.Base32()), err != nil && fromURI != nil:
		e.totp = fromURI
		e.URI = secret.New(repairURI(uri))
	case err == nil:
		e.URI = secret.New(fmt.Sprintf("otpauth://totp/%s:%s?secret=%s&issuer=%[1]s",
			url.PathEscape(p.Title), url.PathEscape(user), e.totp.Base32().Reveal()))
	default:
		return nil, &Error{Kind: KindMalformed, Err: errNoSecret}
	}
	e.Secret = e.totp.Base32()
	if !e.totp.IsDefault() {
		e.Secret = e.URI
	}
	return e, nil
}

// repairURI replaces a label with broken escapes, which authenticators do not read:
// Azure prints administrator&40host.
func repairURI(uri string) string {
	label, query, _ := strings.Cut(uri, "?")
	return strings.ReplaceAll(label, "&40", "%40") + "?" + query
}
