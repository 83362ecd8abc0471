// From the error of a grant to the answer that a client gets.

package caddymodule

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-veeam/veeam-auth/tokencache"
	"github.com/caddy-veeam/veeam-auth/veeam"
)

const (
	refusedMessage   = "The server refuses the credential that veeam-auth is configured with. It is not sent again until a pause is over or the credential has changed."
	throttledMessage = "The server asks veeam-auth to wait with its login."
)

// refusalFor says how to answer a request whose account has no session because
// of err. Messages say whose fault it is and where to look; they never repeat
// what the server said.
func refusalFor(err error, now time.Time) veeam.Refusal {
	r := veeam.Refusal{Status: http.StatusServiceUnavailable, Reason: veeam.ReasonNoSession}
	if blocked, ok := errors.AsType[*tokencache.BlockedError](err); ok {
		r.RetryAfter = blocked.RetryAfter(now)
	}
	if _, ok := errors.AsType[*secretError](err); ok {
		r.Message, r.RetryAfter = "veeam-auth cannot read a secret of the account configured for this server. See its log.", resolveEvery
		if _, ok := errors.AsType[*lateError](err); ok {
			r.Message = "veeam-auth could not read a secret of the account configured for this server in time. See its log."
		}
		return r
	}
	if noAccount, ok := errors.AsType[*noAccountError](err); ok {
		r.Status, r.Reason = http.StatusForbidden, veeam.ReasonDenied
		r.Message = "There is no account to act as by the name that this request yields. See the log of veeam-auth."
		if noAccount.name == "" {
			r.Message = "Whom to act as is not configured: act_as has to name a user for each request, or another account has to come first."
		}
		return r
	}
	if parent, ok := errors.AsType[*parentError](err); ok {
		// It is the parent's pause that counts, not the account's own short one.
		own := r.RetryAfter
		r = refusalFor(parent.err, now)
		r.RetryAfter = cmp.Or(r.RetryAfter, own)
		r.Message = "The parent account has no session. " + r.Message
		return r
	}
	if shared, ok := errors.AsType[*tokencache.SharedError](err); ok {
		if shared.CredentialRefused() {
			r.Message = refusedMessage
			return r
		}
		r.Status, r.Reason, r.Message = http.StatusTooManyRequests, veeam.ReasonThrottled, throttledMessage
		return r
	}
	var failed *veeam.Error
	if !errors.As(err, &failed) {
		r.Reason, r.Status = veeam.ReasonInternal, http.StatusBadGateway
		if errors.Is(err, context.DeadlineExceeded) {
			r.Reason, r.Status = veeam.ReasonUnavailable, http.StatusGatewayTimeout
		}
		r.Message = "veeam-auth could not log in at the server. See its log."
		return r
	}
	switch failed.Kind {
	case veeam.KindRefused:
		r.Message = refusedMessage + hint(failed)
	case veeam.KindMFARequired:
		r.Message = "The server asks for a verification code that veeam-auth cannot give." + hint(failed)
	case veeam.KindSSORequired:
		r.Message = "The user that veeam-auth is configured with signs in with an identity provider, which is not possible here." + hint(failed)
	case veeam.KindAccount:
		r.Message = "The account that veeam-auth is configured with is incomplete. See its log."
	case veeam.KindProtocol:
		r.Status, r.Reason = http.StatusBadGateway, veeam.ReasonUnavailable
		r.Message = "The server does not understand the login." + hint(failed)
	case veeam.KindWrongUser:
		r.Status, r.Reason = http.StatusBadGateway, veeam.ReasonUnavailable
		r.Message = "The server has answered with a token of another user, which is not used." + hint(failed)
	case veeam.KindThrottled:
		r.Status, r.Reason = http.StatusTooManyRequests, veeam.ReasonThrottled
		r.Message = throttledMessage
	case veeam.KindTimeout, veeam.KindCanceled:
		r.Status, r.Reason = http.StatusGatewayTimeout, veeam.ReasonUnavailable
		r.Message = "The server did not answer the login in time."
	case veeam.KindTLS:
		r.Status, r.Reason = http.StatusBadGateway, veeam.ReasonUnavailable
		r.Message = "veeam-auth does not trust the certificate of the server. See its log."
	case veeam.KindUnavailable, veeam.KindServerFault:
		r.Status, r.Reason = http.StatusBadGateway, veeam.ReasonUnavailable
		r.Message = "The server cannot be reached or has a fault of its own."
	default:
		r.Status, r.Reason = http.StatusBadGateway, veeam.ReasonUnavailable
		r.Message = "The server's answer to the login is not one of " + failed.Product + ". See the log of veeam-auth."
	}
	return r
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
