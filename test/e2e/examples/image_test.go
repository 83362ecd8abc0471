// The configuration of the image: what is missing or wrong is said at the start, with the
// variable to set.

package examples

import (
	encoded "encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

const imageCaddyfile = "../../../deploy/image/Caddyfile"

// unset takes a variable out of the environment.
const unset = "(unset)"

func TestTheImageNamesTheVariableOfWhatIsWrong(t *testing.T) {
	t.Parallel()
	server, withCodes, lone := harness.StartServer(t, veeamtest.VBR13), harness.StartServer(t, veeamtest.Azure), harness.StartServer(t, veeamtest.VBR13)
	der, _ := encoded.Decode(veeamtest.CAPEM())
	ports, err := harness.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	secure := strconv.Itoa(ports[0])
	for name, tt := range map[string]struct {
		set   map[string]string
		want  []string
		stays bool              // the process serves nevertheless
		files map[string]string // by their names, in the folder that DIR stands for in set
	}{
		"no server":            {set: map[string]string{"VEEAM_AUTH_SERVER": unset}, want: []string{"VEEAM_AUTH_SERVER is not set", "write veeam_auth https://vbr01.lab.local:9419"}},
		"an empty server":      {set: map[string]string{"VEEAM_AUTH_SERVER": ""}, want: []string{"VEEAM_AUTH_SERVER is not set", "write veeam_auth https://vbr01.lab.local:9419"}},
		"a server by HTTP":     {set: map[string]string{"VEEAM_AUTH_SERVER": "vbr01:9419", "VEEAM_AUTH_TRUST": "system"}, want: []string{"the line has VEEAM_AUTH_SERVER from the environment", "use https:// for the upstream"}},
		"a server with a path": {set: map[string]string{"VEEAM_AUTH_SERVER": "https://vbr01:9419/api"}, want: []string{"the line has VEEAM_AUTH_SERVER from the environment", "write the path of the upstream as base_path"}},
		"no user":              {set: map[string]string{"VEEAM_AUTH_USERNAME": unset}, want: []string{"VEEAM_AUTH_USERNAME is not set", "an account requires a name"}},
		"another product":      {set: map[string]string{"VEEAM_AUTH_PRODUCT": "vbrr"}, want: []string{"the line has VEEAM_AUTH_PRODUCT from the environment", "vspc"}},
		"another preset":       {set: map[string]string{"VEEAM_AUTH_PRESET": "admin"}, want: []string{"the line has VEEAM_AUTH_PRESET from the environment", "operate"}},
		"another kind of trust": {
			set: map[string]string{"VEEAM_AUTH_TRUST": "pinned"}, want: []string{"VEEAM_AUTH_TRUST=pinned"},
		},
		"other callers":       {set: map[string]string{"VEEAM_AUTH_CALLERS": "all"}, want: []string{"VEEAM_AUTH_CALLERS=all"}},
		"another MFA":         {set: map[string]string{"VEEAM_AUTH_MFA": "on"}, want: []string{"VEEAM_AUTH_MFA=on"}},
		"no fingerprint":      {set: map[string]string{"VEEAM_AUTH_TRUST": "pin"}, want: []string{"VEEAM_AUTH_TLS_PIN is not set", "tls_pin requires at least one fingerprint"}},
		"a short fingerprint": {set: map[string]string{"VEEAM_AUTH_TRUST": "pin", "VEEAM_AUTH_TLS_PIN": "86:F1"}, want: []string{"the line has VEEAM_AUTH_TLS_PIN from the environment"}},
		"no hash":             {set: map[string]string{"VEEAM_AUTH_CALLERS": "client"}, want: []string{"VEEAM_AUTH_CLIENT_HASH is not set", "hash"}},
		"no authority":        {set: map[string]string{"VEEAM_AUTH_CA_FILE": "/nowhere/ca.pem"}, want: []string{"/nowhere/ca.pem: no such file", "the variable VEEAM_AUTH_CA_FILE names the file"}},
		"no file with the password": {
			set:   map[string]string{"VEEAM_AUTH_PASSWORD_FILE": "/nowhere/password"},
			want:  []string{"{file./nowhere/password} cannot be used: no such file or directory; the variable VEEAM_AUTH_PASSWORD_FILE names the file"},
			stays: true,
		},
		"a folder with the password": {
			set:   map[string]string{"VEEAM_AUTH_PASSWORD_FILE": "/proc"},
			want:  []string{"{file./proc} cannot be used: is a directory; the variable VEEAM_AUTH_PASSWORD_FILE names the file"},
			stays: true,
		},
		"no file with the seed": {
			set: map[string]string{
				"VEEAM_AUTH_MFA": "totp", "VEEAM_AUTH_TOTP_SECRET_FILE": "/nowhere/seed", "VEEAM_AUTH_SERVER": withCodes.URL(), "VEEAM_AUTH_PRODUCT": "azure",
			},
			want:  []string{"{file./nowhere/seed} cannot be used: no such file or directory; the variable VEEAM_AUTH_TOTP_SECRET_FILE names the file"},
			stays: true,
		},
		"an unwritable folder for data": {
			set: map[string]string{"XDG_DATA_HOME": "/dev/null"}, want: []string{"Set XDG_DATA_HOME to a folder that Caddy may write to", "/dev/null/caddy"}, stays: true,
		},
		// Without both, Caddy's storage is in the folder where it runs, which has a file there.
		"no HOME": {set: map[string]string{"XDG_DATA_HOME": unset, "HOME": unset}, want: []string{"Set XDG_DATA_HOME to a folder that Caddy may write to"}, stays: true},
		"nothing": {want: []string{"Authenticated user: [" + `.\` + veeamtest.DefaultUser}, stays: true},

		"an empty file with the password": {
			files: map[string]string{"x": "\n"}, set: map[string]string{"VEEAM_AUTH_PASSWORD_FILE": "DIR/x"},
			want: []string{"cannot be used: it is empty; the variable VEEAM_AUTH_PASSWORD_FILE names the file"}, stays: true,
		},
		"a password as Windows saves it": {
			files: map[string]string{"x": "\ufeff" + veeamtest.DefaultPassword + "\r\n"}, set: map[string]string{"VEEAM_AUTH_PASSWORD_FILE": "DIR/x"},
			want: []string{"Authenticated user: ["}, stays: true,
		},
		"a password with another line": {
			files: map[string]string{"x": veeamtest.DefaultPassword + "x\nsecond\n"}, set: map[string]string{"VEEAM_AUTH_PASSWORD_FILE": "DIR/x", "VEEAM_AUTH_SERVER": lone.URL()},
			want: []string{"a secret is probably wrong", "has several lines"}, stays: true,
		},
		"an empty authority": {
			files: map[string]string{"x": ""}, set: map[string]string{"VEEAM_AUTH_CA_FILE": "DIR/x"},
			want: []string{"/x: the file contains no PEM certificate; the variable VEEAM_AUTH_CA_FILE names the file"},
		},
		"an authority in DER": {
			files: map[string]string{"x": string(der.Bytes)}, set: map[string]string{"VEEAM_AUTH_CA_FILE": "DIR/x"},
			want: []string{"the file is a certificate in DER; convert it to PEM", "the variable VEEAM_AUTH_CA_FILE names the file"},
		},
		"a folder as the authority":  {set: map[string]string{"VEEAM_AUTH_CA_FILE": "/proc"}, want: []string{"is a directory; the variable VEEAM_AUTH_CA_FILE names the file"}},
		"a fingerprint without pin":  {set: map[string]string{"VEEAM_AUTH_TLS_PIN": "86:F1"}, want: []string{"VEEAM_AUTH_TLS_PIN has no effect: it is used only with VEEAM_AUTH_TRUST=pin"}, stays: true},
		"a hash without clients":     {set: map[string]string{"VEEAM_AUTH_CLIENT_HASH": "x"}, want: []string{"VEEAM_AUTH_CLIENT_HASH has no effect: it is used only with VEEAM_AUTH_CALLERS=client"}, stays: true},
		"a port without clients":     {set: map[string]string{"VEEAM_AUTH_BIND": "0.0.0.0"}, want: []string{"VEEAM_AUTH_BIND has no effect: it is used only with VEEAM_AUTH_CALLERS=client"}, stays: true},
		"a seed without MFA":         {set: map[string]string{"VEEAM_AUTH_TOTP_SECRET_FILE": "/seed"}, want: []string{"VEEAM_AUTH_TOTP_SECRET_FILE has no effect: it is used only with VEEAM_AUTH_MFA=totp"}, stays: true},
		"a password in the variable": {set: map[string]string{"VEEAM_AUTH_PASSWORD": veeamtest.DefaultPassword}, want: []string{"VEEAM_AUTH_PASSWORD has no effect", "did you mean VEEAM_AUTH_PASSWORD_FILE?"}, stays: true},
		"HTTP to the server":         {set: map[string]string{"VEEAM_AUTH_SERVER": "http://vbr01:9419"}, want: []string{"the line has VEEAM_AUTH_SERVER from the environment"}},
		"a port as the address":      {set: map[string]string{"VEEAM_AUTH_LISTEN": "9419"}, want: []string{"VEEAM_AUTH_LISTEN must have the form http://:9419"}},
		"a user of two lines":        {set: map[string]string{"VEEAM_AUTH_USERNAME": "svc\nallow *"}, want: []string{"VEEAM_AUTH_USERNAME has several lines"}},
		"a user in quotation marks":  {set: map[string]string{"VEEAM_AUTH_USERNAME": `"svc"`}, want: []string{"VEEAM_AUTH_USERNAME must have the form"}},
		"a long fingerprint":         {set: map[string]string{"VEEAM_AUTH_TRUST": "pin", "VEEAM_AUTH_TLS_PIN": strings.Repeat("a", 100_000)}, want: []string{"the line has VEEAM_AUTH_TLS_PIN from the environment"}},
		"a user with the end of the line": {
			set:  map[string]string{"VEEAM_AUTH_USERNAME": veeamtest.DefaultUser + "\r\n", "VEEAM_AUTH_PRESET": "", "VEEAM_AUTH_MFA": " "},
			want: []string{"Authenticated user: ["}, stays: true,
		},
		"TLS": {
			set:  map[string]string{"VEEAM_AUTH_LISTEN": "https://veeam-auth.lab.local:" + secure},
			want: []string{"certificate obtained successfully"}, stays: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for name, text := range tt.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			set := map[string]string{}
			for name, value := range tt.set {
				set[name] = strings.Replace(value, "DIR/", dir+"/", 1)
			}
			image := newImage(t, server, set)
			has := func() bool {
				return !slices.ContainsFunc(tt.want, func(text string) bool { return !strings.Contains(image.output.String(), text) })
			}
			if tt.stays {
				if !harness.Until(has) {
					t.Errorf("the start does not say %q:\n%s", tt.want, image.output)
				}
				_ = image.command.Process.Signal(syscall.SIGTERM)
				if err := image.ends(); err != nil {
					t.Error(err)
				}
			} else if exit, ok := errors.AsType[*exec.ExitError](image.ends()); !ok || exit.ExitCode() != 1 || !has() {
				t.Errorf("it ends with %v, and does not say %q:\n%s", exit, tt.want, image.output)
			}
			if strings.Contains(image.output.String(), veeamtest.DefaultPassword) {
				t.Error("the password is printed")
			}
		})
	}
}

// TestAStopDuringTheLoginEndsTheImage: a server that does not answer keeps nobody.
func TestAStopDuringTheLoginEndsTheImage(t *testing.T) {
	t.Parallel()
	server := harness.StartServer(t, veeamtest.VBR13)
	server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultHang})
	image := newImage(t, server, nil)
	if !harness.Until(func() bool { return server.Counters().TokenRequests > 0 }) {
		t.Fatalf("no login:\n%s", image.output)
	}
	if err := image.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := image.ends(); err != nil {
		t.Errorf("%v:\n%s", err, image.output)
	}
	if left := server.Counters().LiveSessions; left != 0 {
		t.Errorf("%d sessions are left", left)
	}
}

// image is a process with the configuration of the image.
type image struct {
	command *exec.Cmd
	output  *harness.Output
}

// ends waits for the end of the process. One that hangs is killed.
func (i image) ends() error {
	kill := time.AfterFunc(harness.Patience, func() { _ = i.command.Process.Kill() })
	defer kill.Stop()
	return i.command.Wait()
}

// newImage starts the process. It can log in unless set makes it fail.
func newImage(t *testing.T, server *veeamtest.Server, set map[string]string) image {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"password": veeamtest.DefaultPassword, "ca.pem": string(veeamtest.CAPEM()), "caddy": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ports, err := harness.FreePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{
		"PATH": "", // the image has no other program, such as one that installs Caddy's authority
		"HOME": dir, "XDG_DATA_HOME": filepath.Join(dir, "data"), "XDG_CONFIG_HOME": filepath.Join(dir, "config"),
		"VEEAM_AUTH_SERVER": server.URL(), "VEEAM_AUTH_USERNAME": veeamtest.DefaultUser, "VEEAM_AUTH_PASSWORD_FILE": filepath.Join(dir, "password"),
		"VEEAM_AUTH_TRUST": "ca", "VEEAM_AUTH_CA_FILE": filepath.Join(dir, "ca.pem"), "VEEAM_AUTH_LISTEN": fmt.Sprint("http://:", ports[0]),
		"VEEAM_AUTH_METRICS_PORT": fmt.Sprint(ports[1]), "VEEAM_AUTH_ADMIN": fmt.Sprint("localhost:", ports[2]),
	}
	maps.Copy(values, set)
	caddyfile, err := filepath.Abs(imageCaddyfile)
	if err != nil {
		t.Fatal(err)
	}
	command, err := harness.Command(dir, nil, "run", "--config", caddyfile, "--adapter", "caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	command.Dir = dir
	command.Env = slices.DeleteFunc(command.Env, func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		_, ours := values[name]
		return ours || strings.HasPrefix(name, "VEEAM_AUTH_") && !strings.HasPrefix(name, "VEEAM_AUTH_HARNESS_")
	})
	for name, value := range values {
		if value != unset {
			command.Env = append(command.Env, name+"="+value)
		}
	}
	output := &harness.Output{}
	command.Stdout, command.Stderr = output, output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill() })
	return image{command, output}
}

// TestEveryVariableOfTheImageIsDocumented compares its Caddyfile, and what the Dockerfile
// sets, with the table of docs/container.md: names and defaults.
func TestEveryVariableOfTheImageIsDocumented(t *testing.T) {
	t.Parallel()
	read := func(name string) string {
		text, err := os.ReadFile("../../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	defaults := map[string]string{}
	for _, found := range regexp.MustCompile(`\{\$(\w+)(?::([^}]*))?\}`).FindAllStringSubmatch(read("deploy/image/Caddyfile"), -1) {
		defaults[found[1]] = found[2]
	}
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(VEEAM_AUTH_\\w+)` \\| (?:`([^`]*)`|required|) ?\\|").FindAllStringSubmatch(read("docs/container.md"), -1) {
		documented[row[1]] = row[2]
	}
	for name, value := range defaults {
		got, found := documented[name]
		if !found || got != value {
			t.Errorf("%s has the default %q, docs/container.md says %q", name, value, got)
		}
		delete(documented, name)
	}
	if len(defaults) < 15 || len(documented) > 0 {
		t.Errorf("%d variables; not of the image: %v", len(defaults), documented)
	}
	for _, found := range regexp.MustCompile(`(VEEAM_AUTH_\w+)=(\S+)`).FindAllStringSubmatch(read("Dockerfile"), -1) {
		if defaults[found[1]] != found[2] {
			t.Errorf("the Dockerfile sets %s to %s, the default of the Caddyfile is %q", found[1], found[2], defaults[found[1]])
		}
	}
}
