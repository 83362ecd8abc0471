// The lifetime of an access token: expires_in, and what to do without it.

package veeam

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"
)

// Limits of Token.Lifetime.
const (
	// MaxLifetime is the maximum lifetime. A token with a longer one is renewed earlier than
	// needed.
	MaxLifetime = 24 * time.Hour

	// DefaultLifetime is the lifetime if neither expires_in nor the token has one: the
	// shortest that a product documents for an access token.
	DefaultLifetime = 15 * time.Minute

	// expiredLifetime is for an access token that comes with an expires_in of
	// zero or less. The server gave a token, so it is used, but not for long.
	expiredLifetime = time.Minute
)

// LongestSession is how long a session lives at most that nobody uses: until its refresh
// token expires. The products document two hours to two weeks, some of them nothing.
func (p *Product) LongestSession() time.Duration {
	if p.Idling() {
		return p.idle
	}
	return 14 * 24 * time.Hour
}

// readLifetime decides how long an access token is used:
//
//   - a positive number, integer, fraction or the same in a string: that many
//     seconds, at least one and at most MaxLifetime, also when it overflows;
//   - zero or negative: one minute;
//   - absent, null or anything else ("abc", NaN, true, an object): what is left
//     until the exp claim of the token, if it is a JWT whose exp is a number or
//     a string of digits and lies ahead, at most MaxLifetime; otherwise
//     DefaultLifetime.
func readLifetime(expiresIn json.RawMessage, access string, now time.Time) time.Duration {
	if seconds, ok := readNumber(expiresIn); ok {
		if seconds <= 0 {
			return expiredLifetime
		}
		return clampSeconds(seconds)
	}
	if exp, ok := readNumber(jwtClaim(access, "exp")); ok {
		if left := exp - float64(now.Unix()); left > 0 {
			return clampSeconds(left)
		}
	}
	return DefaultLifetime
}

// ChallengeLifetime is the time for which an mfa_token is used after it was requested,
// unless the server specifies a shorter one. No product documents a lifetime.
const ChallengeLifetime = time.Minute

// challengeLifetime reads how long the mfa_token of a challenge may be used.
func challengeLifetime(o object, now time.Time) time.Duration {
	if seconds, ok := readNumber(expiresIn(o, now)); ok && seconds > 0 {
		return min(clampSeconds(seconds), ChallengeLifetime)
	}
	return ChallengeLifetime
}

func clampSeconds(seconds float64) time.Duration {
	if seconds >= MaxLifetime.Seconds() {
		return MaxLifetime
	}
	return max(time.Second, time.Duration(seconds*float64(time.Second)))
}

// readNumber reads a JSON number or a JSON string that holds one. A number too
// large for a float64 is read as infinite.
func readNumber(raw json.RawMessage) (float64, bool) {
	text := strings.TrimSpace(string(raw))
	if strings.HasPrefix(text, `"`) {
		if json.Unmarshal([]byte(text), &text) != nil {
			return 0, false
		}
		text = strings.TrimSpace(text)
	}
	// ParseFloat also takes names, hexadecimals and underscores.
	if text == "" || strings.Trim(text, "+-.0123456789eE") != "" {
		return 0, false
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil && !math.IsInf(f, 0) {
		return 0, false
	}
	return f, true
}

// jwtClaim returns a claim of a token if it is a JWT. Its signature is not
// checked: the answer came from the server itself, over TLS, and the claims are
// hints.
func jwtClaim(token, name string) json.RawMessage {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return nil
	}
	var claims map[string]json.RawMessage
	if json.Unmarshal(payload, &claims) != nil {
		return nil
	}
	return claims[name]
}
