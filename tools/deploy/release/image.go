package main

// The image, as an OCI layout in one tar: `skopeo copy --all oci-archive:…` pushes it.

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func (r *release) writeImage() error {
	text, err := os.ReadFile(filepath.Join(r.root, "Dockerfile"))
	if err != nil {
		return err
	}
	spec, err := parseDockerfile(string(text))
	if err != nil {
		return err
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	images := 0
	for _, b := range r.binaries {
		if b.os != "linux" {
			continue
		}
		image, err := r.image(spec, b)
		if err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: b.os, Architecture: b.arch}},
		})
		images++
	}
	if images == 0 {
		return nil
	}
	// The layout names one index of both platforms, so that a copy takes it as a whole.
	dir, err := os.MkdirTemp("", "veeam-auth-image")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	out, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	if err := out.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": strings.ReplaceAll(r.number(), "+", "-"),
	})); err != nil {
		return err
	}
	return r.tarFolder(dir, fmt.Sprintf("veeam-auth_%s_image.oci.tar", r.number()))
}

// image is the image for one platform: what the Dockerfile says, in one layer.
func (r *release) image(spec *imageSpec, b binary) (v1.Image, error) {
	var entries []entry
	for _, f := range spec.files {
		e := entry{name: strings.TrimPrefix(f.name, "/"), mode: f.mode, uid: spec.owner}
		switch f.source {
		case "":
		case builtLicences:
			e.data = r.licences
		default:
			source := f.source
			if source == builtProgram {
				source = b.path
			}
			read, err := r.fileEntry(e.name, f.mode, source)
			if err != nil {
				return nil, err
			}
			e.data = read.data
		}
		entries = append(entries, e)
	}
	layerTar, err := tarGz(r.time, entries)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(layerTar)), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.Append(image, mutate.Addendum{Layer: layer, History: v1.History{
		Created: v1.Time{Time: r.time}, CreatedBy: "make release", Comment: "the last stage of the Dockerfile",
	}})
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Created = b.os, b.arch, v1.Time{Time: r.time}
	file.Config = *spec.config.DeepCopy()
	file.Config.Labels["org.opencontainers.image.version"] = r.number()
	file.Config.Labels["org.opencontainers.image.revision"] = r.commit
	return mutate.ConfigFile(image, file)
}

// tarFolder writes a folder as a tar into dist.
func (r *release) tarFolder(dir, name string) error {
	var entries []entry
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || file == dir {
			return err
		}
		relative, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		if d.IsDir() {
			entries = append(entries, entry{name: filepath.ToSlash(relative) + "/", mode: 0o755})
			return nil
		}
		e, err := r.fileEntry(filepath.ToSlash(relative), 0o644, file)
		entries = append(entries, e)
		return err
	})
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	if err := writeTar(&buf, r.time, entries); err != nil {
		return err
	}
	return r.write(name, buf.Bytes())
}
