// From the error of a grant to the refusal that a client gets.

package answer

import (
	"cmp"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

const (
	refusedMessage   = "The server refuses the credential of veeam-auth. It is not sent again until the hold ends or the credential changes."
	throttledMessage = "The server asked veeam-auth to retry the login later."
)

// ofParent is an error of an account whose parent has no session.
type ofParent interface {
	error

	// OfParent is why the parent has none.
	OfParent() error
}

// messages say to a client why there is no session for its request, and
// whose fault it is.
var messages = map[veeam.Reason]string{
	veeam.ReasonSecretUnreadable:  "veeam-auth cannot read a secret of the account configured for this server. See its log.",
	veeam.ReasonNoAccount:         "act_as names no configured account for this request. See the log of veeam-auth.",
	veeam.ReasonCredentialRefused: refusedMessage,
	veeam.ReasonCodeRefused:       refusedMessage,
	veeam.ReasonLockedOutBudget:   "Too many logins of veeam-auth were refused or got no answer: another one may lock the account. No login is sent for now.",
	veeam.ReasonCodeNeeded:        "The server requires a verification code, and veeam-auth has none.",
	veeam.ReasonSSONeeded:         "The user of veeam-auth signs in with an identity provider, which is not supported.",
	veeam.ReasonAccountIncomplete: "The account of veeam-auth is incomplete. See its log.",
	veeam.ReasonSecretReplaced:    "The session cannot be renewed, because its secret is no longer configured.",
	veeam.ReasonNotUnderstood:     "The server does not understand the login.",
	veeam.ReasonWrongUser:         "The server has answered with a token of another user, which is not used.",
	veeam.ReasonThrottled:         throttledMessage,
	veeam.ReasonTimeout:           "The server did not answer the login in time.",
	veeam.ReasonCanceled:          "The server did not answer the login in time.",
	veeam.ReasonTLS:               "There is no trusted TLS connection to the server.",
	veeam.ReasonPin:               "veeam-auth does not trust the certificate of the server. See its log.",
	veeam.ReasonUnreachable:       "The server cannot be reached.",
	veeam.ReasonServerFault:       "The server cannot be reached or has failed.",
}

// RefusalOf returns the refusal of a request whose account has no session because of
// err. Its message says whose fault it is and where to look, and never contains text of
// the server. reread is the time after which an unreadable secret is read again.
func RefusalOf(err error, now time.Time, reread time.Duration) veeam.Refusal {
	r := veeam.Refusal{Reason: veeam.ReasonOf(err)}
	r.Status = r.Reason.Row().Status
	if blocked, ok := errors.AsType[*tokencache.BlockedError](err); ok {
		r.RetryAfter = blocked.RetryAfter(now)
	}
	if parent, ok := errors.AsType[ofParent](err); ok {
		// It is the parent's pause that counts, not the account's own short one.
		own := r.RetryAfter
		r = RefusalOf(parent.OfParent(), now, reread)
		r.RetryAfter = cmp.Or(r.RetryAfter, own)
		r.Message = "The parent account has no session. " + r.Message
		return r
	}
	failed, fromServer := errors.AsType[*veeam.Error](err)
	r.Message = messages[r.Reason]
	switch {
	case r.Reason == veeam.ReasonSecretUnreadable:
		r.RetryAfter = reread
		if _, ok := errors.AsType[*bounded.LateError](err); ok {
			r.Message = "veeam-auth could not read a secret of the account configured for this server in time. See its log."
		}
	case r.Reason == veeam.ReasonNoAccount:
		if noAccount, ok := errors.AsType[*account.UnknownError](err); ok && noAccount.Name == "" {
			r.Message = "act_as must name a user for each request, or another account must be the first."
		}
	case r.Reason == veeam.ReasonInternal:
		r.Status = http.StatusBadGateway // the fault is between here and the server
		r.Message = "veeam-auth could not log in at the server. See its log."
	case r.Message == "" && fromServer:
		r.Message = "The server's answer to the login is not in the format of " + failed.Product + ". See the log of veeam-auth."
	}
	if fromServer && failed.Kind != veeam.KindThrottled && !suspended(err) {
		r.Message += hint(failed)
	}
	r.Message += Advice(err)
	return r
}

// Exceeded returns the refusal of a request that exceeds a limit of its client.
func Exceeded(exceeded *ratelimit.Exceeded, atTokenEndpoint bool) veeam.Refusal {
	message := "This client sends requests too fast."
	if exceeded.Parallel {
		message = "This client has too many concurrent requests."
	}
	return veeam.Refusal{Reason: veeam.ReasonThrottled, RetryAfter: exceeded.RetryAfter, Message: message, AtTokenEndpoint: atTokenEndpoint}
}

// Advice returns sentences for an error about a held credential: other possible causes,
// the number of tries left, and how to log in immediately. It is empty for other
// errors.
func Advice(err error) string {
	if blocked, ok := errors.AsType[*tokencache.BlockedError](err); ok {
		return heldAdvice(blocked)
	}
	return ""
}

// suspended reports whether a person has to act.
func suspended(err error) bool {
	blocked, ok := errors.AsType[*tokencache.BlockedError](err)
	return ok && blocked.Suspended
}

func heldAdvice(blocked *tokencache.BlockedError) string {
	switch {
	case blocked.Suspended:
		return " No login is sent until an operator enters one: caddy veeam-auth sessions code <account>."
	case !blocked.Held:
		return ""
	}
	var b strings.Builder
	switch {
	case veeam.ReasonOf(blocked) == veeam.ReasonLockedOutBudget: // nothing was sent; another secret may have used it up
	case blocked.Accepted.IsZero():
		b.WriteString(" The account may also be locked at the server.")
	default:
		b.WriteString(" The server has accepted this secret at " + blocked.Accepted.Format(time.DateTime) +
			": it was changed since, or the account is locked or disabled.")
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
