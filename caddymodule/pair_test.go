// Handlers and transports of JSON configurations that do not fit.

package caddymodule

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestAHandlerAndItsTransportMustFit(t *testing.T) {
	t.Parallel()
	const hash = `$2a$04$8rM7SF1fPh9aGkVYD07vYO0T4w5i5hwfVQ8mYQQLzcyUZ2bZ6G1mq`
	proxy := func(more string) string {
		return `{"handler": "reverse_proxy", "upstreams": [{"dial": "127.0.0.1:1"}], "transport": {"protocol": "veeam_auth", "tls": {}, "accounts": [{"name": "svc", "password": "{env.P}"}]` + more + `}}`
	}
	as := `,"product": "vbr"`
	direct := func(handlers ...string) string { return `[{"handle": [` + strings.Join(handlers, ",") + `]}]` }
	apart := func(handlers ...string) string {
		return `[{"handle": [` + strings.Join(handlers, `]}, {"handle": [`) + `]}]`
	}
	below := func(handlers ...string) string {
		last := len(handlers) - 1
		return direct(append(handlers[:last:last], `{"handler": "subroute", "routes": `+direct(handlers[last])+`}`)...)
	}
	inside := func(handlers ...string) string {
		return direct(`{"handler": "subroute", "routes": ` + direct(handlers...) + `}`)
	}
	for name, shape := range map[string]func(...string) string{"direct": direct, "apart": apart, "below": below, "inside": inside} {
		for _, c := range []struct{ handler, transport, says string }{
			{`"act_as": "svc"`, as, ""},
			{`"act_as": "{http.request.header.X}"`, as, ""},
			{`"act_as": "nobody"`, as, "act_as: no account named nobody"},
			{`"act_as": "5a1f6b2e-0c5d-4d59-9df4-0a1f3a6d2c11"`, as, "act_as: no account named"},
			{`"clients": [{"name": "grafana", "hash": "` + hash + `", "account": "svc"}]`, as, ""},
			{`"clients": [{"name": "grafana", "hash": "` + hash + `", "account": "nobody"}]`, as, "client grafana: unknown account"},
			{`"product": "azure"`, `,"product": "azure"`, ""},
			{`"product": "azure"`, as, "the handler has product azure, its transport vbr"},
			{`"product": "vbr"`, `,"product": "aws"`, "the handler has product vbr, its transport aws"},
		} {
			good := `{"handler": "veeam_auth", "act_as": "svc"}`
			routes := shape(`{"handler": "veeam_auth",`+c.handler+`}`, proxy(c.transport))
			// Another site before and behind it is none of its business.
			text := fmt.Sprintf(`{"admin": {"disabled": true}, "storage": {"module": "file_system", "root": %q}, "apps": {"http": {"servers": {
				"a": {"listen": ["127.0.0.1:59421"], "routes": %s},
				"b": {"listen": ["127.0.0.1:59422"], "routes": %s},
				"c": {"listen": ["127.0.0.1:59423"], "routes": %s}}}}}`, t.TempDir(), shape(good, proxy("")), routes, shape(good, proxy("")))
			config := new(caddy.Config)
			if err := json.Unmarshal([]byte(text), config); err != nil {
				t.Fatalf("%v in %s", err, text)
			}
			err := validate(config)
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("%s, handler %s, transport %s: %v", name, c.handler, c.transport, err)
			}
		}
	}
}
