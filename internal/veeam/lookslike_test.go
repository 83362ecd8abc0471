package veeam

import (
	"encoding/json"
	"testing"
	"time"
)

func TestAnAnswerOfAnotherProductIsNoticed(t *testing.T) {
	answers := map[string]string{}
	for _, p := range products {
		answers[p.Name] = string(p.AppendTokenAnswer(nil, Answer{AccessToken: "a", RefreshToken: "r", Lifetime: time.Hour, Username: "svc", Role: "PortalAdministrator", UserID: "1"}, nil))
	}
	looks := func(configured *Product, text string, grant Grant) string {
		o, err := readObject([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return (&Token{Grant: grant, Shape: readShape(o, time.Now())}).LooksLike(configured).Name
	}
	for _, p := range products {
		if p.legacy == nil {
			if got := looks(p, answers[p.Name], GrantPassword); got != p.Name {
				t.Errorf("%s answers like %s", p.Name, got)
			}
		}
		if got := (&Token{Shape: nil}).LooksLike(p); got != p {
			t.Errorf("%s: an API key looks like %s", p.Name, got.Name)
		}
		for _, found := range []string{"azure", "vspc"} {
			if got := looks(p, answers[found], GrantPassword); p.legacy == nil && len(p.ownKeys) == 0 && got != found {
				t.Errorf("product %s at %s: it answers like %s", p.Name, found, got)
			}
		}
	}
	// What answers of the wild have beside: no reason to warn.
	for product, text := range map[string]string{
		"azure": `{"access_token":"a","userType":"Internal","mfa_enabled":false,"mfa_token":null,"redirectTo":null}`,
		"aws":   `{"access_token":"a","roleName":"PortalAdministrator","mfa_enabled":false,"mfa_token":null}`,
		"vbr":   `{"access_token":"a","username":"svc"}`,
	} {
		if got := looks(lookup(t, product), text, GrantPassword); got != product {
			t.Errorf("%s: it answers like %s", text, got)
		}
	}
	if got := looks(lookup(t, "azure"), answers["vbr"], GrantPassword); got != "vbr" {
		t.Errorf("product azure at vbr: it answers like %s", got)
	}
	if got := looks(lookup(t, "azure"), answers["vbr"], GrantRefreshToken); got != "azure" {
		t.Errorf("a short answer to a refresh token looks like %s", got)
	}
}

func TestAWSNamesTheUserAfterAPasswordOnly(t *testing.T) {
	p := lookup(t, "aws")
	o, err := readObject([]byte(`{"access_token":"a","username":"server"}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Shape{nil, readShape(o, time.Now())} {
		for grant, want := range map[Grant]bool{
			"": true, GrantPassword: true, GrantRefreshToken: false, GrantMFA: false, GrantAuthorizationCode: false,
		} {
			var got map[string]any
			if err := json.Unmarshal(p.AppendTokenAnswer(nil, Answer{AccessToken: "a", Lifetime: time.Hour, Username: "svc", Grant: grant}, s), &got); err != nil {
				t.Fatal(err)
			}
			if _, named := got["username"]; named != want {
				t.Errorf("grant %q: %v", grant, got)
			}
		}
	}
}
