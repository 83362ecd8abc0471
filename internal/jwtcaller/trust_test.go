// Who the caller of a token is, and for how long.

package jwtcaller

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
)

// A subject of a provider is never a client of the configuration by accident.
func TestTheNameOfACallerBeginsWithItsProvider(t *testing.T) {
	t.Parallel()
	p := testKeys()
	file := written(t, all(t))
	first, second := config(file), config(file)
	first.Name, first.Clients = "k8s", []Client{{"system:serviceaccount:monitoring:grafana", "grafana"}}
	second.Name, second.Issuer, second.Claim = "entra", "https://other.lab.local", "appid"
	trust := trusting(t, nil, first, second)
	seen := make(map[string]string)
	for _, tt := range []struct{ issuer, name, want string }{
		{testIssuer, "alice", "jwt:k8s:alice"},
		{second.Issuer, "alice", "jwt:entra:alice"},
		{testIssuer, "grafana", "jwt:k8s:grafana"},
		{testIssuer, "entra:alice", "jwt:k8s:entra:alice"},
		{testIssuer, "loopback", "jwt:k8s:loopback"},
		{testIssuer, "client:grafana", "jwt:k8s:client:grafana"},
		{testIssuer, "certificate:CN=alice", "jwt:k8s:certificate:CN=alice"},
		{testIssuer, "system:serviceaccount:monitoring:grafana", "grafana"},
		{second.Issuer, "system:serviceaccount:monitoring:grafana", "jwt:entra:system:serviceaccount:monitoring:grafana"},
		{testIssuer, "system:serviceaccount:monitoring:Grafana", "jwt:k8s:system:serviceaccount:monitoring:Grafana"},
	} {
		caller, trusted, err := trust.Caller(t.Context(), sign(t, "RS256", p.rsa, map[string]any{"kid": "rsa"},
			good(map[string]any{"iss": tt.issuer, "sub": tt.name, "appid": tt.name})))
		if err != nil || !trusted || caller.Identity() != tt.want || seen[tt.want] != "" {
			t.Errorf("%s of %s: %q, %v, want %q", tt.name, tt.issuer, caller.Identity(), err, tt.want)
		}
		seen[tt.want] = tt.name
		if parsed, err := policy.ParseIdentity(caller.Identity()); err != nil || parsed.Via != caller.Via || parsed.Name != caller.Name {
			t.Errorf("%q is read as %+v, %v", caller.Identity(), parsed, err)
		}
		if isClient := caller.Via == policy.ViaClient; isClient != (tt.want == "grafana") || isClient && caller.Account != "its account" {
			t.Errorf("%+v", caller)
		}
	}
}

func TestClaimsAreRequiredAndChooseTheAccount(t *testing.T) {
	t.Parallel()
	kubernetes := map[string]any{"namespace": "backup", "serviceaccount": map[string]any{"name": "exporter", "uid": "u1"}}
	for name, tt := range map[string]struct {
		change func(*Config)
		claims map[string]any
		want   string // the identity and the account; empty for a refusal
	}{
		"a nested claim":                {func(c *Config) { c.Claim = "kubernetes.io.serviceaccount.name" }, map[string]any{"kubernetes.io": kubernetes}, "jwt:idp:exporter "},
		"a nested claim that is absent": {func(c *Config) { c.Claim = "kubernetes.io.pod.name" }, map[string]any{"kubernetes.io": kubernetes}, ""},
		"a path through a text":         {func(c *Config) { c.Claim = "sub.name" }, nil, ""},
		"two claims of one path":        {func(c *Config) { c.Claim = "a.b" }, map[string]any{"a.b": "x", "a": map[string]any{"b": "y"}}, ""},
		"a claim that is an address":    {func(c *Config) { c.Claim = "https://lab.local/name" }, map[string]any{"https://lab.local/name": "x"}, "jwt:idp:x "},
		"a required text":               {func(c *Config) { c.Require = []Requirement{{"azp", []string{"a", "b"}}} }, map[string]any{"azp": "b"}, "jwt:idp:alice "},
		"another text":                  {func(c *Config) { c.Require = []Requirement{{"azp", []string{"a", "b"}}} }, map[string]any{"azp": "c"}, ""},
		"a text in capitals":            {func(c *Config) { c.Require = []Requirement{{"azp", []string{"a"}}} }, map[string]any{"azp": "A"}, ""},
		"an absent claim":               {func(c *Config) { c.Require = []Requirement{{"azp", []string{"a"}}} }, nil, ""},
		"one of a list":                 {func(c *Config) { c.Require = []Requirement{{"groups", []string{"backup-admins"}}} }, map[string]any{"groups": []any{1, "backup-admins"}}, "jwt:idp:alice "},
		"none of a list":                {func(c *Config) { c.Require = []Requirement{{"groups", []string{"backup-admins"}}} }, map[string]any{"groups": []string{"backup-admins2"}}, ""},
		"a list in a list":              {func(c *Config) { c.Require = []Requirement{{"groups", []string{"a"}}} }, map[string]any{"groups": []any{[]any{"a"}}}, ""},
		"blanks are no list":            {func(c *Config) { c.Require = []Requirement{{"groups", []string{"a"}}} }, map[string]any{"groups": "a b"}, ""},
		"a scope":                       {func(c *Config) { c.Require = []Requirement{{"scope", []string{"veeam.read"}}} }, map[string]any{"scope": "openid veeam.read"}, "jwt:idp:alice "},
		"a scope with another blank":    {func(c *Config) { c.Require = []Requirement{{"scope", []string{"veeam.read"}}} }, map[string]any{"scope": "openid\u00a0veeam.read"}, ""},
		"a scope with a line break":     {func(c *Config) { c.Require = []Requirement{{"scp", []string{"veeam.read"}}} }, map[string]any{"scp": "openid\nveeam.read"}, ""},
		"another scope":                 {func(c *Config) { c.Require = []Requirement{{"scp", []string{"veeam.read"}}} }, map[string]any{"scp": "veeam.readwrite"}, ""},
		"a truth":                       {func(c *Config) { c.Require = []Requirement{{"email_verified", []string{"true"}}} }, map[string]any{"email_verified": true}, "jwt:idp:alice "},
		"a falsehood":                   {func(c *Config) { c.Require = []Requirement{{"email_verified", []string{"true"}}} }, map[string]any{"email_verified": false}, ""},
		"a number":                      {func(c *Config) { c.Require = []Requirement{{"tier", []string{"7"}}} }, map[string]any{"tier": 7}, "jwt:idp:alice "},
		"another number":                {func(c *Config) { c.Require = []Requirement{{"tier", []string{"7"}}} }, map[string]any{"tier": 70}, ""},
		"an object":                     {func(c *Config) { c.Require = []Requirement{{"tier", []string{"7"}}} }, map[string]any{"tier": map[string]any{"7": true}}, ""},
		"two requirements, one is met": {func(c *Config) {
			c.Require = []Requirement{{"azp", []string{"a"}}, {"groups", []string{"b"}}}
		}, map[string]any{"azp": "a"}, ""},
		"an ambiguous requirement":          {func(c *Config) { c.Require = []Requirement{{"a.b", []string{"x"}}} }, map[string]any{"a.b": "x", "a": map[string]any{"b": "x"}}, ""},
		"the account of a group":            {func(c *Config) { c.Accounts = []Account{{"operator", "groups", []string{"op"}}, {Account: "monitor"}} }, map[string]any{"groups": []string{"x", "op"}}, "jwt:idp:alice operator"},
		"the other account":                 {func(c *Config) { c.Accounts = []Account{{"operator", "groups", []string{"op"}}, {Account: "monitor"}} }, map[string]any{"groups": []string{"x"}}, "jwt:idp:alice monitor"},
		"the first account":                 {func(c *Config) { c.Accounts = []Account{{"operator", "groups", []string{"op"}}} }, map[string]any{"account": "operator"}, "jwt:idp:alice "},
		"the account of an ambiguous claim": {func(c *Config) { c.Accounts = []Account{{"operator", "a.b", []string{"op"}}} }, map[string]any{"a.b": "op", "a": map[string]any{"b": "x"}}, ""},
	} {
		c := config(written(t, all(t)))
		tt.change(c)
		trust := trusting(t, nil, c)
		token := sign(t, "EdDSA", testKeys().ed, map[string]any{"kid": "ed"}, good(tt.claims))
		for range 2 {
			caller, trusted, err := trust.Caller(t.Context(), token)
			if got := caller.Identity() + " " + caller.Account; !trusted || (err == nil) != (tt.want != "") || err == nil && got != tt.want {
				t.Errorf("%s: %q %v, want %q", name, got, err, tt.want)
			}
			if err != nil && veeam.ReasonOf(err) != veeam.ReasonBadToken {
				t.Errorf("%s: %v", name, err)
			}
		}
		described, err := trust.Described([]byte(payloadOf(t, token)))
		if got := described.Identity() + " " + described.Account; (err == nil) != (tt.want != "") || err == nil && got != tt.want {
			t.Errorf("%s: described as %q %v", name, got, err)
		}
	}
}

func payloadOf(t *testing.T, token string) string {
	t.Helper()
	text, err := decodeSegment(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The edges of all times, to the second, for a token that is verified and for one that is
// remembered.
func TestATokenCountsWithinItsTimesAndTheLeeway(t *testing.T) {
	file := written(t, all(t))
	for name, tt := range map[string]struct {
		leeway, longest string
		from            time.Duration // from now, of iat and nbf
		first, last     time.Duration // when it counts first and last
	}{
		"the default":       {"", "", 0, -30 * time.Second, time.Hour + 29*time.Second},
		"without leeway":    {"0s", "", 0, 0, time.Hour - time.Second},
		"the most":          {"5m", "", 0, -5 * time.Minute, time.Hour + 299*time.Second},
		"from later on":     {"", "", time.Minute, 30 * time.Second, time.Hour + time.Minute + 29*time.Second},
		"the longest":       {"", "1h", 0, -30 * time.Second, time.Hour + 29*time.Second},
		"one minute longer": {"", "59m", 0, 1, 0},
	} {
		for _, remembered := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				c := config(file)
				c.Leeway, c.MaxLifetime = tt.leeway, tt.longest
				start := time.Now().Add(time.Hour)
				token := sign(t, "ES256", testKeys().p256, map[string]any{"kid": "p256"}, good(map[string]any{
					"iat": start.Add(tt.from).Unix(), "nbf": start.Add(tt.from).Unix(), "exp": start.Add(tt.from + time.Hour).Unix(),
				}))
				trust := trusting(t, nil, c)
				counts := func(at time.Duration) bool {
					time.Sleep(time.Until(start.Add(at)))
					if !remembered {
						trust.remembered = newRemembered()
					}
					_, _, err := trust.Caller(t.Context(), token)
					return err == nil
				}
				if tt.last < tt.first {
					if counts(0) {
						t.Errorf("%s: it counts", name)
					}
					return
				}
				for _, edge := range []struct {
					at   time.Duration
					want bool
				}{{tt.first - time.Second, false}, {tt.first, true}, {tt.last, true}, {tt.last + time.Second, false}, {tt.last + time.Hour, false}} {
					if counts(edge.at) != edge.want {
						t.Errorf("%s, remembered %t: at %v it counts: %t", name, remembered, edge.at, !edge.want)
					}
				}
				if _, _, err := trust.Caller(t.Context(), token); veeam.ReasonOf(err) != veeam.ReasonExpiredToken {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
	}
}

func TestATokenIsVerifiedOnce(t *testing.T) {
	trust := trusting(t, nil, config(written(t, all(t))))
	token := sign(t, "RS256", testKeys().rsa, map[string]any{"kid": "rsa"}, good(nil))
	if _, _, err := trust.Caller(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		if _, trusted, err := trust.Caller(t.Context(), token); !trusted || err != nil {
			t.Error(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
	own := raw(t, "HS256", []byte("x"), `{"alg":"HS256","kid":"k","typ":"JWT"}`, `{"iss":"veeam-auth"}`)
	if n := testing.AllocsPerRun(100, func() {
		if _, trusted, err := trust.Caller(t.Context(), own); trusted || err != nil {
			t.Error(trusted, err)
		}
	}); n > 0 {
		t.Errorf("a token issued here: %v allocations", n)
	}
}

func TestTrust_ATokenEndsWithItsKeyOrItsProviderAndNotWithItsExpiry(t *testing.T) {
	t.Parallel()
	p := testKeys()
	trust := trusting(t, nil, config(written(t, all(t))))
	named, unnamed := map[string]any{"kid": "p256"}, map[string]any{}
	token := func(header, claims map[string]any) string { return sign(t, "ES256", p.p256, header, good(claims)) }
	if _, _, err := trust.Caller(t.Context(), token(named, nil)); err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	source := trust.providers[0].source
	for name, tt := range map[string]struct {
		token string
		keys  []byte
		ended bool
	}{
		"its key is there":               {token(named, nil), all(t), false},
		"it has expired":                 {token(named, map[string]any{"iat": 1, "nbf": 1, "exp": 2}), all(t), false},
		"its key is gone":                {token(named, nil), document(t, jwk(t, "ed", p.ed, nil)), true},
		"its key is of another type":     {token(named, nil), document(t, jwk(t, "p256", p.p384, nil)), true},
		"another key has its name":       {token(named, nil), document(t, jwk(t, "p256", other, nil)), true},
		"it names no key, the only one":  {token(unnamed, nil), document(t, jwk(t, "p256", p.p256, nil)), false},
		"it names no key, another one":   {token(unnamed, nil), document(t, jwk(t, "p384", p.p384, nil)), true},
		"it names no key, there are two": {token(unnamed, nil), all(t), true},
	} {
		set, err := parseKeys(tt.keys)
		if err != nil {
			t.Fatal(name, err)
		}
		source.set.Store(set)
		if err := trust.Ended(tt.token); (err != nil) != tt.ended || err != nil && veeam.ReasonOf(err) != veeam.ReasonBadToken {
			t.Errorf("%s: %v", name, err)
		}
	}
	source.good.Store(0) // the keys are too old
	if err := trust.Ended(token(named, nil)); err != nil {
		t.Errorf("keys that cannot be read: %v", err)
	}
	removed, err := New([]*Config{config(written(t, all(t)))}, nil)
	if err != nil {
		t.Fatal(err)
	}
	leave := removed.Enter(func(Report) {})
	if _, _, err := removed.Caller(t.Context(), token(named, nil)); err != nil {
		t.Fatal(err)
	}
	if err := removed.Ended(token(named, nil)); err != nil {
		t.Error(err)
	}
	leave()
	if err := removed.Ended(token(named, nil)); err == nil {
		t.Error("the token of a provider that is no longer configured goes on")
	}
}

func TestOnlyVerifiedTokensAreRememberedAndNotTooMany(t *testing.T) {
	t.Parallel()
	trust := trusting(t, nil, config(written(t, all(t))))
	size := func() (n int) {
		for i := range trust.remembered.places {
			if trust.remembered.places[i].Load() != nil {
				n++
			}
		}
		return n
	}
	token := sign(t, "EdDSA", testKeys().ed, map[string]any{"kid": "ed"}, good(nil))
	for i := range 100 {
		_, _, _ = trust.Caller(t.Context(), token+strconv.Itoa(i))
	}
	if size() != 0 {
		t.Errorf("%d forged tokens are remembered", size())
	}
	for i := range 300 {
		token := sign(t, "EdDSA", testKeys().ed, map[string]any{"kid": "ed"}, good(map[string]any{"sub": fmt.Sprint(i)}))
		for range 2 {
			caller, _, err := trust.Caller(t.Context(), token)
			if err != nil || caller.Name != fmt.Sprintf("idp:%d", i) {
				t.Fatalf("token %d is of %+v, %v", i, caller, err)
			}
		}
	}
	if n := size(); n < 200 || n > 300 {
		t.Errorf("%d are remembered", n)
	}
}

func TestAConfigurationOfAProviderIsChecked(t *testing.T) {
	t.Parallel()
	for says, change := range map[string]func(*Config){
		"issuer is missing":                  func(c *Config) { c.Issuer = "" },
		"that of the tokens issued by veeam": func(c *Config) { c.Issuer = policy.TokenIssuer },
		"audience is missing":                func(c *Config) { c.Audience = nil },
		"a value is empty":                   func(c *Config) { c.Audience = []string{""} },
		"the name \"K8S\" is not allowed":    func(c *Config) { c.Name = "K8S" },
		"the name \"a:b\" is not allowed":    func(c *Config) { c.Name = "a:b" },
		"the keys are missing":               func(c *Config) { c.JWKSFile = "" },
		"exclude each other":                 func(c *Config) { c.JWKSURL = "https://idp.lab.local/keys" },
		"require jwks_url":                   func(c *Config) { c.JWKSCA = "/ca.pem" },
		"jwks_file requires an absolute":     func(c *Config) { c.JWKSFile = "keys.json" },
		"jwks_url requires https":            func(c *Config) { c.JWKSFile, c.JWKSURL = "", "http://idp.lab.local/keys" },
		"jwks_url is not a URL":              func(c *Config) { c.JWKSFile, c.JWKSURL = "", "https://user:pass@idp.lab.local/keys" },
		"jwks_token_file requires https": func(c *Config) {
			c.JWKSFile, c.JWKSURL, c.JWKSInsecureHTTP, c.JWKSTokenFile = "", "http://idp.lab.local", true, "/token"
		},
		"jwks_refresh: \"1s\"":           func(c *Config) { c.JWKSFile, c.JWKSURL, c.JWKSRefresh = "", "https://idp.lab.local", "1s" },
		"jwks_max_age 10m0s is shorter":  func(c *Config) { c.JWKSMaxAge = "10m" },
		"leeway: \"6m\"":                 func(c *Config) { c.Leeway = "6m" },
		"leeway: \"-1s\"":                func(c *Config) { c.Leeway = "-1s" },
		"max_lifetime: \"15d\"":          func(c *Config) { c.MaxLifetime = "15d" },
		"require accepts a claim":        func(c *Config) { c.Require = []Requirement{{Claim: "groups"}} },
		"\"x\" is mapped twice":          func(c *Config) { c.Clients = []Client{{"x", "grafana"}, {"x", "grafana"}} },
		"no client named nobody":         func(c *Config) { c.Clients = []Client{{"x", "nobody"}} },
		"must be the last":               func(c *Config) { c.Accounts = []Account{{Account: "a"}, {"b", "groups", []string{"x"}}} },
		"account requires the name":      func(c *Config) { c.Accounts = []Account{{}} },
		"accepts a claim and its values": func(c *Config) { c.Accounts = []Account{{Account: "a", Claim: "groups"}} },
	} {
		c := config("/keys.json")
		change(c)
		if _, err := New([]*Config{c}, func(string) (policy.Caller, bool) { return policy.Caller{}, false }); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	for _, address := range []string{"https://idp.lab.local/keys?appid=1", "http://127.0.0.1:8080/keys", "http://localhost/keys", "http://[::1]/keys"} {
		c := config("")
		if c.JWKSURL = address; c.Check() != nil {
			t.Errorf("%s: %v", address, c.Check())
		}
	}
	unsafe := config("")
	if unsafe.JWKSURL, unsafe.JWKSInsecureHTTP = "http://idp.lab.local/keys", true; unsafe.Check() != nil {
		t.Error(unsafe.Check())
	}
	for says, second := range map[string]*Config{
		"defined twice":         {Issuer: "https://b.lab.local", Audience: []string{"b"}, JWKSFile: "/b"},
		"an audience in common": {Name: "b", Issuer: testIssuer, Audience: []string{"b", testAudience}, JWKSFile: "/b"},
	} {
		if _, err := New([]*Config{config("/keys.json"), second}, nil); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	var none *Trust
	if trust, err := New(nil, nil); trust != nil || err != nil {
		t.Error(trust, err)
	}
	none.Start()
	none.Enter(nil)()
	if _, trusted, err := none.Caller(t.Context(), "a.b.c"); trusted || err != nil {
		t.Error(trusted, err)
	}
}

// Two providers may have one issuer, if the audience says which one counts.
func TestTheAudienceTellsTwoProvidersOfOneIssuerApart(t *testing.T) {
	t.Parallel()
	file := written(t, all(t))
	readers, writers := config(file), config(file)
	readers.Name, readers.Audience = "readers", []string{"veeam-read"}
	writers.Name, writers.Audience = "writers", []string{"veeam-write"}
	trust := trusting(t, nil, readers, writers)
	for want, audience := range map[string]any{"jwt:readers:alice": "veeam-read", "jwt:writers:alice": []string{"x", "veeam-write"}, "": []string{"veeam-read", "veeam-write"}} {
		caller, trusted, err := trust.Caller(t.Context(), sign(t, "EdDSA", testKeys().ed, map[string]any{"kid": "ed"}, good(map[string]any{"aud": audience})))
		if !trusted || caller.Identity() != want || (err == nil) != (want != "") {
			t.Errorf("%v: %+v %v", audience, caller, err)
		}
	}
}

func BenchmarkCaller(b *testing.B) {
	trust := trusting(b, nil, config(written(b, all(b))))
	token := sign(b, "RS256", testKeys().rsa, map[string]any{"kid": "rsa"}, good(nil))
	for name, forget := range map[string]bool{"remembered": false, "verified": true} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if forget {
					first, second := trust.remembered.at(token)
					first.Store(nil)
					second.Store(nil)
				}
				if _, _, err := trust.Caller(b.Context(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Whatever a token says, it counts only with a signature; the parser does not fail.
func FuzzToken(f *testing.F) {
	trust := trusting(f, nil, config(written(f, all(f))))
	p := testKeys()
	valid := sign(f, "ES256", p.p256, map[string]any{"kid": "p256"}, good(nil))
	valids := map[string]bool{valid: true}
	f.Add(valid)
	f.Add(strings.Replace(valid, ".", "..", 1))
	f.Add(encode([]byte(`{"alg":"none"}`)) + "." + encode([]byte(`{"iss":"`+testIssuer+`"}`)) + ".")
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, token string) {
		caller, trusted, err := trust.Caller(t.Context(), token)
		if trusted && err == nil && !valids[token] {
			t.Errorf("%q counts as %+v", token, caller)
		}
	})
}

// What is read strictly is what others read, and nothing is in it twice.
func FuzzClaims(f *testing.F) {
	f.Add(`{"a":{"b":[1,"x",true,null]}}`, "a.b")
	f.Add(`{"a":1,"a":2}`, "a")
	f.Add(`{"a.b":"x","a":{"b":"y"}}`, "a.b")
	f.Fuzz(func(t *testing.T, text, path string) {
		claims, err := decode([]byte(text))
		if err != nil {
			return
		}
		if _, err := has(claims, path, []string{"x"}); err != nil && !strings.Contains(path, ".") {
			t.Errorf("%q in %q: %v", path, text, err)
		}
	})
}
