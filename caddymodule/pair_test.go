// Handlers and transports of JSON configurations that do not fit.

package caddymodule

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
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

// Errors of JSON have no line: they name the module, the account or client, and the option.
func TestAnErrorOfJSONNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	const (
		handler   = "server a: setting up route handlers: route 0: loading handler modules: position 0: loading module 'veeam_auth': "
		transport = "http.reverse_proxy.transport.veeam_auth: "
		ok        = `"accounts": [{"name": "svc", "password": "{env.P}"}]`
	)
	for _, c := range []struct {
		handler, transport string
		says               []string
	}{
		{`, "clientz": []`, ok, []string{handler, `unknown field "clientz"`}},
		{`, "clients": [{"name": "g", "token_lifetime": 90}]`, ok, []string{handler, "clients", "token_lifetime"}},
		{`, "clients": [{"name": "a"}, {"name": "g", "preset": "x"}]`, ok, []string{handler, "client g: unknown preset"}},
		{`, "clients": [{"name": "a"}, {"hash": "x"}]`, ok, []string{handler, "clients[1]: a client requires a name"}},
		{`, "clients": [{"name": "g", "token_lifetime": "1ms"}]`, ok, []string{handler, "client g: token_lifetime is 1ms; it must be at least 1s"}},
		{`, "token_lifetime": 90`, ok, []string{handler, `token_lifetime is 90ns; it must be at least 1s; write "90s"`}},
		{`, "trust_jwt": [{"name": "k8s"}]`, ok, []string{handler, "trust_jwt k8s: issuer is missing"}},
		{`, "rules": [{"effect": "allow"}, {"effect": "allow", "preset": "x"}]`, ok, []string{handler, "rule 2: unknown preset"}},
		{``, `"accounts": [{"name": "svc", "password": "{env.P}"}, {"password": "{env.P}"}]`, []string{transport, "accounts[1]: an account requires a name"}},
		{``, `"accounts": [{"name": "svc", "password": "{env.P}", "parent": "x"}]`, []string{transport, "account svc: grant password does not accept parent"}},
		{``, `"accounts": [{"name": "svc", "password": 5}]`, []string{transport, "accounts.password"}},
		{``, ok + `, "hold": 90`, []string{transport, `hold is 90ns`}},
	} {
		config := new(caddy.Config)
		if err := json.Unmarshal(fmt.Appendf(nil, `{"admin": {"disabled": true}, "storage": {"module": "file_system", "root": %q},
			"apps": {"http": {"servers": {"a": {"listen": ["127.0.0.1:59426"], "routes": [{"handle": [{"handler": "veeam_auth"%s},
				{"handler": "reverse_proxy", "upstreams": [{"dial": "127.0.0.1:1"}], "transport": {"protocol": "veeam_auth", "tls": {}, %s}}]}]}}}}}`,
			t.TempDir(), c.handler, c.transport), config); err != nil {
			t.Fatal(err)
		}
		err := validate(config)
		for _, part := range c.says {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%s %s does not say %q: %v", c.handler, c.transport, part, err)
			}
		}
	}
}

// A fixed address of an upstream that cannot be that of a server is refused when the
// configuration is loaded, and not repeated: it may have a password.
func TestAnUpstreamIsAHostWithAPort(t *testing.T) {
	t.Parallel()
	for dial, says := range map[string]string{
		"vbr01:9419":                    "",
		"tcp/vbr01:9419":                "",
		"[2001:db8::7]:9419":            "",
		"unix//run/gateway.sock":        "",
		"unix/@gateway":                 "",
		"{env.VBR}":                     "",
		"{http.request.header.X}:9419":  "",
		"":                              "is missing",
		":9419":                         "has no host",
		"tcp/:9419":                     "has no host",
		"vbr01":                         "has no port",
		"vbr01:":                        "has no port",
		"vbr01:0":                       "has no port",
		"2001:db8::7":                   "has no port",
		"vbr01:9419-9420":               "has several ports",
		"vbr01:https":                   "is no address",
		"https://vbr01:9419":            "is a URL",
		"https://admin:hunter2@vbr01:1": "is a URL",
		"admin:hunter2@vbr01:9419":      "has a user",
		"admin@vbr01:9419":              "has a user",
	} {
		config := new(caddy.Config)
		if err := json.Unmarshal(fmt.Appendf(nil, `{"admin": {"disabled": true}, "storage": {"module": "file_system", "root": %q},
			"apps": {"http": {"servers": {"a": {"listen": ["127.0.0.1:59427"], "routes": [{"handle": [{"handler": "veeam_auth"},
				{"handler": "reverse_proxy", "upstreams": [{"dial": "127.0.0.1:1"}, {"dial": %q}],
					"transport": {"protocol": "veeam_auth", "tls": {}, "accounts": [{"name": "svc", "password": "{env.P}"}]}}]}]}}}}}`,
			t.TempDir(), dial), config); err != nil {
			t.Fatal(err)
		}
		err := validate(config)
		want := "veeam_auth: upstreams[1]: dial " + says + ": write host and port, as in vbr01.lab.local:9419"
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%q: %v, want %q", dial, err, says)
		}
	}
}

// A handler without its transport and a transport without its handler are refused where that
// is certain, and everything else is loaded.
func TestAHandlerAndATransportHaveEachOther(t *testing.T) {
	t.Parallel()
	const (
		handler   = `{"handler": "veeam_auth"}`
		ours      = `{"handler": "reverse_proxy", "upstreams": [{"dial": "127.0.0.1:1"}], "transport": {"protocol": "veeam_auth", "tls": {}, "accounts": [{"name": "svc", "password": "{env.P}"}]}}`
		plain     = `{"handler": "reverse_proxy", "upstreams": [{"dial": "127.0.0.1:2"}]}`
		fastcgi   = `{"handler": "reverse_proxy", "upstreams": [{"dial": "127.0.0.1:2"}], "transport": {"protocol": "fastcgi"}}`
		forwarded = `{"handler": "reverse_proxy", "upstreams": [{"dial": "127.0.0.1:2"}], "handle_response": [{"match": {"status_code": [2]}, "routes": [{"handle": [{"handler": "headers"}]}]}]}`
		untokened = "which sends requests without a token"
		undecided = "no handler veeam_auth is before"
		unreached = "no request gets to one of the handlers veeam_auth"
	)
	route := func(handlers ...string) string { return `{"handle": [` + strings.Join(handlers, ",") + `]}` }
	site := func(routes ...string) string {
		return `{"handler": "subroute", "routes": [` + strings.Join(routes, ",") + `]}`
	}
	api := func(handlers ...string) string {
		return site(`{"match": [{"path": ["/api/*"]}], "handle": [` + strings.Join(handlers, ",") + `]}`)
	}
	for name, c := range map[string]struct{ routes, more, says, warns string }{
		"both":                            {route(handler, ours), "", "", ""},
		"both, others between":            {route(handler, `{"handler": "headers"}`, ours), "", "", ""},
		"in two routes":                   {route(handler) + "," + route(ours), "", "", ""},
		"another service behind the API":  {route(handler, api(ours), plain), "", "", ""},
		"another service before":          {route(plain+","+handler, ours), "", "", unreached},
		"another service in a subroute":   {route(handler, api(plain), ours), "", "", ""},
		"asked by forward_auth":           {route(handler, forwarded, ours), "", "", ""},
		"asked by forward_auth, apart":    {route(handler, forwarded) + "," + route(ours), "", "", ""},
		"in what an answer leads to":      {route(handler, strings.Replace(forwarded, `{"handler": "headers"}`, ours, 1)), "", "", ""},
		"intercept between":               {route(handler, `{"handler": "intercept"}`, ours), "", "", ""},
		"in a named route":                {route(handler, `{"handler": "invoke", "name": "n"}`), `, "named_routes": {"n": ` + route(ours) + `}`, "", ""},
		"both in a named route":           {route(`{"handler": "invoke", "name": "n"}`), `, "named_routes": {"n": ` + route(handler, ours) + `}`, "", ""},
		"decided in a named route":        {route(`{"handler": "invoke", "name": "n"}`, ours), `, "named_routes": {"n": ` + route(handler) + `}`, "", undecided},
		"decided in a subroute":           {route(site(route(handler)), ours), "", "", undecided},
		"decided for errors":              {route(handler), `, "errors": {"routes": [` + route(ours) + `]}`, "", ""},
		"an answer":                       {route(handler, `{"handler": "static_response"}`), "", "", ""},
		"a second one":                    {route(handler, ours) + "," + route(handler, ours), "", "", unreached},
		"a second one in a site":          {route(site(route(handler, ours), route(handler, ours))), "", "", unreached},
		"a second one after forward_auth": {route(forwarded) + "," + route(handler, ours), "", "", ""},
		"a second one after a path":       {strings.Replace(route(handler, ours), "{", `{"match": [{"path": ["/a/*"]}], `, 1) + "," + route(handler, ours), "", "", ""},
		"a plain proxy":                   {route(handler, plain), "", untokened, ""},
		"a plain proxy behind others":     {route(handler, `{"handler": "headers"}`, plain), "", "transport http, " + untokened, ""},
		"a proxy of another kind":         {route(handler, fastcgi), "", "transport fastcgi, " + untokened, ""},
		"a plain proxy in a site":         {route(site(route(handler, plain))), "", untokened, ""},
		"a plain proxy, others apart":     {route(handler, plain) + "," + route(handler, ours), "", untokened, ""},
		"two handlers and a plain proxy":  {route(handler, handler, plain), "", untokened, ""},
		"no handler":                      {route(ours), "", undecided, ""},
		"no handler in a site":            {route(site(route(ours))), "", undecided, ""},
		"the handler behind the proxy":    {route(ours, handler), "", undecided, ""},
		"no handler in one of two sites":  {route(site(route(handler, ours))) + "," + route(site(route(ours))), "", "", undecided},
		"the handler in a later subroute": {route(handler, ours) + "," + route(site(route(ours), route(handler))), "", "", unreached},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := filepath.Join(t.TempDir(), "log")
			text := fmt.Sprintf(`{"admin": {"disabled": true}, "storage": {"module": "file_system", "root": %q},
				"logging": {"logs": {"warnings": {"writer": {"output": "file", "filename": %q}, "include": ["http.reverse_proxy.transport.veeam_auth", "http.handlers.veeam_auth"]}}},
				"apps": {"http": {"servers": {"a": {"listen": ["127.0.0.1:59424"], "routes": [%s]%s}}}}}`, t.TempDir(), log, c.routes, c.more)
			config := new(caddy.Config)
			if err := json.Unmarshal([]byte(text), config); err != nil {
				t.Fatalf("%v in %s", err, text)
			}
			err := validate(config)
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("%s says %v", text, err)
			}
			warned, _ := os.ReadFile(log)
			for _, warning := range []string{undecided, unreached} {
				if strings.Contains(string(warned), warning) != (c.warns == warning) {
					t.Errorf("%s warns: %s", text, warned)
				}
			}
		})
	}
}

func TestAHandlerWithoutATransportIsWarnedOf(t *testing.T) {
	t.Parallel()
	for routes, want := range map[string]int{
		`{"handle": [{"handler": "veeam_auth"}]}, {"handle": [{"handler": "reverse_proxy", "upstreams": [{"dial": "127.0.0.1:2"}]}]}`: 1,
		`{"handle": [{"handler": "veeam_auth"}, {"handler": "reverse_proxy", "upstreams": [{"dial": "127.0.0.1:1"}],
			"transport": {"protocol": "veeam_auth", "tls": {}, "accounts": [{"name": "svc", "password": "{env.P}"}]}}]}`: 0,
	} {
		config := new(caddy.Config)
		if err := json.Unmarshal([]byte(`{"admin": {"disabled": true}, "apps": {"http": {"servers": {"a": {"listen": ["127.0.0.1:59425"], "routes": [`+routes+`]}}}}}`), config); err != nil {
			t.Fatal(err)
		}
		config.StorageRaw = fileStorage(t.TempDir())
		app, err := provisionContext(t, config).App(AppID)
		if err != nil {
			t.Fatal(err)
		}
		core, logs := observer.New(zapcore.WarnLevel)
		for h := range app.(*App).waiting {
			h.logger = zap.New(core)
		}
		app.(*App).warnWaiting()
		if logs.Len() != want {
			t.Errorf("%s: %d warnings", routes, logs.Len())
		}
	}
}
