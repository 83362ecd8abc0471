// The one text that stands for a caller.

package policy

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// anyCaller draws callers with names that imitate those of other kinds.
func anyCaller() *rapid.Generator[Caller] {
	return rapid.Custom(func(t *rapid.T) Caller {
		via := rapid.SampledFrom([]Via{ViaCaddy, ViaClient, ViaPassthrough, ViaCertificate, ViaUnix, ViaLoopback}).Draw(t, "via")
		if via.ByAddress() {
			return Caller{Name: string(via), Via: via}
		}
		kinds := []string{"", ":", "client:", "caddy:", "certificate:", "passthrough:", "loopback:", "Client:", "client"}
		names := []string{"grafana", "CN=alice", "loopback", "unix", "a:b", " ", `LAB\carol`, "client:grafana"}
		name := rapid.SampledFrom(kinds).Draw(t, "kind") + rapid.SampledFrom(names).Draw(t, "name")
		return Caller{Name: name, Via: via}
	})
}

// configurable reports whether the configuration may have the caller.
func configurable(c Caller) bool { return c.Via != ViaClient || CheckClientName(c.Name) == nil }

func TestCallersOfDifferentKindsNeverHaveOneIdentity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyCaller().Filter(configurable).Draw(t, "a"), anyCaller().Filter(configurable).Draw(t, "b")
		same := a == b || a.Via == ViaPassthrough && b.Via == a.Via && strings.EqualFold(a.Name, b.Name)
		if (a.Identity() == b.Identity()) != same {
			t.Fatalf("%+v is %q, %+v is %q", a, a.Identity(), b, b.Identity())
		}
		if back, err := ParseIdentity(a.Identity()); err != nil || back.Via != a.Via || back.Identity() != a.Identity() {
			t.Fatalf("%q is read as %+v, %v, and was made of %+v", a.Identity(), back, err, a)
		}
	})
}

func TestTheNameOfAClientTakesNoPlaceholder(t *testing.T) {
	for _, name := range []string{"{env.NAME}", "grafana-{$SITE}", "a}"} {
		if err := CheckClientName(name); err == nil || !strings.Contains(err.Error(), "it takes no placeholder") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestANameWithoutAKindIsThatOfAClient(t *testing.T) {
	for text, want := range map[string]Caller{
		"grafana":                 {Name: "grafana", Via: ViaClient},
		"client:grafana":          {Name: "grafana", Via: ViaClient},
		"CN=alice,O=Lab":          {Name: "CN=alice,O=Lab", Via: ViaClient},
		"a:b":                     {Name: "a:b", Via: ViaClient},
		"certificate:CN=a:b":      {Name: "CN=a:b", Via: ViaCertificate},
		"caddy:bob":               {Name: "bob", Via: ViaCaddy},
		`passthrough:LAB\carol`:   {Name: `LAB\carol`, Via: ViaPassthrough},
		"passthrough:client:a":    {Name: "client:a", Via: ViaPassthrough},
		"certificate:certificate": {Name: "certificate", Via: ViaCertificate},
		"loopback":                {Name: "loopback", Via: ViaLoopback},
		"unix":                    {Name: "unix", Via: ViaUnix},
	} {
		if got, err := ParseIdentity(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "client:", "caddy:", "certificate:", "passthrough:", "client:loopback", "client:unix", "client:caddy:bob"} {
		if got, err := ParseIdentity(text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
	if got := (Caller{}).Identity(); got != "" {
		t.Errorf("a caller who is not known is %q", got)
	}
}

func FuzzParseIdentity(f *testing.F) {
	for _, seed := range []string{"", "grafana", "client:a", "certificate:CN=a", "loopback", "unix:", "caddy::", "client:client:x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		caller, err := ParseIdentity(text)
		if err != nil {
			return
		}
		if caller.Name == "" || !slices.Contains(named, caller.Via) && !caller.Via.ByAddress() {
			t.Fatalf("%q: %+v", text, caller)
		}
		if again, err := ParseIdentity(caller.Identity()); err != nil || again.Identity() != caller.Identity() {
			t.Fatalf("%q: %+v, then %+v, %v", text, caller, again, err)
		}
		if caller.Identity() != text && caller.Via != ViaPassthrough && !strings.HasPrefix(text, "client:") {
			t.Fatalf("%q has become %q", text, caller.Identity())
		}
	})
}
