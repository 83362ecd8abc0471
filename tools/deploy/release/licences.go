package main

// The modules that are linked into the binaries, and the licence of each.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

const licencesName = "THIRD-PARTY-LICENSES.txt"

// standardLibrary stands for what of Go itself is in a binary.
const standardLibrary = "std"

// module is a part of the binaries that others wrote.
type module struct {
	path, version string
	sum           string // h1: of go.sum; empty for the standard library
	licence       string // SPDX expression, or NOASSERTION
	files         []licenceFile
}

type licenceFile struct{ name, text string }

// modulesOf returns what is linked into a binary, sorted by path: the modules, with those
// that replace others, and Go's standard library.
func modulesOf(info *debug.BuildInfo) []module {
	modules := []module{{path: standardLibrary, version: strings.TrimPrefix(info.GoVersion, "go")}}
	for _, dep := range info.Deps {
		if dep.Replace != nil {
			dep = dep.Replace
		}
		modules = append(modules, module{path: dep.Path, version: dep.Version, sum: dep.Sum})
	}
	slices.SortFunc(modules, func(a, b module) int { return strings.Compare(a.path, b.path) })
	return modules
}

func union(binaries []binary) []module {
	var all []module
	for _, b := range binaries {
		for _, m := range modulesOf(b.info) {
			i, found := slices.BinarySearchFunc(all, m, func(a, b module) int { return strings.Compare(a.path, b.path) })
			if !found {
				all = slices.Insert(all, i, m)
			}
		}
	}
	return all
}

// collectLicences reads the licence files of every module from the module cache. A module
// without one cannot be part of a release.
func (r *release) collectLicences(ctx context.Context) error {
	folders, err := moduleFolders(ctx, r.root, r.modules)
	if err != nil {
		return err
	}
	if err := readLicences(r.modules, folders); err != nil {
		return err
	}
	r.licences = licenceText(r.modules)
	return nil
}

// moduleFolders asks Go where it keeps the modules.
func moduleFolders(ctx context.Context, root string, modules []module) (map[string]string, error) {
	goroot, err := output(ctx, root, "go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	folders := map[string]string{standardLibrary: goroot}
	args := []string{"mod", "download", "-json"}
	for _, m := range modules {
		if m.path != standardLibrary {
			args = append(args, m.path+"@"+m.version)
		}
	}
	if len(args) == 3 {
		return folders, nil
	}
	out, err := output(ctx, root, "go", args...)
	if err != nil {
		return nil, err
	}
	for decoder := json.NewDecoder(strings.NewReader(out)); ; {
		var m struct{ Path, Dir, Sum string }
		if err := decoder.Decode(&m); errors.Is(err, io.EOF) {
			return folders, nil
		} else if err != nil {
			return nil, err
		}
		folders[m.Path] = m.Dir
	}
}

var (
	licenceNames = regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying|copyright|notice|patents)([.-].*)?$`)
	termsNames   = regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying)`)
	sourceNames  = regexp.MustCompile(`(?i)\.(go|py|sh|ya?ml|json|tmpl|toml)$`)
)

func readLicences(modules []module, folders map[string]string) error {
	var missing []string
	for i := range modules {
		m := &modules[i]
		entries, err := os.ReadDir(folders[m.path])
		if err != nil {
			return fmt.Errorf("%s@%s: %w", m.path, m.version, err)
		}
		var terms []byte
		for _, e := range entries {
			if e.IsDir() || !licenceNames.MatchString(e.Name()) || sourceNames.MatchString(e.Name()) {
				continue
			}
			text, err := os.ReadFile(filepath.Join(folders[m.path], e.Name()))
			if err != nil {
				return err
			}
			m.files = append(m.files, licenceFile{e.Name(), strings.TrimSpace(strings.ReplaceAll(string(text), "\r\n", "\n"))})
			if termsNames.MatchString(e.Name()) {
				terms = append(append(terms, text...), '\n')
			}
		}
		if len(terms) == 0 {
			missing = append(missing, m.path+"@"+m.version)
		}
		m.licence = expression(terms)
	}
	if len(missing) > 0 {
		return fmt.Errorf("modules without a licence: %s", strings.Join(missing, ", "))
	}
	return nil
}

// spdxNames are the identifiers of SPDX that dependencies may have. A text that is not
// recognized as one of them has no assertion; the text itself is in the release anyway.
var spdxNames = []string{"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MPL-2.0", "Unlicense", "Zlib"}

// expression is the SPDX expression of the licences in a text.
func expression(text []byte) string {
	coverage := licensecheck.Scan(text)
	var names []string
	for _, match := range coverage.Match {
		if match.IsURL {
			continue
		}
		if !slices.Contains(spdxNames, match.ID) {
			return "NOASSERTION"
		}
		names = append(names, match.ID)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) == 0 || coverage.Percent < 75 {
		return "NOASSERTION"
	}
	return strings.Join(names, " AND ")
}

func licenceText(modules []module) []byte {
	var buf bytes.Buffer
	buf.WriteString("veeam-auth contains the following software of others.\n")
	for _, m := range modules {
		for _, f := range m.files {
			fmt.Fprintf(&buf, "\n%s\n%s %s: %s\n\n%s\n", strings.Repeat("=", 80), m.path, m.version, f.name, f.text)
		}
	}
	return buf.Bytes()
}

func (r *release) writeLicences() error { return r.write(licencesName, r.licences) }
