package main

// Archives that depend on their content alone: no owner, no time but the commit's, a
// mode that does not come from the builder's umask.

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/tools/deploy/linked"
)

// entry is a file or, with a name that ends in a slash, a folder.
type entry struct {
	name string
	mode int64
	uid  int // and gid
	data []byte
}

// fileEntry reads a file of the checkout, or another by its absolute path.
func (r *release) fileEntry(name string, mode int64, source string) (entry, error) {
	if !filepath.IsAbs(source) {
		source = filepath.Join(r.root, source)
	}
	data, err := os.ReadFile(source) //nolint:gosec // a file of the checkout
	return entry{name: name, mode: mode, data: data}, err
}

func sorted(entries []entry) []entry {
	entries = slices.Clone(entries)
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return entries
}

func writeTar(w io.Writer, mtime time.Time, entries []entry) error {
	t := tar.NewWriter(w)
	for _, e := range sorted(entries) {
		header := &tar.Header{
			Name: e.name, Mode: e.mode, Uid: e.uid, Gid: e.uid, ModTime: mtime,
			Typeflag: tar.TypeReg, Size: int64(len(e.data)), Format: tar.FormatUSTAR,
		}
		if strings.HasSuffix(e.name, "/") {
			header.Typeflag = tar.TypeDir
		}
		if err := t.WriteHeader(header); err != nil {
			return err
		}
		if _, err := t.Write(e.data); err != nil {
			return err
		}
	}
	return t.Close()
}

// tarGz is a compressed tar. The header of gzip has neither name nor time.
func tarGz(mtime time.Time, entries []entry) ([]byte, error) {
	var buf bytes.Buffer
	z, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if err := writeTar(z, mtime, entries); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func zipped(mtime time.Time, entries []entry) ([]byte, error) {
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	for _, e := range sorted(entries) {
		header := &zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: mtime}
		header.SetMode(os.FileMode(e.mode)) //nolint:gosec // constants of this program
		w, err := z.CreateHeader(header)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, err
		}
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// archived are the files of an archive beside the program: their name, their source, and
// the system that they are for; empty for all.
var archived = []struct{ name, source, os string }{
	{"LICENSE", "LICENSE", ""},
	{"README.md", "README.md", ""},
	{"CHANGELOG.md", "CHANGELOG.md", ""},
	{"Caddyfile.example", "Caddyfile.example", ""},
	{"systemd/Caddyfile", "deploy/systemd/Caddyfile", "linux"},
	{"systemd/veeam-auth.service", "deploy/systemd/veeam-auth.service", "linux"},
	{"systemd/veeam-auth.socket", "deploy/systemd/veeam-auth.socket", "linux"},
	{"systemd/veeam-auth.tmpfiles", "deploy/systemd/veeam-auth.tmpfiles", "linux"},
	{"windows/Caddyfile", "deploy/windows/Caddyfile", "windows"},
	{"windows/veeam-auth.xml", "deploy/windows/veeam-auth.xml", "windows"},
}

func (r *release) writeArchives() error {
	for _, b := range r.binaries {
		base := fmt.Sprintf("veeam-auth_%s_%s_%s", r.number(), b.os, b.arch)
		program := "veeam-auth"
		if b.os == "windows" {
			program += ".exe"
		}
		e, err := r.fileEntry(base+"/"+program, 0o755, b.path)
		if err != nil {
			return err
		}
		entries := []entry{e, {name: base + "/" + linked.FileName, mode: 0o644, data: r.licences}}
		for _, a := range archived {
			if a.os != "" && a.os != b.os {
				continue
			}
			if e, err = r.fileEntry(base+"/"+a.name, 0o644, a.source); err != nil {
				return err
			}
			entries = append(entries, e)
		}
		pack, extension := tarGz, ".tar.gz"
		if b.os == "windows" {
			pack, extension = zipped, ".zip"
		}
		data, err := pack(r.time, entries)
		if err != nil {
			return err
		}
		if err := r.write(base+extension, data); err != nil {
			return err
		}
	}
	return nil
}

// write makes a file of dist.
func (r *release) write(name string, data []byte) error {
	return os.WriteFile(r.path("%s", name), data, 0o644) //nolint:gosec // what a release holds is public
}
