// The one reader of everything that is secret: files, variables and placeholders
// of both.

package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// maxSecretFile bounds what is read of a file.
const maxSecretFile = 1 << 20

var (
	errEmptySecret        = errors.New("it is empty")
	errUnknownPlaceholder = errors.New(`it has a placeholder that has no value here; write {env.NAME} or {file./path}, and \{ for a brace that belongs to the secret`)
	errLongFile           = fmt.Errorf("it is longer than %d MiB", maxSecretFile>>20)
	errChangingFiles      = errors.New("its files change while they are read")
)

// fileVersion tells whether a file is the one that was read: links on the way to it
// lead where they led, and it was neither replaced nor written to.
type fileVersion struct {
	place   string // without links
	info    os.FileInfo
	changed int64 // when anything about it has changed, where the system tells
}

// versionOf looks at what a path leads to. The info is nil if that is nothing.
func versionOf(path string) fileVersion {
	place, err := filepath.EvalSymlinks(path)
	if err != nil {
		place = path // such as a pipe under /dev/fd
	}
	info, err := os.Stat(place) //nolint:gosec // the path is of the configuration
	if err != nil {
		return fileVersion{place: place}
	}
	return fileVersion{place: place, info: info, changed: changeTime(info)}
}

// glimpse is versionOf without a look at where links lead: a link that leads to
// another file is seen all the same.
func glimpse(path string) fileVersion {
	info, err := os.Stat(path)
	if err != nil {
		return fileVersion{}
	}
	return fileVersion{info: info, changed: changeTime(info)}
}

func (v fileVersion) same(other fileVersion) bool {
	if v.info == nil || other.info == nil {
		return v.info == nil && other.info == nil
	}
	a, b := v.info, other.info
	return v.place == other.place && os.SameFile(a, b) && v.changed == other.changed &&
		a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && a.Mode() == b.Mode()
}

// Expand replaces the placeholders of a text by what lookup has for their keys. An
// unknown or empty one is an error.
type Expand func(text string, lookup func(key string) (value any, known bool)) (string, error)

// secretReader reads the secrets of one moment. After reading, settled tells
// whether all of them are of one version.
type secretReader struct {
	expand Expand
	files  map[string]fileVersion
	pipes  bool // something was read that is good for one reading only
	err    error
}

func newSecretReader(expand Expand) *secretReader {
	return &secretReader{expand: expand, files: make(map[string]fileVersion)}
}

// lookup is the value of the placeholders that are read here.
func (r *secretReader) lookup(key string) (any, bool) {
	switch {
	case strings.HasPrefix(key, "file."):
		content, err := r.decoded(strings.TrimPrefix(key, "file."))
		return content, r.take(key, content, err)
	case strings.HasPrefix(key, "env."):
		content, err := secret.Decode([]byte(os.Getenv(strings.TrimPrefix(key, "env."))))
		return content, r.take(key, content, err)
	}
	return nil, false
}

// take keeps the first error of a placeholder. Its name is no secret.
func (r *secretReader) take(key, content string, err error) bool {
	if err == nil && content == "" {
		err = errEmptySecret
		if name, ok := strings.CutPrefix(key, "env."); ok {
			if _, set := os.LookupEnv(name); !set {
				err = errors.New("it is not set")
			}
		}
	}
	if err != nil && r.err == nil {
		r.err = &placeholderError{key, err}
	}
	return true
}

// placeholderError says why a placeholder has no value.
type placeholderError struct {
	key string
	err error
}

func (e *placeholderError) Error() string {
	return fmt.Sprintf("{%s} cannot be used: %v", e.key, e.err)
}
func (e *placeholderError) Unwrap() error { return e.err }

// text returns a text with its placeholders replaced. It is never empty without an
// error.
func (r *secretReader) text(text string) (string, error) {
	r.err = nil
	value, err := r.expand(text, r.lookup)
	switch {
	case r.err != nil:
		return "", r.err
	case err != nil:
		return "", errUnknownPlaceholder
	case value == "":
		return "", errEmptySecret
	}
	return value, nil
}

// decoded is the content of a file as a secret text.
func (r *secretReader) decoded(path string) (string, error) {
	content, err := r.raw(path)
	if err != nil {
		return "", err
	}
	return secret.Decode(content)
}

// plain is the content of a file as it is, if it is binary, or else in UTF-8.
func (r *secretReader) plain(path string) ([]byte, error) {
	content, err := r.raw(path)
	if err != nil {
		return nil, err
	}
	return secret.Plain(content)
}

func (r *secretReader) raw(path string) ([]byte, error) {
	version := versionOf(path)
	if before, ok := r.files[path]; !ok || before.same(version) {
		r.files[path] = version
	} else {
		r.files[path] = fileVersion{} // of two versions
	}
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, withoutPath(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		r.pipes = true
	}
	content, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return nil, withoutPath(err)
	}
	if len(content) > maxSecretFile {
		return nil, errLongFile
	}
	return content, nil
}

// withoutPath is the error of a file without its path, which a placeholder may
// have yielded.
func withoutPath(err error) error {
	if failed, ok := errors.AsType[*os.PathError](err); ok {
		return failed.Err
	}
	return err
}

// settled reports whether no file has changed since it was read.
func (r *secretReader) settled() bool {
	for path, version := range r.files {
		if r.pipes && (version.info == nil || !version.info.Mode().IsRegular()) {
			continue
		}
		if !version.same(versionOf(path)) {
			return false
		}
	}
	return true
}

// readTries is how often secrets are read that change while they are read.
const readTries = 10

// readSettled has read until all that it has read is of one moment: two files
// that are replaced together, as Kubernetes does by one link, are never mixed.
func readSettled[T any](expand Expand, read func(*secretReader) (T, error)) (T, error) {
	for range readTries {
		r := newSecretReader(expand)
		value, err := read(r)
		if r.settled() {
			return value, err
		}
	}
	var none T
	return none, errChangingFiles
}

// read is the value of one text with placeholders.
func (e Expand) read(text string) (string, error) {
	return readSettled(e, func(r *secretReader) (string, error) { return r.text(text) })
}

// readSecretFile is the content of one file: a secret text, without a byte order
// mark and without the line end at its end.
func readSecretFile(path string) (string, error) {
	content, err := readSettled(nil, func(r *secretReader) (string, error) { return r.decoded(path) })
	if err != nil {
		return "", &os.PathError{Op: "read", Path: path, Err: err}
	}
	return content, nil
}

// readKeyMaterial is the content of a file that may be binary.
func readKeyMaterial(path string) ([]byte, error) {
	content, err := readSettled(nil, func(r *secretReader) ([]byte, error) { return r.plain(path) })
	if err != nil {
		return nil, &os.PathError{Op: "read", Path: path, Err: err}
	}
	return content, nil
}
