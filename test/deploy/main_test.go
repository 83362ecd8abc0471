//go:build deploy

// Package deploy runs what deploy/ has as users run it: the image, the pod, the unit,
// the package, compose, the chart. It needs root, podman and other programs, which
// test/deploy/run installs. Without the build tag `deploy` nothing of it is compiled.
package deploy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// shared is what the tests have in common.
var shared struct {
	root  string // of the checkout
	dir   string // temporary
	bin   string // with the programs
	built string // what the stages of the Dockerfile that build have made, as if it were /
}

// builtVersion is the version that the image is built with.
const builtVersion = "v0.0.1-test"

func TestMain(m *testing.M) {
	code, err := setUp(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func setUp(m *testing.M) (int, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return 1, err
	}
	dir, err := os.MkdirTemp("", "veeam-auth-deploy-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	shared.root, shared.dir, shared.bin, shared.built = root, dir, filepath.Join(dir, "bin"), filepath.Join(dir, "built")
	conf := filepath.Join(dir, "containers.conf")
	text := `[containers]
default_ulimits=["nofile=1024:1024","nproc=4096:4096"]
[engine]
cgroup_manager="cgroupfs"
runtime="runc"
events_logger="file"
`
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return 1, err
	}
	if err := os.Setenv("CONTAINERS_CONF", conf); err != nil {
		return 1, err
	}
	if err := buildStages(); err != nil {
		return 1, err
	}
	for name, pkg := range map[string]string{"caddy": "./cmd/caddy", "client": "./test/deploy/client"} {
		if out, err := build(root, filepath.Join(shared.bin, name), pkg); err != nil {
			return 1, fmt.Errorf("building %s: %w\n%s", name, err, out)
		}
	}
	return m.Run(), nil
}

// build makes a program as the Makefile makes those of a release.
func build(root, name, pkg string) ([]byte, error) {
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "nobadger,nomysql,nopgx", "-ldflags", "-s -w", "-o", name, pkg)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	return cmd.CombinedOutput()
}

// buildStages runs what the stages of the Dockerfile that build run, in a copy of the
// checkout without a repository, as `COPY . .` makes it: a machine without a registry has
// no image to run them in.
func buildStages() error {
	source := filepath.Join(shared.dir, "source")
	script := `git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents --no-dereference -t "$0"`
	for _, dir := range []string{source, shared.built} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if out, err := command(shared.root, "sh", "-c", script, source).CombinedOutput(); err != nil {
		return fmt.Errorf("copying the checkout: %w\n%s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(shared.root, "Dockerfile"))
	if err != nil {
		return err
	}
	// What a stage makes lies at / of its own.
	paths := regexp.MustCompile(` /(root-fs|emulator|ca)\b`)
	for _, name := range []string{"build", "build-emulator"} {
		match := regexp.MustCompile(`(?s)\nFROM [^\n]* AS ` + name + `\n(.*?)\n\n`).FindStringSubmatch(string(data))
		if match == nil {
			return fmt.Errorf("the Dockerfile has no stage %s", name)
		}
		runs := regexp.MustCompile(`(?m)^RUN ((?:.*\\\n)*.*)$`).FindAllStringSubmatch(match[1], -1)
		for _, run := range runs {
			cmd := command(source, "sh", "-euc", paths.ReplaceAllString(run[1], " "+shared.built+"/$1"))
			cmd.Env = append(os.Environ(), "TARGETOS=linux", "TARGETARCH="+runtime.GOARCH, "VERSION="+builtVersion)
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("RUN %s: %w\n%s", run[1], err, out)
			}
		}
	}
	return os.Rename(filepath.Join(source, "bin"), shared.bin)
}

// command is a program in a folder.
func command(dir, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	return cmd
}

// run runs a program and returns what it prints to standard output.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := try(t, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// try is run for a program that may fail. The text of the error is what was printed to
// standard error.
func try(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = shared.root
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, stderr.String())
	}
	return out.String(), err
}

// tool runs a program of tools/deploy.
func tool(t *testing.T, args ...string) string {
	t.Helper()
	return run(t, "go", append([]string{"tool", "-modfile=tools/deploy/go.mod"}, args...)...)
}

// eventually waits until check returns nil; only a hang takes as long as it waits.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// get asks for a page, over a connection of its own, and wants the status.
func get(address string, status int) error {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(address)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != status {
		return fmt.Errorf("%s: %s", address, response.Status)
	}
	return nil
}

// lastStage returns the Containerfile of a stage of the Dockerfile that begins from
// scratch, with what it copies from the stage of the build taken from the context: a
// machine without a registry has no image to build in. The context is shared.built.
func lastStage(t *testing.T, stage string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(shared.root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(data), "\nFROM scratch AS "+stage+"\n")
	if !found {
		t.Fatalf("the Dockerfile has no stage %s", stage)
	}
	text, _, _ = strings.Cut(text, "\nFROM ")
	return "FROM scratch\n" + regexp.MustCompile(` --from=[a-z-]+`).ReplaceAllString(text, "")
}

// storage is where podman and buildah keep images of the tests.
func storage() []string {
	return []string{"--root", filepath.Join(shared.dir, "storage"), "--runroot", filepath.Join(shared.dir, "run"), "--storage-driver", "vfs"}
}

func podman(t *testing.T, args ...string) string {
	t.Helper()
	return run(t, "podman", append(storage(), args...)...)
}

// containerfile writes the last stage for shared.built as its context.
func containerfile(t *testing.T, stage string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "Containerfile")
	if err := os.WriteFile(file, []byte(lastStage(t, stage)), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// veeamAuthImage builds the image of the product once.
func veeamAuthImage(t *testing.T) string {
	t.Helper()
	const name = "ghcr.io/caddy-veeam/veeam-auth:latest"
	if out, err := try(t, "podman", append(storage(), "image", "exists", name)...); err == nil && out == "" {
		return name
	}
	run(t, "buildah", append(storage(), "bud", "--isolation", "chroot", "--format", "docker", "-f", containerfile(t, "image"), "-t", name, shared.built)...)
	return name
}

// secret writes a file that the user of a container may read.
func secret(t *testing.T, folder, name, text string) string {
	t.Helper()
	file := filepath.Join(folder, name)
	if err := errors.Join(os.WriteFile(file, []byte(text+"\n"), 0o400), os.Chown(file, 65532, 65532), os.Chmod(folder, 0o755)); err != nil {
		t.Fatal(err)
	}
	return file
}
