package caddymodule

import (
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func TestUpstreamsThatAreFoundOutLaterHaveAudiencesOfTheirOwn(t *testing.T) {
	seen := map[string]bool{"": true}
	for _, proxy := range []*reverseproxy.Handler{
		{DynamicUpstreamsRaw: []byte(`{"name":"vbr01.lab.local","source":"a"}`)},
		{DynamicUpstreamsRaw: []byte(`{"name":"vbr02.lab.local","source":"a"}`)},
		{Upstreams: reverseproxy.UpstreamPool{{Dial: "vbr01.lab.local:9419"}}},
		{Upstreams: reverseproxy.UpstreamPool{{Dial: "vbr01.lab.local:9419"}, {Dial: "vbr02.lab.local:9419"}}},
	} {
		got := audienceOf(proxy)
		if seen[got] {
			t.Errorf("%q is the audience of others", got)
		}
		seen[got] = true
	}
}

func TestReplicasWithAddressesOfTheirOwnHaveOneAudience(t *testing.T) {
	const one = "9419-9419"
	for _, listen := range [][]string{
		{":9419"}, {"10.0.0.5:9419"}, {"tcp/[fd00::7]:9419"}, {"127.0.0.1:9419", "[::1]:9419"}, {"tcp4/0.0.0.0:9419"},
	} {
		if got := ports(listen); got != one {
			t.Errorf("%q: %q", listen, got)
		}
	}
	seen := map[string]bool{one: true}
	for _, listen := range [][]string{{":9420"}, {":9419-9421"}, {":9419", ":9420"}, {"unix//run/a.sock"}, {"unix//run/b.sock"}} {
		if got := ports(listen); seen[got] {
			t.Errorf("%q: %q is the audience of others", listen, got)
		} else {
			seen[got] = true
		}
	}
}
