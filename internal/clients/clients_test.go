package clients

import (
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/internal/password"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

const hash = "$2a$14$X3ulqf/iGxnf1k6oMZ.RZeJUoqI9PX2PM4rS5lkIKJXduLGXGPrt6"

func TestAClientWithoutAUsableNameOrHashIsRefused(t *testing.T) {
	for _, bad := range []Client{{Name: "", Hash: hash}, {Name: "a\x00b", Hash: hash}, {Name: "a", Hash: "secret"}, {Name: "a", Hash: "$2a$14$short"}} {
		if _, err := bad.Check(); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	if _, err := (&Client{Name: "a", Hash: hash}).Check(); err != nil {
		t.Error(err)
	}
}

func TestAClientIsDefinedOnce(t *testing.T) {
	if _, err := New([]*Client{{Name: "a", Hash: hash}, {Name: "a", Hash: hash}}, nil); err == nil || !strings.Contains(err.Error(), "defined twice") {
		t.Error(err)
	}
}

func TestALoginIsThatOfTheClientWithThePassword(t *testing.T) {
	checker := password.New(password.Options{Compare: func(hashed, pass string) bool { return hashed == hash && pass == "right" }})
	known, err := New([]*Client{{Name: "grafana", Hash: hash, Account: "reader"}}, checker)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 100)
	for _, tt := range []struct {
		name, pass string
		reason     veeam.Reason
		detail     string
	}{
		{"grafana", "right", "", ""},
		{"grafana", "wrong", veeam.ReasonBadCredential, `the password is not that of the client "grafana"`},
		{"nobody", "right", veeam.ReasonBadCredential, `unknown client "nobody"`},
		{"a\nb", "right", veeam.ReasonBadCredential, `unknown client "a\nb"`},
		{long, "right", veeam.ReasonBadCredential, `unknown client "` + long[:64] + `"...`},
	} {
		caller, refusal := known.Login(t.Context(), password.Attempt{Site: "s", Name: tt.name, Password: tt.pass, Source: "192.0.2.1", Connection: tt.name})
		if tt.reason == "" {
			if refusal != nil || caller.Name != tt.name || caller.Account != "reader" {
				t.Errorf("%+v: %+v, %+v", tt, caller, refusal)
			}
			continue
		}
		if refusal == nil || refusal.Reason != tt.reason || refusal.Detail != tt.detail || caller.Name != "" {
			t.Errorf("%+v: %+v, %+v", tt, caller, refusal)
		}
	}
}
