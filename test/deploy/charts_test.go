//go:build deploy

package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// settings are values with which the chart can be installed.
var settings = map[string][]string{
	"gateway": {
		"server.url=https://vbr01.lab.local:9419", "account.username=svc-monitor", "account.existingSecret=veeam-auth", "gateway.tlsSecret=veeam-auth-tls",
		"metrics.podMonitor.enabled=true", "networkPolicy.serverCIDR=192.0.2.10/32", "server.product=azure", "account.mfa=true",
	},
	"sidecar": {
		"server.url=https://vbr01.lab.local", "account.username=svc-monitor", "account.existingSecret=veeam-auth", "mode=sidecar",
		"sidecar.client.name=client", "sidecar.client.image=docker.io/curlimages/curl:8.16.0", "server.tlsPin=86:F1:76:9B:44:7A:46:41:38:95:5D:B9:23:6A:41:1C:54:87:28:1F",
	},
}

func chart(t *testing.T, command string, values []string) string {
	t.Helper()
	args := []string{"helm", command}
	if command == "template" {
		args = append(args, "x", "--kube-version", "1.34.0", "--namespace", "veeam")
	}
	args = append(args, "deploy/helm/veeam-auth")
	for _, value := range values {
		args = append(args, "--set-literal", value)
		if value == "account.mfa=true" || value == "metrics.podMonitor.enabled=true" {
			args[len(args)-2] = "--set"
		}
	}
	return tool(t, args...)
}

// conforms checks manifests against the schemas of Kubernetes 1.34 and of the Prometheus
// operator 0.85, in which unknown fields are errors.
func conforms(manifests string) ([]byte, error) {
	cmd := exec.Command("go", "tool", "-modfile=tools/deploy/go.mod", "kubeconform", "-strict", "-summary",
		"-schema-location", "test/deploy/testdata/schemas/{{.ResourceKind}}{{.KindSuffix}}.json", "-")
	cmd.Dir = shared.root
	cmd.Stdin = strings.NewReader(manifests)
	return cmd.CombinedOutput()
}

func TestManifestsConform(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(shared.root, "deploy/kubernetes/*/*.yaml"))
	if err != nil || len(files) < 8 {
		t.Fatal(files, err)
	}
	var manifests []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(file) != "kustomization.yaml" {
			manifests = append(manifests, string(data))
		}
	}
	all := strings.Join(manifests, "\n---\n")
	noLinks(t, all)
	if out, err := conforms(all); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, broken := range []string{
		strings.Replace(all, "readOnlyRootFilesystem:", "readOnlyRootFileSystem:", 1),
		strings.Replace(all, "replicas: 3", "replicas: three", 1),
		strings.Replace(all, "minAvailable:", "minimum:", 1),
		strings.Replace(all, "podMetricsEndpoints:", "endpoints:", 1),
	} {
		if out, err := conforms(broken); err == nil {
			t.Errorf("a manifest with a mistake conforms\n%s", out)
		}
	}
}

// noLinks demands that no Service sets a variable of a pod: one that is called redis would
// set REDIS_PORT, which a Caddyfile takes for a number.
func noLinks(t *testing.T, manifests string) {
	t.Helper()
	pods := 0
	for _, document := range documents(t, manifests) {
		if document["kind"] != "Deployment" {
			continue
		}
		pods++
		if spec, _ := at(t, document, "spec", "template", "spec").(map[string]any); spec["enableServiceLinks"] != false {
			t.Errorf("%v: enableServiceLinks is %v", at(t, document, "metadata", "name"), spec["enableServiceLinks"])
		}
	}
	if pods == 0 {
		t.Error("no pod")
	}
}

func TestTheChartConforms(t *testing.T) {
	for mode, values := range settings {
		t.Run(mode, func(t *testing.T) {
			if out := chart(t, "lint", values); !strings.Contains(out, "0 chart(s) failed") {
				t.Error(out)
			}
			manifests := chart(t, "template", values)
			if out, err := conforms(manifests); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			noLinks(t, manifests)
			validates(t, caddyfileOf(t, manifests))
		})
	}
}

// TestTheChartRefusesBadValues holds the schema of the values to what it is for.
func TestTheChartRefusesBadValues(t *testing.T) {
	good := settings["gateway"]
	for _, tt := range []struct{ change, want string }{
		{"server.url=http://vbr01:9419", "/server/url"},
		{"server.url=https://vbr01:9419/api", "/server/url"},
		{"server.product=vbrr", "/server/product"},
		{"account.username=", "/account/username"},
		{"account.existingSecret=", "/account/existingSecret"},
		{"gateway.tlsSecret=", "/gateway/tlsSecret"},
		{"server.tlsPin=86:F1", "/server/tlsPin"},
		{"mode=daemonset", "/mode"},
		{"mode=sidecar", "/sidecar/client"},
		{"preset=admin", "/preset"},
		{"acount.mfa=true", "acount"},
	} {
		args := []string{"tool", "-modfile=tools/deploy/go.mod", "helm", "template", "x", "--kube-version", "1.34.0", "deploy/helm/veeam-auth"}
		for _, value := range good {
			args = append(args, "--set", value)
		}
		if _, err := try(t, "go", append(args, "--set", tt.change)...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.change, err)
		}
	}
}

// TestTheGatewaysCaddyfileIsValid validates the one of the manifests.
func TestTheGatewaysCaddyfileIsValid(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(shared.root, "deploy/kubernetes/gateway/Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	validates(t, string(data))
}

// validates adapts a Caddyfile with the slim build: files of secrets and certificates need
// not exist for that.
func validates(t *testing.T, caddyfile string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte(caddyfile), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(shared.bin, "veeam-auth"), "adapt", "--config", file)
	cmd.Env = append(os.Environ(), "VEEAM_AUTH_SERVER=https://vbr01.lab.local:9419", "VEEAM_AUTH_USERNAME=LAB\\svc monitor", "VEEAM_AUTH_TLS_PIN=86:F1:76:9B:44:7A:46:41:38:95:5D:B9:23:6A:41:1C:54:87:28:1F")
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), "not formatted") {
		t.Errorf("%v\n%s\n%s", err, out, caddyfile)
	}
	if strings.Contains(caddyfile, "\nhttps://") && !strings.Contains(string(out), `"disable_redirects":true`) {
		t.Errorf("it listens on port 80, which only root may do:\n%s", caddyfile)
	}
}

// caddyfileOf returns the one in the ConfigMap of manifests.
func caddyfileOf(t *testing.T, manifests string) string {
	t.Helper()
	for _, document := range documents(t, manifests) {
		if document["kind"] == "ConfigMap" {
			data, _ := document["data"].(map[string]any)
			text, _ := data["Caddyfile"].(string)
			return text
		}
	}
	t.Fatal("no ConfigMap")
	return ""
}
