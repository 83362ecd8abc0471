// Package events holds the events that other programs can react to: a closed list of
// names and fields, and the queues that deliver them without delaying a request or a
// login.
package events

import (
	"maps"
	"slices"
	"time"
)

// Name is the name of an event, in the manner of Caddy's own: lower case with
// underscores.
type Name string

// The events.
const (
	CredentialHeld      Name = "veeam_auth_credential_held"
	CredentialLifted    Name = "veeam_auth_credential_lifted"
	SecretRotated       Name = "veeam_auth_secret_rotated"
	NextPassword        Name = "veeam_auth_next_password"
	CodeNeeded          Name = "veeam_auth_code_needed"
	Interference        Name = "veeam_auth_interference"
	PinMismatch         Name = "veeam_auth_pin_mismatch"
	CertificateExpiring Name = "veeam_auth_certificate_expiring"
	ClientThrottled     Name = "veeam_auth_client_throttled"
	DecisionMismatch    Name = "veeam_auth_decision_mismatch"
	KeyExpiring         Name = "veeam_auth_key_expiring"
	JWKSFailing         Name = "veeam_auth_jwks_failing"
	ApprovalNeeded      Name = "veeam_auth_approval_needed"
	SessionLeft         Name = "veeam_auth_session_left"
)

// Row is what is known of an event. docs/events.md has the same table.
type Row struct {
	Name Name

	// When says what has happened, in one sentence.
	When string

	// Fields are the names of its data, in the order of the docs.
	Fields []string
}

// rows has a row for each event, in the order of the docs.
var rows = []Row{
	{CredentialHeld, "The server has refused the credential of an account, or one more refusal could lock its user. It is not sent again before `until`.", []string{"product", "account", "origin", "reason", "until", "tries_left"}},
	{CredentialLifted, "A held credential is no longer held: the server has accepted it or its replacement (`accepted`), or the hold was ended by an operator (`operator`) or in another process (`other_process`).", []string{"product", "account", "origin", "cause"}},
	{SecretRotated, "The server has accepted the changed secret of an account, and requests use it.", []string{"product", "account", "origin"}},
	{NextPassword, "The server has refused the password of an account and accepted `next_password`, which requests use.", []string{"product", "account", "origin"}},
	{CodeNeeded, "The server requires a verification code, and the account waits for an operator to enter one.", []string{"product", "account", "origin"}},
	{Interference, "The server has ended the session of an account early, three times in a row: another program logs in as the same user.", []string{"product", "account", "origin", "times", "after_seconds"}},
	{PinMismatch, "The certificate of a server does not match `tls_pin`. Nothing was sent.", []string{"product", "origin", "sha256"}},
	{CertificateExpiring, "The certificate of a server expires within 21 days, within 7 days, within a day, or has expired. It is checked at each login, renewal and new connection, and once an hour while requests use a connection.", []string{"product", "origin", "sha256", "not_after", "expires_in_seconds"}},
	{ClientThrottled, "A client has exceeded `rate_limit` or `max_parallel`, has presented too many wrong passwords, or has too many requests that wait for an [approval](approvals.md). Another event follows after a minute without a refusal for this reason.", []string{"product", "client", "source", "retry_after_seconds"}},
	{KeyExpiring, "A [key](keys.md) expires within a week. One process raises it for an issued key, every process for a key of the configuration.", []string{"client", "key", "not_after", "expires_in_seconds"}},
	{JWKSFailing, "The keys of an [identity provider](jwt.md) cannot be read. The last keys stay in use until `until`, which is empty if there are none. Another event follows after a success.", []string{"provider", "reason", "until"}},
	{ApprovalNeeded, "A request waits for an [approval](approvals.md) until `expires`. It is raised once for each approval, by one process.", []string{"product", "client", "approval", "method", "operation", "expires", "expires_in_seconds"}},
	{DecisionMismatch, "A request differs from the one that was decided about, and was not sent. Another event follows after a minute without one.", []string{"product", "client", "operation", "difference"}},
	{SessionLeft, "A process has ended during a login or renewal of an account. The server may have a session that nobody can log out; it expires at `until` at the latest.", []string{"product", "account", "origin", "until"}},
}

// Rows lists the events in the order of the docs.
func Rows() []Row { return slices.Clone(rows) }

// Event is something that has happened. Only the functions of this package make one, so
// that each has the fields of its row and nothing else.
type Event struct {
	name Name
	data map[string]any
}

// Name returns the name of the event.
func (e Event) Name() Name { return e.name }

// Data returns a copy of the fields of the event: texts, numbers and times in the form of
// RFC 3339. There is no secret among them.
func (e Event) Data() map[string]any { return maps.Clone(e.data) }

// Account is an account at a server.
type Account struct {
	Product, Name string

	// Origin is the origin of the server, as the list of sessions shows it.
	Origin string
}

func (a Account) event(name Name, more map[string]any) Event {
	data := map[string]any{"product": a.Product, "account": a.Name, "origin": a.Origin}
	maps.Copy(data, more)
	return Event{name, data}
}

// Held returns the event of a credential that is not sent before a time. reason is a word
// of the closed vocabulary of reasons. triesLeft is what is left of the lock-out budget,
// -1 if tries are not counted.
func (a Account) Held(reason string, until time.Time, triesLeft int) Event {
	return a.event(CredentialHeld, map[string]any{"reason": reason, "until": stamp(until), "tries_left": triesLeft})
}

// Cause is why a hold has ended.
type Cause string

// The causes.
const (
	CauseAccepted     Cause = "accepted"
	CauseOperator     Cause = "operator"
	CauseOtherProcess Cause = "other_process"
)

// Lifted returns the event of a hold that has ended.
func (a Account) Lifted(cause Cause) Event {
	return a.event(CredentialLifted, map[string]any{"cause": string(cause)})
}

// Rotated returns the event of a changed secret that the server has accepted.
func (a Account) Rotated() Event { return a.event(SecretRotated, nil) }

// NextInUse returns the event of next_password coming into use.
func (a Account) NextInUse() Event { return a.event(NextPassword, nil) }

// CodeNeeded returns the event of an account that waits for a verification code.
func (a Account) CodeNeeded() Event { return a.event(CodeNeeded, nil) }

// Interference returns the event of another program that logs in as the same user. times
// is how many tokens in a row were lost early, after the age of the last one.
func (a Account) Interference(times int, after time.Duration) Event {
	return a.event(Interference, map[string]any{"times": times, "after_seconds": int(after.Seconds())})
}

// SessionLeft returns the event of a session that the server may have and that nobody can
// log out. It has expired at until.
func (a Account) SessionLeft(until time.Time) Event {
	return a.event(SessionLeft, map[string]any{"until": stamp(until)})
}

// PinMismatched returns the event of a certificate with the fingerprint sha256 that no pin
// has.
func PinMismatched(product, origin, sha256 string) Event {
	return Event{PinMismatch, map[string]any{"product": product, "origin": origin, "sha256": sha256}}
}

// CertificateExpires returns the event of a certificate near its end, or after it.
func CertificateExpires(product, origin, sha256 string, notAfter, now time.Time) Event {
	return Event{CertificateExpiring, map[string]any{
		"product": product, "origin": origin, "sha256": sha256,
		"not_after": stamp(notAfter), "expires_in_seconds": int(notAfter.Sub(now).Seconds()),
	}}
}

// Throttled returns the event of a client that is told to wait. client is empty for
// callers that are not known, source is where the request comes from.
func Throttled(product, client, source string, retryAfter time.Duration) Event {
	return Event{ClientThrottled, map[string]any{
		"product": product, "client": client, "source": source, "retry_after_seconds": int(retryAfter.Seconds()),
	}}
}

// Mismatched returns the event of a request that was changed after the decision.
// operation is its template in the index of operations, never a path; difference is the
// part of the request that differs.
func Mismatched(product, client, operation, difference string) Event {
	return Event{DecisionMismatch, map[string]any{
		"product": product, "client": client, "operation": operation, "difference": difference,
	}}
}

// KeyExpires returns the event of a client's key near its end.
func KeyExpires(client, key string, notAfter, now time.Time) Event {
	return Event{KeyExpiring, map[string]any{
		"client": client, "key": key, "not_after": stamp(notAfter), "expires_in_seconds": int(notAfter.Sub(now).Seconds()),
	}}
}

// KeysFailing returns the event of an identity provider whose keys cannot be read. reason is
// a word of the closed vocabulary of reasons; until is when the last keys expire,
// zero without keys.
func KeysFailing(provider, reason string, until time.Time) Event {
	end := ""
	if !until.IsZero() {
		end = stamp(until)
	}
	return Event{JWKSFailing, map[string]any{"provider": provider, "reason": reason, "until": end}}
}

// NeedsApproval returns the event of a request that waits for an operator. approval is the
// id of its approval, operation its template in the index of operations, never a path.
func NeedsApproval(product, client, approval, method, operation string, expires, now time.Time) Event {
	return Event{ApprovalNeeded, map[string]any{
		"product": product, "client": client, "approval": approval, "method": method, "operation": operation,
		"expires": stamp(expires), "expires_in_seconds": int(expires.Sub(now).Seconds()),
	}}
}

func stamp(at time.Time) string { return at.UTC().Format(time.RFC3339) }
