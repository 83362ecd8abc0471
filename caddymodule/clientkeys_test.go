// Keys of clients at a handler: in every place where a client may put one.

package caddymodule

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-veeam/veeam-auth/caddymodule/rules"
	"github.com/caddy-veeam/veeam-auth/caddymodule/storages"
	"github.com/caddy-veeam/veeam-auth/internal/clients"
	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/keys"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// keyed is a handler whose clients have keys.
type keyed struct {
	*testing.T
	*Handler
	stored *keys.Keys
	logs   *observer.ObservedLogs
}

func newKeyed(t *testing.T, h *Handler) *keyed {
	t.Helper()
	ctx := provisionContext(t, &caddy.Config{StorageRaw: []byte(`{"module": "file_system", "root": "` + t.TempDir() + `"}`)})
	h.Audience = "site"
	if err := h.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Cleanup() })
	core, logs := observer.New(zapcore.DebugLevel)
	h.svc, h.first = zap.New(core), "svc"
	pooled, release := keys.Acquire(storages.Key(ctx.Storage()), storages.Dated{Storage: ctx.Storage()}, nil)
	t.Cleanup(release)
	return &keyed{t, h, pooled.Keys, logs}
}

// answered is what becomes of a request.
type answered struct {
	passed  *http.Request // what went on to the proxy, nil if it was refused
	account string
	reason  veeam.Reason
	status  int
	body    string
}

// send sends a request from an address, over a unix socket if it is empty.
func (k *keyed) send(r *http.Request, from string) (a answered) {
	k.Helper()
	r.RemoteAddr = net.JoinHostPort(from, "4711")
	if from == "" {
		r.RemoteAddr = "@"
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.UnixAddr{Name: "/run/x.sock", Net: "unix"}))
	}
	w := httptest.NewRecorder()
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, &caddyhttp.Server{})
	err := k.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		a.passed, a.account = r, stateOf(r.Context()).account
		return nil
	}))
	if err != nil {
		k.Fatal(err)
	}
	a.status, a.body = w.Code, w.Body.String()
	if state := stateOf(r.Context()); state != nil && state.found.refused != nil {
		a.reason = state.found.refused.Reason
	}
	if a.passed == nil {
		a.reason = k.lastReason()
	}
	return a
}

// lastReason is the reason of the last refusal in the log.
func (k *keyed) lastReason() veeam.Reason {
	for _, entry := range slices.Backward(k.logs.All()) {
		if _, reason, found := strings.Cut(entry.Message, "(VeeamAuth."); found {
			return veeam.Reason(strings.TrimSuffix(reason, ")"))
		}
	}
	return ""
}

func get(path string, header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "http://localhost"+path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func logIn(name, password string) *http.Request {
	form := url.Values{"grant_type": {"password"}, "username": {name}, "password": {password}}.Encode()
	r := httptest.NewRequest(http.MethodPost, "http://localhost/api/oauth2/token", strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

func (k *keyed) issue(order keys.Order) (text, name string) {
	k.Helper()
	if order.For == 0 {
		order.For = time.Hour
	}
	text, state, err := k.stored.Issue(k.Context(), order)
	if err != nil {
		k.Fatal(err)
	}
	return text, state.Name
}

// A key that is presented is good in each place, goes on in none, and stands in no line
// of the log.
func TestAKeyIsTakenWhereClientsPutOneAndGoesNoFurther(t *testing.T) {
	t.Parallel()
	k := newKeyed(t, &Handler{Product: "vbr", Clients: []*clients.Client{{Name: "grafana"}}})
	key, _ := k.issue(keys.Order{Client: "grafana"})
	const elsewhere = "192.0.2.7"
	for name, header := range map[string][]string{
		"bearer":          {"Authorization", "Bearer " + key},
		"X-API-Key":       {"X-API-Key", key},
		"both":            {"Authorization", "bearer " + key, "X-API-Key", key},
		"beside a token":  {"Authorization", "Bearer eyJhbGciOiJIUzI1NiJ9.e30.x", "X-API-Key", key},
		"beside a cookie": {"X-API-Key", key, "Cookie", "a=" + key, "Referer", "https://h/?k=" + key, "X-Other", key},
	} {
		a := k.send(get("/api/v1/jobs", header...), elsewhere)
		if a.passed == nil {
			t.Errorf("%s: %d %s", name, a.status, a.reason)
			continue
		}
		for field, values := range a.passed.Header {
			if strings.Contains(strings.Join(values, " "), key) {
				t.Errorf("%s: the key goes on in %s", name, field)
			}
		}
		if client, _ := stateOf(a.passed.Context()).placeholders("http.veeam_auth.client"); client != "grafana" {
			t.Errorf("%s: the caller is %v", name, client)
		}
	}
	a := k.send(logIn("grafana", key), elsewhere)
	if a.passed == nil {
		t.Fatalf("at the token endpoint: %d %s", a.status, a.reason)
	}
	if body, err := io.ReadAll(a.passed.Body); err != nil || bytes.Contains(body, []byte(key)) {
		t.Errorf("the key goes on in the body, %v", err)
	}
	k.send(get("/api/v1/jobs?key="+key, "X-API-Key", key+"x"), elsewhere) // refused, and logged
	for _, entry := range k.logs.All() {
		if text := fmt.Sprint(entry.Message, entry.ContextMap()); strings.Contains(text, key[8:20]) {
			t.Errorf("the log has the key: %s", text)
		}
	}
}

// Addresses get into logs, also those of the server.
func TestAKeyInAnAddressIsRefused(t *testing.T) {
	t.Parallel()
	k := newKeyed(t, &Handler{Product: "vbr", Clients: []*clients.Client{{Name: "grafana"}}})
	key, _ := k.issue(keys.Order{Client: "grafana"})
	for _, address := range []string{"/api/v1/jobs?key=" + key, "/api/v1/jobs?a=b&%6Bey=vak%5f" + key[4:], "/api/v1/jobs/" + key, "/api/oauth2/token?key=" + key} {
		for _, header := range [][]string{{"X-API-Key", key}, nil} {
			a := k.send(get(address, header...), "127.0.0.1")
			if a.passed != nil || a.status != http.StatusBadRequest || a.reason != veeam.ReasonBadRequest || !strings.Contains(a.body, "holds a key") || strings.Contains(a.body, key) {
				t.Errorf("%s: %+v", address, a)
			}
		}
	}
	if a := k.send(get("/api/v1/jobs?nameFilter=vak_srv01", "X-API-Key", key), "127.0.0.1"); a.passed == nil {
		t.Errorf("another text: %+v", a)
	}
	for _, entry := range k.logs.All() {
		if text := fmt.Sprint(entry.Message, entry.ContextMap()); strings.Contains(text, key[8:20]) {
			t.Errorf("the log has the key: %s", text)
		}
	}
}

// Where clients of Enterprise Manager put sessions and passwords.
func TestAKeyIsTakenAtEnterpriseManager(t *testing.T) {
	t.Parallel()
	k := newKeyed(t, &Handler{Product: "em", Clients: []*clients.Client{{Name: "grafana"}, {Name: "jenkins"}}})
	key, name := k.issue(keys.Order{Client: "grafana", Scope: keys.Scope{Preset: "monitor"}})
	basic := func(user string) *http.Request {
		r := httptest.NewRequest(http.MethodPost, "http://localhost/api/sessionMngr/?v=latest", nil)
		r.SetBasicAuth(user, key)
		return r
	}
	const from = "192.0.2.98"
	for place, r := range map[string]*http.Request{
		"session header": get("/api/jobs", "X-RestSvcSessionId", key), "X-API-Key": get("/api/jobs", "X-API-Key", key), "bearer": get("/api/jobs", "Authorization", "Bearer "+key),
		"Basic": basic("grafana"),
	} {
		a := k.send(r, from)
		if a.passed == nil || stateOf(a.passed.Context()).caller.Identity() != "grafana" || stateOf(a.passed.Context()).caller.Key == nil {
			t.Errorf("%s: %+v", place, a)
			continue
		}
		if strings.Contains(fmt.Sprint(a.passed.Header), key) {
			t.Errorf("%s: the key goes on", place)
		}
	}
	if a := k.send(basic("jenkins"), from); a.passed != nil || a.status != http.StatusUnauthorized {
		t.Errorf("with the name of another client: %+v", a)
	}
	r := get("/api/jobs", "X-RestSvcSessionId", key)
	r.Method = http.MethodDelete
	if a := k.send(r, from); a.passed != nil || a.reason != veeam.ReasonDenied {
		t.Errorf("beyond its scope: %+v", a)
	}
	if err := k.stored.Revoke(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	for place, r := range map[string]*http.Request{"session header": get("/api/jobs", "X-RestSvcSessionId", key), "Basic": basic("grafana")} {
		if a := k.send(r, from); a.passed != nil || a.status != http.StatusUnauthorized || a.reason != veeam.ReasonRevokedKey {
			t.Errorf("%s, revoked: %+v", place, a)
		}
	}
}

// The log and the metrics tell reasons apart, callers do not, and it makes no difference
// that the caller is on this machine.
func TestCallersAreNotToldWhyAKeyDoesNotCount(t *testing.T) {
	t.Parallel()
	expired, config := configured(t)
	config.Until = "2020-01-31"
	k := newKeyed(t, &Handler{Product: "vbr", Clients: []*clients.Client{{Name: "grafana", Keys: []*keys.Config{config}}}})
	revoked, name := k.issue(keys.Order{Client: "grafana"})
	if err := k.stored.Revoke(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	elsewhere, _ := k.issue(keys.Order{Client: "grafana", Scope: keys.Scope{From: []string{"10.0.0.0/8"}}})
	gone, _ := k.issue(keys.Order{Client: "jenkins"})
	bodies := make(map[string]bool)
	for name, tt := range map[string]struct {
		key  string
		want veeam.Reason
	}{
		"expired":        {expired, veeam.ReasonExpiredKey},
		"revoked":        {revoked, veeam.ReasonRevokedKey},
		"unknown":        {keys.Make(), veeam.ReasonUnknownKey},
		"mistyped":       {revoked[:39] + "-", veeam.ReasonUnknownKey},
		"elsewhere":      {elsewhere, veeam.ReasonKeyElsewhere},
		"another client": {gone, veeam.ReasonUnknownKey},
	} {
		a := k.send(get("/api/v1/jobs", "X-API-Key", tt.key), "127.0.0.1")
		if a.passed != nil || a.reason != tt.want || a.status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", name, a.status, a.reason)
		}
		bodies[a.body] = true
		a = k.send(logIn("grafana", tt.key), "127.0.0.1")
		if a.passed != nil || a.reason != tt.want && a.reason != veeam.ReasonThrottled || a.reason == tt.want && !strings.Contains(a.body, "Authentication failed") {
			t.Errorf("%s at the token endpoint: %d %s %s", name, a.status, a.reason, a.body)
		}
	}
	if len(bodies) != 1 {
		t.Errorf("callers tell them apart: %v", bodies)
	}
	for b := range bodies {
		if strings.Contains(b, "127.0.0.1") || strings.Contains(b, "10.0.0.0") {
			t.Errorf("callers learn from where a key counts: %s", b)
		}
	}
	if a := k.send(logIn("somebody", elsewhere), "10.0.0.1"); a.passed != nil || a.reason != veeam.ReasonUnknownKey {
		t.Errorf("with another name: %d %s", a.status, a.reason)
	}
}

// configured makes a key for a configuration.
func configured(t *testing.T) (text string, config *keys.Config) {
	t.Helper()
	text = keys.Make()
	hash, err := keys.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	return text, &keys.Config{Name: "key-" + hash.ID(), Hash: hash.String()}
}

// Whatever a key says, the request and its address are: nothing outside the scope passes,
// and nothing that the rules deny.
func TestNothingOutsideTheScopeOfAKeyPasses(t *testing.T) {
	t.Parallel()
	const number = 10_000
	random := rand.New(rand.NewPCG(1, 2)) // the same requests each time
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	client := &clients.Client{Name: "grafana"}
	texts := make([]string, number)
	for i := range texts {
		text, config := configured(t)
		config.Preset, config.Account = pick("", "monitor", "report", "operate"), pick("", "svc", "other")
		config.Until = pick("", "", "2020-01-31", "2999-12-31", "2999-01-31T08:00 Europe/Berlin")
		config.From = [][]string{nil, {"10.0.0.0/8"}, {"unix"}, {"192.0.2.7", "unix"}, {"2001:db8::/32"}}[random.IntN(5)]
		texts[i], client.Keys = text, append(client.Keys, config)
	}
	k := newKeyed(t, &Handler{
		Product: "vbr", Clients: []*clients.Client{client}, ActAs: "{http.request.header.X-Account}",
		Rules: []*rules.Rule{{Effect: "deny", MatcherSetsRaw: caddyhttp.RawMatcherSets{{"veeam_operation": []byte(`{"classes": ["secret"]}`)}}}, {Effect: "allow"}},
	})
	// What each preset and network contains, by hand.
	classes := map[string]string{"": "read run change destroy unknown", "monitor": "read", "report": "read", "operate": "read run"}
	networks := map[string]string{
		"": "10.1.2.3 192.0.2.7 2001:db8::5 ::1", "10.0.0.0/8": "10.1.2.3", "unix": "", "192.0.2.7 unix": "192.0.2.7", "2001:db8::/32": "2001:db8::5",
	}
	operations := k.index.All()
	passed := 0
	for range number {
		n := random.IntN(number)
		config := client.Keys[n]
		op := operations[random.IntN(len(operations))]
		path := strings.NewReplacer("{version}", "v1", "{", "", "}", "").Replace(op.Target())
		r := httptest.NewRequest(op.Method, "http://localhost"+path, nil)
		if random.IntN(2) == 0 {
			r.Header.Set("X-API-Key", texts[n])
		} else {
			r.Header.Set("Authorization", "Bearer "+texts[n])
		}
		account, from := pick("svc", "other"), pick("10.1.2.3", "192.0.2.7", "2001:db8::5", "::1", "")
		r.Header.Set("X-Account", account)
		found, _ := k.index.LookupRaw(op.Method, r.URL.EscapedPath(), r.URL.RawQuery)
		within := networks[strings.Join(config.From, " ")]
		want := !strings.HasPrefix(config.Until, "2020") && (config.Account == "" || config.Account == account) &&
			slices.Contains(strings.Fields(classes[config.Preset]), found.Class.String()) && found.Class != operation.Secret &&
			(from != "" && slices.Contains(strings.Fields(within), from) || from == "" && (config.From == nil || strings.Contains(strings.Join(config.From, " "), "unix")))
		if k.product.Classify(op.Method, r.URL.Path) != veeam.RouteProtected {
			continue // the token endpoint, and what needs no token
		}
		a := k.send(r, from)
		if (a.passed != nil) != want {
			t.Fatalf("%s %s (%s) as %s from %q with %+v: passed %v, %s", op.Method, path, found.Class, account, from, *config, a.passed != nil, a.reason)
		}
		if a.passed != nil {
			if passed++; a.account != account {
				t.Fatalf("it acts as %s", a.account)
			}
		}
		k.logs.TakeAll()
	}
	if passed < number/100 || passed > number/2 {
		t.Errorf("%d of %d have passed", passed, number)
	}
}

// Tokens that were got with a key are no way around its scope, its end or its revocation.
func TestTokensOfAKeyHaveItsScopeAndEndWithIt(t *testing.T) {
	t.Parallel()
	k := newKeyed(t, &Handler{Product: "vbr", Clients: []*clients.Client{{Name: "grafana"}}})
	key, name := k.issue(keys.Order{Client: "grafana", Scope: keys.Scope{Preset: "monitor", From: []string{"10.0.0.0/8"}}})
	login := k.send(logIn("grafana", key), "10.0.0.1")
	if login.passed == nil {
		t.Fatalf("%d %s", login.status, login.reason)
	}
	state := stateOf(login.passed.Context())
	sub := k.subjectOf(login.passed, &state.caller)
	if left := time.Until(sub.Until); left > time.Hour {
		t.Errorf("its tokens live for %v", left)
	}
	pair, err := k.issuer.Issue(t.Context(), sub, "vbr name:site", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	again, err := k.issuer.Refresh(t.Context(), pair.Refresh, "vbr name:site", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	redeemed, err := k.issuer.Redeem(k.issuer.Code(sub, "vbr name:site"), "vbr name:site")
	if err != nil {
		t.Fatal(err)
	}
	third, err := k.issuer.Issue(t.Context(), redeemed, "vbr name:site", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(step string, tokens []issuer.Pair, from, method string, want veeam.Reason) {
		t.Helper()
		for i, pair := range tokens {
			r := get("/api/v1/jobs", "Authorization", "Bearer "+pair.Access)
			r.Method = method
			if a := k.send(r, from); (a.passed != nil) != (want == "") || a.passed == nil && a.reason != want {
				t.Errorf("%s, token %d: %d %s", step, i, a.status, a.reason)
			}
		}
	}
	tokens := []issuer.Pair{pair, again, third}
	expect("within the scope", tokens, "10.0.0.1", http.MethodGet, "")
	expect("another class", tokens, "10.0.0.1", http.MethodPost, veeam.ReasonDenied)
	expect("elsewhere", tokens, "192.0.2.7", http.MethodGet, veeam.ReasonKeyElsewhere)
	if err := k.stored.Revoke(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	expect("revoked", tokens, "10.0.0.1", http.MethodGet, veeam.ReasonRevokedKey)
}

func TestUnknownKeysCountAsWrongPasswords(t *testing.T) {
	t.Parallel()
	k := newKeyed(t, &Handler{Product: "vbr", Clients: []*clients.Client{{Name: "grafana"}}})
	good, _ := k.issue(keys.Order{Client: "grafana"})
	const from = "192.0.2.99" // no other test of the package guesses there
	reasons := make(map[veeam.Reason]int)
	for range 20 {
		reasons[k.send(get("/api/v1/jobs", "X-API-Key", keys.Make()), from).reason]++
	}
	if reasons[veeam.ReasonThrottled] < 10 || reasons[veeam.ReasonUnknownKey] == 0 {
		t.Errorf("%v", reasons)
	}
	if a := k.send(get("/api/v1/jobs", "X-API-Key", good), from); a.passed == nil {
		t.Errorf("a good key from there: %d %s", a.status, a.reason)
	}
}

func TestTheLimitsOfAClientComeBeforeTheRules(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC()
	window := func(from, to time.Duration) string {
		return now.Add(from).Format("15:04") + "-" + now.Add(to).Format("15:04")
	}
	for name, tt := range map[string]struct {
		client clients.Limits
		method string
		want   veeam.Reason
	}{
		"none":                           {clients.Limits{}, http.MethodDelete, ""},
		"the preset allows it":           {clients.Limits{Preset: "monitor"}, http.MethodGet, ""},
		"the preset does not":            {clients.Limits{Preset: "monitor"}, http.MethodPost, veeam.ReasonDenied},
		"before the end":                 {clients.Limits{Until: "2999-12-31 Europe/Berlin"}, http.MethodGet, ""},
		"after the end":                  {clients.Limits{Until: "2020-12-31"}, http.MethodGet, veeam.ReasonDenied},
		"within the hours":               {clients.Limits{Hours: []string{window(-6*time.Hour, 6*time.Hour)}}, http.MethodGet, ""},
		"outside the hours":              {clients.Limits{Hours: []string{window(6*time.Hour, 12*time.Hour)}}, http.MethodGet, veeam.ReasonDenied},
		"within one of two":              {clients.Limits{Hours: []string{window(6*time.Hour, 12*time.Hour), window(-6*time.Hour, 6*time.Hour)}}, http.MethodGet, ""},
		"outside, at the logout":         {clients.Limits{Hours: []string{window(6*time.Hour, 12*time.Hour)}}, "logout", "answered"},
		"outside, at the token endpoint": {clients.Limits{Hours: []string{window(6*time.Hour, 12*time.Hour)}}, "login", veeam.ReasonDenied},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKeyed(t, &Handler{Product: "vbr", Clients: []*clients.Client{{Name: "grafana", Limits: tt.client}}})
			key, _ := k.issue(keys.Order{Client: "grafana"})
			r := get("/api/v1/jobs", "X-API-Key", key)
			switch tt.method {
			case "login":
				r = logIn("grafana", key)
			case "logout":
				r.Method, r.URL.Path, r.RequestURI = http.MethodPost, "/api/oauth2/logout", "/api/oauth2/logout"
			default:
				r.Method = tt.method
			}
			a := k.send(r, "192.0.2.7")
			switch {
			case tt.want == "answered":
				if a.passed != nil || a.status >= 400 {
					t.Errorf("%d", a.status)
				}
			case (a.passed != nil) != (tt.want == ""), a.passed == nil && a.reason != tt.want:
				t.Errorf("%d %s %s", a.status, a.reason, a.body)
			}
		})
	}
}

func TestAClientsOwnRateIsInsteadOfTheSites(t *testing.T) {
	t.Parallel()
	slow, err := ratelimit.ParsePerCaller([]string{"0.01", "2"})
	if err != nil {
		t.Fatal(err)
	}
	wide, err := ratelimit.ParsePerCaller([]string{"0.01", "20"})
	if err != nil {
		t.Fatal(err)
	}
	k := newKeyed(t, &Handler{
		Product: "vbr", RateLimit: slow,
		Clients: []*clients.Client{{Name: "grafana", Limits: clients.Limits{RateLimit: wide}}, {Name: "jenkins"}},
	})
	for client, want := range map[string]int{"grafana": 20, "jenkins": 2} {
		key, _ := k.issue(keys.Order{Client: client})
		passed := 0
		for range 30 {
			if a := k.send(get("/api/v1/jobs", "X-API-Key", key), "192.0.2.7"); a.passed != nil {
				passed++
			} else if a.reason != veeam.ReasonThrottled {
				t.Fatalf("%d %s", a.status, a.reason)
			}
		}
		if passed != want {
			t.Errorf("%s: %d have passed", client, passed)
		}
	}
}
