// Tokens that must not count, whatever their form.

package jwtcaller

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
)

// Each token counts but for one difference.
func TestNoForgedTokenCounts(t *testing.T) {
	t.Parallel()
	p := testKeys()
	trust := trusting(t, nil, config(written(t, all(t))), &Config{
		Name: "second", Issuer: "https://other.lab.local", Audience: []string{testAudience},
		JWKSFile: written(t, document(t, jwk(t, "rsa", p.otherRSA, nil))),
	})
	public, err := x509.MarshalPKIXPublicKey(p.rsa.Public())
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	rs := func(header, claims map[string]any) string { return sign(t, "RS256", p.rsa, header, claims) }
	kid := map[string]any{"kid": "rsa", "typ": "JWT"}
	with := func(name string, value any) map[string]any { return map[string]any{"kid": "rsa", name: value} }
	text := func(claims map[string]any) string {
		text, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	valid := rs(kid, good(nil))
	parts := strings.Split(valid, ".")
	none := encode([]byte(`{"alg":"none","kid":"rsa"}`)) + "." + parts[1] + "."
	now := time.Now().Unix()
	object := text(good(nil))

	forged := map[string]string{
		"HS256 with the public key":            sign(t, "HS256", publicPEM, kid, good(nil)),
		"HS256 with the public key, reordered": raw(t, "HS256", publicPEM, `{"kid":"rsa","alg":"HS256"}`, object),
		"HS512 with the public key":            sign(t, "HS512", public, kid, good(nil)),
		"HS256 with an empty key":              sign(t, "HS256", []byte{}, kid, good(nil)),
		"none":                                 none,
		"none, with the signature":             none + parts[2],
		"None":                                 strings.Replace(none, encode([]byte(`{"alg":"none"`))[:16], encode([]byte(`{"alg":"NonE"`))[:16], 1),
		"no signature":                         parts[0] + "." + parts[1] + ".",
		"the signature of another token":       parts[0] + "." + encode([]byte(text(good(map[string]any{"sub": "mallory"})))) + "." + parts[2],
		"the header of another token":          encode([]byte(`{"alg":"RS256","kid":"rsa"}`)) + "." + parts[1] + "." + parts[2],
		"no algorithm":                         encode([]byte(`{"kid":"rsa"}`)) + "." + parts[1] + "." + parts[2],
		"algorithm in lower case":              sign(t, "RS256", p.rsa, map[string]any{"alg": "rs256", "kid": "rsa"}, good(nil)),
		"another algorithm than signed":        sign(t, "RS256", p.rsa, map[string]any{"alg": "RS384", "kid": "rsa"}, good(nil)),
		"PS256 said, RS256 signed":             sign(t, "RS256", p.rsa, map[string]any{"alg": "PS256", "kid": "rsa"}, good(nil)),
		"ES256 with the key P-384":             sign(t, "ES384", p.p384, map[string]any{"alg": "ES256", "kid": "p384"}, good(nil)),
		"RS256 with the key of EdDSA":          rs(map[string]any{"kid": "ed"}, good(nil)),
		"EdDSA with the key of RSA":            sign(t, "EdDSA", p.ed, kid, good(nil)),
		"a key of nobody":                      sign(t, "RS256", p.otherRSA, kid, good(nil)),
		"the key of another provider":          sign(t, "RS256", p.otherRSA, kid, good(nil)),
		"the issuer of another provider":       rs(kid, good(map[string]any{"iss": "https://other.lab.local"})),
		"no kid, several keys":                 rs(map[string]any{"typ": "JWT"}, good(nil)),
		"kid of another key":                   rs(map[string]any{"kid": "p256"}, good(nil)),
		"unknown kid":                          rs(map[string]any{"kid": "rsa2"}, good(nil)),
		"kid is a path":                        sign(t, "HS256", []byte{}, map[string]any{"kid": "../../../../dev/null"}, good(nil)),
		"kid is SQL":                           rs(map[string]any{"kid": "' OR 1=1 --"}, good(nil)),
		"kid in capitals":                      rs(map[string]any{"kid": "RSA"}, good(nil)),
		"kid is a number":                      rs(map[string]any{"kid": 0}, good(nil)),
		"kid is empty":                         rs(map[string]any{"kid": ""}, good(nil)),
		"kid is null":                          rs(map[string]any{"kid": nil}, good(nil)),
		"a key of its own (jwk)":               sign(t, "RS256", p.otherRSA, map[string]any{"kid": "rsa", "jwk": jwk(t, "rsa", p.otherRSA, nil)}, good(nil)),
		"a key of its own, without kid":        sign(t, "RS256", p.otherRSA, map[string]any{"jwk": jwk(t, "rsa", p.otherRSA, nil)}, good(nil)),
		"an address of keys (jku)":             sign(t, "RS256", p.otherRSA, map[string]any{"kid": "evil", "jku": "https://evil.lab.local/keys"}, good(nil)),
		"an address of a certificate (x5u)":    sign(t, "RS256", p.otherRSA, map[string]any{"kid": "rsa", "x5u": "https://evil.lab.local/cert"}, good(nil)),
		"a critical header":                    rs(with("crit", []string{"exp"}), good(nil)),
		"an empty critical header":             rs(with("crit", []string{}), good(nil)),
		"an encoded payload":                   rs(with("b64", false), good(nil)),
		"a token in a token":                   rs(with("cty", "JWT"), good(nil)),
		"compressed":                           rs(with("zip", "DEF"), good(nil)),
		"type of a logout":                     rs(with("typ", "logout+jwt"), good(nil)),
		"type is a number":                     rs(with("typ", 1), good(nil)),
		"alg twice":                            raw(t, "RS256", p.rsa, `{"alg":"none","kid":"rsa","alg":"RS256"}`, object),
		"kid twice":                            raw(t, "RS256", p.rsa, `{"alg":"RS256","kid":"ed","kid":"rsa"}`, object),
		"the header is a list":                 raw(t, "RS256", p.rsa, `["RS256"]`, object),
		"text behind the header":               raw(t, "RS256", p.rsa, `{"alg":"RS256","kid":"rsa"} x`, object),
		"no issuer":                            rs(kid, good(map[string]any{"iss": nil})),
		"another issuer":                       rs(kid, good(map[string]any{"iss": "https://evil.lab.local"})),
		"issuer with a slash":                  rs(kid, good(map[string]any{"iss": testIssuer + "/"})),
		"issuer in capitals":                   rs(kid, good(map[string]any{"iss": strings.ToUpper(testIssuer)})),
		"issuer is a list":                     rs(kid, good(map[string]any{"iss": []string{testIssuer}})),
		"the issuer of veeam-auth":             rs(kid, good(map[string]any{"iss": policy.TokenIssuer})),
		"no audience":                          rs(kid, good(map[string]any{"aud": nil})),
		"another audience":                     rs(kid, good(map[string]any{"aud": "other"})),
		"a list of other audiences":            rs(kid, good(map[string]any{"aud": []string{"a", "b"}})),
		"no audience in the list":              rs(kid, good(map[string]any{"aud": []string{}})),
		"audience with a blank":                rs(kid, good(map[string]any{"aud": testAudience + " "})),
		"audiences in one text":                rs(kid, good(map[string]any{"aud": "other " + testAudience})),
		"a list with a number":                 rs(kid, good(map[string]any{"aud": []any{testAudience, 1}})),
		"audience is an object":                rs(kid, good(map[string]any{"aud": map[string]any{testAudience: true}})),
		"no end":                               rs(kid, good(map[string]any{"exp": nil})),
		"no end, but EXP":                      rs(kid, good(map[string]any{"exp": nil, "EXP": now + 600})),
		"the end is a text":                    rs(kid, good(map[string]any{"exp": fmt.Sprint(now + 600)})),
		"the end is null":                      raw(t, "RS256", p.rsa, `{"alg":"RS256","kid":"rsa"}`, strings.Replace(object, fmt.Sprint(now+600), "null", 1)),
		"the end is beyond all years":          raw(t, "RS256", p.rsa, `{"alg":"RS256","kid":"rsa"}`, strings.Replace(object, fmt.Sprint(now+600), "1e300", 1)),
		"the end is negative":                  rs(kid, good(map[string]any{"exp": -1})),
		"expired":                              rs(kid, good(map[string]any{"exp": now - 60, "iat": now - 600, "nbf": now - 600})),
		"not valid yet":                        rs(kid, good(map[string]any{"nbf": now + 60})),
		"nbf is a text":                        rs(kid, good(map[string]any{"nbf": "0"})),
		"issued in the future":                 rs(kid, good(map[string]any{"iat": now + 60})),
		"valid for too long":                   rs(kid, good(map[string]any{"exp": now + 90_000})),
		"valid for too long, without iat":      rs(kid, good(map[string]any{"exp": now + 90_000, "iat": nil})),
		"no begin":                             rs(kid, good(map[string]any{"iat": nil, "nbf": nil})),
		"valid for too long, iat put forward":  rs(kid, good(map[string]any{"exp": now + 90_000, "iat": now + 20})),
		"sub twice":                            raw(t, "RS256", p.rsa, `{"alg":"RS256","kid":"rsa"}`, `{"sub":"mallory",`+object[1:]),
		"iss twice, once escaped":              raw(t, "RS256", p.rsa, `{"alg":"RS256","kid":"rsa"}`, `{"\u0069ss":"https://evil.lab.local",`+object[1:]),
		"a claim twice inside of another":      raw(t, "RS256", p.rsa, `{"alg":"RS256","kid":"rsa"}`, `{"x":{"a":1,"a":2},`+object[1:]),
		"text behind the claims":               raw(t, "RS256", p.rsa, `{"alg":"RS256","kid":"rsa"}`, object+"{}"),
		"the claims are a list":                raw(t, "RS256", p.rsa, `{"alg":"RS256","kid":"rsa"}`, "["+object+"]"),
		"the claims are null":                  raw(t, "RS256", p.rsa, `{"alg":"RS256","kid":"rsa"}`, "null"),
		"not in UTF-8":                         raw(t, "RS256", p.rsa, `{"alg":"RS256","kid":"rsa"}`, strings.Replace(object, "alice", "al\xffice", 1)),
		"nested too deep":                      raw(t, "RS256", p.rsa, `{"alg":"RS256","kid":"rsa"}`, `{"x":`+strings.Repeat("[", 20)+strings.Repeat("]", 20)+","+object[1:]),
		"no name":                              rs(kid, good(map[string]any{"sub": nil})),
		"an empty name":                        rs(kid, good(map[string]any{"sub": ""})),
		"the name is a number":                 rs(kid, good(map[string]any{"sub": 7})),
		"the name is a list":                   rs(kid, good(map[string]any{"sub": []string{"alice"}})),
		"a name with a NUL":                    rs(kid, good(map[string]any{"sub": "alice\x00"})),
		"a name with half a character":         raw(t, "RS256", p.rsa, `{"alg":"RS256","kid":"rsa"}`, strings.Replace(object, "alice", `al\ud800ice`, 1)),
		"a name with a blank at the end":       rs(kid, good(map[string]any{"sub": "alice "})),
		"a name that is too long":              rs(kid, good(map[string]any{"sub": strings.Repeat("a", 300)})),
		"too long":                             rs(kid, good(map[string]any{"x": strings.Repeat("a", maxToken)})),
		"text behind":                          valid + "x",
		"a line break behind":                  valid + "\n",
		"a line break inside":                  parts[0] + "." + parts[1] + "\n." + parts[2],
		"padded":                               parts[0] + "." + parts[1] + "." + base64.URLEncoding.EncodeToString([]byte("x")),
		"a fourth part":                        valid + ".x",
		"encrypted, with five parts":           parts[0] + ".." + parts[1] + "." + parts[2] + ".x",
		"two parts":                            parts[0] + "." + parts[1],
		"no claims":                            parts[0] + ".." + parts[2],
		"other bits at the end":                otherBits(valid),
	}
	for name, token := range forged {
		for range 2 { // the second time it could be remembered
			caller, trusted, err := trust.Caller(t.Context(), token)
			if trusted && err == nil || caller != (policy.Caller{}) {
				t.Errorf("%s: counts as %+v", name, caller)
			}
			if err != nil && (len(token) > 50 && strings.Contains(err.Error(), token[:50]) || strings.Contains(err.Error(), "mallory")) {
				t.Errorf("%s: the error repeats the token: %v", name, err)
			}
		}
	}
	t.Logf("%d forged tokens", len(forged))
	if caller, trusted, err := trust.Caller(t.Context(), valid); err != nil || !trusted || caller.Identity() != "jwt:idp:alice" {
		t.Errorf("the token that they were made from does not count: %+v %v %v", caller, trusted, err)
	}
}

// otherBits is the same signature with other bits in its last digit, which a sloppy
// decoder ignores.
func otherBits(token string) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(digits, token[len(token)-1])
	return token[:len(token)-1] + string(digits[last^1])
}

func TestATokenOfEachAlgorithmCounts(t *testing.T) {
	t.Parallel()
	p := testKeys()
	trust := trusting(t, nil, config(written(t, all(t))))
	for algorithm, by := range map[string]struct {
		kid string
		key any
	}{
		"RS256": {"rsa", p.rsa}, "RS384": {"rsa", p.rsa}, "RS512": {"rsa", p.rsa}, "PS256": {"rsa", p.rsa}, "PS384": {"rsa", p.rsa}, "PS512": {"rsa", p.rsa},
		"ES256": {"p256", p.p256}, "ES384": {"p384", p.p384}, "ES512": {"p521", p.p521}, "EdDSA": {"ed", p.ed},
	} {
		for _, typ := range []any{"JWT", "jwt", "at+jwt", "application/at+jwt"} {
			caller, trusted, err := trust.Caller(t.Context(), sign(t, algorithm, by.key, map[string]any{"kid": by.kid, "typ": typ}, good(nil)))
			if err != nil || !trusted || caller != (policy.Caller{Name: "idp:alice", Via: policy.ViaJWT, Provider: "idp"}).Remembered() {
				t.Errorf("%s: %+v %v", algorithm, caller, err)
			}
		}
		// Another algorithm for each key does not.
		for _, other := range algorithms {
			forged := sign(t, algorithm, by.key, map[string]any{"alg": other, "kid": by.kid}, good(nil))
			if _, trusted, err := trust.Caller(t.Context(), forged); trusted && err == nil && other != algorithm {
				t.Errorf("%s counts for %s", algorithm, other)
			}
		}
	}
	for _, algorithm := range algorithms {
		if strings.HasPrefix(algorithm, "HS") || algorithm == "none" {
			t.Errorf("%s is an algorithm", algorithm)
		}
	}
}

// A key with an algorithm (alg) counts for that one alone.
func TestAKeyMayBeForOneAlgorithm(t *testing.T) {
	t.Parallel()
	p := testKeys()
	trust := trusting(t, nil, config(written(t, document(t, jwk(t, "rsa", p.rsa, map[string]any{"alg": "PS256"}), jwk(t, "p256", p.p256, nil)))))
	for _, algorithm := range []string{"RS256", "RS512", "PS256", "PS384"} {
		_, trusted, err := trust.Caller(t.Context(), sign(t, algorithm, p.rsa, map[string]any{"kid": "rsa"}, good(nil)))
		if !trusted || (err == nil) != (algorithm == "PS256") {
			t.Errorf("%s: %v", algorithm, err)
		}
	}
}

func TestATokenWithoutAKeyNameCountsIfTheProviderHasOneKey(t *testing.T) {
	t.Parallel()
	p := testKeys()
	trust := trusting(t, nil, config(written(t, document(t, jwk(t, "only", p.p256, nil), map[string]any{"kty": "oct", "k": "c2VjcmV0", "kid": "hmac"}))))
	token := sign(t, "ES256", p.p256, nil, good(nil))
	if _, trusted, err := trust.Caller(t.Context(), token); !trusted || err != nil {
		t.Error(err)
	}
	for _, forged := range []string{raw(t, "HS256", []byte("secret"), `{"kid":"hmac","alg":"HS256"}`, `{"iss":"`+testIssuer+`","aud":"`+testAudience+`"}`), sign(t, "RS256", p.rsa, nil, good(nil))} {
		if _, trusted, err := trust.Caller(t.Context(), forged); trusted && err == nil {
			t.Error("a forged token counts")
		}
	}
}

func TestKeysThatAreWeakOrForSomethingElseAreLeftOut(t *testing.T) {
	t.Parallel()
	p := testKeys()
	off := jwk(t, "off", p.p256, nil)
	off["y"] = off["x"]
	private := jwk(t, "private", p.p256, map[string]any{"d": "AQ"})
	huge := jwk(t, "huge", p.rsa, nil)
	huge["n"] = encode(append([]byte{1}, make([]byte, 4096)...))
	for name, unusable := range map[string]map[string]any{
		"1024 bits": jwk(t, "a", p.weakRSA, nil), "for encryption": jwk(t, "a", p.rsa, map[string]any{"use": "enc"}),
		"use is a list": jwk(t, "a", p.rsa, map[string]any{"use": []string{"sig"}}), "for signing": jwk(t, "a", p.rsa, map[string]any{"key_ops": []string{"sign"}}),
		"without operations": jwk(t, "a", p.rsa, map[string]any{"key_ops": []string{}}), "for HS256": jwk(t, "a", p.rsa, map[string]any{"alg": "HS256"}),
		"for another type": jwk(t, "a", p.rsa, map[string]any{"alg": "ES256"}), "algorithm is null": jwk(t, "a", p.rsa, map[string]any{"alg": nil}),
		"even exponent": jwk(t, "a", p.rsa, map[string]any{"e": "BA"}), "exponent 1": jwk(t, "a", p.rsa, map[string]any{"e": "AQ"}), "no exponent": jwk(t, "a", p.rsa, map[string]any{"e": ""}),
		"too many bits": huge, "not on the curve": off, "private": private, "private is null": jwk(t, "a", p.rsa, map[string]any{"d": nil}), "a prime of an RSA key": jwk(t, "a", p.rsa, map[string]any{"p": "AQ"}),
		"the other prime": jwk(t, "a", p.rsa, map[string]any{"q": "AQ"}), "more primes": jwk(t, "a", p.rsa, map[string]any{"oth": []any{}}), "an exponent of a prime": jwk(t, "a", p.rsa, map[string]any{"dp": "AQ"}),
		"a coefficient": jwk(t, "a", p.rsa, map[string]any{"qi": "AQ"}), "a secret beside a point": jwk(t, "a", p.p256, map[string]any{"k": "AQ"}), "a secret": {"kty": "oct", "k": "c2VjcmV0"}, "nothing": {}, "another curve": jwk(t, "a", p.p256, map[string]any{"crv": "secp256k1"}),
		"Ed448": jwk(t, "a", p.ed, map[string]any{"crv": "Ed448"}), "a short point": jwk(t, "a", p.p256, map[string]any{"x": "AA"}), "kid is a number": jwk(t, "a", p.rsa, map[string]any{"kid": 7}),
	} {
		if set, err := parseKeys(document(t, unusable)); err == nil {
			t.Errorf("%s: %+v", name, set.keys)
		}
		set, err := parseKeys(document(t, unusable, jwk(t, "good", p.p384, nil)))
		if err != nil || len(set.keys) != 1 || set.keys[0].id != "good" {
			t.Errorf("%s beside a good key: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"empty": "", "a list": "[]", "no keys": `{}`, "keys are an object": `{"keys":{}}`, "none": `{"keys":[]}`, "keys twice": `{"keys":[],"keys":[]}`,
		"one name twice": string(document(t, jwk(t, "a", p.rsa, nil), jwk(t, "a", p.p256, nil))), "too many": `{"keys":[` + strings.Repeat(`{},`, maxKeys) + `{}]}`,
		"too long": `{"x":"` + strings.Repeat("a", maxDocument) + `"}`, "an HTML page": "<html></html>",
	} {
		if _, err := parseKeys([]byte(text)); err == nil {
			t.Errorf("%s is a key set", name)
		}
	}
}

func TestNoTokenCountsWhileThereAreNoKeys(t *testing.T) {
	t.Parallel()
	p := testKeys()
	trust := trusting(t, nil, config(written(t, []byte("{}"))))
	_, trusted, err := trust.Caller(t.Context(), sign(t, "RS256", p.rsa, map[string]any{"kid": "rsa"}, good(nil)))
	if !trusted || veeam.ReasonOf(err) != veeam.ReasonJWKS {
		t.Error(trusted, err)
	}
}
