package policy

import (
	"strings"
	"testing"
)

func TestOnlyLocalPeersAreKnownByTheirAddress(t *testing.T) {
	for _, c := range []struct {
		evidence Evidence
		via      Via
	}{
		{Evidence{RemoteAddr: "127.0.0.1:50000"}, ViaLoopback},
		{Evidence{RemoteAddr: "127.8.9.10:1"}, ViaLoopback},
		{Evidence{RemoteAddr: "[::1]:50000"}, ViaLoopback},
		{Evidence{RemoteAddr: "[::ffff:127.0.0.1]:50000"}, ViaLoopback},
		{Evidence{Unix: true}, ViaUnix},
		{Evidence{Unix: true, RemoteAddr: "@"}, ViaUnix},
		{Evidence{RemoteAddr: "127.0.0.1:50000", Relayed: true}, ""},
		{Evidence{Unix: true, Relayed: true}, ""},
		{Evidence{RemoteAddr: "192.0.2.7:50000"}, ""},
		{Evidence{RemoteAddr: "[::ffff:192.0.2.7]:50000"}, ""},
		{Evidence{RemoteAddr: "0.0.0.0:1"}, ""},
		{Evidence{RemoteAddr: "localhost:1"}, ""},
		{Evidence{RemoteAddr: "127.0.0.1"}, ""},
		{Evidence{RemoteAddr: "@"}, ""},
		{Evidence{RemoteAddr: "/run/veeam.sock"}, ""},
		{Evidence{}, ""},
	} {
		c.evidence.Host = "localhost:9419"
		caller, ok := c.evidence.Address()
		if ok != (c.via != "") || caller.Via != c.via || caller.Name != string(c.via) {
			t.Errorf("%+v: %+v, %v", c.evidence, caller, ok)
		}
		if ok && !caller.Via.ByAddress() {
			t.Errorf("%+v: not by address", c.evidence)
		}
	}
}

func TestABrowserCannotBorrowTheAddress(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LOCALHOST:9419": true, "localhost.": true, "127.0.0.1:9419": true, "127.7.7.7": true, "[::1]:9419": true, "[::1]": true,
		"vbr01.lab.local": true, "VBR01.lab.local:9419": true,
		"": false, "evil.example": false, "evil.example:9419": false, "localhost.evil.example": false, "192.0.2.7:9419": false, "[::ffff:192.0.2.7]:1": false,
	} {
		e := Evidence{RemoteAddr: "127.0.0.1:1", Host: host, Hosts: []string{"vbr01.lab.local"}}
		if _, ok := e.Address(); ok != want {
			t.Errorf("host %q: %v", host, ok)
		}
		if !want && !strings.Contains(e.Hint(), "hosts") {
			t.Errorf("host %q: %s", host, e.Hint())
		}
	}
}

func TestABrowserCannotBorrowAnythingForAPageOfAnotherSite(t *testing.T) {
	e := Evidence{RemoteAddr: "127.0.0.1:1", Host: "localhost", User: "grafana", Certificate: "CN=grafana"}
	ways := map[string]func(Evidence) (Caller, bool){
		"address": Evidence.Address, "user": Evidence.Authenticated, "certificate": Evidence.Certified,
	}
	for name, way := range ways {
		if _, ok := way(e); !ok {
			t.Errorf("%s: a program is not known", name)
		}
	}
	e.CrossSite = true
	for name, way := range ways {
		if _, ok := way(e); ok {
			t.Errorf("%s: a page of another site gets in", name)
		}
	}
	if !strings.Contains(e.Hint(), "allowed_origins") {
		t.Error(e.Hint())
	}
}

func TestWhereAuthenticationIsRequiredAnAddressIsNotEnough(t *testing.T) {
	for _, e := range []Evidence{{RemoteAddr: "127.0.0.1:1", Host: "localhost"}, {Unix: true}} {
		e.AuthenticationRequired = true
		if _, ok := e.Address(); ok || !strings.Contains(e.Hint(), "require_authentication") {
			t.Errorf("%+v: %s", e, e.Hint())
		}
		e.User, e.Certificate = "grafana", "CN=grafana"
		if _, ok := e.Authenticated(); !ok {
			t.Error("a user of an earlier handler is not known")
		}
		if _, ok := e.Certified(); !ok {
			t.Error("a certificate is not known")
		}
	}
}

func TestAVerifiedCertificateIsAName(t *testing.T) {
	caller, ok := Evidence{Certificate: "CN=grafana"}.Certified()
	if !ok || caller.Name != "CN=grafana" || caller.Via.ByAddress() {
		t.Errorf("%+v, %v", caller, ok)
	}
	if _, ok := (Evidence{}).Certified(); ok {
		t.Error("no certificate is a name")
	}
}

func TestAnEarlierHandlersWordCounts(t *testing.T) {
	caller, ok := Evidence{User: "grafana", RemoteAddr: "192.0.2.7:1"}.Authenticated()
	if !ok || caller.Name != "grafana" || caller.Via != ViaCaddy || caller.Via.ByAddress() {
		t.Errorf("%+v, %v", caller, ok)
	}
	if _, ok := (Evidence{}).Authenticated(); ok {
		t.Error("nobody is authenticated")
	}
}

func TestTheHintSaysWhyALoopbackPeerIsNotEnough(t *testing.T) {
	if hint := (Evidence{RemoteAddr: "127.0.0.1:1", Host: "localhost", Relayed: true}).Hint(); !strings.Contains(hint, "relayed") {
		t.Error(hint)
	}
	if hint := (Evidence{}).Hint(); strings.Contains(hint, "relayed") || !strings.Contains(hint, "token endpoint") {
		t.Error(hint)
	}
	for address, named := range map[string]bool{"172.17.0.1:40000": true, "127.0.0.1:1": false} {
		hint := (Evidence{RemoteAddr: address, Host: "x"}).Hint()
		for _, way := range []string{"same network namespace", "client <name> <password-hash>", "or a client certificate"} {
			if strings.Contains(hint, way) != named {
				t.Errorf("%s: %s", address, hint)
			}
		}
	}
}

func TestTheHintNamesEachWayIn(t *testing.T) {
	hint := Evidence{RemoteAddr: "192.0.2.7:1"}.Hint()
	for _, way := range []string{"token endpoint", "a key", "trust_jwt", "client certificate", "basic_auth", "loopback address", "unix socket"} {
		if !strings.Contains(hint, way) {
			t.Errorf("%s is missing: %s", way, hint)
		}
	}
}
