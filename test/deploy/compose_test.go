//go:build deploy

package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestComposeBecomesHealthy brings up the sidecar and the emulated server of
// deploy/compose on a Docker engine of the test. Prometheus, Grafana and curl are images
// of a registry, which a test does not reach: their part of the file is checked alone.
func TestComposeBecomesHealthy(t *testing.T) {
	engine := startEngine(t)
	folder := t.TempDir()
	for stage, name := range map[string]string{"image": "veeam-auth:latest", "emulator": "veeam-auth-emulator:latest"} {
		engine.run(t, "docker", "build", "-f", containerfile(t, stage), "-t", name, shared.built)
	}
	engine.run(t, "docker-compose", "-f", "deploy/compose/compose.yml", "config", "-q")
	// Without bridges there is one network: that of this machine.
	override := filepath.Join(folder, "override.yml")
	text := `services:
  veeam-auth:
    network_mode: host
    environment: {VEEAM_AUTH_SERVER: "https://localhost:19419"}
  emulator:
    network_mode: host
`
	if err := os.WriteFile(override, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	compose := []string{"docker-compose", "-p", "demo", "-f", "deploy/compose/compose.yml", "-f", override}
	engine.run(t, append(compose, "up", "-d", "--no-build", "emulator", "veeam-auth")...)
	t.Cleanup(func() { engine.run(t, append(compose, "down", "-v", "-t", "10")...) })
	eventually(t, "a healthy sidecar", func() error {
		id := strings.TrimSpace(engine.run(t, append(compose, "ps", "-q", "veeam-auth")...))
		state := strings.TrimSpace(engine.run(t, "docker", "inspect", "-f", "{{.State.Health.Status}}", id))
		if state != "healthy" {
			return fmt.Errorf("it is %s: %s", state, engine.run(t, "docker", "logs", "--tail", "20", id))
		}
		return nil
	})
	if err := get("http://127.0.0.1:9419/api/v1/serverInfo", 200); err != nil {
		t.Error(err)
	}
}

// engine is a Docker engine that the test has started.
type engine string

func startEngine(t *testing.T) engine {
	t.Helper()
	dir, err := os.MkdirTemp("", "engine") // a short path: it names a socket
	if err != nil {
		t.Fatal(err)
	}
	e := engine("unix://" + dir + "/d.sock")
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("dockerd", "-H", string(e), "--data-root", dir+"/data", "--exec-root", dir+"/exec", "-p", dir+"/pid", "--storage-driver", "vfs",
		"--iptables=false", "--ip6tables=false", "--bridge=none", "--exec-opt", "native.cgroupdriver=cgroupfs")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		_ = exec.Command("umount", "-l", dir+"/exec/netns/default").Run() // the engine leaves it, if containers used this machine's network
		eventually(t, "the folder of the engine is removed", func() error { return os.RemoveAll(dir) })
	})
	eventually(t, "the engine", func() error {
		out, err := e.command("docker", "version").CombinedOutput()
		if err != nil {
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("%w: %s\n%s", err, out, text)
		}
		return nil
	})
	return e
}

func (e engine) command(args ...string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = shared.root
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+string(e), "DOCKER_BUILDKIT=0")
	return cmd
}

func (e engine) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := e.command(args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
