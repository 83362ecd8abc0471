// The one reader of everything that is secret: files, variables and placeholders
// of both.

package secret

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// MaxFile is the maximum size of a file, in bytes.
const MaxFile = 1 << 20

var (
	errUnknownPlaceholder = errors.New(`it has a placeholder without a value: write {env.NAME} or {file./path}, and \{ for a brace that belongs to the secret`)

	// ErrEmpty says that a secret is empty.
	ErrEmpty = errors.New("it is empty")

	errLongFile = fmt.Errorf("it is longer than %d MiB", MaxFile>>20)

	// ErrChanging says that files kept changing while they were read.
	ErrChanging = errors.New("its files change during the read")
)

// FileVersion identifies the version of a file: the target of links on its path, and
// its time of modification, size and identity.
type FileVersion struct {
	place   string      // without links
	Info    os.FileInfo // nil if there is no file
	changed int64       // when anything about it has changed, where the system tells
}

// versionOf looks at what a path leads to. The info is nil if that is nothing.
func versionOf(path string) FileVersion {
	place, err := filepath.EvalSymlinks(path)
	if err != nil {
		place = path // such as a pipe under /dev/fd
	}
	return FileVersion{place: place}.seen(place)
}

// Glimpse returns the version of a file without the targets of links on its path. A
// link that leads to another file is noticed all the same.
func Glimpse(path string) FileVersion {
	return FileVersion{}.seen(path)
}

// seen is the version with what the system says about the file now.
func (v FileVersion) seen(path string) FileVersion {
	info, err := os.Stat(path)
	if err != nil {
		return v
	}
	// On Windows the identity is read at the first comparison, which would be that of the
	// file that is there by then.
	os.SameFile(info, info)
	v.Info, v.changed = info, changeTime(info)
	return v
}

// Same reports whether two versions are equal.
func (v FileVersion) Same(other FileVersion) bool {
	if v.Info == nil || other.Info == nil {
		return v.Info == nil && other.Info == nil
	}
	a, b := v.Info, other.Info
	return v.place == other.place && os.SameFile(a, b) && v.changed == other.changed &&
		a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && a.Mode() == b.Mode()
}

// Versions are those of files that were read, by path.
type Versions map[string]FileVersion

// Same reports whether the same files were read in the same versions.
func (v Versions) Same(other Versions) bool { return maps.EqualFunc(v, other, FileVersion.Same) }

// Expand replaces the placeholders of a text by the values that lookup returns for
// their keys. An unknown or empty one is an error.
type Expand func(text string, lookup func(key string) (value any, known bool)) (string, error)

// Reader reads secrets that belong together. ReadSettled checks afterwards that all
// files are of one version.
type Reader struct {
	expand Expand
	files  Versions
	pipes  bool // a pipe was read, which can be read only once
	err    error
}

func newReader(expand Expand) *Reader {
	return &Reader{expand: expand, files: make(Versions)}
}

// lookup is the value of the placeholders that are read here.
func (r *Reader) lookup(key string) (any, bool) {
	switch {
	case strings.HasPrefix(key, "file."):
		content, err := r.decoded(strings.TrimPrefix(key, "file."))
		return content, r.take(key, content, err)
	case strings.HasPrefix(key, "env."):
		content, err := Decode([]byte(os.Getenv(strings.TrimPrefix(key, "env."))))
		return content, r.take(key, content, err)
	}
	content, known, err := fromSource(key)
	return content, known && r.take(key, content, err)
}

// take keeps the first error of a placeholder. Its name is no secret.
func (r *Reader) take(key, content string, err error) bool {
	if err == nil && content == "" {
		err = ErrEmpty
		if name, ok := strings.CutPrefix(key, "env."); ok {
			if _, set := os.LookupEnv(name); !set {
				err = errors.New("it is not set")
			}
		}
	}
	if err != nil && r.err == nil {
		if path, ok := strings.CutPrefix(key, "file."); ok {
			err = named(path, err)
		}
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

// Files returns the files that were read, and whether one of them is a pipe, which can be
// read only once.
func (r *Reader) Files() (files Versions, pipes bool) { return r.files, r.pipes }

// Text returns a text with its placeholders replaced. The error is ErrEmpty if the
// result is empty.
func (r *Reader) Text(text string) (string, error) {
	r.err = nil
	value, err := r.expand(text, r.lookup)
	switch {
	case r.err != nil:
		return "", r.err
	case err != nil:
		return "", errUnknownPlaceholder
	case value == "":
		return "", ErrEmpty
	}
	return value, nil
}

// decoded is the content of a file as a secret text.
func (r *Reader) decoded(path string) (string, error) {
	content, err := r.raw(path)
	if err != nil {
		return "", err
	}
	return Decode(content)
}

// Plain returns the content of a file: unchanged if it is binary, otherwise in UTF-8.
func (r *Reader) Plain(path string) ([]byte, error) {
	content, err := r.raw(path)
	if err == nil {
		content, err = Plain(content)
	}
	return content, named(path, err)
}

func (r *Reader) raw(path string) ([]byte, error) {
	version := versionOf(path)
	if before, ok := r.files[path]; !ok || before.Same(version) {
		r.files[path] = version
	} else {
		r.files[path] = FileVersion{} // of two versions
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, explained(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		r.pipes = true
	}
	content, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, explained(err)
	}
	if len(content) > MaxFile {
		return nil, errLongFile
	}
	return content, nil
}

// explained is the error of a file without its path, which a placeholder may have yielded.
// It says which user may not read the file.
func explained(err error) error {
	if failed, ok := errors.AsType[*os.PathError](err); ok {
		err = failed.Err
	}
	if user := os.Getuid(); user >= 0 && errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w for the user %d", err, user)
	}
	return err
}

// named completes the error about a file with the variable of the environment that names it,
// or with the folder in which a file that does not exist was looked for.
func named(path string, err error) error {
	if name := variableOf(path); err != nil && name != "" {
		return fmt.Errorf("%w; the variable %s names the file", err, name)
	}
	if folder, unknown := os.Getwd(); unknown == nil && errors.Is(err, fs.ErrNotExist) && !filepath.IsAbs(path) {
		return fmt.Errorf("%w in the working directory %s", err, folder)
	}
	return err
}

// opened finds the file in the text of an error: Caddy's modules do not always wrap it.
var opened = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\b(?:open|reading) (.+?): `) })

// WithVariable completes the error of a file that cannot be opened or used with the variable
// of the environment that names it. Other errors, and nil, are returned as they are.
func WithVariable(err error) error {
	if err == nil {
		return nil
	}
	if found := opened().FindStringSubmatch(err.Error()); found != nil {
		return named(found[1], err)
	}
	return err
}

// variableOf returns the name of the variable of the environment whose value is the path,
// the first by name; empty if there is none.
func variableOf(path string) (first string) {
	for _, variable := range os.Environ() {
		if name, value, _ := strings.Cut(variable, "="); value == path && path != "" && (first == "" || name < first) {
			first = name
		}
	}
	return first
}

// settled reports whether no file has changed since it was read.
func (r *Reader) settled() bool {
	for path, version := range r.files {
		if r.pipes && (version.Info == nil || !version.Info.Mode().IsRegular()) {
			continue
		}
		if !version.Same(versionOf(path)) {
			return false
		}
	}
	return true
}

// readTries is how often secrets are read that change while they are read.
const readTries = 10

// ReadSettled calls read until none of the files that it has read has changed
// meanwhile. So two files that are replaced together, as Kubernetes does with one link,
// are never mixed. The error is ErrChanging if they keep changing.
func ReadSettled[T any](expand Expand, read func(*Reader) (T, error)) (T, error) {
	for range readTries {
		r := newReader(expand)
		value, err := read(r)
		if r.settled() {
			return value, err
		}
	}
	var none T
	return none, ErrChanging
}

// Read returns the value of one text with placeholders.
func (e Expand) Read(text string) (string, error) {
	return ReadSettled(e, func(r *Reader) (string, error) { return r.Text(text) })
}

// ReadFile returns the content of one file as a secret text, see Decode.
func ReadFile(path string) (string, error) {
	content, err := ReadSettled(nil, func(r *Reader) (string, error) { return r.decoded(path) })
	if err != nil {
		return "", &os.PathError{Op: "read", Path: path, Err: err}
	}
	return content, nil
}

// ReadKeyMaterial returns the content of a file that may be binary, see Reader.Plain.
func ReadKeyMaterial(path string) ([]byte, error) {
	content, err := ReadSettled(nil, func(r *Reader) ([]byte, error) { return r.Plain(path) })
	if err != nil {
		return nil, &os.PathError{Op: "read", Path: path, Err: err}
	}
	return content, nil
}
