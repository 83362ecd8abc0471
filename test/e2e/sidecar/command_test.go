// What a user types: caddy validate, caddy fmt and caddy veeam-auth.

package sidecar

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// caddy runs a command to its end.
func caddy(t *testing.T, env []string, args ...string) (output string, err error) {
	t.Helper()
	dir := t.TempDir()
	cmd, err := harness.Command(dir, append(env, "SVC_LOG="+filepath.Join(dir, "Svc.ResAPI.log")), args...)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	return out.String(), err
}

func example(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheExampleIsValid(t *testing.T) {
	t.Parallel()
	out, err := caddy(t, nil, "validate", "--config", example(t), "--adapter", "caddyfile")
	if err != nil || !strings.Contains(out, "Valid configuration") || strings.Contains(out, `"level":"warn"`) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestTheExampleIsFormatted(t *testing.T) {
	t.Parallel()
	out, err := caddy(t, nil, "fmt", "--diff", example(t))
	if err != nil || strings.Contains(out, "\n+ ") || strings.Contains(out, "\n- ") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestAMistakeIsNamedWithItsLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text, says string
		line       int
	}{
		{":9419 {\n\tveeam_auth https://vbr01 {\n\t\tproduct nas\n\t\taccount svc {env.P}\n\t}\n}\n", "unknown product", 3},
		{":9419 {\n\tveeam_auth https://vbr01 {\n\t\taccount svc\n\t}\n}\n", "account svc: password is missing", 3},
		{":9419 {\n\tveeam_auth https://vbr01 {\n\t\taccount svc {env.P}\n\t\ttls_pin 12:34\n\t}\n}\n", "tls_pin: ", 4},
		{":9419 {\n\tveeam_auth http://vbr01:9419 {\n\t\taccount svc {env.P}\n\t}\n}\n", "credentials would be sent in clear text", 2},
		{":9419 {\n\tveeam_auth https://vbr01 {\n\t\taccount svc {env.P}\n\t\tno_such_option\n\t}\n}\n", "write one of account, ", 4},
		{":9419 {\n\tveeam_auth https://vbr01 {\n\t\taccount svc {env.P}\n\t\ttransport http {\n\t\t\ttls_trust_pol file ca\n\t\t}\n\t}\n}\n", "write an option of the block that it is in", 5},
	} {
		path := filepath.Join(t.TempDir(), "Caddyfile")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"validate", "run"} {
			out, err := caddy(t, nil, command, "--config", path, "--adapter", "caddyfile")
			if at := fmt.Sprintf("%s:%d", path, c.line); err == nil || !strings.Contains(out, c.says) || !strings.Contains(out, at) {
				t.Errorf("caddy %s: %q at %s is not in: %v %s", command, c.says, at, err, out)
			}
		}
	}
}

func TestThePinCommandPrintsWhatTLSPinTakes(t *testing.T) {
	t.Parallel()
	server := veeamtest.New(veeamtest.VBR13)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	raw := server.Certificate().Raw
	for _, address := range []string{server.URL(), strings.TrimPrefix(server.URL(), "https://")} {
		out, err := caddy(t, nil, "veeam-auth", "pin", address)
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for _, want := range []string{
			fmt.Sprintf("sha1     %X\n", sha1.Sum(raw)),
			fmt.Sprintf("sha256   %X\n", sha256.Sum256(raw)),
		} {
			if !strings.Contains(out, want) {
				t.Errorf("%q is not in %s", want, out)
			}
		}
		if !strings.Contains(out, harness.Pin(server)) {
			t.Errorf("not what the other tests pin: %s", out)
		}
	}
	if out, err := caddy(t, nil, "veeam-auth", "pin", "127.0.0.1:1"); err == nil || !strings.Contains(out, "connection refused") {
		t.Errorf("an address where nothing listens: %v: %s", err, out)
	}
	if c := server.Counters(); c.TokenRequests+c.Protected+c.Unauthorized+c.Anonymous != 0 {
		t.Errorf("the server was asked for more: %+v", c)
	}
}
