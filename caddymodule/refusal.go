// From the error of a grant to the answer that a client gets.

package caddymodule

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

const (
	refusedMessage   = "The server refuses the credential that veeam-auth is configured with. It is not sent again until a pause is over or the credential has changed."
	throttledMessage = "The server asks veeam-auth to wait with its login."
)

// Reason implements veeam.Reasoner.
func (*noAccountError) Reason() veeam.Reason { return veeam.ReasonNoAccount }

// Reason is that of the parent account.
func (e *parentError) Reason() veeam.Reason { return veeam.ReasonOf(e.err) }

// refusalMessages say to a client why there is no session for its request, and
// whose fault it is.
var refusalMessages = map[veeam.Reason]string{
	veeam.ReasonSecretUnreadable:  "veeam-auth cannot read a secret of the account configured for this server. See its log.",
	veeam.ReasonNoAccount:         "There is no account to act as by the name that this request yields. See the log of veeam-auth.",
	veeam.ReasonCredentialRefused: refusedMessage,
	veeam.ReasonCodeRefused:       refusedMessage,
	veeam.ReasonLockedOutBudget:   "The server has refused the credential that veeam-auth is configured with so often that another try may lock the account. Nothing is sent for now.",
	veeam.ReasonCodeNeeded:        "The server asks for a verification code that veeam-auth cannot give.",
	veeam.ReasonSSONeeded:         "The user that veeam-auth is configured with signs in with an identity provider, which is not possible here.",
	veeam.ReasonAccountIncomplete: "The account that veeam-auth is configured with is incomplete. See its log.",
	veeam.ReasonSecretReplaced:    "The session cannot be renewed, because its secret is not configured any more.",
	veeam.ReasonNotUnderstood:     "The server does not understand the login.",
	veeam.ReasonWrongUser:         "The server has answered with a token of another user, which is not used.",
	veeam.ReasonThrottled:         throttledMessage,
	veeam.ReasonTimeout:           "The server did not answer the login in time.",
	veeam.ReasonCanceled:          "The server did not answer the login in time.",
	veeam.ReasonTLS:               "There is no trusted TLS connection to the server.",
	veeam.ReasonPin:               "veeam-auth does not trust the certificate of the server. See its log.",
	veeam.ReasonUnreachable:       "The server cannot be reached.",
	veeam.ReasonServerFault:       "The server cannot be reached or has a fault of its own.",
}

// refusalFor says how to answer a request whose account has no session because
// of err. Messages say whose fault it is and where to look; they never repeat
// what the server said.
func refusalFor(err error, now time.Time) veeam.Refusal {
	r := veeam.Refusal{Reason: veeam.ReasonOf(err)}
	r.Status = r.Reason.Row().Status
	if blocked, ok := errors.AsType[*tokencache.BlockedError](err); ok {
		r.RetryAfter = blocked.RetryAfter(now)
	}
	if parent, ok := errors.AsType[*parentError](err); ok {
		// It is the parent's pause that counts, not the account's own short one.
		own := r.RetryAfter
		r = refusalFor(parent.err, now)
		r.RetryAfter = cmp.Or(r.RetryAfter, own)
		r.Message = "The parent account has no session. " + r.Message
		return r
	}
	failed, fromServer := errors.AsType[*veeam.Error](err)
	r.Message = refusalMessages[r.Reason]
	switch {
	case r.Reason == veeam.ReasonSecretUnreadable:
		r.RetryAfter = resolveEvery
		if _, ok := errors.AsType[*bounded.LateError](err); ok {
			r.Message = "veeam-auth could not read a secret of the account configured for this server in time. See its log."
		}
	case r.Reason == veeam.ReasonNoAccount:
		if noAccount, ok := errors.AsType[*noAccountError](err); ok && noAccount.name == "" {
			r.Message = "Whom to act as is not configured: act_as has to name a user for each request, or another account has to come first."
		}
	case r.Reason == veeam.ReasonInternal:
		r.Status = http.StatusBadGateway // the fault is between here and the server
		r.Message = "veeam-auth could not log in at the server. See its log."
	case r.Message == "" && fromServer:
		r.Message = "The server's answer to the login is not one of " + failed.Product + ". See the log of veeam-auth."
	}
	if fromServer && failed.Kind != veeam.KindThrottled {
		r.Message += hint(failed)
	}
	r.Message += adviceFor(err)
	return r
}

// adviceFor is heldAdvice for any error.
func adviceFor(err error) string {
	if blocked, ok := errors.AsType[*tokencache.BlockedError](err); ok {
		return heldAdvice(blocked)
	}
	return ""
}

// heldAdvice tells whoever reads of a credential that is held what else may be the
// cause, how many tries are left, and how to try at once.
func heldAdvice(blocked *tokencache.BlockedError) string {
	if !blocked.Held {
		return ""
	}
	var b strings.Builder
	if blocked.Accepted.IsZero() {
		b.WriteString(" The account may also be locked at the server.")
	} else {
		b.WriteString(" The server has accepted this secret at " + blocked.Accepted.Format(time.DateTime) +
			": since then it was changed there, or the account is locked or disabled.")
	}
	if blocked.Budget.Of > 0 {
		b.WriteString(" " + blocked.Budget.String() + ".")
	}
	b.WriteString(" To try at once: caddy veeam-auth sessions login <account>")
	if blocked.Budget.Of > 0 && blocked.Budget.Left <= 1 {
		b.WriteString(" --force")
	}
	b.WriteString(".")
	return b.String()
}

// hint is the advice of an error as a sentence: it is written here, so it repeats
// nothing that the server has said.
func hint(e *veeam.Error) string {
	if e.Hint == "" {
		return ""
	}
	return " " + strings.ToUpper(e.Hint[:1]) + e.Hint[1:] + "."
}

// refuseResponse is a refusal as the upstream's response: an error from RoundTrip
// would count as a failure of the upstream and be retried.
func refuseResponse(p *veeam.Product, req *http.Request, r veeam.Refusal) *http.Response {
	body, contentType := p.AppendError(nil, r)
	res := response(req, p.Status(r), contentType, body)
	if res.StatusCode == http.StatusUnauthorized {
		res.Header.Set("Www-Authenticate", "Bearer")
	}
	if res.StatusCode == http.StatusMethodNotAllowed {
		res.Header.Set("Allow", operation.AllowedMethods)
	}
	if r.RetryAfter > 0 {
		res.Header.Set("Retry-After", retryAfter(r.RetryAfter))
	}
	return res
}

// response is a response made here.
func response(req *http.Request, status int, contentType string, body []byte) *http.Response {
	res := &http.Response{
		Status:        strconv.Itoa(status) + " " + http.StatusText(status),
		StatusCode:    status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        make(http.Header, 4),
		Body:          http.NoBody,
		ContentLength: int64(len(body)),
		Request:       req,
	}
	res.Header.Set("Cache-Control", "no-store")
	if len(body) > 0 {
		res.Header.Set("Content-Type", contentType)
		res.Header.Set("Content-Length", strconv.Itoa(len(body)))
		res.Body = io.NopCloser(bytes.NewReader(body))
	}
	return res
}

// retryAfter is a header value in whole seconds, rounded up.
func retryAfter(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

// dialFault returns an error that tells reverse_proxy that this upstream could
// not be dialled, so that it may try another; nil if err is none.
func dialFault(err error) error {
	if dial, ok := errors.AsType[reverseproxy.DialError](err); ok {
		return dial
	}
	return nil
}
