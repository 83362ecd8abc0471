// Why a request is refused, and how a refusal is written. Each product has a row per reason.

package veeamtest

import "maps"

// reason says why a request was refused, in words that all products share.
type reason string

const (
	badRequest       reason = "bad request"
	missingField     reason = "missing field"
	unknownGrant     reason = "unknown grant"
	unsupportedMedia reason = "unsupported media type"
	badCredentials   reason = "bad credentials"
	badCode          reason = "bad code"
	badMFAToken      reason = "bad mfa token"

	badAuthorizationCode reason = "bad authorization code"
	badUser              reason = "bad user"
	notAllowed           reason = "not allowed"
	noPrivateKey         reason = "no private key"

	badRefresh       reason = "bad refresh token"
	expiredRefresh   reason = "expired refresh token"
	throttled        reason = "throttled"
	versionMissing   reason = "version missing"
	versionUnknown   reason = "version unknown"
	noBearer         reason = "no bearer"
	badBearer        reason = "bad bearer"
	expiredBearer    reason = "expired bearer"
	forbidden        reason = "forbidden"
	readOnlyToken    reason = "read-only token"
	notFound         reason = "not found"
	methodNotAllowed reason = "method not allowed"
	conflict         reason = "conflict"
	serverFault      reason = "server fault"
	wrongProtocol    reason = "wrong protocol"
)

// problem is one row of a product's table of refusals. What code and kind mean is the product's affair.
type problem struct {
	status  int // 0 where none is documented: WithRefusedStatus
	code    string
	kind    string
	message string
	field   string
}

// lookup falls back on the row for bad requests, so that a reason a product has no words for is still a refusal.
func lookup(rows map[reason]problem, why reason) problem {
	if p, ok := rows[why]; ok {
		return p
	}
	return rows[badRequest]
}

// merge returns the rows of base with those of more added or put in their place.
func merge(base, more map[reason]problem) map[reason]problem {
	all := maps.Clone(base)
	maps.Copy(all, more)
	return all
}
