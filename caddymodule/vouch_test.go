// What vouches for the holder of a token, and until when.

package caddymodule

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-veeam/veeam-auth/caddymodule/rules"
	"github.com/caddy-veeam/veeam-auth/internal/clients"
	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/keys"
	"github.com/caddy-veeam/veeam-auth/internal/passthrough"
	"github.com/caddy-veeam/veeam-auth/internal/password"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
)

func voucher(t *testing.T, upstreams string, configured ...*clients.Client) *Handler {
	t.Helper()
	known, err := clients.New(configured, password.New(password.Options{Compare: hasHash}))
	if err != nil {
		t.Fatal(err)
	}
	h := &Handler{clients: known, users: passthrough.New(), stands: new(atomic.Pointer[site]), TokenMaxLifetime: caddy.Duration(30 * 24 * time.Hour)}
	h.product, _ = veeam.Lookup("vbr")
	h.stands.Store(&site{upstreams: upstreams})
	return h
}

// withCertificate is a request on a connection with a client certificate, or with none
// if there is no name.
func withCertificate(name, key string, end time.Time) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "https://vbr.lab.local/api/v1/jobs", nil)
	r.TLS = new(tls.ConnectionState)
	if name != "" {
		c := &x509.Certificate{Subject: pkix.Name{CommonName: name}, RawSubjectPublicKeyInfo: []byte(key), NotAfter: end}
		r.TLS.VerifiedChains = [][]*x509.Certificate{{c}}
	}
	return r
}

func TestWhatVouchedForATokenMustStillDoSo(t *testing.T) {
	t.Parallel()
	hour := time.Now().Add(time.Hour)
	here := voucher(t, "vbr01", &clients.Client{Name: "grafana", Hash: siteHash})
	elsewhere := voucher(t, "vbr02", &clients.Client{Name: "grafana", Hash: siteHash[:len(siteHash)-1] + "H"})
	none := voucher(t, "vbr01")
	bare := withCertificate("", "", hour)
	alice := withCertificate("alice", "key", hour)
	userOf := func(until time.Time) policy.Caller {
		return policy.Caller{Name: "bob", Via: policy.ViaPassthrough, Login: "id." + strconv.FormatInt(until.Unix(), 36)}
	}
	certified := policy.Caller{Name: "CN=alice", Via: policy.ViaCertificate}
	client := policy.Caller{Name: "grafana", Via: policy.ViaClient}
	loopback, unix := policy.Caller{Name: "loopback", Via: policy.ViaLoopback}, policy.Caller{Name: "unix", Via: policy.ViaUnix}
	local := httptest.NewRequest(http.MethodGet, "http://localhost/api/v1/jobs", nil)
	local.RemoteAddr = "127.0.0.1:1"
	socket := local.WithContext(context.WithValue(local.Context(), http.LocalAddrContextKey, &net.UnixAddr{Name: "/run/x.sock", Net: "unix"}))
	for name, c := range map[string]struct {
		issued *http.Request
		caller policy.Caller
		at     *Handler
		used   *http.Request
		want   error
	}{
		"a certificate":                            {alice, certified, here, alice, nil},
		"a renewed certificate":                    {alice, certified, here, withCertificate("alice", "key", hour.Add(time.Hour)), nil},
		"another key":                              {alice, certified, here, withCertificate("alice", "key2", hour), errOtherKey},
		"another name with the same key":           {alice, certified, here, withCertificate("mallory", "key", hour), errOtherKey},
		"no certificate":                           {alice, certified, here, bare, errOtherKey},
		"issued without a certificate":             {bare, certified, here, bare, errOtherKey},
		"a client":                                 {bare, client, here, bare, nil},
		"a client with another password":           {bare, client, elsewhere, bare, errNotVouched},
		"a client that is no longer configured":    {bare, client, none, bare, errNoClient},
		"a passthrough user":                       {bare, userOf(hour), here, bare, nil},
		"a passthrough user of other servers":      {bare, userOf(hour), elsewhere, bare, errNotVouched},
		"a passthrough user whose login has ended": {bare, userOf(time.Now().Add(-time.Second)), here, bare, issuer.ErrExpired},
		"a caller of this machine":                 {local, loopback, here, local, nil},
		"a caller of this machine, elsewhere":      {bare, loopback, here, bare, errOtherPlace},
		"a caller of this machine, at a socket":    {local, loopback, here, socket, errOtherPlace},
		"a caller at a socket":                     {socket, unix, here, socket, nil},
		"a caller at a socket, without it":         {socket, unix, here, local, errOtherPlace},
	} {
		caller, err := c.at.admit(c.used, here.subjectOf(c.issued, &c.caller), c.at.evidence(c.used, veeam.RouteProtected))
		if !errors.Is(err, c.want) || err == nil && caller.Identity() != c.caller.Identity() {
			t.Errorf("%s: %+v, %v, want %v", name, caller, err, c.want)
		}
	}
}

// What tells its subject in part is no evidence, with its key neither.
func TestACertificateWithTwoNamesIdentifiesNobody(t *testing.T) {
	t.Parallel()
	h := voucher(t, "vbr01")
	alice, both := withCertificate("alice", "key", time.Now().Add(time.Hour)), withCertificate("alice", "key", time.Now().Add(time.Hour))
	for _, name := range []string{"mallory", "alice"} {
		subject := &both.TLS.VerifiedChains[0][0].Subject
		subject.Names = append(subject.Names, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: name})
	}
	caller, refusal := h.identify(both, veeam.RouteProtected, "")
	if refusal == nil || refusal.Reason != veeam.ReasonNoToken || !strings.Contains(refusal.Detail, "its subject has several common names") {
		t.Errorf("%+v, %+v", caller, refusal)
	}
	certified := policy.Caller{Name: "CN=alice", Via: policy.ViaCertificate}
	if caller, err := h.admit(both, h.subjectOf(alice, &certified), h.evidence(both, veeam.RouteProtected)); !errors.Is(err, errOtherKey) {
		t.Errorf("%+v, %v", caller, err)
	}
}

func TestTokensEndWithTheLoginOrTheCertificate(t *testing.T) {
	t.Parallel()
	h, now := voucher(t, "vbr01"), time.Now()
	soon, late := now.Add(time.Hour), now.Add(365*24*time.Hour)
	longest := now.Add(time.Duration(h.TokenMaxLifetime))
	for name, c := range map[string]struct {
		end    time.Time // of the certificate
		caller policy.Caller
		want   time.Time
	}{
		"a login":                             {late, policy.Caller{Via: policy.ViaClient}, longest},
		"a certificate that ends later":       {late, policy.Caller{Via: policy.ViaCertificate}, longest},
		"a certificate that ends before":      {soon, policy.Caller{Via: policy.ViaCertificate}, soon},
		"a login that comes of another one":   {late, policy.Caller{Via: policy.ViaClient, Until: soon}, soon},
		"a certificate that ends before that": {soon, policy.Caller{Via: policy.ViaCertificate, Until: soon.Add(time.Hour)}, soon},
	} {
		got := h.subjectOf(withCertificate("alice", "key", c.end), &c.caller).Until
		if got.Sub(c.want).Abs() > time.Hour/2 {
			t.Errorf("%s: until %v, want %v", name, got, c.want)
		}
	}
}

// A key that an operator gives to another client vouches for no token that its former
// client got with it, whether that client is still configured or not.
func TestAKeyThatHasMovedVouchesForNoTokenOfItsFormerClient(t *testing.T) {
	t.Parallel()
	_, config := configured(t)
	before, err := config.Key("grafana")
	if err != nil {
		t.Fatal(err)
	}
	for name, now := range map[string][]*clients.Client{
		"it has not moved":       {{Name: "grafana", Keys: []*keys.Config{config}}},
		"to another client":      {{Name: "grafana"}, {Name: "jenkins", Account: "svc-operator", Keys: []*keys.Config{config}}},
		"in place of the former": {{Name: "jenkins", Account: "svc-operator", Keys: []*keys.Config{config}}},
		"nowhere":                {{Name: "grafana"}},
	} {
		k := newKeyed(t, &Handler{Product: "vbr", Clients: now, Rules: []*rules.Rule{{Effect: "allow"}}})
		pair, err := k.issuer.Issue(t.Context(), issuer.Subject{Client: "grafana", Vouch: keyVouch + before.ID}, k.audienceOf(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		a := k.send(get("/api/v1/jobs", bearer(pair.Access)...), "192.0.2.7")
		if (a.passed != nil) != (name == "it has not moved") || a.passed == nil && a.reason != veeam.ReasonUnknownKey {
			t.Errorf("%s: %+v", name, a)
		}
	}
}
