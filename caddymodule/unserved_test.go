// Which names of this machine no site has.

package caddymodule

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-veeam/veeam-auth/caddymodule/listener"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

func TestNamesThatNoSiteHasAreFound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sites string
		want  []string
	}{
		"a port":                      {":9419 { bind 127.0.0.1 [::1] }", nil},
		"a port for all addresses":    {":9419", nil},
		"localhost and one address":   {"http://localhost:9419, http://127.0.0.1:9419 { bind 127.0.0.1 [::1] }", []string{"::1"}},
		"localhost":                   {"http://localhost:9419 { bind 127.0.0.1 [::1] }", []string{"127.0.0.1", "::1"}},
		"all names":                   {"http://localhost:9419, http://127.0.0.1:9419, http://[::1]:9419 { bind 127.0.0.1 [::1] }", nil},
		"a name for all addresses":    {"http://vbr.lab.local:9419", []string{"127.0.0.1", "::1", "localhost"}},
		"an address of the network":   {"http://vbr.lab.local:9419 { bind 192.0.2.7 }", []string{"192.0.2.7"}},
		"two sites":                   {"http://localhost:9419 { bind 127.0.0.1 }\nhttp://127.0.0.1:9419 { bind 127.0.0.1 }", nil},
		"a site for the rest":         {"http://localhost:9419 { bind 127.0.0.1 }\nhttp://:9419 { bind 127.0.0.1 }", nil},
		"a unix socket":               {"http://vbr.localhost { bind unix//run/vbr.sock }", nil},
		"TLS":                         {"https://vbr.lab.local", nil},
		"TLS for localhost":           {"https://localhost:9419 { bind 127.0.0.1 }", nil},
		"a port beside a name of TLS": {"https://vbr.lab.local:9418\nhttp://localhost:9419 { bind 127.0.0.1 }", []string{"127.0.0.1"}},
	} {
		var b strings.Builder
		b.WriteString("{\n\tadmin off\n\tskip_install_trust\n\tlocal_certs\n}\n")
		for site := range strings.Lines(c.sites) {
			address, bind, _ := strings.Cut(strings.TrimSuffix(strings.TrimSpace(site), "}"), "{")
			b.WriteString(address + " {\n\t" + bind + "\n\tveeam_auth https://vbr01.lab.local:9419 {\n\t\taccount svc {env.P}\n\t}\n}\n")
		}
		if got := warnedOf(t, b.String()); !cmp.Equal(got, c.want) {
			t.Errorf("%s: %q, not %q", name, got, c.want)
		}
	}
}

func TestProtocolsAfterHTTP1AreFound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options, address string
		want             []string
	}{
		"without TLS":             {"", "http://:9398", nil},
		"TLS":                     {"", "https://em.lab.local:9398", []string{"h2", "h3"}},
		"HTTP/1.1 only":           {"servers {\n\t\tprotocols h1\n\t}", "https://em.lab.local:9398", nil},
		"HTTP/2 without TLS":      {"servers {\n\t\tprotocols h1 h2c\n\t}", "http://:9398", []string{"h2c"}},
		"no HTTP/3":               {"servers {\n\t\tprotocols h1 h2\n\t}", "https://em.lab.local:9398", []string{"h2"}},
		"another server's option": {"servers :9419 {\n\t\tprotocols h1\n\t}", "https://em.lab.local:9398", []string{"h2", "h3"}},
	} {
		var got []string
		for _, server := range serversOf(t, "{\n\tadmin off\n\tskip_install_trust\n\tlocal_certs\n\tauto_https disable_redirects\n\t"+c.options+"\n}\n"+c.address+
			" {\n\tveeam_auth https://em01.lab.local:9398 {\n\t\tproduct em\n\t\taccount svc {env.P}\n\t}\n}\n") {
			got = append(got, listener.LaterProtocols(server)...)
			for _, product := range []string{"em", "vbr"} {
				core, logs := observer.New(zapcore.WarnLevel)
				p, _ := veeam.Lookup(product)
				h := &Handler{product: p, logger: zap.New(core)}
				if err := h.meetServer(caddy.Context{Context: context.WithValue(t.Context(), caddyhttp.ServerCtxKey, server)}); err != nil {
					t.Fatal(err)
				}
				warned := logs.FilterMessageSnippet("may need HTTP/1.1").Len() > 0
				if want := product == "em" && len(listener.LaterProtocols(server)) > 0; warned != want {
					t.Errorf("%s: %s: a warning: %t", name, product, warned)
				}
			}
		}
		if !cmp.Equal(got, c.want) {
			t.Errorf("%s: %q, not %q", name, got, c.want)
		}
	}
}

// warnedOf are the names that a configuration is warned of when it is loaded.
func warnedOf(t *testing.T, caddyfile string) (names []string) {
	t.Helper()
	for _, server := range serversOf(t, caddyfile) {
		names = append(names, listener.UnservedNames(server)...)
	}
	return names
}

func serversOf(t *testing.T, caddyfile string) map[string]*caddyhttp.Server {
	t.Helper()
	result, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatalf("%s\n%v", caddyfile, err)
	}
	config := new(caddy.Config)
	if err := json.Unmarshal(result, config); err != nil {
		t.Fatal(err)
	}
	config.StorageRaw = fileStorage(t.TempDir())
	ctx := provisionContext(t, config)
	app, err := ctx.App("http")
	if err != nil {
		t.Fatal(err)
	}
	return app.(*caddyhttp.App).Servers
}
