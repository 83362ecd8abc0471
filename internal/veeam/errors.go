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

// ErrNoLogout is the error of Logout if a single session cannot be ended.
var ErrNoLogout = errors.New("the product cannot end a single session")

// Kind is the kind of an Error, which determines the possible remedies.
type Kind int

// The kinds.
const (
	// KindRefused means that the server refused the credential of the grant. A retry
	// with the same credential cannot succeed and may lock the account. After
	// GrantRefreshToken, a login with the account's own grant may succeed.
	KindRefused Kind = iota + 1

	// KindMFARequired means that the server requires a verification code and the
	// account has no source of codes.
	KindMFARequired

	// KindSSORequired means that the user must sign in with an identity provider.
	KindSSORequired

	// KindThrottled means that there were too many requests. Error.RetryAfter is the
	// time to wait.
	KindThrottled

	// KindUnavailable means that the server could not be reached or the connection
	// broke.
	KindUnavailable

	// KindTimeout means that the server did not answer in time.
	KindTimeout

	// KindCanceled means that the caller canceled the request.
	KindCanceled

	// KindServerFault means that the server failed (5xx or 408).
	KindServerFault

	// KindMalformed means that the response is not in the documented format.
	KindMalformed

	// KindTLS means that there is no trusted connection because of the certificate, its
	// name, its pin or the protocol. See Error.TLS.
	KindTLS

	// KindProtocol means that the server rejected the request without checking the
	// credential, for example because of the API version, the path or the license
	// agreement.
	KindProtocol

	// KindAccount means that the account lacks a value that its grant requires, or that
	// the product does not support the call. Nothing was sent.
	KindAccount

	// KindForbidden means that the session is valid but its user has no permission.
	KindForbidden

	// KindWrongUser means that the response contains a token of another user than the
	// requested one. The token is not used.
	KindWrongUser
)

func (k Kind) String() string {
	if k <= 0 || int(k) >= len(kindRows) {
		return "unknown fault"
	}
	return kindRows[k].name
}

// Error is the error of an exchange with a server. Neither it nor the error that it
// wraps contains a secret or text of the response.
type Error struct {
	Kind    Kind
	Product string

	// Grant is the grant that failed. Empty for other calls and for a logout.
	Grant Grant

	// Call is the call that failed, such as enableMfa. Empty for a grant and for a
	// logout.
	Call string

	// Unsent reports whether nothing was sent, because there was no connection or the
	// request was still waiting.
	Unsent bool

	// Status is the HTTP status of the response, 0 without a response.
	Status int

	// Code is the server's error code, such as AccessDenied or invalid_request: at most
	// 64 of its letters, digits and characters -_.: with each blank replaced by _.
	Code string

	// RetryAfter is the time to wait that the server requests, at most one hour. 0 if
	// it requests none.
	RetryAfter time.Duration

	// TLS is the cause of an error of KindTLS.
	TLS TLSCause

	noVersion bool // there is nothing under this API version

	// Hint is advice for the operator. May be empty.
	Hint string

	// Err is the cause. May be nil.
	Err error
}

// Error returns the message in one line for the log.
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

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// CredentialRefused reports whether the same login must not be repeated soon, because
// the server refused it or requires something that the account does not have.
func (e *Error) CredentialRefused() bool {
	return e.Kind == KindRefused || e.Kind == KindMFARequired || e.Kind == KindSSORequired
}

// Delay returns RetryAfter, the time to wait that the server requests.
func (e *Error) Delay() time.Duration { return e.RetryAfter }

// errWithheld replaces a cause whose text contains a secret.
var errWithheld = errors.New("cause not shown, its text repeats the request")

// transportError turns an error of RoundTrip into an Error without a secret. Not
// every transport's errors can be unwrapped, so the context and the text count
// too.
func transportError(ctx context.Context, err error, secrets []string) *Error {
	return connectionError(ctx, err, false, secrets)
}

// connectionError is transportError for a caller that knows whether the TLS handshake
// was running: nothing was sent then.
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

// transportKind returns the kind of an error of RoundTrip.
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

// unsent reports whether there was no connection to send anything on. Caddy's transport
// wraps the error of a dial so that only its text is left.
func unsent(err error) bool {
	if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op == "dial" {
		return true
	}
	if strings.HasPrefix(err.Error(), "dial ") {
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

// repeats reports whether text contains one of the secrets, with or without the bytes
// that squeeze removes.
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

// sanitise reduces a code of a server to characters that a log line may contain.
func sanitise(word string) string {
	const longest = 64
	word = squeeze(word)
	return word[:min(len(word), longest)]
}

// squeeze removes the characters that codes of servers do not have.
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
