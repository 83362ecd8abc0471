package main

// The image that the stage build of the Dockerfile begins from: its digest, in the file and
// at the registry.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// fromLine is an instruction FROM: what is before the image, the image and its digest.
var fromLine = regexp.MustCompile(`(?m)^(FROM +(?:--platform=\S+ +)?)([^\s@]+)(@\S+)?`)

// goVersion is the version of Go in a tag such as 1.26.10-bookworm.
var goVersion = regexp.MustCompile(`:(\d+\.\d+\.\d+)(?:-[a-z]+)?$`)

var errNotPinned = errors.New("the image has no digest; write it with make pin, and commit")

// base returns the image that the stage build begins from, and its digest with the @.
func base(dockerfile string) (image, digest string, err error) {
	for _, found := range fromLine.FindAllStringSubmatch(dockerfile, -1) {
		switch {
		case strings.HasSuffix(stageOf(dockerfile, found[0]), " AS build"):
			image, digest = found[2], found[3]
		case found[2] != "scratch" && found[2] != "build":
			return "", "", fmt.Errorf("Dockerfile: %s: a stage begins from scratch or from the stage build", found[0])
		}
	}
	if !goVersion.MatchString(image) {
		return "", "", fmt.Errorf("Dockerfile: the stage build begins from %q, not from an image with an exact version of Go", image)
	}
	return image, digest, nil
}

// stageOf is the line that begins with text.
func stageOf(dockerfile, text string) string {
	_, rest, _ := strings.Cut(dockerfile, text)
	line, _, _ := strings.Cut(rest, "\n")
	return text + line
}

// pin asks the registry for the digest of the image and writes it into the Dockerfile.
func pin(ctx context.Context, root string, w io.Writer) error {
	file := filepath.Join(root, "Dockerfile")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	image, _, err := base(string(text))
	if err != nil {
		return err
	}
	tag, err := name.NewTag(image)
	if err != nil {
		return err
	}
	found, err := remote.Get(tag, remote.WithContext(ctx))
	if err != nil {
		return err
	}
	digest := found.Digest.String()
	if err := checkBase(ctx, image, digest); err != nil {
		return err
	}
	pinned := fromLine.ReplaceAllStringFunc(string(text), func(line string) string {
		parts := fromLine.FindStringSubmatch(line)
		if parts[2] != image {
			return line
		}
		return parts[1] + image + "@" + digest
	})
	if err := os.WriteFile(file, []byte(pinned), 0o644); err != nil { //nolint:gosec // the file is public
		return err
	}
	fmt.Fprintf(w, "%s@%s\n", image, digest)
	return nil
}

// checkPin demands that the Dockerfile names its image by a digest, and that the registry
// has under this digest the version of Go of the tag for every platform that a release is
// built on.
func checkPin(ctx context.Context, root string, w io.Writer) error {
	text, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		return err
	}
	image, digest, err := base(string(text))
	if err != nil {
		return err
	}
	if digest == "" {
		return fmt.Errorf("Dockerfile: %s: %w", image, errNotPinned)
	}
	if err := checkBase(ctx, image, digest[1:]); err != nil {
		return err
	}
	fmt.Fprintf(w, "%s%s\n", image, digest)
	return nil
}

// checkBase compares what a digest names with the tag. What the registry sends is compared
// with the digest on its way.
func checkBase(ctx context.Context, image, digest string) error {
	ref, err := name.NewDigest(image + "@" + digest)
	if err != nil {
		return err
	}
	index, err := remote.Index(ref, remote.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("%s is no image for several platforms: %w", ref, err)
	}
	want := "GOLANG_VERSION=" + goVersion.FindStringSubmatch(image)[1]
	for _, arch := range []string{"amd64", "arm64"} {
		if err := hasVariable(index, v1.Platform{OS: "linux", Architecture: arch}, want); err != nil {
			return fmt.Errorf("%s: %w", ref, err)
		}
	}
	return nil
}

// hasVariable demands that the image for a platform sets a variable so.
func hasVariable(index v1.ImageIndex, p v1.Platform, want string) error {
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, m := range manifest.Manifests {
		if m.Platform == nil || m.Platform.OS != p.OS || m.Platform.Architecture != p.Architecture {
			continue
		}
		image, err := index.Image(m.Digest)
		if err != nil {
			return err
		}
		config, err := image.ConfigFile()
		if err != nil {
			return err
		}
		for _, variable := range config.Config.Env {
			if variable == want {
				return nil
			}
		}
		return fmt.Errorf("the image for %s does not have %s", p, want)
	}
	return fmt.Errorf("there is no image for %s", p)
}
