package support

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestConfig_KeepsStructureAndPlaceholdersOnly(t *testing.T) {
	got, err := Config([]byte(`{"apps":{"http":{"servers":{"srv0":{"listen":[":9419"],"routes":[{"match":[{"path":["/a?x=1"],"header":{"X-Key":["s3cret"]},"host":["h"]}],
		"handle":[{"handler":"veeam_auth","clients":[{"name":"grafana","hash":"$2a$10$x"}],"rules":[{"effect":"allow","preset":"monitor"}]},
		{"handler":"headers","request":{"set":{"Authorization":["Bearer s3cret"]}}},
		{"handler":"reverse_proxy","upstreams":[{"dial":"vbr01:9419"}],"transport":{"protocol":"veeam_auth","accounts":[{"name":"svc","password":"s3cret","totp_secret":"{env.TOTP}","required":false}],
		"cache":{"encryption_key":"{file./run/secrets/key}","storage":{"module":"redis","host":["redis"],"username":"caddy"}}}}]}]}}}},"storage":{"module":"redis","password":"s3cret"},
		"admin":{"listen":"http://user:s3cret@localhost:2019"},"dial_timeout":5000000000}`))
	if err != nil {
		t.Fatal(err)
	}
	text := string(got)
	for _, gone := range []string{"s3cret", "$2a$10", "redis\"\n\t\t]", "caddy", "x=1"} {
		if strings.Contains(text, gone) {
			t.Errorf("%s: %s", gone, text)
		}
	}
	for _, kept := range []string{
		`"password": "[removed]"`, `"totp_secret": "{env.TOTP}"`, `"encryption_key": "{file./run/secrets/key}"`, `"module": "redis"`, `"dial": "vbr01:9419"`,
		`"name": "grafana"`, `"preset": "monitor"`, `"required": false`, `"listen": "http://[removed]@localhost:2019"`, `5000000000`, `/a?[removed]`,
	} {
		if !strings.Contains(text, kept) {
			t.Errorf("%s is gone: %s", kept, text)
		}
	}
	if _, err := Config([]byte("{")); err == nil {
		t.Error("no error")
	}
}

// Whatever the key: a text under a key that nobody knows is gone.
func TestConfig_NoTextOfAnUnknownKeyRemains(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := "cnry" + rapid.StringMatching(`[A-Za-z0-9+/]{12}`).Draw(t, "secret")
		var value any = secret
		for range rapid.IntRange(0, 4).Draw(t, "depth") {
			switch rapid.IntRange(0, 2).Draw(t, "kind") {
			case 0:
				value = []any{value}
			case 1:
				value = map[string]any{"x_" + rapid.StringMatching(`[a-z]{1,8}`).Draw(t, "key"): value}
			case 2:
				value = map[string]any{"headers": map[string]any{rapid.SampledFrom(plainKeys[3:]).Draw(t, "plain key"): value}}
			}
		}
		text, err := json.Marshal(map[string]any{"option": value})
		if err != nil {
			t.Fatal(err)
		}
		got, err := Config(text)
		if err != nil || bytes.Contains(got, []byte(secret)) {
			t.Fatalf("%s became %s, %v", text, got, err)
		}
	})
}

func TestLogTail_IsTheEndOfTheFileWithoutSecrets(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	var text strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&text, "[27.11.2026 12:00:00.000]    <%02d>    Info (3)    line %d password=cnry1234567890\n", i%90, i)
	}
	if err := os.WriteFile(name, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := LogTail(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(got, []byte("cnry")) || !bytes.Contains(got, []byte("line 19999")) || bytes.Contains(got, []byte("line 19499 ")) || bytes.Count(got, []byte("\n")) != logLines {
		t.Errorf("%d lines: %.500s", bytes.Count(got, []byte("\n")), got)
	}
	for _, wrong := range []string{name + "x", t.TempDir()} {
		if _, err := LogTail(t.Context(), wrong); err == nil {
			t.Errorf("%s: no error", wrong)
		}
	}
}

func TestWrite_MakesAnArchive(t *testing.T) {
	var b bytes.Buffer
	if err := Write(&b, "bundle", []File{{"a", "", []byte("one")}, {"b", "", nil}}, time.Unix(1e9, 0)); err != nil {
		t.Fatal(err)
	}
	plain, err := gzip.NewReader(&b)
	if err != nil {
		t.Fatal(err)
	}
	got, archive := "", tar.NewReader(plain)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, _ := io.ReadAll(archive)
		got += fmt.Sprintf("%s %o %s;", header.Name, header.Mode, content)
	}
	if got != "bundle/a 600 one;bundle/b 600 ;" {
		t.Error(got)
	}
}

func TestEnvironmentAndMetrics_HaveWhatMattersOnly(t *testing.T) {
	set := map[string]string{"HOME": "/root", "https_proxy": "http://user:cnry@proxy", "VBR_PASSWORD": "cnry"}
	got := string(Environment(func(name string) (string, bool) { v, ok := set[name]; return v, ok }))
	if strings.Contains(got, "cnry") || !strings.Contains(got, "HOME=/root\n") || !strings.Contains(got, "HTTPS_PROXY is set\n") || !strings.Contains(got, "XDG_DATA_HOME is not set\n") {
		t.Error(got)
	}
	if got := string(Metrics("# HELP caddy_veeam_auth_x y\ncaddy_veeam_auth_x 1\nother{a=\"b\"} 2\n")); got != "# HELP caddy_veeam_auth_x y\ncaddy_veeam_auth_x 1\n" {
		t.Error(got)
	}
}
