// This file holds the sentences around logins, in the voice of Veeam's service.

package svclog

import (
	"strconv"
	"strings"
	"time"
)

// TokenFailed is the sentence after a login that gave no token.
const TokenFailed = "Failed to create access token."

// Authenticated is the sentence that a user's password was right. A user without
// a domain is written as the local one that he is: .\benyoung.
func Authenticated(user string) string {
	if !strings.ContainsAny(user, `\@`) {
		user = `.\` + user
	}
	return sentence("Authenticated user: [", user, ']', "]")
}

// LoginFailed is the sentence that the login of a user was refused.
func LoginFailed(user string) string { return quoted("Login failed for user '", user, "'.") }

// Exception is the line of an error: its message and, in brackets, its type.
func Exception(message, typ string) string {
	line := string(MaskText(nil, message))
	if typ != "" {
		line += " (" + typ + ")"
	}
	return string(appendClean(nil, line))
}

// TokenCreated is the sentence that a login gave a token.
func TokenCreated(user string) string { return quoted("Access token created for user '", user, "'.") }

// MFARequired is the sentence that the server asked for a one-time code.
func MFARequired(user string) string {
	return quoted("Multi-factor authentication is required for user '", user, "'.")
}

// MFAConfirmed is the sentence that the one-time code was right.
func MFAConfirmed(user string) string {
	return quoted("Multi-factor authentication confirmed for user '", user, "'.")
}

// MFAFailed is the sentence that the one-time code was refused.
func MFAFailed(user string) string {
	return quoted("Multi-factor authentication failed for user '", user, "'.")
}

// TokenRefreshed is the sentence that a refresh gave a new token.
func TokenRefreshed(user string) string {
	return quoted("Access token refreshed for user '", user, "'.")
}

// RefreshFailed is the sentence that a refresh was refused, and that the user
// is logged in again.
func RefreshFailed(user string) string {
	return quoted("Failed to refresh access token for user '", user, "'. Logging in again...")
}

// Replayed is the sentence that a request is sent again with a new token.
func Replayed(method, path string) string {
	return request("Request [", method, path, "] is sent again with a new access token.")
}

// Paced is the sentence that a token request of a user is sent later, because of
// the pace of the server or because it has asked so.
func Paced(user, pace string, wait time.Duration) string {
	return quoted("Token request of user '", user, "' waits ") + wait.Round(100*time.Millisecond).String() +
		" for its turn (pace " + pace + ")."
}

// Interference is the sentence that the server ends the sessions of a user soon
// after each login, and what to do. one says that the product is known to end a
// user's session for another.
func Interference(user string, times int, after time.Duration, one bool) string {
	why := "Another program seems to log in as the same user"
	if one {
		why += ", for which the server ends this session"
	}
	return quoted("Interference: the server has ended the session of user '", user, "' ") + strconv.Itoa(times) +
		" times in a row, the last one " + max(after.Round(time.Second), time.Second).String() + " after its login. " + why +
		": give veeam-auth its own user."
}

// LoggedOut is the sentence that a session was ended.
func LoggedOut(user string) string { return quoted("User '", user, "' logged out.") }

// LogoutFailed is the sentence that the server did not end a session.
func LogoutFailed(user string) string { return quoted("Failed to log out user '", user, "'.") }

// Denied is the sentence that a rule refused a request.
func Denied(user, method, path string) string { return access(user, method, path, "] is denied.") }

// Allowed is the sentence that a rule let a request in.
func Allowed(user, method, path string) string { return access(user, method, path, "] is allowed.") }

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
