// Token answers of this module's token endpoint, in the shape of the product.

package veeam

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Answer is the content of a token response to a client.
type Answer struct {
	AccessToken, RefreshToken string

	// Issued is the time at which the token was issued. Default: now.
	Issued time.Time

	// Lifetime is the lifetime of the access token. It is written in whole seconds, at
	// least one.
	Lifetime time.Duration

	// Username, Role and UserID are written if the product's response has a field for
	// them. Empty ones are taken from the Shape, or omitted.
	Username, Role, UserID string

	// Grant is the grant of the client's request. Default: GrantPassword.
	Grant Grant

	// Path is the path of the request. The response of some products depends on the API
	// version in it.
	Path string
}

// answerKey is a key of a product's documented token answer.
type answerKey struct {
	name     string
	fallback string // JSON value if no other is known. Default: leave the key out
	required bool   // written even if the server's latest answer had no such key
	password bool   // only in answers to grant password
	dialect  bool   // required in some API versions, see dialect, and left out in the others
}

var (
	accessKey    = answerKey{name: "access_token", required: true}
	typeKey      = answerKey{name: "token_type", required: true}
	refreshKey   = answerKey{name: "refresh_token", required: true}
	expiresInKey = answerKey{name: "expires_in", required: true}
	issuedKey    = answerKey{name: ".issued", required: true}
	expiresKey   = answerKey{name: ".expires", required: true}

	// productKeys are the folded keys, beside the mirrored ones, of token answers.
	productKeys = []string{
		"accesstoken", "tokentype", "refreshtoken", "expiresin", "issued", "expires",
		"mfatoken", "encryptedcode",
	}
)

// AppendTokenAnswer appends the JSON of a successful token response to dst. Its keys,
// their order and the format of dates are those of s, the shape of the server's own
// response. If s is nil, they are those of the product's documentation. Keys that
// clients of the product require are always written. mfa_token is omitted, because
// clients interpret it as an MFA challenge even if it is null; only for VSPC it is
// always written, as null.
func (p *Product) AppendTokenAnswer(dst []byte, a Answer, s *Shape) []byte {
	if s == nil || p.legacy != nil { // there a code is answered in another shape
		s = &Shape{}
	}
	if a.Issued.IsZero() {
		a.Issued = time.Now()
	}
	if p.legacy != nil {
		dst = append(dst, `{"data":`...)
	}
	dst = append(dst, '{')
	first := true
	for _, key := range p.answerKeys(s, p.dialectAt(a.Path)) {
		if a.Grant != "" && a.Grant != GrantPassword && p.passwordOnly(key.name) {
			continue
		}
		value := p.appendValue(nil, key, a, s)
		if value == nil {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = appendString(dst, key.name)
		dst = append(dst, ':')
		dst = append(dst, value...)
	}
	if p.legacy != nil {
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

// passwordOnly reports whether a key is written in answers to grant password only.
func (p *Product) passwordOnly(name string) bool {
	return slices.ContainsFunc(p.answer, func(k answerKey) bool { return k.password && fold(k.name) == fold(name) })
}

// MFAChallenge returns the response that requests a verification code. body is JSON,
// empty if the product has no such response. Values about the user other than the name
// are taken from s, the shape of the server's own response, or omitted if s is nil.
func (p *Product) MFAChallenge(username, mfaToken string, s *Shape) (status int, body []byte) {
	said := func(name string) string {
		if s == nil {
			return ""
		}
		value := s.Extras[fold(name)]
		if !scalar(value) || !json.Valid(value) {
			return ""
		}
		return string(appendString(nil, name)) + ":" + string(value) + ","
	}
	values := strings.NewReplacer(
		"$username", string(appendString(nil, username)), "$token", string(appendString(nil, mfaToken)),
		"$userId", said("userId"), "$roleName", said("roleName"),
	)
	return cmp.Or(p.mfaChallengeStatus, http.StatusOK), []byte(values.Replace(p.mfaChallenge))
}

// answerKeys returns the keys to write, in order.
func (p *Product) answerKeys(s *Shape, d dialect) []answerKey {
	reference := p.answer
	for i, k := range reference {
		if k.dialect {
			reference = slices.Clone(reference)
			reference[i].required = slices.Contains(d.answerKeys, k.name)
		}
	}
	if len(s.Keys) == 0 {
		return slices.DeleteFunc(slices.Clone(reference), func(k answerKey) bool { return k.dialect && !k.required })
	}
	documented := map[string]answerKey{}
	for _, k := range reference {
		documented[fold(k.name)] = k
	}
	var keys []answerKey
	written := map[string]bool{}
	for _, name := range s.Keys {
		key, ok := documented[fold(name)]
		if !ok && !mirrored[fold(name)] {
			continue
		}
		key.name = name
		keys = append(keys, key)
		written[fold(name)] = true
	}
	for _, k := range reference {
		if k.required && !written[fold(k.name)] {
			keys = append(keys, k)
		}
	}
	return keys
}

// appendValue appends the JSON value of a key, or nothing if the key is left out.
func (p *Product) appendValue(dst []byte, key answerKey, a Answer, s *Shape) []byte {
	name := fold(key.name)
	seconds := max(1, int64(a.Lifetime/time.Second))
	switch name {
	case "accesstoken":
		return appendString(dst, a.AccessToken)
	case "refreshtoken":
		return appendString(dst, a.RefreshToken)
	case "tokentype":
		if s.TokenType != "" {
			return appendString(dst, s.TokenType)
		}
		if key.fallback != "" {
			return append(dst, key.fallback...)
		}
		return appendString(dst, "bearer")
	case "expiresin":
		return strconv.AppendInt(dst, seconds, 10)
	case "issued":
		return p.appendDate(dst, a.Issued, s)
	case "expires", "expirationtime":
		return p.appendDate(dst, a.Issued.Add(time.Duration(seconds)*time.Second), s)
	}
	own := map[string]string{"username": a.Username, "user": a.Username, "rolename": a.Role, "userrole": a.Role, "userid": a.UserID}
	if text := own[name]; text != "" {
		return appendString(dst, text)
	}
	if value := s.Extras[name]; scalar(value) && json.Valid(value) {
		return append(dst, value...)
	}
	return append(dst, key.fallback...)
}

func (p *Product) appendDate(dst []byte, t time.Time, s *Shape) []byte {
	layout := p.dates
	if s.Dates != nil {
		layout = *s.Dates
	}
	dst = append(dst, '"')
	dst = layout.append(dst, t)
	return append(dst, '"')
}

// appendString appends a JSON string. Unlike the default of encoding/json it
// leaves <, > and & as they are, as the servers do.
func appendString(dst []byte, s string) []byte {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil { // a string always encodes
		return append(dst, `""`...)
	}
	return append(dst, strings.TrimSuffix(b.String(), "\n")...)
}
