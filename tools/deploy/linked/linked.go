// Package linked tells which modules are linked into a program, and under which licences.
package linked

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

// FileName is the name of the file with the licences of others.
const FileName = "THIRD-PARTY-LICENSES.txt"

// StandardLibrary stands for what of Go itself is in a program.
const StandardLibrary = "std"

// NoAssertion is the SPDX expression of a text that is no known licence.
const NoAssertion = "NOASSERTION"

// Module is a part of a program that others wrote.
type Module struct {
	Path, Version string
	Sum           string // h1: of go.sum; empty for the standard library
	Licence       string // SPDX expression, or NoAssertion; Collect sets it
	Files         []File // Collect sets them
}

// File is a text with terms or notices, as the module has it.
type File struct{ Name, Text string }

// Modules returns what is linked into a program, sorted by path: the modules, with those
// that replace others, and Go's standard library.
func Modules(info *debug.BuildInfo) []Module {
	modules := []Module{{Path: StandardLibrary, Version: strings.TrimPrefix(info.GoVersion, "go")}}
	for _, dep := range info.Deps {
		if dep.Replace != nil {
			dep = dep.Replace
		}
		modules = append(modules, Module{Path: dep.Path, Version: dep.Version, Sum: dep.Sum})
	}
	slices.SortFunc(modules, func(a, b Module) int { return strings.Compare(a.Path, b.Path) })
	return modules
}

// Union returns the modules of all programs once, sorted by path.
func Union(programs ...*debug.BuildInfo) []Module {
	var all []Module
	for _, info := range programs {
		for _, m := range Modules(info) {
			i, found := slices.BinarySearchFunc(all, m, func(a, b Module) int { return strings.Compare(a.Path, b.Path) })
			if !found {
				all = slices.Insert(all, i, m)
			}
		}
	}
	return all
}

// Collect reads the licence files of every module from the module cache of Go, which
// fetches what it lacks. It fails if a module has none. dir is a folder in a module.
func Collect(ctx context.Context, dir string, modules []Module) error {
	folders, err := moduleFolders(ctx, dir, modules)
	if err != nil {
		return err
	}
	return readLicences(modules, folders)
}

// moduleFolders asks Go where it keeps the modules.
func moduleFolders(ctx context.Context, dir string, modules []Module) (map[string]string, error) {
	goroot, err := goCommand(ctx, dir, "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	folders := map[string]string{StandardLibrary: goroot}
	args := []string{"mod", "download", "-json"}
	for _, m := range modules {
		if m.Path != StandardLibrary {
			args = append(args, m.Path+"@"+m.Version)
		}
	}
	if len(args) == 3 {
		return folders, nil
	}
	out, err := goCommand(ctx, dir, args...)
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

// goCommand runs Go and returns what it prints, without the last line's end.
func goCommand(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // commands of this program
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimRight(string(out), "\n"), nil
}

func readLicences(modules []Module, folders map[string]string) error {
	var missing []string
	for i := range modules {
		m := &modules[i]
		entries, err := os.ReadDir(folders[m.Path])
		if err != nil {
			return fmt.Errorf("%s@%s: %w", m.Path, m.Version, err)
		}
		var terms []byte
		for _, e := range entries {
			if e.IsDir() || !licenceNames.MatchString(e.Name()) || sourceNames.MatchString(e.Name()) {
				continue
			}
			text, err := os.ReadFile(filepath.Join(folders[m.Path], e.Name()))
			if err != nil {
				return err
			}
			m.Files = append(m.Files, File{e.Name(), strings.TrimSpace(strings.ReplaceAll(string(text), "\r\n", "\n"))})
			if termsNames.MatchString(e.Name()) {
				terms = append(append(terms, text...), '\n')
			}
		}
		if len(terms) == 0 {
			missing = append(missing, m.Path+"@"+m.Version)
		}
		m.Licence = expression(terms)
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
			return NoAssertion
		}
		names = append(names, match.ID)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) == 0 || coverage.Percent < 75 {
		return NoAssertion
	}
	return strings.Join(names, " AND ")
}

// Text is what Collect has read, as one file.
func Text(modules []Module) []byte {
	var buf bytes.Buffer
	buf.WriteString("veeam-auth contains the following software of others.\n")
	for _, m := range modules {
		for _, f := range m.Files {
			fmt.Fprintf(&buf, "\n%s\n%s %s: %s\n\n%s\n", strings.Repeat("=", 80), m.Path, m.Version, f.Name, f.Text)
		}
	}
	return buf.Bytes()
}
