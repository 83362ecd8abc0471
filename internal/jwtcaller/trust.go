// Package jwtcaller knows callers by the JSON Web Tokens of identity providers, such as
// service accounts of Kubernetes. A token counts if its signature, issuer, audience,
// times and claims are those that a configuration asks for; in doubt it does not. Tokens
// that were verified are remembered for as long as they and their keys count.
package jwtcaller

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"github.com/caddy-veeam/veeam-auth/internal/username"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
)

const (
	maxToken = 16 << 10 // bytes
	maxName  = 256      // bytes of the name of a caller
)

// Error is why a token does not count. Its text has nothing of the token, and is for the
// operator.
type Error struct {
	reason veeam.Reason
	text   string

	// RetryAfter is when another try makes sense, 0 if that is not known.
	RetryAfter time.Duration
}

func (e *Error) Error() string { return e.text }

// Reason returns veeam.ReasonBadToken, ReasonExpiredToken or ReasonJWKS.
func (e *Error) Reason() veeam.Reason { return e.reason }

// Refusal returns the refusal of a request with the token.
func (e *Error) Refusal() *veeam.Refusal {
	return &veeam.Refusal{Reason: e.reason, Detail: e.text, RetryAfter: e.RetryAfter}
}

// Trust has the identity providers of a site. Its methods are safe for concurrent use. A
// nil Trust has none.
type Trust struct {
	providers  []*provider
	remembered *remembered
}

// provider is an identity provider.
type provider struct {
	*Config
	limits limits
	place  place
	source *source // nil before Enter
	parser *jwt.Parser

	clients map[string]policy.Caller // by the value of the claim
}

// New returns the providers of a site, nil if there are none. client returns the caller
// that is the client with a name. It reads no keys.
func New(configured []*Config, client func(name string) (policy.Caller, bool)) (*Trust, error) {
	if len(configured) == 0 {
		return nil, nil
	}
	t := &Trust{remembered: newRemembered()}
	for _, config := range configured {
		p := &provider{Config: config, clients: make(map[string]policy.Caller, len(config.Clients))}
		var err error
		if p.limits, err = config.check(); err != nil {
			return nil, err
		}
		for _, other := range t.providers {
			if other.name() == config.name() {
				return nil, config.wrong("it is defined twice")
			}
			if other.Issuer == config.Issuer && slices.ContainsFunc(config.Audience, func(name string) bool { return slices.Contains(other.Audience, name) }) {
				return nil, config.wrong("its issuer has an audience in common with %s: the provider of a token must be unambiguous", other.name())
			}
		}
		for _, mapped := range config.Clients {
			caller, ok := client(mapped.Client)
			if !ok {
				return nil, config.wrong("no client named %s", mapped.Client)
			}
			caller.Provider = config.name()
			p.clients[mapped.Value] = caller
		}
		p.place = config.place(p.limits)
		p.parser = jwt.NewParser(
			jwt.WithValidMethods(algorithms), jwt.WithIssuer(config.Issuer), jwt.WithAudience(config.Audience...),
			jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(p.limits.leeway), jwt.WithStrictDecoding(), jwt.WithJSONNumber(),
		)
		t.providers = append(t.providers, p)
	}
	return t, nil
}

// Enter makes the keys of the providers those of the process, until leave is called. tell
// is called after each attempt to read keys. Nothing is read before Start.
func (t *Trust) Enter(tell func(Report)) (leave func()) {
	if t == nil {
		return func() {}
	}
	for _, p := range t.providers {
		p.source = sources.Acquire(p.place, func() *source { return newSource(p.place, tell) })
	}
	return func() {
		for _, p := range t.providers {
			sources.Release(p.place)
		}
	}
}

// Start begins to read the keys, and to keep them up to date.
func (t *Trust) Start() {
	if t == nil {
		return
	}
	for _, p := range t.providers {
		p.source.begin()
	}
}

// Presented returns the JSON Web Token in the header Authorization, empty if there is none
// or the site has no providers.
func (t *Trust) Presented(header http.Header) string {
	const scheme = "bearer "
	text := header.Get("Authorization")
	if t == nil || len(text) < len(scheme) || !strings.EqualFold(text[:len(scheme)], scheme) {
		return ""
	}
	if text = strings.TrimSpace(text[len(scheme):]); strings.Count(text, ".") != 2 {
		return ""
	}
	return text
}

// ownHeader is how tokens begin whose header begins with {"alg":"HS256", as in those that
// are issued here. No provider may have this algorithm.
const ownHeader = "eyJhbGciOiJIUzI1NiIs"

// Caller returns the caller of a token. trusted is false if the token is not of one of the
// providers: it may have been issued here, and err may say what is wrong with it
// otherwise. The error of a trusted one is an *Error, or that of ctx.
func (t *Trust) Caller(ctx context.Context, token string) (caller policy.Caller, trusted bool, err error) {
	if t == nil || strings.HasPrefix(token, ownHeader) {
		return policy.Caller{}, false, nil
	}
	if found := t.remembered.find(token, time.Now()); found != nil {
		return found.caller, true, nil
	}
	if strings.Count(token, ".") != 2 {
		return policy.Caller{}, false, nil
	}
	claims, err := readClaims(token)
	if err != nil {
		return policy.Caller{}, false, err
	}
	p, trusted, err := t.providerOf(claims)
	if p == nil {
		return policy.Caller{}, trusted, err
	}
	verified, err := p.verify(ctx, token, claims)
	if err != nil {
		return policy.Caller{}, true, err
	}
	t.remembered.add(verified)
	return verified.caller, true, nil
}

// signatures checks nothing but signatures.
var signatures = jwt.NewParser(jwt.WithValidMethods(algorithms), jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding(), jwt.WithJSONNumber())

// Ended returns why a token that Caller has accepted would be refused by now, whether it has
// expired or not: the provider has no such key any more, or is no longer configured. Keys
// that cannot be read end nothing.
func (t *Trust) Ended(token string) error {
	claims, err := readClaims(token)
	if err != nil {
		return err
	}
	p, _, err := t.providerOf(claims)
	if p == nil {
		return err
	}
	if p.source.ctx.Err() != nil {
		return p.bad("it is no longer configured")
	}
	set := p.source.current(time.Now())
	if set == nil {
		return nil
	}
	algorithm, id, err := p.readHeader(token)
	if err != nil {
		return err
	}
	public, err := set.find(id, algorithm)
	if err == nil {
		_, err = signatures.ParseWithClaims(token, jwt.MapClaims{}, func(*jwt.Token) (any, error) { return public, nil })
	}
	if err != nil {
		return p.bad("the provider no longer has the key of the token")
	}
	return nil
}

// Described returns the caller of a token with some claims, for explanations: neither
// times nor a signature are checked. The claims are a JSON object.
func (t *Trust) Described(claims []byte) (policy.Caller, error) {
	if t == nil {
		return policy.Caller{}, errors.New("the site has no trust_jwt")
	}
	object, err := decode(claims)
	if err != nil {
		return policy.Caller{}, err
	}
	p, _, err := t.providerOf(object)
	if err != nil {
		return policy.Caller{}, err
	}
	if p == nil {
		return policy.Caller{}, errors.New("no trust_jwt of the site has the issuer (iss) of the claims")
	}
	return p.caller(object)
}

// bad is the error of a token that is not valid.
func (p *provider) bad(text string) *Error {
	return &Error{reason: veeam.ReasonBadToken, text: "trust_jwt " + p.name() + ": " + text}
}

// readClaims reads the claims of a token that nobody has verified.
func readClaims(token string) (map[string]any, error) {
	if len(token) > maxToken {
		return nil, &Error{reason: veeam.ReasonBadToken, text: "the token exceeds 16 KiB"}
	}
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	claims, err := readSegment(payload)
	if err != nil {
		return nil, &Error{reason: veeam.ReasonBadToken, text: "the claims of the token cannot be read: " + err.Error()}
	}
	return claims, nil
}

func readSegment(text string) (map[string]any, error) {
	raw, err := decodeSegment(text)
	if err != nil || strings.ContainsAny(text, "\r\n") { // which the decoder skips
		return nil, errNotJSON
	}
	return decode(raw)
}

// providerOf returns the provider of claims. trusted reports whether one has their
// issuer; the error says then why it is not the provider.
func (t *Trust) providerOf(claims map[string]any) (p *provider, trusted bool, err error) {
	issuer, _ := claims["iss"].(string)
	if issuer == "" || issuer == policy.TokenIssuer {
		return nil, false, nil
	}
	var named *provider
	for _, one := range t.providers {
		if one.Issuer != issuer {
			continue
		}
		named = one
		if !one.serves(claims["aud"]) {
			continue
		}
		if p != nil {
			return nil, true, p.bad("the token is for the audiences of " + one.name() + ", too")
		}
		p = one
	}
	switch {
	case named == nil:
		return nil, false, nil
	case p == nil:
		return nil, true, named.bad("the token is not for this site: its audience (aud) differs")
	}
	return p, true, nil
}

// serves reports whether an audience is one of the site: a text, or a list of texts.
func (p *provider) serves(audience any) bool {
	switch audience := audience.(type) {
	case string:
		return slices.Contains(p.Audience, audience)
	case []any:
		found := false
		for _, one := range audience {
			name, ok := one.(string)
			if !ok {
				return false
			}
			found = found || slices.Contains(p.Audience, name)
		}
		return found
	}
	return false
}

// verify verifies a token, whose claims are known.
func (p *provider) verify(ctx context.Context, token string, claims map[string]any) (*verified, error) {
	algorithm, id, err := p.readHeader(token)
	if err != nil {
		return nil, err
	}
	if strings.ContainsAny(token, "\r\n") {
		return nil, p.bad("the token has line breaks")
	}
	until, err := p.checkTimes(claims)
	if err != nil {
		return nil, err
	}
	set, public, err := p.source.key(ctx, id, algorithm)
	switch {
	case errors.Is(err, errKeyUnknown), errors.Is(err, errKeyMissing), errors.Is(err, errKeyMisused):
		return nil, p.bad(err.Error())
	case err != nil:
		return nil, err
	}
	_, err = p.parser.ParseWithClaims(token, jwt.MapClaims{}, func(t *jwt.Token) (any, error) {
		if t.Method.Alg() != algorithm {
			return nil, errKeyMisused
		}
		return public, nil
	})
	if err != nil {
		return nil, p.refused(err)
	}
	caller, err := p.caller(claims)
	if err != nil {
		return nil, err
	}
	return &verified{token: token, caller: caller, until: until, source: p.source, set: set}, nil
}

// readHeader returns algorithm and key of a token. A key or an address of keys in the
// header does not count, and is ignored.
func (p *provider) readHeader(token string) (algorithm, id string, err error) {
	segment, _, _ := strings.Cut(token, ".")
	header, err := readSegment(segment)
	if err != nil {
		return "", "", p.bad("the header of the token cannot be read: " + err.Error())
	}
	algorithm, _ = header["alg"].(string)
	if !slices.Contains(algorithms, algorithm) {
		return "", "", p.bad("the algorithm of the token (alg) is not one of " + strings.Join(algorithms, ", "))
	}
	for _, name := range []string{"crit", "cty", "enc", "zip", "b64"} {
		if _, has := header[name]; has {
			return "", "", p.bad("the token has the header " + name + ", which is not supported")
		}
	}
	if kind, has := header["typ"]; has {
		name, _ := kind.(string)
		if name = strings.TrimPrefix(strings.ToLower(name), "application/"); name != "jwt" && name != "at+jwt" {
			return "", "", p.bad("the type of the token (typ) is neither JWT nor at+jwt")
		}
	}
	if kid, has := header["kid"]; has {
		if id, _ = kid.(string); id == "" || len(id) > maxKeyID {
			return "", "", p.bad("the name of the key (kid) is not a string, is empty or too long")
		}
	}
	return algorithm, id, nil
}

// lastSecond is the last one of the year 9999.
const lastSecond = 253402300799

// checkTimes checks that the times of a token are times, and its lifetime. It returns when
// the token ceases to count.
func (p *provider) checkTimes(claims map[string]any) (until time.Time, err error) {
	at := make(map[string]time.Time)
	for _, name := range []string{"exp", "nbf", "iat"} {
		value, has := claims[name]
		if !has {
			continue
		}
		number, _ := value.(json.Number)
		seconds, err := number.Float64()
		if err != nil || seconds < 0 || seconds > lastSecond {
			return until, p.bad("the time " + name + " of the token is not a number of seconds")
		}
		at[name] = time.Unix(int64(math.Floor(seconds)), 0)
	}
	expires, has := at["exp"]
	if !has {
		return until, p.bad("the token has no expiry (exp)")
	}
	began, has := at["iat"]
	if !has {
		if began, has = at["nbf"]; !has {
			return until, p.bad("the token has no start (iat or nbf)")
		}
	}
	if longest := p.limits.maxLifetime; expires.Sub(began) > longest {
		return until, p.bad("the lifetime of the token exceeds max_lifetime, " + longest.String())
	}
	return expires.Add(p.limits.leeway), nil
}

// refused returns the error of a token that the library refuses.
func (p *provider) refused(err error) *Error {
	text := "the token cannot be read"
	switch {
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		text = "the signature of the token is invalid"
	case errors.Is(err, jwt.ErrTokenExpired):
		return &Error{reason: veeam.ReasonExpiredToken, text: "trust_jwt " + p.name() + ": the token has expired"}
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		text = "the token is not valid yet (nbf or iat): compare the clocks"
	}
	return p.bad(text)
}

// caller returns the caller of verified claims.
func (p *provider) caller(claims map[string]any) (policy.Caller, error) {
	for _, r := range p.Require {
		switch ok, err := has(claims, r.Claim, r.Values); {
		case err != nil:
			return policy.Caller{}, p.bad("claim " + r.Claim + ": " + err.Error())
		case !ok:
			return policy.Caller{}, p.bad("the token lacks the claim " + r.Claim + " with a required value")
		}
	}
	value, err := lookup(claims, p.claim())
	if err != nil {
		return policy.Caller{}, p.bad("claim " + p.claim() + ": " + err.Error())
	}
	name, _ := value.(string)
	if name == "" || len(name) > maxName || username.Check(name) != nil || strings.ContainsRune(name, utf8.RuneError) || strings.TrimSpace(name) != name {
		return policy.Caller{}, p.bad("the claim " + p.claim() + " of the token is not a name: it is missing, not a string, too long, or has invisible characters")
	}
	if client, ok := p.clients[name]; ok {
		return client, nil
	}
	caller := policy.Caller{Name: p.name() + ":" + name, Via: policy.ViaJWT, Provider: p.name()}
	for _, a := range p.Accounts {
		ok, err := a.Claim == "", error(nil)
		if !ok {
			ok, err = has(claims, a.Claim, a.Values)
		}
		if err != nil {
			return policy.Caller{}, p.bad("claim " + a.Claim + ": " + err.Error())
		}
		if ok {
			caller.Account = a.Account
			break
		}
	}
	return caller.Remembered(), nil
}
