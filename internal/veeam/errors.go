// Errors of the upstream side: one type, with the kind on which callers decide.

package veeam

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// ErrNoLogout says that the product has no way to end one session.
var ErrNoLogout = errors.New("the product cannot end a single session")

// Kind says what went wrong, and with that what may help.
type Kind int

// The kinds.
const (
	// KindRefused: the server does not accept the credential, whatever the grant
	// takes for one. Trying the same again cannot help and may lock the account;
	// after GrantRefreshToken the account's own grant may.
	KindRefused Kind = iota + 1

	// KindMFARequired: the server wants a verification code and the account has
	// no way to make one.
	KindMFARequired

	// KindSSORequired: the user signs in with an identity provider.
	KindSSORequired

	// KindThrottled: too many requests; Delay says for how long.
	KindThrottled

	// KindUnavailable: the server was not reached, or the connection broke.
	KindUnavailable

	// KindTimeout: no answer in time.
	KindTimeout

	// KindCanceled: the caller gave up.
	KindCanceled

	// KindServerFault: the server has trouble of its own (5xx, 408).
	KindServerFault

	// KindMalformed: the answer is no token answer.
	KindMalformed

	// KindTLS: no trusted connection: certificate, name, pin or protocol.
	KindTLS

	// KindProtocol: the server takes the request for a wrong one, the credential
	// was not looked at: API version, path, licence agreement.
	KindProtocol

	// KindAccount: the account lacks what its grant needs; nothing was sent.
	KindAccount

	// KindForbidden: the session is good, but its user may not do this.
	KindForbidden

	// KindWrongUser: the answer has a token of another user than the one to act
	// as. It is not used.
	KindWrongUser
)

func (k Kind) String() string {
	if k <= 0 || int(k) >= len(kindRows) {
		return "unknown fault"
	}
	return kindRows[k].name
}

// Error is a failed exchange with a server. Neither it nor what it wraps holds a
// secret or the text of the answer.
type Error struct {
	Kind    Kind
	Product string

	// Grant is the step that failed. Empty for a call and for a logout.
	Grant Grant

	// Call is what was asked for with a session, such as enableMfa. Empty for a
	// grant and for a logout.
	Call string

	// Unsent says that nothing was sent: no connection came about, or the request
	// was still waiting for its turn.
	Unsent bool

	// Status of the answer, 0 without one.
	Status int

	// Code is the server's own word for the error, such as AccessDenied or
	// invalid_request: at most 64 letters, digits and -_.: of it, a blank as _.
	Code string

	// RetryAfter is how long the server asks to wait, 0 if it does not say. At
	// most an hour.
	RetryAfter time.Duration

	// TLS is the cause of an error of KindTLS.
	TLS TLSCause

	noVersion bool // there is nothing under this API version

	// Hint tells the operator what may help.
	Hint string

	// Err is the cause, if there is one.
	Err error
}

// Error is one line for the log.
func (e *Error) Error() string {
	var b strings.Builder
	step := cmp.Or(string(e.Grant), e.Call, "logout")
	fmt.Fprintf(&b, "%s %s failed: %s", e.Product, step, e.Kind)
	switch {
	case e.Status != 0 && e.Code != "":
		fmt.Fprintf(&b, " (%d %s)", e.Status, e.Code)
	case e.Status != 0:
		fmt.Fprintf(&b, " (%d)", e.Status)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	if e.Hint != "" {
		fmt.Fprintf(&b, "; %s", e.Hint)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// CredentialRefused reports whether the same login must not be tried again soon:
// the server has refused it, or asks for something that the account cannot give.
func (e *Error) CredentialRefused() bool {
	return e.Kind == KindRefused || e.Kind == KindMFARequired || e.Kind == KindSSORequired
}

// Delay is how long the server has asked to wait, 0 if it has not.
func (e *Error) Delay() time.Duration { return e.RetryAfter }

// errWithheld stands for the cause whose text repeats something secret.
var errWithheld = errors.New("cause not shown, its text repeats the request")

// transportError turns an error of RoundTrip into an Error without a secret. Not
// every transport's errors can be unwrapped, so the context and the text count
// too.
func transportError(ctx context.Context, err error, secrets []string) *Error {
	return connectionError(ctx, err, false, secrets)
}

// connectionError is transportError for one who knows whether a TLS handshake was
// under way: nothing was sent then.
func connectionError(ctx context.Context, err error, inHandshake bool, secrets []string) *Error {
	e := &Error{Kind: transportKind(ctx, err), Err: err, Unsent: unsent(err) || inHandshake}
	if cause := ClassifyTLS(err, inHandshake); cause != "" && (e.Kind == KindTLS || e.Kind == KindUnavailable) {
		e.Kind, e.TLS, e.Hint = KindTLS, cause, cause.Hint()
		if _, ok := errors.AsType[Reasoner](err); ok { // such as another certificate than the pinned one
			e.TLS, e.Hint = TLSOther, ""
		}
	}
	if repeats(err.Error(), secrets) {
		e.Err = errWithheld
	}
	return e
}

// transportKind tells the errors of RoundTrip apart.
func transportKind(ctx context.Context, err error) Kind {
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(ctx.Err(), context.Canceled):
		return KindCanceled
	case errors.Is(err, context.DeadlineExceeded), ctx.Err() != nil,
		errors.As(err, &timeout) && timeout.Timeout(), strings.Contains(err.Error(), "i/o timeout"):
		return KindTimeout
	case tlsFault(err):
		return KindTLS
	}
	return KindUnavailable
}

// unsent reports whether there was no connection to send anything on.
func unsent(err error) bool {
	if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op == "dial" {
		return true
	}
	_, unresolved := errors.AsType[*net.DNSError](err)
	return unresolved || tlsFault(err)
}

// tlsFault reports whether the handshake failed. Errors of certificate callbacks
// and pins have no type of their own; the standard library's all say tls or
// x509.
func tlsFault(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		record       tls.RecordHeaderError
		alert        tls.AlertError
		unknown      x509.UnknownAuthorityError
		hostname     x509.HostnameError
		invalid      x509.CertificateInvalidError
	)
	return errors.As(err, &verification) || errors.As(err, &record) || errors.As(err, &alert) ||
		errors.As(err, &unknown) || errors.As(err, &hostname) || errors.As(err, &invalid) ||
		strings.Contains(err.Error(), "tls: ") || strings.Contains(err.Error(), "x509: ") ||
		strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// repeats reports whether text contains one of the secrets, be it without the
// bytes that squeeze takes out.
func repeats(text string, secrets []string) bool {
	squeezed := squeeze(text)
	for _, s := range secrets {
		if s == "" {
			continue
		}
		if strings.Contains(text, s) {
			return true
		}
		if bare := squeeze(s); bare != "" && strings.Contains(squeezed, bare) {
			return true
		}
	}
	return false
}

// sanitise keeps of a server's word what is fit for a log line.
func sanitise(word string) string {
	const longest = 64
	word = squeeze(word)
	return word[:min(len(word), longest)]
}

// squeeze takes out all that no code of a server has in it.
func squeeze(word string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9',
			r == '-', r == '_', r == '.', r == ':':
			return r
		case r == ' ':
			return '_'
		}
		return -1
	}, word)
}
