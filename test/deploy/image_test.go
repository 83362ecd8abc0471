//go:build deploy

package deploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/harness/ports"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// sidecar is the image in a container on the network of this machine, in front of an
// emulated server.
type sidecar struct {
	name    string
	api     string // address of the API
	metrics string // address of metrics and probes
	server  *veeamtest.Server

	password string // the file
}

// port is one that nothing listens on.
func port(t *testing.T) string {
	t.Helper()
	free, err := ports.Free(1)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(free[0])
}

// volume is a folder that the user of a container owns.
func volume(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.Chown(folder, 65532, 65532); err != nil {
		t.Fatal(err)
	}
	return folder
}

// startSidecar runs the image with a read-only root, without capabilities, in 128 MiB.
func startSidecar(t *testing.T, environment ...string) *sidecar {
	t.Helper()
	name := veeamAuthImage(t)
	s := &sidecar{name: "sidecar-" + strings.ToLower(t.Name()), server: harness.StartServer(t, veeamtest.VBR13)}
	secrets := t.TempDir()
	s.password = secret(t, secrets, "veeam_password", veeamtest.DefaultPassword)
	secret(t, secrets, "veeam_ca.pem", string(veeamtest.CAPEM()))
	api, metrics := port(t), port(t)
	s.api, s.metrics = "http://127.0.0.1:"+api, "http://127.0.0.1:"+metrics
	args := []string{
		"run", "-d", "--name", s.name, "--network", "host", "--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges",
		"--memory", "128m", "--pids-limit", "200", "--tmpfs", "/config:rw,mode=1777", "-v", volume(t) + ":/data", "-v", secrets + ":/run/secrets:ro",
		"-e", "VEEAM_AUTH_SERVER=" + s.server.URL(), "-e", "VEEAM_AUTH_USERNAME=" + veeamtest.DefaultUser, "-e", "VEEAM_AUTH_TRUST=ca",
		"-e", "VEEAM_AUTH_LISTEN=http://:" + api, "-e", "VEEAM_AUTH_METRICS_PORT=" + metrics, "-e", "VEEAM_AUTH_ADMIN=localhost:" + port(t),
	}
	for _, variable := range environment {
		args = append(args, "-e", variable)
	}
	podman(t, append(args, name)...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the container:\n%s", logs(t, s.name))
		}
		podman(t, "rm", "-f", "-t", "10", s.name)
	})
	return s
}

func TestTheImageServesLogsOutAndStops(t *testing.T) {
	s := startSidecar(t)
	eventually(t, "the first answer", func() error { return get(s.api+"/api/v1/serverInfo", 200) })
	if err := get(s.metrics+"/veeam_auth/ready", 200); err != nil {
		t.Error(err)
	}
	if err := get(s.metrics+"/metrics", 200); err != nil {
		t.Error(err)
	}
	podman(t, "healthcheck", "run", s.name)
	if counters := s.server.Counters(); counters.Logins != 1 {
		t.Errorf("%d logins, want 1", counters.Logins)
	}
	podman(t, "stop", "-t", "20", s.name)
	if code := strings.TrimSpace(podman(t, "inspect", "-f", "{{.State.ExitCode}}", s.name)); code != "0" {
		t.Errorf("ended with status %s", code)
	}
	if left := s.server.Counters().LiveSessions; left != 0 {
		t.Errorf("%d sessions are left at the server", left)
	}
	if log := logs(t, s.name); strings.Contains(log, veeamtest.DefaultPassword) {
		t.Error("the password is in the log")
	}
}

func TestTheImageHoldsOneProgramAndNoShell(t *testing.T) {
	name := veeamAuthImage(t)
	var inspected []struct {
		Config struct {
			User       string
			Entrypoint []string
			Env        []string
		}
		Size int64
	}
	if err := json.Unmarshal([]byte(podman(t, "image", "inspect", name)), &inspected); err != nil {
		t.Fatal(err)
	}
	if got := inspected[0]; got.Config.User != "65532:65532" || fmt.Sprint(got.Config.Entrypoint) != "[/veeam-auth]" {
		t.Errorf("%+v", got)
	}
	container := strings.TrimSpace(podman(t, "create", name))
	t.Cleanup(func() { podman(t, "rm", container) })
	archive := filepath.Join(t.TempDir(), "image.tar")
	podman(t, "export", "-o", archive, container)
	for _, name := range []string{"licenses/LICENSE", "licenses/THIRD-PARTY-LICENSES.txt"} {
		if text := run(t, "tar", "-xOf", archive, name); !strings.Contains(text, "Apache License") {
			t.Errorf("%s has %d bytes, and no licence", name, len(text))
		}
	}
	if line := podman(t, "run", "--rm", name, "version"); !strings.HasPrefix(line, "veeam-auth "+builtVersion+", caddy v2.") {
		t.Errorf("the version is %q", line)
	}
	var programs []string
	for _, line := range strings.Split(run(t, "tar", "-tvf", archive), "\n") {
		if fields := strings.Fields(line); len(fields) > 5 && strings.HasPrefix(fields[0], "-") && strings.Contains(fields[0], "x") {
			programs = append(programs, fields[5])
		}
	}
	if fmt.Sprint(programs) != "[veeam-auth]" {
		t.Errorf("programs: %v", programs)
	}
	t.Logf("size of the image: %.1f MB", float64(inspected[0].Size)/1e6)
}

// TestClientsWithAPasswordCallAPublishedPort calls the image as another container does, from
// an address that is not loopback.
func TestClientsWithAPasswordCallAPublishedPort(t *testing.T) {
	hash := strings.TrimSpace(run(t, filepath.Join(shared.bin, "veeam-auth"), "hash-password", "--plaintext", "client-pass-1"))
	// Without HOME and a folder for data the storage is in the read-only root: that is said at
	// the start, and token requests succeed all the same.
	s := startSidecar(t, "VEEAM_AUTH_CALLERS=client", "VEEAM_AUTH_CLIENT=grafana", "VEEAM_AUTH_CLIENT_HASH="+hash, "VEEAM_AUTH_BIND=0.0.0.0", "HOME=", "XDG_DATA_HOME=")
	eventually(t, "the probes", func() error { return get(s.metrics+"/veeam_auth/startup", 200) })
	if log := logs(t, s.name); !strings.Contains(log, "Set XDG_DATA_HOME to a folder") || strings.Contains(log, "[GET]") {
		t.Errorf("the start does not say that the storage is read-only:\n%s", log)
	}
	eventually(t, "the first answer", func() error { return get(s.api+"/api/v1/serverInfo", 200) })
	outside := strings.Replace(s.api, "127.0.0.1", outsideAddress(t), 1)
	if err := get(outside+"/api/v1/jobs", 401); err != nil {
		t.Errorf("without a token: %v", err)
	}
	if log := logs(t, s.name); !strings.Contains(log, "network namespace") {
		t.Errorf("the log does not name the ways out:\n%s", log)
	}
	response, err := http.PostForm(outside+"/api/oauth2/token", url.Values{"grant_type": {"password"}, "username": {"grafana"}, "password": {"client-pass-1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var token struct {
		Value string `json:"access_token"`
	}
	if err := json.NewDecoder(response.Body).Decode(&token); err != nil || token.Value == "" {
		t.Fatal(response.Status, err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, outside+"/api/v1/jobs", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token.Value)
	if response, err = http.DefaultClient.Do(request); err != nil || response.StatusCode != 200 {
		t.Fatal(response, err)
	}
	response.Body.Close()
}

// TestTheImageNamesTheVariable runs the image without a variable, and with a password that its
// user may not read. TestTheImageNamesTheVariableOfWhatIsWrong has every other case.
func TestTheImageNamesTheVariable(t *testing.T) {
	name := veeamAuthImage(t)
	out, err := exec.Command("podman", append(storage(), "run", "--rm", "--network", "host", name)...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "VEEAM_AUTH_SERVER is not set") {
		t.Errorf("without a server: %v, %s", err, out)
	}
	s := startSidecar(t)
	eventually(t, "the first answer", func() error { return get(s.api+"/api/v1/serverInfo", 200) })
	podman(t, "stop", "-t", "20", s.name)
	if err := errors.Join(os.Chown(s.password, 0, 0), os.Chmod(s.password, 0o400)); err != nil {
		t.Fatal(err)
	}
	podman(t, "start", s.name)
	eventually(t, "the reason", func() error {
		const want = "{file./run/secrets/veeam_password} cannot be used: permission denied for the user 65532; the variable VEEAM_AUTH_PASSWORD_FILE names the file"
		if log := logs(t, s.name); !strings.Contains(log, want) {
			return errors.New(log)
		}
		return nil
	})
	if err := get(s.metrics+"/veeam_auth/ready", 503); err != nil {
		t.Error(err)
	}
}

// logs are what a container has printed.
func logs(t *testing.T, container string) string {
	t.Helper()
	out, err := exec.Command("podman", append(storage(), "logs", container)...).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// outsideAddress is an address of this machine that is not loopback.
func outsideAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range addresses {
		if ip, ok := address.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() {
			return ip.IP.String()
		}
	}
	t.Fatal("this machine has no address but loopback")
	return ""
}
