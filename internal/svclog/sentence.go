// This file holds the sentences around logins, in the voice of Veeam's service.

package svclog

import (
	"strconv"
	"strings"
	"time"
)

// TokenFailed is the sentence for a login that got no token.
const TokenFailed = "Failed to create access token."

// Authenticated returns the sentence for a password that was accepted. A user without a
// domain is written as a local one: .\benyoung.
func Authenticated(user string) string {
	if !strings.ContainsAny(user, `\@`) {
		user = `.\` + user
	}
	return sentence("Authenticated user: [", user, ']', "]")
}

// LoginFailed returns the sentence for a login that was refused.
func LoginFailed(user string) string { return quoted("Login failed for user '", user, "'.") }

// Exception returns the line of an error: its message and, in brackets, its type.
func Exception(message, typ string) string {
	line := string(MaskText(nil, message))
	if typ != "" {
		line += " (" + typ + ")"
	}
	return string(appendClean(nil, line))
}

// TokenCreated returns the sentence for a login that got a token.
func TokenCreated(user string) string { return quoted("Access token created for user '", user, "'.") }

// MFARequired returns the sentence for a server that asks for a verification code.
func MFARequired(user string) string {
	return quoted("Multi-factor authentication is required for user '", user, "'.")
}

// MFAConfirmed returns the sentence for a verification code that was accepted.
func MFAConfirmed(user string) string {
	return quoted("Multi-factor authentication confirmed for user '", user, "'.")
}

// MFAFailed returns the sentence for a verification code that was refused.
func MFAFailed(user string) string {
	return quoted("Multi-factor authentication failed for user '", user, "'.")
}

// TokenRefreshed returns the sentence for a refresh that got a new token.
func TokenRefreshed(user string) string {
	return quoted("Access token refreshed for user '", user, "'.")
}

// RefreshFailed returns the sentence for a refresh that was refused. The user is logged
// in again.
func RefreshFailed(user string) string {
	return quoted("Failed to refresh access token for user '", user, "'. Logging in again...")
}

// Replayed returns the sentence for a request that is sent again with a new token.
func Replayed(method, path string) string {
	return request("Request [", method, path, "] is sent again with a new access token.")
}

// Paced returns the sentence for a token request that is delayed by the rate limit, or
// because the server has asked to wait.
func Paced(user, pace string, wait time.Duration) string {
	return quoted("Token request of user '", user, "' waits ") + wait.Round(100*time.Millisecond).String() +
		" for its turn (pace " + pace + ")."
}

// Interference returns the sentence for a server that ends the sessions of a user soon
// after each login, with what to do. one tells that the product is known to allow one
// session per user.
func Interference(user string, times int, after time.Duration, one bool) string {
	why := "Another program seems to log in as the same user"
	if one {
		why += ", for which the server ends this session"
	}
	return quoted("Interference: the server has ended the session of user '", user, "' ") + strconv.Itoa(times) +
		" times in a row, the last one " + max(after.Round(time.Second), time.Second).String() + " after its login. " + why +
		": give veeam-auth its own user."
}

// LoggedOut returns the sentence for a session that was ended.
func LoggedOut(user string) string { return quoted("User '", user, "' logged out.") }

// LogoutFailed returns the sentence for a session that the server did not end.
func LogoutFailed(user string) string { return quoted("Failed to log out user '", user, "'.") }

// Denied returns the sentence for a request that a rule refused.
func Denied(user, method, path string) string { return access(user, method, path, "] is denied.") }

// Allowed returns the sentence for a request that a rule allowed.
func Allowed(user, method, path string) string { return access(user, method, path, "] is allowed.") }

// Shadowed returns the sentence for a request that a rule would have decided if it were
// obeyed. would is what it would be: allowed, denied or held for an approval.
func Shadowed(user, method, path, would, rule string) string {
	if user == "" {
		user = Anonymous
	}
	return request("Request [", method, path, quoted("] of user '", user, "' would be "+would+" by shadow "+rule+"."))
}

func access(user, method, path, verdict string) string {
	if user == "" {
		user = Anonymous
	}
	return request(quoted("Access of user '", user, "' to ["), method, path, verdict)
}

// quoted puts a name between apostrophes.
func quoted(before, name, after string) string { return sentence(before, name, '\'', after) }

// sentence puts name between two texts, masked, on one line and unable to end
// the quotation.
func sentence(before, name string, quote byte, after string) string {
	dst := append(make([]byte, 0, len(before)+len(name)+len(after)), before...)
	dst = MaskText(dst, name)
	dst = escapeByte(dst, len(before), quote)
	return string(append(cleanTail(dst, len(before)), after...))
}

// request puts "METHOD path" between two texts.
func request(before, method, path, after string) string {
	dst := appendMethod([]byte(before), method)
	dst = appendTarget(append(dst, ' '), path)
	return string(append(dst, after...))
}
