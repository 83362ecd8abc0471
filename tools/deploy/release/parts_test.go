package main

// The parts of a release that need no build.

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestCheckVersion(t *testing.T) {
	for _, tt := range []struct {
		stamped, want string
		snapshot      bool
		err           string
	}{
		{stamped: "v1.2.3"},
		{stamped: "v1.2.3", want: "v1.2.3"},
		{stamped: "v1.2.3-rc.1", want: "v1.2.3-rc.1"},
		{stamped: "v0.0.0-20261127151428-3a530de3686f"},
		{stamped: "v1.2.4-0.20261127151428-3a530de3686f+dirty", snapshot: true},
		{stamped: "v1.2.4-0.20261127151428-3a530de3686f", want: "v1.2.3", err: "git tag -s v1.2.3"},
		{stamped: "v1.2.3+dirty", err: "not committed"},
		{stamped: "v1.2.3+dirty", want: "v1.2.3", snapshot: true, err: "not v1.2.3"},
		{stamped: "(devel)", snapshot: true, err: "not a semantic version"},
		{stamped: "", err: "not a semantic version"},
	} {
		err := checkVersion(tt.stamped, tt.want, tt.snapshot)
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

func TestParseTargets(t *testing.T) {
	got, err := parseTargets("linux/arm64,windows/amd64")
	if err != nil || !reflect.DeepEqual(got, []target{{"linux", "arm64"}, {"windows", "amd64"}}) {
		t.Errorf("%v, %v", got, err)
	}
	for _, names := range []string{"", "linux", "linux/amd64,", "linux/amd64;rm"} {
		if got, err := parseTargets(names); err == nil {
			t.Errorf("%q is accepted: %v", names, got)
		}
	}
}

// TestParseDockerfile reads the Dockerfile of this project.
func TestParseDockerfile(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(checkout, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	spec, err := parseDockerfile(string(text))
	if err != nil {
		t.Fatal(err)
	}
	labels := spec.config.Labels
	spec.config.Labels = nil
	want := v1.Config{
		Env: []string{
			"XDG_DATA_HOME=/data", "XDG_CONFIG_HOME=/config", "HOME=/config", "TZ=UTC", "VEEAM_AUTH_PASSWORD_FILE=/run/secrets/veeam_password",
			"VEEAM_AUTH_TOTP_SECRET_FILE=/run/secrets/veeam_totp_secret", "VEEAM_AUTH_CA_FILE=/run/secrets/veeam_ca.pem",
		},
		User:         "65532:65532",
		WorkingDir:   "/etc/veeam-auth",
		ExposedPorts: map[string]struct{}{"9419/tcp": {}, "9180/tcp": {}},
		StopSignal:   "SIGTERM",
		Healthcheck: &v1.HealthConfig{
			Test: []string{"CMD", "/veeam-auth", "health"}, Interval: 15 * time.Second, Timeout: 5 * time.Second, StartPeriod: 30 * time.Second,
		},
		Entrypoint: []string{"/veeam-auth"},
		Cmd:        []string{"run", "--config", "/etc/veeam-auth/Caddyfile", "--adapter", "caddyfile"},
	}
	if !reflect.DeepEqual(spec.config, want) {
		t.Errorf("%+v, want %+v", spec.config, want)
	}
	if labels["org.opencontainers.image.licenses"] != "Apache-2.0" || !strings.Contains(labels["org.opencontainers.image.description"], " ") {
		t.Errorf("labels: %q", labels)
	}
	wantFiles := []imageFile{
		{"/etc/", "", 0o755},
		{"/etc/veeam-auth/", "", 0o755},
		{"/data/", "", 0o755},
		{"/config/", "", 0o755},
		{"/tmp/", "", 0o755},
		{"/licenses/", "", 0o755},
		{"/veeam-auth", "bin/veeam-auth", 0o755},
		{"/licenses/LICENSE", "LICENSE", 0o644},
		{"/licenses/THIRD-PARTY-LICENSES.txt", "bin/THIRD-PARTY-LICENSES.txt", 0o644},
		{"/etc/veeam-auth/Caddyfile", "deploy/image/Caddyfile", 0o644},
	}
	if !reflect.DeepEqual(spec.files, wantFiles) || spec.owner != 65532 {
		t.Errorf("%+v of %d", spec.files, spec.owner)
	}

	for _, tt := range []struct{ from, to, err string }{
		{"WORKDIR /etc", "VOLUME /data\nWORKDIR /etc", "VOLUME"},
		{"FROM scratch AS image", "FROM alpine AS image", "not FROM scratch"},
		{"FROM scratch AS image", "FROM scratch AS other", "the last stage"},
		{"COPY --from=build --chown=65532:65532 /root-fs/ /", "COPY --from=build /root-fs/ /", "COPY"},
		{"--chown=65532:65532 /root-fs", "--chown=65532:0 /root-fs", "--chown"},
		{"install -m 0755 bin/veeam-auth", "cp bin/veeam-auth", "cp bin/veeam-auth"},
		{"install -d /root-fs/etc", "install -d -m 0700 /root-fs/etc", "install -d -m"},
		{"--start-period=30s", "--retries=3", "retries"},
		{`ENTRYPOINT ["/veeam-auth"]`, "ENTRYPOINT /veeam-auth", "ENTRYPOINT"},
		{"ENV XDG_DATA_HOME=/data", "ENV XDG_DATA_HOME /data", "ENV"},
	} {
		changed := strings.Replace(string(text), tt.from, tt.to, 1)
		if changed == string(text) {
			t.Errorf("the Dockerfile has no %q", tt.from)
		}
		if _, err := parseDockerfile(changed); err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: error %v, want one with %q", tt.to, err, tt.err)
		}
	}
}
