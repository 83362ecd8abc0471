// Package examples runs what the documentation shows: every example is loaded into
// a real Caddy and called. This file holds how examples are found and made to run
// on this machine.
package examples

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/harness/certs"
)

func TestMain(m *testing.M) {
	os.Exit(harness.Run(m.Run))
}

// example is a Caddyfile of the documentation, with the directive in it.
type example struct{ name, text string }

var fence = regexp.MustCompile("(?ms)^( *)```caddyfile[ \t]*\n(.*?)^ *```[ \t]*$")

func examples(t *testing.T) []example {
	t.Helper()
	text, err := os.ReadFile("../../../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	found := []example{{"Caddyfile.example", string(text)}}
	pages, err := filepath.Glob("../../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "../../../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range fence.FindAllSubmatchIndex(text, -1) {
			indent, block := string(text[at[2]:at[3]]), "\n"+string(text[at[4]:at[5]])
			if !strings.Contains(strings.ReplaceAll(block, "veeam_auth {\n", ""), "veeam_auth ") {
				continue // no site with the directive, at most the global option
			}
			line := 1 + bytes.Count(text[:at[0]], []byte("\n"))
			found = append(found, example{fmt.Sprintf("%s:%d", filepath.Base(page), line), strings.ReplaceAll(block, "\n"+indent, "\n")[1:]})
		}
	}
	if len(found) < 20 {
		t.Fatalf("%d examples found", len(found))
	}
	return found
}

// object is a part of a configuration.
type object = map[string]any

// start runs a Caddy without a site.
func start(t *testing.T) *harness.Caddy {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(path, []byte("{\n\tadmin {$CADDY_ADMIN}\n\tskip_install_trust\n}\nhttp://nobody.invalid:{$PORT} {\n\tbind 127.0.0.1\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ports, err := harness.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	c, err := harness.StartCaddy(dir, path, []string{fmt.Sprintf("PORT=%d", ports[0])})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return c
}

// load loads a Caddyfile, and returns its servers. Ports and files are others; each
// upstream is a port of this machine where nobody listens; certificates come from
// Caddy's own authority.
func load(t *testing.T, c *harness.Caddy, text string) (servers []server, err error) {
	t.Helper()
	dir, err := os.MkdirTemp("", "ex") //nolint:usetesting // the path of a socket has little room
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(files(t, dir, text)), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return nil, err
	}
	config := object{}
	if err := json.Unmarshal(adapted, &config); err != nil {
		return nil, err
	}
	config["admin"] = object{"listen": c.Admin}
	config["storage"] = object{"module": "file_system", "root": dir}
	delete(config, "logging")
	apps := config["apps"].(object)
	apps["pki"] = object{"certificate_authorities": object{"local": object{"install_trust": false}}}
	tls, _ := apps["tls"].(object)
	if tls == nil {
		tls = object{}
		apps["tls"] = tls
	}
	tls["automation"] = object{"policies": []any{object{"issuers": []any{object{"module": "internal"}}}}}
	app := apps["http"].(object)
	names := app["servers"].(object)
	ports, err := harness.FreePorts(3 + len(names))
	if err != nil {
		return nil, err
	}
	app["http_port"], app["https_port"] = ports[0], ports[1]
	dials(config, fmt.Sprintf("127.0.0.1:%d", ports[2]))
	i := 3
	for _, value := range names {
		s := value.(object)
		port := ports[i]
		i++
		for j, address := range s["listen"].([]any) {
			a, err := caddy.ParseNetworkAddress(address.(string))
			if err != nil {
				return nil, err
			}
			if !a.IsUnixNetwork() {
				if a.StartPort == 443 {
					port = ports[1]
				}
				a.StartPort, a.EndPort = uint(port), uint(port)
			}
			s["listen"].([]any)[j] = a.String()
			servers = append(servers, server{a})
		}
	}
	body, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	return servers, c.LoadJSON(t.Context(), body)
}

var (
	secret = regexp.MustCompile(`\{file\.([^}]+)\}`)
	pem    = regexp.MustCompile(`(?m)(trust_pool file) \S+`)
	socket = regexp.MustCompile(`unix//\S+`)
)

// files gives an example the files that it names.
func files(t *testing.T, dir, text string) string {
	t.Helper()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	keys := write("keys", harness.Keyset(t))
	text = secret.ReplaceAllStringFunc(text, func(placeholder string) string {
		if strings.Contains(placeholder, "auth_key") {
			return "{file." + keys + "}"
		}
		return "{file." + write("secret", "GEZDGNBVGY3TQOJQ") + "}"
	})
	text = pem.ReplaceAllString(text, "$1 "+write("ca.pem", string(certs.PEM(certificate().Leaf))))
	text = socket.ReplaceAllString(text, "unix/"+filepath.Join(dir, "s"))
	return strings.NewReplacer("/var/lib/veeam-auth", filepath.Join(dir, "lib"), "/var/log/veeam", dir).Replace(text)
}

// dials has every upstream at another address.
func dials(value any, address string) {
	switch v := value.(type) {
	case []any:
		for _, item := range v {
			dials(item, address)
		}
	case object:
		for name, item := range v {
			if _, ok := item.(string); ok && name == "dial" {
				v[name] = address
			}
			dials(item, address)
		}
	}
}
