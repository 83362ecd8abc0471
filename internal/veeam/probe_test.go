// Tests of what is found out without a credential, and of what a session may know.

package veeam

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

var profiles = map[veeamtest.Profile]string{
	veeamtest.VBR12: "vbr", veeamtest.VBR13: "vbr", veeamtest.VSPC: "vspc", veeamtest.VSPC35: "vspc",
	veeamtest.Azure: "azure", veeamtest.AWS: "aws", veeamtest.VB365: "vb365", veeamtest.ONE: "one", veeamtest.EM12: "em", veeamtest.EM13: "em",
}

// alike are products, by profile, that answer like the profile's before a login.
var alike = map[veeamtest.Profile]string{veeamtest.VSPC: "vspc35", veeamtest.VSPC35: "vspc35"}

func TestEveryProductIsToldFromTheOthers(t *testing.T) {
	for profile, product := range profiles {
		s := veeamtest.New(profile, veeamtest.WithBOM())
		for _, configured := range Names() {
			c := &Client{Product: lookup(t, configured), Transport: s.Transport(), BaseURL: "https://veeam.test"}
			identity, err := c.Identify(context.Background())
			if alike[profile] == configured && identity.Product == c.Product {
				continue
			}
			if err != nil || identity.Product == nil || identity.Product.Name != product || identity.VersionRefused {
				t.Errorf("%s, configured as %s: %+v %v", profile, configured, identity, err)
			}
		}
		if got := s.Counters(); got.TokenRequests+got.Refused != 0 {
			t.Errorf("%s: a token was asked for", profile)
		}
	}
}

func TestAServerThatShowsNothingIsNoProduct(t *testing.T) {
	servers := []*veeamtest.Server{veeamtest.New(veeamtest.GCP)} // no sign of it is known
	for _, profile := range veeamtest.Profiles() {
		servers = append(servers, veeamtest.New(profile, veeamtest.WithHiddenServer()))
	}
	for _, s := range servers {
		for _, configured := range Names() {
			c := &Client{Product: lookup(t, configured), Transport: s.Transport(), BaseURL: "https://veeam.test"}
			if identity, err := c.Identify(context.Background()); err != nil || identity.Product != nil {
				t.Errorf("%s, configured as %s: %+v %v", s.Profile(), configured, identity, err)
			}
		}
	}
}

func TestOnlyAProductWithoutSignsHasRivals(t *testing.T) {
	for _, p := range products {
		for _, other := range products {
			if got, want := p.Rivals(other), p.Name == "gcp" && (other.Name == "aws" || other == p); got != want {
				t.Errorf("%s and %s: %v", p.Name, other.Name, got)
			}
		}
	}
}

func TestAVersionThatIsNotServedDoesNotHideTheProduct(t *testing.T) {
	for _, profile := range []veeamtest.Profile{veeamtest.VBR13, veeamtest.AWS} {
		s := veeamtest.New(profile)
		c := &Client{Product: lookup(t, profiles[profile]), Transport: s.Transport(), BaseURL: "https://veeam.test", APIVersion: "9.9-rev9"}
		identity, err := c.Identify(context.Background())
		if err != nil || identity.Product != c.Product || !identity.VersionRefused {
			t.Errorf("%s: %+v %v", profile, identity, err)
		}
	}
}

func TestWhatIsNoneOfTheProductsIsNone(t *testing.T) {
	for name, tt := range map[string]canned{
		"a page": {status: 200, body: "<!DOCTYPE html>"}, "nothing": {status: 404}, "an empty answer": {status: 200},
		"another API": {status: 401, body: `{"error":"unauthorized"}`}, "a redirect": {status: 302},
	} {
		answers := slices.Repeat([]canned{tt}, 20)
		c, _ := client(t, "vbr", answers...)
		if identity, err := c.Identify(context.Background()); err != nil || identity.Product != nil {
			t.Errorf("%s: %+v %v", name, identity, err)
		}
	}
	c, s := client(t, "vbr", canned{err: errors.New("connection refused")})
	_, err := c.Identify(context.Background())
	fault(t, err, KindUnavailable)
	if len(s.seen) != 1 {
		t.Errorf("%d requests to a server that is not there", len(s.seen))
	}
	c, _ = client(t, "vbr", canned{status: 503}, canned{status: 503})
	_, err = c.Identify(context.Background())
	fault(t, err, KindServerFault)
}

func TestTheServedVersionsAreListed(t *testing.T) {
	s := veeamtest.New(veeamtest.VBR12)
	c := &Client{Product: lookup(t, "vbr"), Transport: s.Transport(), BaseURL: "https://veeam.test"}
	served, err := c.ServedVersions(context.Background())
	if err != nil || len(served) == 0 || served[0] != "1.2-rev1" || slices.Contains(served, "1.3-rev0") {
		t.Errorf("%v %v", served, err)
	}
}

func TestServiceAccountsAreKnownToThoseWhoMayReadThem(t *testing.T) {
	s := veeamtest.New(veeamtest.VBR13)
	c := &Client{Product: lookup(t, "vbr"), Transport: s.Transport(), BaseURL: "https://veeam.test"}
	token := login(t, c, &Account{Name: veeamtest.DefaultUser, Password: secret.New(veeamtest.DefaultPassword)})
	if err := c.MayRead(context.Background(), token); err != nil {
		t.Error(err)
	}
	found, err := c.ServiceAccounts(context.Background(), token, `.\`+veeamtest.DefaultUser, veeamtest.DefaultMFAUser, "nobody")
	want := []ServiceAccount{{`.\` + veeamtest.DefaultUser, true, true}, {veeamtest.DefaultMFAUser, true, false}, {"nobody", false, false}}
	if err != nil || !slices.Equal(found, want) {
		t.Errorf("%v %v", found, err)
	}
	s.SetFault(veeamtest.Fault{Kind: veeamtest.FaultStatus, Status: http.StatusForbidden, On: veeamtest.OnProtected})
	_, err = c.ServiceAccounts(context.Background(), token, "x")
	fault(t, err, KindForbidden)
	fault(t, c.MayRead(context.Background(), token), KindForbidden)
}

func TestUsersAreComparedAsWindowsDoes(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{"svc", "SVC", true},
		{`LAB\svc`, "svc", true},
		{`.\svc`, `LAB\svc`, true},
		{`LAB\svc`, `lab\SVC`, true},
		{`LAB\svc`, `DEV\svc`, false},
		{"svc", "svc2", false},
		{"", "", false},
		{`LAB\`, "", false},
	} {
		if sameUser(tt.a, tt.b) != tt.same {
			t.Errorf("%q and %q", tt.a, tt.b)
		}
	}
}
