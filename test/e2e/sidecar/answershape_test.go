// The answers of the token endpoint, field by field beside those that the server
// itself gives to the same request.

package sidecar

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestAnAnswerLooksLikeTheServersOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	west := time.FixedZone("", -5*3600-1800)
	profile := func(p *product, profile veeamtest.Profile) *product {
		other := *p
		other.profile = profile
		return &other
	}
	vbr12 := profile(vbr, veeamtest.VBR12)
	for _, c := range []struct {
		product *product
		options []veeamtest.Option
	}{
		{vbr, nil},
		{vbr12, nil},
		{vbr, []veeamtest.Option{veeamtest.WithUsernameInAnswer()}},
		{vbr, []veeamtest.Option{veeamtest.WithDateStyle(veeamtest.DateUTC)}},
		{vbr12, []veeamtest.Option{veeamtest.WithZone(west), veeamtest.WithUsernameInAnswer()}},
		{vbr, []veeamtest.Option{veeamtest.WithZone(west)}},
		{vbr12, []veeamtest.Option{veeamtest.WithDateStyle(veeamtest.DateSevenDigits)}},
		{vspc, nil},
		{azure, nil},
		{azure, []veeamtest.Option{veeamtest.WithDateStyle(veeamtest.DateLocal)}},
		{aws, nil},
		{aws, []veeamtest.Option{veeamtest.WithZone(west)}},
		{aws, []veeamtest.Option{veeamtest.WithDateStyle(veeamtest.DateOffset)}},
		{gcp, nil},
		{gcp, []veeamtest.Option{veeamtest.WithDateStyle(veeamtest.DateUTC)}},
		{vb365, nil},
		{vb365, []veeamtest.Option{veeamtest.WithUsernameInAnswer()}},
		{one, nil},
	} {
		w.add(c.product, c.options...)
	}
	w.start()
	for _, s := range w.sites {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			form := url.Values{
				"grant_type": {s.password[0]}, "username": {veeamtest.DefaultUser}, "password": {veeamtest.DefaultPassword},
			}
			if s.product == vb365 { // or tokens are good with a cookie only
				form.Set("disable_antiforgery_token", "true")
			}
			theirs := direct(t, s, form)
			ours := s.client.post(t, formType, form.Encode())
			alike(t, s, ours, theirs, true)
			renewed := func(a *answer) url.Values {
				var p pair
				a.into(t, &p)
				form.Del("username")
				form.Del("password")
				form.Set("grant_type", s.refresh[0])
				form.Set("refresh_token", p.Refresh)
				return form
			}
			alike(t, s, s.client.post(t, formType, renewed(ours).Encode()), direct(t, s, renewed(theirs)), true)
		})
	}
}

func TestAnAnswerLooksLikeTheServersOwnAfterAVerificationCode(t *testing.T) {
	t.Parallel()
	const user, password, other = "svc-code", "verified-pass-1", "other-code"
	w := newWorld(t)
	for _, p := range which(withCodes) {
		// The code of a seed is good once: the direct login has a seed of its own.
		mine, theirs := rand.Text()[:16], rand.Text()[:16]
		w.add(p,
			veeamtest.WithAccount(veeamtest.Account{Username: user, Password: password, TOTPSecret: mine}),
			veeamtest.WithAccount(veeamtest.Account{Username: other, Password: password, TOTPSecret: theirs}),
		).withMFA(user, password, mine)
	}
	w.start()
	for _, s := range w.sites {
		t.Run(s.Product, func(t *testing.T) {
			t.Parallel()
			grant := url.Values{"grant_type": {s.password[0]}, "username": {other}, "password": {password}}
			var challenge struct {
				Token string `json:"mfa_token"`
			}
			direct(t, s, grant).into(t, &challenge)
			code, err := totp.GenerateCode(s.Server.TOTPSecret(other), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			theirs := direct(t, s, url.Values{"grant_type": {"mfa"}, "mfa_token": {challenge.Token}, "mfa_code": {code}})
			ours := s.client.post(t, formType, grant.Encode())
			alike(t, s, ours, theirs, false)
			if c := s.Server.Counters(); c.MFAGrants != 2 || c.DuplicateTOTP != 0 {
				t.Errorf("%+v", c)
			}
			s.client.ok(t, s.protected)
		})
	}
}

// alike compares an answer of veeam-auth with one of the server: keys, order, types,
// dates, headers, and the values of what is no token and no time.
func alike(t *testing.T, s *site, ours, theirs *answer, sameUser bool) {
	t.Helper()
	s.client.tokensOf(t, ours)
	if got, want := keysOf(t, ours.body), keysOf(t, theirs.body); !slices.Equal(got, want) {
		t.Errorf("keys %q, the server's are %q", got, want)
	}
	var mine, its map[string]json.RawMessage
	ours.into(t, &mine)
	theirs.into(t, &its)
	for key, want := range its {
		got := mine[key]
		switch key {
		case "access_token", "refresh_token":
			if bytes.Equal(got, want) || got[0] != '"' {
				t.Errorf("%s: %.60s", key, got)
			}
		case "expires_in":
			if string(got) != "3600" {
				t.Errorf("expires_in %s", got)
			}
		case ".issued", ".expires":
			if dateShape(got) != dateShape(want) {
				t.Errorf("%s %s, the server's is %s", key, got, want)
			}
		case "userId", "username":
			if len(got) == 0 || got[0] != '"' || sameUser && !bytes.Equal(got, want) {
				t.Errorf("%s %s, the server's is %s", key, got, want)
			}
		default:
			if !bytes.Equal(got, want) {
				t.Errorf("%s %s, the server's is %s", key, got, want)
			}
		}
	}
	if _, there := mine["mfa_token"]; there && s.Product != vspc.name {
		t.Errorf("an mfa_token in %s", ours.body)
	}
	if got := ours.header.Get("Content-Type"); !strings.HasPrefix(got, "application/json") {
		t.Errorf("Content-Type %q", got)
	}
	if got := ours.header.Get("Content-Encoding") + ours.header.Get("Transfer-Encoding"); got != "" {
		t.Errorf("encoded as %q", got)
	}
	if n := len(ours.header.Values("Content-Length")); n != 1 {
		t.Errorf("%d Content-Length", n)
	}
	sameTime(t, s, mine, its)
}

// sameTime checks that our dates are of now on the server's own clock, and
// expires_in apart.
func sameTime(t *testing.T, s *site, mine, its map[string]json.RawMessage) {
	t.Helper()
	if its[".issued"] == nil {
		return
	}
	when := func(raw json.RawMessage) time.Time {
		text := strings.Trim(string(raw), `"`)
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05"} {
			if at, err := time.Parse(layout, text); err == nil {
				return at
			}
		}
		t.Fatalf("no date: %s", raw)
		return time.Time{}
	}
	if apart := when(mine[".issued"]).Sub(when(its[".issued"])).Abs(); apart > time.Minute {
		t.Errorf("%s: issued %s, the server's clock says %s", s.Name, mine[".issued"], its[".issued"])
	}
	if apart := when(mine[".expires"]).Sub(when(mine[".issued"])); apart != time.Hour {
		t.Errorf("%s: .expires is %v after .issued", s.Name, apart)
	}
}

var (
	digit  = regexp.MustCompile(`\d`)
	offset = regexp.MustCompile(`[+-]\d\d:\d\d"$`)
)

// dateShape is a date with its digits forgotten, but for those of the zone.
func dateShape(date json.RawMessage) string {
	return digit.ReplaceAllString(string(date), "0") + string(offset.Find(date))
}

// toServers is a client of the servers themselves.
var toServers = func() *http.Client {
	roots := x509.NewCertPool()
	roots.AddCert(veeamtest.CA())
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
}()

// direct sends a token request to the server, past the sidecar.
func direct(t *testing.T, s *site, form url.Values) *answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.Server.URL()+s.Server.TokenPath(), strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", formType)
	if s.version != "" {
		req.Header.Set("X-Api-Version", s.version)
	}
	res, err := toServers.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := &answer{status: res.StatusCode, header: res.Header, body: body}
	if a.status != http.StatusAccepted { // an MFA challenge, at Google Cloud
		a.want(t, http.StatusOK)
	}
	return a
}
