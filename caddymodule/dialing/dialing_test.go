package dialing

import (
	"context"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// The key of reverse_proxy's context is not exported: another Caddy may have another one.
func TestTheDialInfoOfAGrantIsFound(t *testing.T) {
	t.Parallel()
	want, err := Info("vbr01.lab.local:9419")
	if err != nil {
		t.Fatal(err)
	}
	type request struct{}
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), request{}, "of a client"))
	ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, map[string]any{"client": "of a client"})
	server := new(caddyhttp.Server)
	ctx = context.WithValue(ctx, caddyhttp.ServerCtxKey, server)
	values := Values(To(ctx, want))
	cancel()
	if got, ok := reverseproxy.GetDialInfo(values); !ok || got != want {
		t.Errorf("%+v, %v", got, ok)
	}
	if values.Err() != nil || values.Value(request{}) != nil || len(values.Value(caddyhttp.VarsCtxKey).(map[string]any)) > 0 {
		t.Error("a grant depends on the request that causes it")
	}
	if values.Value(caddyhttp.ServerCtxKey) != server {
		t.Error("the server is not known")
	}
	text := values.Value(caddy.ReplacerCtxKey).(*caddy.Replacer).ReplaceAll("{http.reverse_proxy.upstream.hostport}", "")
	if text != want.Address {
		t.Errorf("hostport %q", text)
	}
	if got, ok := reverseproxy.GetDialInfo(Values(t.Context())); ok {
		t.Errorf("without an upstream: %+v", got)
	}
}

func TestInfo_IsOfOneAddress(t *testing.T) {
	t.Parallel()
	for address, says := range map[string]string{
		"vbr01.lab.local:9419-9421": "upstream vbr01.lab.local:9419-9421: a single port is required",
		"{env.NOT_SET}:9419":        "upstream {env.NOT_SET}:9419: ",
		"vbr01.lab.local:x":         "upstream vbr01.lab.local:x: ",
		"vbr01.lab.local:9419":      "",
		"unix//run/vbr":             "",
	} {
		_, err := Info(address)
		if says == "" && err != nil || says != "" && (err == nil || !strings.HasPrefix(err.Error(), says)) {
			t.Errorf("%s: %v", address, err)
		}
	}
}
