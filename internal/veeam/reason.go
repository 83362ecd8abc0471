// The closed vocabulary of reasons: why a request was refused, and the state of an
// account at a server.

package veeam

import (
	"context"
	"errors"
	"net/http"
)

// Reason is a word of a closed vocabulary. The same words are used in the bodies of
// refusals, in labels of metrics, in the log, and in the JSON of commands and admin
// endpoints. A Reason never contains text of a server.
type Reason string

// The reasons of requests.
const (
	ReasonNoToken          Reason = "no_token"
	ReasonBadToken         Reason = "bad_token"
	ReasonExpiredToken     Reason = "expired_token"
	ReasonBadCredential    Reason = "bad_credential"
	ReasonBadRefreshToken  Reason = "bad_refresh_token"
	ReasonBadRequest       Reason = "bad_request"
	ReasonUnsupportedGrant Reason = "unsupported_grant"
	ReasonTooLarge         Reason = "too_large"
	ReasonDenied           Reason = "denied"
	ReasonMethodNotAllowed Reason = "method_not_allowed"
	ReasonTooEarly         Reason = "too_early"
	ReasonDecisionMismatch Reason = "decision_mismatch"
	ReasonUnreadableAnswer Reason = "unreadable_answer"
	ReasonStorage          Reason = "storage_unavailable"
	ReasonNoAccount        Reason = "no_account"
	ReasonUnknownKey       Reason = "unknown_key"
	ReasonExpiredKey       Reason = "expired_key"
	ReasonRevokedKey       Reason = "revoked_key"
	ReasonKeyElsewhere     Reason = "key_from_elsewhere"
	ReasonJWKS             Reason = "jwks_unavailable"
	ReasonApprovalRequired Reason = "approval_required"
	ReasonApprovalDenied   Reason = "approval_denied"
	ReasonApprovalExpired  Reason = "approval_expired"
	ReasonApprovalUsed     Reason = "approval_used"
)

// The reasons of accounts. A request that requires the account's session is refused for
// the same reason.
const (
	ReasonOK                Reason = "ok"
	ReasonNotLoggedIn       Reason = "not_logged_in"
	ReasonSecretUnreadable  Reason = "secret_unreadable"
	ReasonSecretReplaced    Reason = "secret_replaced"
	ReasonAccountIncomplete Reason = "account_incomplete"
	ReasonCredentialRefused Reason = "credential_refused"
	ReasonLockedOutBudget   Reason = "locked_out_budget"
	ReasonCodeNeeded        Reason = "code_needed"
	ReasonCodeRefused       Reason = "code_refused"
	ReasonCredentialOrMFA   Reason = "credential_or_mfa"
	ReasonSSONeeded         Reason = "sso_needed"
	ReasonThrottled         Reason = "throttled"
	ReasonUnreachable       Reason = "unreachable"
	ReasonTimeout           Reason = "timeout"
	ReasonCanceled          Reason = "canceled"
	ReasonTLS               Reason = "tls"
	ReasonPin               Reason = "pin"
	ReasonServerFault       Reason = "server_fault"
	ReasonWrongProduct      Reason = "wrong_product"
	ReasonAPIVersion        Reason = "api_version"
	ReasonNotUnderstood     Reason = "request_not_understood"
	ReasonUnexpectedAnswer  Reason = "unexpected_answer"
	ReasonWrongUser         Reason = "wrong_user"
	ReasonRoleTooSmall      Reason = "role_too_small"
	ReasonSessionRefused    Reason = "session_refused"
	ReasonInternal          Reason = "internal"
)

// ReasonRow describes a reason.
type ReasonRow struct {
	Reason Reason

	// Account reports whether the reason can be the state of an account, in the list of
	// sessions and in the metrics.
	Account bool

	// Status is the HTTP status of a refused request, unless the product has another
	// one. 0 for a reason for which no request is refused.
	Status int

	// Meaning and Action are for the operator: the explanation of the reason, and what
	// to do. Both are in docs/behaviour.md.
	Meaning, Action string

	form *refusalForm

	// told is the reason that the caller gets instead, if the true one would help an
	// attacker. Default: Reason.
	told Reason
}

// reasonTable has a row for each reason, in the order of the docs.
var reasonTable = []ReasonRow{
	{ReasonNoToken, false, http.StatusUnauthorized, "the caller is unknown", "see [who gets in](security.md#who-gets-in); the log says what is missing", &formNoToken, ""},
	{ReasonBadToken, false, http.StatusUnauthorized, "the access token is not valid at this site, or was revoked", "get a new one at the token endpoint; the log says why it is not valid", &formBadToken, ""},
	{ReasonExpiredToken, false, http.StatusUnauthorized, "the access token has expired", "renew it", &formExpiredToken, ""},
	{ReasonBadCredential, false, http.StatusUnauthorized, "name, password or code at the token endpoint are invalid (VSPC: 400)", "correct the client, or the hash of `client`", &formBadCredential, ""},
	{ReasonBadRefreshToken, false, http.StatusUnauthorized, "the refresh token is unknown, expired or used, or its login has expired (VSPC: 400)", "log in with the password grant", &formBadRefreshToken, ""},
	{ReasonBadRequest, false, http.StatusBadRequest, "a parameter or the path is missing, ambiguous or unreadable, or the body is incomplete or malformed", "correct the client", &formBadRequest, ""},
	{ReasonUnsupportedGrant, false, http.StatusBadRequest, "the grant is not for clients, such as `client_credentials`", "use `password`", &formUnsupportedGrant, ""},
	{ReasonTooLarge, false, http.StatusRequestEntityTooLarge, "a token request exceeds 64 KiB, or a request that requires an [approval](approvals.md) exceeds `max_body` or has a target of more than 8 KiB", "correct the client, or raise `max_body`", &formTooLarge, ""},
	{ReasonDenied, false, http.StatusForbidden, "no rule allows the request", "the log names the rule; `caddy veeam-auth policy test` explains it", &formDenied, ""},
	{ReasonNoAccount, false, http.StatusForbidden, "`act_as` is empty, or names no account", "correct `act_as`", &formDenied, ""},
	{ReasonUnknownKey, false, http.StatusUnauthorized, "the [key](keys.md) is unknown, mistyped, or of a client that this site does not have; callers get `bad_token`", "issue another key; the log says more", &formBadToken, ReasonBadToken},
	{ReasonExpiredKey, false, http.StatusUnauthorized, "the key has expired; callers get `bad_token`", "issue another key", &formBadToken, ReasonBadToken},
	{ReasonRevokedKey, false, http.StatusUnauthorized, "the key was revoked; callers get `bad_token`", "find out who still uses it", &formBadToken, ReasonBadToken},
	{ReasonKeyElsewhere, false, http.StatusUnauthorized, "the key is limited to other addresses; callers get `bad_token`", "find out who uses it; the log has its address", &formBadToken, ReasonBadToken},
	{ReasonApprovalRequired, false, http.StatusForbidden, "a rule requires an [approval](approvals.md), and the request waits for it", "decide with `caddy veeam-auth approvals`; the client repeats the request", &formDenied, ""},
	{ReasonApprovalDenied, false, http.StatusForbidden, "an operator has denied the request", "nothing; the client may ask again after the time in `Retry-After`", &formDenied, ""},
	{ReasonApprovalExpired, false, http.StatusForbidden, "the request was not approved in time, or the approval was not used in time", "the client repeats the request, which asks again", &formDenied, ""},
	{ReasonApprovalUsed, false, http.StatusForbidden, "the approval was used by an identical request", "the client repeats the request if it wants to ask for another approval", &formDenied, ""},
	{ReasonMethodNotAllowed, false, http.StatusMethodNotAllowed, "the method is not one of GET, POST, PUT, PATCH, DELETE, HEAD and OPTIONS", "correct the client", &formMethodNotAllowed, ""},
	{ReasonTooEarly, false, http.StatusTooEarly, "the request came as early data (0-RTT) of HTTP/3, which can be recorded and sent again, or says so in `Early-Data`", "the client repeats the request when the connection is established; Caddy's server option `0rtt off` spares it that", &formTooEarly, ""},
	{ReasonDecisionMismatch, false, http.StatusBadGateway, "the request differs from the decided request, or passed no `veeam_auth`; it was not sent", "a handler changes the request after the decision, or `veeam_auth` is missing before `reverse_proxy`: see the log", &formInternal, ""},
	{ReasonUnreadableAnswer, false, http.StatusBadGateway, "secrets are [filtered](filter.md), and the answer cannot be searched for them", "the log says why; exempt the caller with `except`", &formUnavailable, ""},
	{ReasonStorage, false, http.StatusServiceUnavailable, "Caddy's storage cannot be read or written: signing keys, revocations or approvals", "Caddy's log names the file and the cause", &formInternal, ""},
	{ReasonJWKS, false, http.StatusServiceUnavailable, "the keys of an [identity provider](jwt.md) cannot be read, or were read too long ago", "Caddy's log names the provider and the cause", &formInternal, ""},

	{ReasonOK, true, 0, "the account has a session, and the latest request reached the server", "nothing", nil, ""},
	{ReasonNotLoggedIn, true, 0, "no request has required a session yet, or the session expired unused", "nothing", nil, ""},
	{ReasonSecretUnreadable, true, http.StatusServiceUnavailable, "a secret is empty, or cannot be read within 10 s", "Caddy's log names the file and the cause", &formNoSession, ""},
	{ReasonSecretReplaced, true, http.StatusServiceUnavailable, "the session cannot be renewed, and its secret is no longer configured", "the next request logs in with the new secret", &formNoSession, ""},
	{ReasonAccountIncomplete, true, http.StatusServiceUnavailable, "the account is incomplete for its grant; nothing was sent", "see the log", &formNoSession, ""},
	{ReasonCredentialRefused, true, http.StatusServiceUnavailable, "the server refuses the credential, or the account is locked", "correct the secret; at VBR mark the user as a service account", &formNoSession, ""},
	{ReasonCredentialOrMFA, true, http.StatusServiceUnavailable, "the same at a product without verification codes (VBR, VB365, ONE, EM), which refuses a wrong password and multi-factor authentication alike", "correct the secret, or use a user without multi-factor authentication (VBR, VB365: a service account)", &formNoSession, ""},
	{ReasonLockedOutBudget, true, http.StatusServiceUnavailable, "the lock-out budget of the user is used up; nothing is sent until a try comes back", "correct the secret, then wait or run `caddy veeam-auth sessions login --force`", &formNoSession, ""},
	{ReasonCodeNeeded, true, http.StatusServiceUnavailable, "the server requires a verification code and the account has no `totp_secret`", "enter a code with `caddy veeam-auth sessions code`, or set `totp_secret`; at VBR mark the user as a service account", &formNoSession, ""},
	{ReasonCodeRefused, true, http.StatusServiceUnavailable, "the server refuses the verification code", "check `totp_secret` and the clocks of both machines", &formNoSession, ""},
	{ReasonSSONeeded, true, http.StatusServiceUnavailable, "the user signs in with an identity provider", "use a local user", &formNoSession, ""},
	{ReasonThrottled, true, http.StatusTooManyRequests, "too many requests or logins, at the server or at veeam-auth", "retry after the time in `Retry-After`; look for other programs that log in, or raise the limit", &formThrottled, ""},
	{ReasonUnreachable, true, http.StatusBadGateway, "the server cannot be reached, or the connection broke", "check name, route, port and the server", &formUnavailable, ""},
	{ReasonTimeout, true, http.StatusGatewayTimeout, "the server does not answer in time", "see the server", &formUnavailable, ""},
	{ReasonCanceled, true, http.StatusGatewayTimeout, "the login was canceled", "nothing; the next request tries again", &formUnavailable, ""},
	{ReasonTLS, true, http.StatusBadGateway, "no trusted TLS connection: certificate, name or protocol", "see the log; set `tls_pin` or `tls_trust_pool`", &formUnavailable, ""},
	{ReasonPin, true, http.StatusBadGateway, "the certificate of the server does not match `tls_pin`", "the log has both fingerprints; ask the server's administrator before you change the pin", &formUnavailable, ""},
	{ReasonServerFault, true, http.StatusBadGateway, "the server has failed (408 or 5xx)", "see the server's log", &formUnavailable, ""},
	{ReasonWrongProduct, true, http.StatusBadGateway, "the server answers like another product", "check `product`, host and port", &formUnavailable, ""},
	{ReasonAPIVersion, true, http.StatusBadGateway, "the server does not serve the API version, as [`check`](commands.md#check) finds out; a request gets `request_not_understood`", "remove or correct `api_version`", &formUnavailable, ""},
	{ReasonNotUnderstood, true, http.StatusBadGateway, "the server rejects the login as a request: API version, path, licence agreement; it did not check the credential", "check `product`, scheme, host, port and `api_version`", &formUnavailable, ""},
	{ReasonUnexpectedAnswer, true, http.StatusBadGateway, "the answer is not in the product's format", "check `product`, scheme, host and port", &formUnavailable, ""},
	{ReasonWrongUser, true, http.StatusBadGateway, "the token in the answer is for another user than requested; it is not used", "see the log", &formUnavailable, ""},
	{ReasonRoleTooSmall, true, http.StatusBadGateway, "the login works, but the role of the user does not allow the request", "give the user a larger role", &formUnavailable, ""},
	{ReasonSessionRefused, true, http.StatusBadGateway, "the login works, but the server does not accept its session", "look for another program that logs in as the same user", &formUnavailable, ""},
	{ReasonInternal, true, http.StatusInternalServerError, "another fault", "see the log", &formInternal, ""},
}

// Reasons returns all reasons, in the order of the documentation.
func Reasons() []ReasonRow { return reasonTable }

var reasonRows = func() map[Reason]*ReasonRow {
	rows := make(map[Reason]*ReasonRow, len(reasonTable))
	for i := range reasonTable {
		rows[reasonTable[i].Reason] = &reasonTable[i]
	}
	return rows
}()

// Row returns the description of the reason. For a word outside the vocabulary it is
// that of ReasonInternal.
func (r Reason) Row() ReasonRow {
	if row, ok := reasonRows[r]; ok {
		return *row
	}
	return *reasonRows[ReasonInternal]
}

// Healthy reports whether an account with this reason requires no attention.
func (r Reason) Healthy() bool { return r == ReasonOK || r == ReasonNotLoggedIn }

// kindRows are the text and the reason of each kind of Error.
var kindRows = [...]struct {
	name   string
	reason Reason
}{
	KindRefused:     {"credential refused", ReasonCredentialRefused},
	KindMFARequired: {"verification code required", ReasonCodeNeeded},
	KindSSORequired: {"single sign-on required", ReasonSSONeeded},
	KindThrottled:   {"throttled", ReasonThrottled},
	KindUnavailable: {"server unavailable", ReasonUnreachable},
	KindTimeout:     {"no answer in time", ReasonTimeout},
	KindCanceled:    {"canceled", ReasonCanceled},
	KindServerFault: {"server fault", ReasonServerFault},
	KindMalformed:   {"not a token answer", ReasonUnexpectedAnswer},
	KindTLS:         {"no trusted connection", ReasonTLS},
	KindProtocol:    {"request not understood", ReasonNotUnderstood},
	KindAccount:     {"account incomplete", ReasonAccountIncomplete},
	KindForbidden:   {"not allowed", ReasonRoleTooSmall},
	KindWrongUser:   {"token of another user", ReasonWrongUser},
}

// Reason returns the reason of errors of this kind, ReasonInternal for an unknown kind.
func (k Kind) Reason() Reason {
	if k <= 0 || int(k) >= len(kindRows) || kindRows[k].reason == "" {
		return ReasonInternal
	}
	return kindRows[k].reason
}

// Reasoner is an error with a reason.
type Reasoner interface {
	error
	Reason() Reason
}

// sharedReason is an error of a grant that another process has made.
type sharedReason interface {
	error
	ReasonText() string
	CredentialRefused() bool
}

// ReasonOf returns the reason of an error: that of the first Reasoner that it is or
// wraps, or the reason that another process recorded for the error, otherwise
// ReasonTimeout or ReasonCanceled for the end of a context, and ReasonInternal for all
// others. For nil it is ReasonOK.
func ReasonOf(err error) Reason {
	if own, ok := errors.AsType[Reasoner](err); ok {
		return own.Reason()
	}
	if shared, ok := errors.AsType[sharedReason](err); ok {
		reason := Reason(shared.ReasonText())
		switch {
		case reason.Row().Reason == reason:
			return reason
		case shared.CredentialRefused():
			return ReasonCredentialRefused
		}
		return ReasonThrottled
	}
	switch {
	case err == nil:
		return ReasonOK
	case errors.Is(err, context.DeadlineExceeded):
		return ReasonTimeout
	case errors.Is(err, context.Canceled):
		return ReasonCanceled
	}
	return ReasonInternal
}

// TransportReason returns the reason of an error of RoundTrip: that of the first
// Reasoner that it is or wraps, otherwise ReasonCanceled, ReasonTimeout, ReasonTLS or
// ReasonUnreachable.
func TransportReason(ctx context.Context, err error) Reason {
	if own, ok := errors.AsType[Reasoner](err); ok {
		return own.Reason()
	}
	return transportKind(ctx, err).Reason()
}

// Reason returns the reason of the error: that of its cause if it has one,
// ReasonCodeRefused for a refused verification code, otherwise that of its kind.
func (e *Error) Reason() Reason {
	if own, ok := errors.AsType[Reasoner](e.Err); ok {
		return own.Reason()
	}
	if e.Kind == KindRefused && e.Grant == GrantMFA {
		return ReasonCodeRefused
	}
	return e.Kind.Reason()
}
