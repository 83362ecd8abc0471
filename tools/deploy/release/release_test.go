package main

// Releases of a small program in a repository of its own, with the Makefile, Dockerfile,
// packages, chart and units of this one.

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	spdxjson "github.com/spdx/tools-golang/json"

	"github.com/caddy-veeam/veeam-auth/tools/deploy/linked"
)

const checkout = "../../.."

// TestMain is the release itself where a test runs this binary as such.
func TestMain(m *testing.M) {
	if os.Getenv("VEEAM_AUTH_RELEASE") == "1" {
		main()
		return
	}
	os.Exit(m.Run())
}

// project makes the repository: the files of this one that a release takes, and a program
// that prints its version with the code of this one.
func project(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "project")
	names := []string{"Makefile", "Dockerfile", "LICENSE", "README.md", "CHANGELOG.md", "Caddyfile.example", "docs", "deploy", "internal/buildinfo", ".gitignore"}
	for _, name := range names {
		copyInto(t, dir, name)
	}
	writeFile(t, dir, "go.mod", "module github.com/caddy-veeam/veeam-auth\n\ngo 1.26.0\n")
	writeFile(t, dir, "cmd/veeam-auth/main.go", `package main

import (
	"os"

	"github.com/caddy-veeam/veeam-auth/internal/buildinfo"
)

func main() { os.Stdout.WriteString(buildinfo.Read().String() + "\n") }
`)
	git(t, dir, "init", "-q", "-b", "main")
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "-m", "first")
	return dir
}

func copyInto(t *testing.T, dir, name string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(checkout, name), func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(checkout, file)
		writeFile(t, dir, relative, string(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, dir, name, text string) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	args = append([]string{"-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"}, args...)
	out, err := output(t.Context(), dir, "git", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// releaseOf runs the release in a process of its own, as `make release` does.
func releaseOf(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), "VEEAM_AUTH_RELEASE=1")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestReleaseOfATag(t *testing.T) {
	dir := project(t)
	git(t, dir, "tag", "v1.2.3")
	commit := git(t, dir, "rev-parse", "HEAD")
	out, err := releaseOf(t.Context(), "-root", dir, "-version", "v1.2.3", "-targets", "linux/amd64,linux/arm64,windows/amd64")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dist := filepath.Join(dir, "dist")
	var names []string
	sums, err := sumsOf(dist)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sums {
		names = append(names, s.name)
	}
	want := []string{
		"SHA256SUMS", "THIRD-PARTY-LICENSES.txt", "provenance.intoto.json",
		"veeam-auth-1.2.3-1.aarch64.rpm", "veeam-auth-1.2.3-1.x86_64.rpm", "veeam-auth-chart-1.2.3.tgz",
		"veeam-auth_1.2.3_amd64.deb", "veeam-auth_1.2.3_arm64.deb", "veeam-auth_1.2.3_image.oci.tar",
		"veeam-auth_1.2.3_linux_amd64.cdx.json", "veeam-auth_1.2.3_linux_amd64.spdx.json", "veeam-auth_1.2.3_linux_amd64.tar.gz",
		"veeam-auth_1.2.3_linux_arm64.cdx.json", "veeam-auth_1.2.3_linux_arm64.spdx.json", "veeam-auth_1.2.3_linux_arm64.tar.gz",
		"veeam-auth_1.2.3_windows_amd64.cdx.json", "veeam-auth_1.2.3_windows_amd64.spdx.json", "veeam-auth_1.2.3_windows_amd64.zip",
	}
	if !slices.Equal(names, want) {
		t.Errorf("dist has\n%q, want\n%q", names, want)
	}

	t.Run("archives", func(t *testing.T) {
		files := untar(t, gunzip(t, read(t, dist, "veeam-auth_1.2.3_linux_amd64.tar.gz")))
		base := "veeam-auth_1.2.3_linux_amd64/"
		program := files[base+"veeam-auth"]
		if program.header.Mode != 0o755 || program.header.Uid != 0 || program.header.Uname != "" {
			t.Errorf("%+v", program.header)
		}
		if bytes.Contains(program.data, []byte(dir)) {
			t.Error("the program has the path of the checkout")
		}
		for _, name := range []string{"LICENSE", linked.FileName, "README.md", "systemd/veeam-auth.service"} {
			if len(files[base+name].data) == 0 {
				t.Errorf("the archive has no %s", name)
			}
		}
		file := filepath.Join(t.TempDir(), "veeam-auth")
		if err := os.WriteFile(file, program.data, 0o700); err != nil {
			t.Fatal(err)
		}
		if line, err := output(t.Context(), ".", file, "version"); err != nil || !strings.HasPrefix(line, "veeam-auth v1.2.3 ("+commit+"), ") {
			t.Errorf("it says %q, %v", line, err)
		}
		data := read(t, dist, "veeam-auth_1.2.3_windows_amd64.zip")
		z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"veeam-auth.exe", "windows/veeam-auth.xml", "LICENSE"} {
			if _, err := z.Open("veeam-auth_1.2.3_windows_amd64/" + name); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("image", func(t *testing.T) { testImage(t, dist, commit) })
	t.Run("chart", func(t *testing.T) {
		chart := untar(t, gunzip(t, read(t, dist, "veeam-auth-chart-1.2.3.tgz")))["veeam-auth/Chart.yaml"].data
		for _, line := range []string{"\nname: veeam-auth\n", "\nversion: \"1.2.3\"\n", "\nappVersion: \"1.2.3\"\n"} {
			if !strings.Contains(string(chart), line) {
				t.Errorf("Chart.yaml has no line %q:\n%s", line, chart)
			}
		}
	})
	t.Run("lists", func(t *testing.T) {
		var bom cyclonedx.BOM
		if err := cyclonedx.NewBOMDecoder(bytes.NewReader(read(t, dist, "veeam-auth_1.2.3_linux_amd64.cdx.json")), cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
			t.Fatal(err)
		}
		if c := bom.Metadata.Component; c.Version != "v1.2.3" || len(*bom.Components) != 1 || (*bom.Components)[0].Name != linked.StandardLibrary {
			t.Errorf("%+v, %+v", c, *bom.Components)
		}
		doc, err := spdxjson.Read(bytes.NewReader(read(t, dist, "veeam-auth_1.2.3_linux_amd64.spdx.json")))
		if err != nil {
			t.Fatal(err)
		}
		if len(doc.Packages) != 2 || doc.Packages[0].PackageVersion != "v1.2.3" || doc.Packages[1].PackageLicenseConcluded != "BSD-3-Clause" {
			t.Errorf("%+v", doc.Packages)
		}
	})
	t.Run("provenance", func(t *testing.T) {
		var s statement
		if err := json.Unmarshal(read(t, dist, provenanceName), &s); err != nil {
			t.Fatal(err)
		}
		inside := map[string]string{}
		for _, subject := range s.Subject {
			inside[subject.Name] = subject.Digest["sha256"]
		}
		for _, sum := range sums {
			if sum.name != sumsName && sum.name != provenanceName && inside[sum.name] != sum.sum {
				t.Errorf("the statement has %q for %s, want %s", inside[sum.name], sum.name, sum.sum)
			}
		}
		if got := s.Predicate.BuildDefinition.ResolvedDependencies[0].Digest["gitCommit"]; got != commit {
			t.Errorf("commit %q, want %q", got, commit)
		}
	})
	t.Run("signature", func(t *testing.T) { testSignature(t, dir) })
}

func testImage(t *testing.T, dist, commit string) {
	dir := t.TempDir()
	for name, f := range untar(t, read(t, dist, "veeam-auth_1.2.3_image.oci.tar")) {
		if !strings.HasSuffix(name, "/") {
			writeFile(t, dir, name, string(f.data))
		}
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	top, err := index.IndexManifest()
	if err != nil || len(top.Manifests) != 1 || top.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != "1.2.3" {
		t.Fatalf("%+v, %v", top, err)
	}
	if index, err = index.ImageIndex(top.Manifests[0].Digest); err != nil {
		t.Fatal(err)
	}
	both, err := index.IndexManifest()
	if err != nil || len(both.Manifests) != 2 {
		t.Fatalf("%+v, %v", both, err)
	}
	for i, arch := range []string{"amd64", "arm64"} {
		if p := both.Manifests[i].Platform; p.OS != "linux" || p.Architecture != arch {
			t.Errorf("platform %v, want linux/%s", p, arch)
		}
		image, err := index.Image(both.Manifests[i].Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if c := config.Config; c.User != "65532:65532" || !slices.Equal(c.Entrypoint, []string{"/veeam-auth"}) ||
			c.Labels["org.opencontainers.image.revision"] != commit || c.Labels["org.opencontainers.image.version"] != "1.2.3" {
			t.Errorf("%+v", c)
		}
		for name, f := range untar(t, layerOf(t, image)) {
			if f.header.Uid != 65532 || f.header.Gid != 65532 {
				t.Errorf("%s belongs to %d:%d", name, f.header.Uid, f.header.Gid)
			}
		}
		files := untar(t, layerOf(t, image))
		if files["veeam-auth"].header.Mode != 0o755 || len(files["etc/veeam-auth/Caddyfile"].data) == 0 {
			t.Error("the program or the Caddyfile is missing")
		}
		if !bytes.Equal(files["licenses/"+linked.FileName].data, read(t, dist, linked.FileName)) || len(files["licenses/LICENSE"].data) == 0 {
			t.Error("the licences are missing")
		}
	}
}

func layerOf(t *testing.T, image v1.Image) []byte {
	t.Helper()
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	r, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// testSignature signs and verifies with the targets of the Makefile.
func testSignature(t *testing.T, dir string) {
	key := filepath.Join(t.TempDir(), "key")
	if _, err := output(t.Context(), dir, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key); err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	signers := filepath.Join(t.TempDir(), "signers")
	if err := os.WriteFile(signers, append([]byte("releaser "), public...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := output(t.Context(), dir, "make", "sign", "KEY="+key); err != nil {
		t.Fatal(err)
	}
	verify := func() error {
		_, err := output(t.Context(), dir, "make", "verify", "SIGNER=releaser", "SIGNERS="+signers)
		return err
	}
	if err := verify(); err != nil {
		t.Fatal(err)
	}
	chart := filepath.Join(dir, "dist/veeam-auth-chart-1.2.3.tgz")
	data := read(t, dir, "dist/veeam-auth-chart-1.2.3.tgz")
	if err := os.WriteFile(chart, append(data, 0), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := verify(); err == nil {
		t.Error("a changed file passes")
	}
	if err := os.WriteFile(chart, data, 0o600); err != nil {
		t.Fatal(err)
	}
	sums := filepath.Join(dir, "dist", sumsName)
	if err := os.WriteFile(sums, append(read(t, dir, "dist/"+sumsName), '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := verify(); err == nil {
		t.Error("a changed list passes")
	}
}

// TestReproducible releases a commit without a tag in two folders.
func TestReproducible(t *testing.T) {
	t.Setenv("VEEAM_AUTH_RELEASE", "1")
	dir := project(t)
	var table bytes.Buffer
	if err := reproduce(t.Context(), dir, []target{{"linux", "amd64"}, {"linux", "arm64"}}, false, &table); err != nil {
		t.Fatalf("%v\n%s", err, &table)
	}
	commit := git(t, dir, "rev-parse", "HEAD")
	for _, text := range []string{"15 files, the same bit for bit", "veeam-auth_0.0.0-", commit[:12] + "_linux_arm64.tar.gz"} {
		if !strings.Contains(table.String(), text) {
			t.Errorf("no %q in\n%s", text, &table)
		}
	}
}

func TestAChangedCheckoutIsRefused(t *testing.T) {
	dir := project(t)
	writeFile(t, dir, "README.md", "changed\n")
	if out, err := releaseOf(t.Context(), "-root", dir, "-targets", "linux/amd64"); err == nil || !strings.Contains(out, errDirty.Error()) {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "dist")); err == nil {
		t.Error("dist was made")
	}
	out, err := releaseOf(t.Context(), "-root", dir, "-snapshot", "-only", "packages", "-targets", "linux/amd64")
	if err != nil || !strings.Contains(out, "+dirty (") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestCompareFindsWhatDiffers(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	for _, dir := range []string{a, b} {
		writeFile(t, dir, "same", "x")
		writeFile(t, dir, "other", dir)
		writeFile(t, dir, filepath.Base(filepath.Dir(dir))+filepath.Base(dir), "x")
	}
	var table bytes.Buffer
	err := compare(&table, a, b)
	if err == nil || !strings.HasPrefix(err.Error(), "3 of 4 files differ") {
		t.Errorf("%v\n%s", err, &table)
	}
	if err := compare(&table, t.TempDir(), t.TempDir()); err == nil {
		t.Error("two empty folders pass")
	}
}

type tarFile struct {
	header *tar.Header
	data   []byte
}

func untar(t *testing.T, data []byte) map[string]tarFile {
	t.Helper()
	files := map[string]tarFile{}
	last := ""
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		header, err := r.Next()
		if err == io.EOF { //nolint:errorlint // as documented
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Name <= last {
			t.Errorf("%s comes after %s", header.Name, last)
		}
		last = header.Name
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name] = tarFile{header, content}
	}
}

func gunzip(t *testing.T, data []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if r.Name != "" || !r.ModTime.IsZero() {
		t.Errorf("the header of gzip has %q, %v", r.Name, r.ModTime)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}
