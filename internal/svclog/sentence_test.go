// This file holds the tests of the sentences around logins.

package svclog

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestSentences(t *testing.T) {
	for got, want := range map[string]string{
		Authenticated("benyoung"):           `Authenticated user: [.\benyoung]`,
		Authenticated(`LAB\benyoung`):       `Authenticated user: [LAB\benyoung]`,
		Authenticated("b@lab.local"):        "Authenticated user: [b@lab.local]",
		Authenticated("a]b"):                `Authenticated user: [.\a\u005db]`,
		LoginFailed("benyoung"):             "Login failed for user 'benyoung'.",
		LoginFailed("o'brien\n[x"):          `Login failed for user 'o\u0027brien\n[x'.`,
		Exception("Refused", "Veeam.Error"): "Refused (Veeam.Error)",
		Exception("Refused", ""):            "Refused",
		Exception("a\nBearer b", "T"):       `a\nBearer **** (T)`,
		TokenCreated("u"):                   "Access token created for user 'u'.",
		MFARequired("u"):                    "Multi-factor authentication is required for user 'u'.",
		MFAConfirmed("u"):                   "Multi-factor authentication confirmed for user 'u'.",
		MFAFailed("u"):                      "Multi-factor authentication failed for user 'u'.",
		TokenRefreshed("u"):                 "Access token refreshed for user 'u'.",
		RefreshFailed("u"):                  "Failed to refresh access token for user 'u'. Logging in again...",
		Replayed("post", "/a?token=b"):      "Request [POST /a?token=****] is sent again with a new access token.",
		Paced("u", "1/s 5/m", 1234567890):   "Token request of user 'u' waits 1.2s for its turn (pace 1/s 5/m).",
		Interference("u", 3, 30*time.Second, false): "Interference: the server has ended the session of user 'u' 3 times in a row, the last one 30s after its login. " +
			"Another program seems to log in as the same user: give veeam-auth its own user.",
		LoggedOut("u"):             "User 'u' logged out.",
		LogoutFailed("u"):          "Failed to log out user 'u'.",
		Allowed("me", "GET", "/a"): "Access of user 'me' to [GET /a] is allowed.",
		Denied("", "GET", "/a"):    "Access of user 'Anonymous' to [GET /a] is denied.",
		Denied("u", "GET", "/a b"): "Access of user 'u' to [GET /a%20b] is denied.",
		Shadowed("", "GET", "/a?token=b", "denied", "rule 2"): "Request [GET /a?token=****] of user 'Anonymous' would be denied by shadow rule 2.",
		TokenFailed: "Failed to create access token.",
	} {
		if got != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	}
}

func TestSentencesGoThroughALineUnchanged(t *testing.T) {
	word := regexp.MustCompile(`^[A-Z]`)
	for _, said := range []string{
		Authenticated("u"), LoginFailed("u"), TokenFailed, TokenCreated("u"), MFARequired("u"), MFAConfirmed("u"),
		MFAFailed("u"), TokenRefreshed("u"), RefreshFailed("u"),
		Replayed("GET", "/a"), LoggedOut("u"), LogoutFailed("u"),
		Denied("u", "GET", "/a"),
	} {
		line := string(Renderer{}.AppendSentence(nil, noon, 0, 3, said, nil))
		if !strings.HasSuffix(line, " "+said+"\n") || !word.MatchString(said) {
			t.Errorf("%s: %s", said, line)
		}
	}
}
