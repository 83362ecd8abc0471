// What an answer of the token endpoint means. Its fields decide, the status only
// where there are none: products ask for a code with 200, 202 or a
// plain refusal, and a wrong password with 400 or 401.

package veeam

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// reply is a success answer: a session or the next step towards one.
type reply struct {
	token     *Token       // a session
	mfaToken  secret.Value // the server requires a verification code
	shape     *Shape       // of that answer
	until     time.Time    // when mfaToken expires
	challenge secret.Value // VSPC: a code, encrypted with the public key

	offset time.Duration // how far the server's clock is ahead, as far as it says
}

var (
	errNoToken   = errors.New("the answer has no token")
	errNotJSON   = errors.New("the answer is not a JSON object")
	errBadBearer = errors.New("the token has bytes that are not allowed in a header")
)

// readReply reads an answer. Errors contain none of secrets.
func (p *Product) readReply(ans *answer, g Grant, requested time.Time, secrets []string) (*reply, error) {
	step := p.legacy[g]
	switch {
	case ans.status >= 200 && ans.status <= 299 && step != nil && step.basic:
		return p.readLogon(ans, g, requested)
	case ans.status >= 200 && ans.status <= 299:
		return p.readSuccess(ans, g, requested)
	case ans.status >= 300 && ans.status <= 399:
		return nil, &Error{
			Kind: KindMalformed, Status: ans.status, Err: errRedirect,
			Hint: "check scheme, host and port of the upstream",
		}
	}
	return nil, p.readRefusal(ans, g, secrets)
}

func (p *Product) readSuccess(ans *answer, g Grant, requested time.Time) (*reply, error) {
	malformed := func(err error) error {
		return &Error{Kind: KindMalformed, Status: ans.status, Err: err}
	}
	o, err := readObject(ans.body)
	if err != nil {
		return nil, malformed(errNotJSON)
	}
	o = p.unwrap(o)
	if access := o.text("accesstoken"); access != "" {
		refresh := o.text("refreshtoken")
		if !bearerSafe(access) {
			return nil, malformed(errBadBearer)
		}
		now := time.Now()
		return &reply{token: &Token{
			Access:    secret.New(access),
			Refresh:   secret.New(refresh),
			Requested: requested,
			Lifetime:  readLifetime(expiresIn(o, now), access, now),
			Grant:     g,
			Shape:     readShape(o, now),
		}}, nil
	}
	if mfaToken := o.text("mfatoken"); mfaToken != "" {
		now := time.Now()
		return &reply{mfaToken: secret.New(mfaToken), shape: readShape(o, now), until: requested.Add(challengeLifetime(o, now))}, nil
	}
	if challenge := cmp.Or(o.text("encryptedcode"), o.text("challenge")); challenge != "" {
		return &reply{challenge: secret.New(challenge)}, nil
	}
	if o.text("redirectto") != "" {
		return nil, &Error{
			Kind: KindSSORequired, Status: ans.status,
			Hint: "the user signs in with an identity provider: use a local user",
		}
	}
	return nil, malformed(errNoToken)
}

// expiresIn returns the lifetime in the answer: in seconds, or as a date.
func expiresIn(o object, now time.Time) json.RawMessage {
	if seconds := o.get("expiresin"); seconds != nil {
		return seconds
	}
	return legacyLifetime(o, now)
}

// bearerSafe reports whether a token can be sent in a header.
func bearerSafe(token string) bool {
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return false
		}
	}
	return true
}

// readRefusal reads an answer outside of 2xx and 3xx.
func (p *Product) readRefusal(ans *answer, g Grant, secrets []string) *Error {
	e := &Error{Kind: KindMalformed, Status: ans.status}
	o, err := readObject(ans.body)
	code := errorCode(o)
	if !repeats(code, secrets) {
		e.Code = sanitise(code)
	}
	switch status := ans.status; {
	case status == http.StatusTooManyRequests:
		e.Kind = KindThrottled
	case status == http.StatusPreconditionRequired:
		e.Kind, e.Hint = KindMFARequired, p.MFAHint
	case status == http.StatusRequestTimeout, status >= 500 && status <= 599:
		e.Kind = KindServerFault
	case p.refusedBy4xx && g != "" && status >= 400 && status <= 499:
		e.Kind, e.Hint, e.noVersion = p.refused4xx(status, g)
	case status == http.StatusBadRequest && err != nil && len(ans.body) > 0:
		// A web server in front of the API, such as "Invalid Hostname" of HTTP.sys.
		e.Kind, e.Hint = KindProtocol, "the answer does not come from the API: check scheme, host and port of the upstream"
	case status == http.StatusBadRequest, status == http.StatusUnauthorized, status == http.StatusForbidden:
		e.Kind, e.Hint = p.refusalKind(code, g)
	case status >= 400 && status <= 499:
		e.Kind, e.Hint = KindProtocol, "there is no token endpoint at this address: check product and upstream"
	}
	if e.Kind == KindThrottled || e.Kind == KindServerFault {
		e.RetryAfter = retryAfter(ans.header, o)
	}
	if e.Kind == KindThrottled && g != "" {
		e.RetryAfter = cmp.Or(e.RetryAfter, p.throttleWait)
	}
	return e
}

// refused4xx is the meaning of a status where that of a refused credential is not
// documented: it may be any but that of a path that is not there.
func (p *Product) refused4xx(status int, g Grant) (kind Kind, hint string, noVersion bool) {
	switch {
	case status == http.StatusNotFound:
		return KindProtocol, "the server does not serve this API version: check product, upstream and api_version", true
	case g == GrantRefreshToken:
		return KindRefused, "", false
	}
	return KindRefused, p.RefusedHint, false
}

// refusalKind tells a refused credential from a refused request.
func (p *Product) refusalKind(code string, g Grant) (Kind, string) {
	if versionCode(code) {
		return KindProtocol, p.versionHint()
	}
	switch fold(code) {
	case "licenseagreementsisnotaccepted":
		return KindProtocol, "accept the licence agreement of the appliance"
	case "invaliduri", "unexpectedcontent":
		// After a primary grant these speak of the request. A code or a refresh
		// token of the wrong form may be called unexpected content too.
		if g != GrantMFA && g != GrantRefreshToken {
			return KindProtocol, p.versionHint()
		}
	}
	if g == GrantPassword {
		return KindRefused, p.RefusedHint
	}
	return KindRefused, ""
}

// versionCode reports whether a server says that it does not serve the API version.
func versionCode(code string) bool {
	switch fold(code) {
	case "notimplemented", "apiversionunspecified", "unsupportedapiversion",
		"invalidapiversion", "ambiguousapiversion":
		return true
	}
	return false
}

// VersionRefused reports whether the server refused the request because it does not
// serve the requested API version. It has not checked the credential then.
func (e *Error) VersionRefused() bool {
	return e.Kind == KindProtocol && (e.noVersion || versionCode(e.Code))
}

// errorCode returns the error code in an answer: the page of the problem type, else
// errorCode (VBR), error (VSPC), errors[0] or title.
func errorCode(o object) string {
	if kind := o.text("type"); strings.Contains(strings.ToLower(kind), "/problems/") {
		return path.Base(kind)
	}
	for _, key := range []string{"errorcode", "error"} {
		if code := o.text(key); code != "" {
			return code
		}
	}
	if first := firstError(o); first != nil {
		code := first.text("type")
		if n, ok := readNumber(first.get("code")); ok {
			code += ":" + strconv.FormatFloat(n, 'f', 0, 64)
		}
		return code
	}
	return o.text("title")
}

// firstError is the first of the errors[] of VSPC, nil if there is none.
func firstError(o object) object {
	var list []json.RawMessage
	if json.Unmarshal(o.get("errors"), &list) != nil || len(list) == 0 {
		return nil
	}
	first, err := readObject(list[0])
	if err != nil {
		return nil
	}
	return first
}

// retryAfter returns the time to wait: the Retry-After header in either form, or
// retryAfter in the body, there in seconds.
func retryAfter(h http.Header, o object) time.Duration {
	const longest = time.Hour
	header := strings.TrimSpace(h.Get("Retry-After"))
	if at, err := http.ParseTime(header); err == nil {
		now := time.Now()
		if date, err := http.ParseTime(h.Get("Date")); err == nil {
			now = date // both by the server's clock
		}
		return min(max(0, at.Sub(now)), longest)
	}
	sources := []json.RawMessage{
		appendString(nil, header), o.get("retryafter"), firstError(o).get("retryafter"),
	}
	for _, raw := range sources {
		if seconds, ok := readNumber(raw); ok && seconds > 0 {
			return time.Duration(min(seconds, longest.Seconds()) * float64(time.Second))
		}
	}
	return 0
}
