// Which names of this machine no site has.

package caddymodule

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/google/go-cmp/cmp"
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

// warnedOf are the names that a configuration is warned of when it is loaded.
func warnedOf(t *testing.T, caddyfile string) (names []string) {
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
	for _, server := range app.(*caddyhttp.App).Servers {
		names = append(names, unservedNames(server)...)
	}
	return names
}
