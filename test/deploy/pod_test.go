//go:build deploy

package deploy

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func documents(t *testing.T, text string) (all []map[string]any) {
	t.Helper()
	decoder := yaml.NewDecoder(strings.NewReader(text))
	for {
		var document map[string]any
		if err := decoder.Decode(&document); err != nil {
			return all
		}
		if document != nil {
			all = append(all, document)
		}
	}
}

// at returns the part of a document below names and indexes.
func at(t *testing.T, document any, path ...any) any {
	t.Helper()
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, ok := document.(map[string]any)
			if !ok {
				t.Fatalf("no %v in %T", step, document)
			}
			document = m[step]
		case int:
			l, ok := document.([]any)
			if !ok || len(l) <= step {
				t.Fatalf("no %d in %T", step, document)
			}
			document = l[step]
		}
	}
	return document
}

// TestThePodWithTheSidecar plays deploy/kubernetes/sidecar. The podman of Debian 12 knows no
// native sidecars and mounts no secrets: the sidecar becomes a container of the pod, and the
// secret a folder. Everything else is as in the manifest: its probes, its security context,
// its volumes, its variables, but for the address of the server.
func TestThePodWithTheSidecar(t *testing.T) {
	veeamAuthImage(t)
	clientImage(t)
	server := harness.StartServer(t, veeamtest.VBR13)
	secrets := t.TempDir()
	secret(t, secrets, "veeam_password", veeamtest.DefaultPassword)

	data, err := os.ReadFile(filepath.Join(shared.root, "deploy/kubernetes/sidecar/deployment.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	deployment := documents(t, string(data))[0]
	spec, _ := at(t, deployment, "spec", "template", "spec").(map[string]any)
	native, _ := at(t, spec, "initContainers", 0).(map[string]any)
	if native["restartPolicy"] != "Always" {
		t.Fatal("the sidecar is no native one")
	}
	delete(native, "restartPolicy")
	client, _ := at(t, spec, "containers", 0).(map[string]any)
	client["image"], client["command"] = clientName, []any{"/client", "http://localhost:9419/api/v1/serverInfo"}
	spec["containers"] = []any{native, client}
	delete(spec, "initContainers")
	native["imagePullPolicy"], client["imagePullPolicy"] = "Never", "Never"
	variables, _ := native["env"].([]any)
	for _, each := range variables {
		variable, _ := each.(map[string]any)
		switch variable["name"] {
		case "VEEAM_AUTH_SERVER":
			variable["value"] = server.URL()
		case "VEEAM_AUTH_TLS_PIN":
			variable["value"] = harness.Pin(server)
		}
	}
	volumes, _ := spec["volumes"].([]any)
	for i, each := range volumes {
		if volume, _ := each.(map[string]any); volume["name"] == "secrets" {
			volumes[i] = map[string]any{"name": "secrets", "hostPath": map[string]any{"path": secrets, "type": "Directory"}}
		}
	}
	spec["hostNetwork"] = true // the emulated server is on this machine
	delete(native, "ports")    // podman publishes none of the host's network
	pod := map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "veeam-exporter"}, "spec": spec}
	var manifest bytes.Buffer
	if err := yaml.NewEncoder(&manifest).Encode(pod); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pod.yaml")
	if err := os.WriteFile(file, manifest.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	podman(t, "play", "kube", file)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(logs(t, "veeam-exporter-veeam-auth"), logs(t, "veeam-exporter-client"))
		}
		podman(t, "play", "kube", "--down", file)
	})
	eventually(t, "the client", func() error {
		if log := logs(t, "veeam-exporter-client"); !strings.Contains(log, "200 {") {
			return fmt.Errorf("the client says %q", log)
		}
		return nil
	})
	if err := get("http://127.0.0.1:9180/veeam_auth/ready", 200); err != nil {
		t.Error(err)
	}
	podman(t, "pod", "stop", "-t", "20", "veeam-exporter")
	if counters := server.Counters(); counters.Logins != 1 || counters.LiveSessions != 0 {
		t.Errorf("%d logins, %d sessions left", counters.Logins, counters.LiveSessions)
	}
}

const clientName = "localhost/client:latest"

// clientImage builds the image of a client that needs nothing but its program.
func clientImage(t *testing.T) {
	t.Helper()
	folder := t.TempDir()
	run(t, "cp", filepath.Join(shared.bin, "client"), folder)
	if err := os.WriteFile(filepath.Join(folder, "Containerfile"), []byte("FROM scratch\nCOPY client /client\nUSER 65532:65532\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "buildah", append(storage(), "bud", "--isolation", "chroot", "-t", clientName, folder)...)
}
