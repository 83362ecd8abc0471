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
		caller, ok := c.evidence.Address()
		if ok != (c.via != "") || caller.Via != c.via || caller.Name != string(c.via) {
			t.Errorf("%+v: %+v, %v", c.evidence, caller, ok)
		}
		if ok && !caller.Via.ByAddress() {
			t.Errorf("%+v: not by address", c.evidence)
		}
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
	if hint := (Evidence{Relayed: true}).Hint(); !strings.Contains(hint, "relayed") {
		t.Error(hint)
	}
	if hint := (Evidence{}).Hint(); strings.Contains(hint, "relayed") || !strings.Contains(hint, "token endpoint") {
		t.Error(hint)
	}
}
