package main

// deb and rpm, as deploy/packages/nfpm.yaml describes them.

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb" // a format of packages
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm" // a format of packages

	"github.com/caddy-veeam/veeam-auth/tools/deploy/linked"
)

const packageFile = "deploy/packages/nfpm.yaml"

func (r *release) writePackages() error {
	licences := filepath.Join(r.dist, "work", linked.FileName)
	if err := os.WriteFile(licences, r.licences, 0o644); err != nil { //nolint:gosec // what a release holds is public
		return err
	}
	for _, b := range r.binaries {
		if b.os != "linux" {
			continue
		}
		values := map[string]string{"ARCH": b.arch, "VERSION": r.number(), "BIN": b.path}
		for _, format := range []string{"deb", "rpm"} {
			if err := r.writePackage(format, licences, values); err != nil {
				return fmt.Errorf("%s for %s: %w", format, b.arch, err)
			}
		}
	}
	return nil
}

func (r *release) writePackage(format, licences string, values map[string]string) error {
	config, err := nfpm.ParseFileWithEnvMapping(filepath.Join(r.root, packageFile), func(name string) string { return values[name] })
	if err != nil {
		return err
	}
	info, err := config.Get(format)
	if err != nil {
		return err
	}
	info.Contents = append(info.Contents, &files.Content{
		Source: licences, Destination: "/usr/share/doc/veeam-auth/" + linked.FileName,
		FileInfo: &files.ContentFileInfo{Mode: 0o644},
	})
	info.MTime = r.time
	info.RPM.BuildHost = "localhost"
	info = nfpm.WithDefaults(info)
	for _, c := range info.Contents {
		if c.Type != "dir" && (c.FileInfo == nil || c.FileInfo.Mode == 0) {
			return fmt.Errorf("%s: %s has no mode; without one it would depend on the builder's umask", packageFile, c.Destination)
		}
	}
	packager, err := nfpm.Get(format)
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	if err := packager.Package(info, &buf); err != nil {
		return err
	}
	return r.write(packager.ConventionalFileName(info), buf.Bytes())
}
