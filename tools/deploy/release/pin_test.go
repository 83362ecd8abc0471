package main

// The digest of the image that the Dockerfile builds in, at a registry of this machine.

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// publish puts an image with a version of Go at a tag, for these architectures.
func publish(t *testing.T, tag, version string, archs ...string) v1.Hash {
	t.Helper()
	var index v1.ImageIndex = empty.Index
	for _, arch := range archs {
		image, err := mutate.Config(empty.Image, v1.Config{Env: []string{"PATH=/usr/bin", "GOLANG_VERSION=" + version}, Labels: map[string]string{"arch": arch}})
		if err != nil {
			t.Fatal(err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	ref, err := name.NewTag(tag)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func TestPinWritesTheDigestOfTheTag(t *testing.T) {
	server := httptest.NewServer(registry.New())
	defer server.Close()
	image := strings.TrimPrefix(server.URL, "http://") + "/golang:1.26.10-bookworm"
	digest := publish(t, image, "1.26.10", "amd64", "arm64").String()

	dir := t.TempDir()
	dockerfile := strings.Replace(string(read(t, checkout, "Dockerfile")), fromBuild(t), image, 1)
	writeFile(t, dir, "Dockerfile", dockerfile)
	var out strings.Builder
	if err := checkPin(t.Context(), dir, &out); !errors.Is(err, errNotPinned) {
		t.Fatalf("without a digest: %v", err)
	}
	if err := pin(t.Context(), dir, &out); err != nil {
		t.Fatal(err)
	}
	pinned := string(read(t, dir, "Dockerfile"))
	if want := strings.Replace(dockerfile, image, image+"@"+digest, 1); pinned != want {
		t.Errorf("the Dockerfile is now\n%s", pinned)
	}
	if _, err := parseDockerfile(pinned); err != nil {
		t.Error(err)
	}
	if err := checkPin(t.Context(), dir, &out); err != nil {
		t.Error(err)
	}
	// The tag is built again, as those of public images are: the digest stays valid, and a
	// new pin takes the place of the old one.
	newer := publish(t, image, "1.26.10", "amd64", "arm64", "s390x").String()
	if err := checkPin(t.Context(), dir, &out); err != nil {
		t.Errorf("after the tag has moved: %v", err)
	}
	if err := pin(t.Context(), dir, &out); err != nil {
		t.Fatal(err)
	}
	if text := string(read(t, dir, "Dockerfile")); !strings.Contains(text, image+"@"+newer+" AS build") || strings.Contains(text, digest) {
		t.Errorf("pinned again:\n%s", text)
	}
}

func TestAPinOfSomethingElseIsRefused(t *testing.T) {
	server := httptest.NewServer(registry.New())
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	const tag = "/golang:1.26.10-bookworm"
	for what, tt := range map[string]struct{ digest, want string }{
		"another version of Go": {publish(t, host+tag, "1.25.0", "amd64", "arm64").String(), "does not have GOLANG_VERSION=1.26.10"},
		"one platform":          {publish(t, host+tag, "1.26.10", "amd64").String(), "there is no image for linux/arm64"},
		"an unknown digest":     {"sha256:" + strings.Repeat("0", 64), "no image for several platforms"},
		"half a digest":         {"sha256:00", "digest"},
	} {
		dir := t.TempDir()
		writeFile(t, dir, "Dockerfile", strings.Replace(string(read(t, checkout, "Dockerfile")), fromBuild(t), host+tag+"@"+tt.digest, 1))
		if err := checkPin(t.Context(), dir, &strings.Builder{}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", what, err, tt.want)
		}
	}
	for what, text := range map[string]string{
		"a version that moves": "FROM golang:1.26 AS build\nFROM scratch AS image\n",
		"another image":        "FROM golang:1.26.10 AS build\nFROM debian:12 AS image\n",
		"no stage build":       "FROM scratch AS image\n",
	} {
		if image, _, err := base(text); err == nil {
			t.Errorf("%s: %s", what, image)
		}
	}
}

// fromBuild is the image of the stage build of this project, with its digest.
func fromBuild(t *testing.T) string {
	t.Helper()
	image, digest, err := base(string(read(t, checkout, "Dockerfile")))
	if err != nil {
		t.Fatal(err)
	}
	return image + digest
}
