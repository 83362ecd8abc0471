// Reading of index files.

package operation

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// What an index file may have at most. The indexes that ship are far below.
const (
	maxOperations = 20_000
	maxVersions   = 26 // a letter each
	maxLine       = 2_000
	maxSegments   = 60
)

// lineError says in which line of an index file something is wrong.
type lineError struct {
	line int
	err  error
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }

func (e *lineError) Unwrap() error { return e.err }

// parse reads an index file: lines that begin with # and name the product, the
// versions, those that are incomplete and the newest version of paths, then a line for
// each operation with class, method, path, name, group, and the versions as letters.
// A line that begins with # otherwise is a comment.
func parse(product, text string) (*Index, error) {
	x := &Index{product: product}
	p := parser{index: x, shared: make(map[string][]string)}
	number := 0
	for line := range strings.Lines(text) {
		number++
		if err := p.line(strings.TrimRight(line, "\r\n")); err != nil {
			return nil, &lineError{number, err}
		}
	}
	if len(x.operations) == 0 {
		return nil, errors.New("the file lists no operations")
	}
	x.root.build()
	return x, nil
}

type parser struct {
	index  *Index
	shared map[string][]string // versions by their letters
}

func (p *parser) line(line string) error {
	if len(line) > maxLine {
		return fmt.Errorf("the line exceeds %d bytes", maxLine)
	}
	fields := strings.Split(line, "\t")
	switch {
	case strings.HasPrefix(line, "#"):
		return p.header(fields[0], fields[1:])
	case len(p.index.versions) == 0:
		return errors.New("the line \"# versions\" must come before the operations")
	case len(fields) != 6:
		return fmt.Errorf("the line has %d of 6 columns, separated by tabs: class, method, path, name, group, versions", len(fields))
	}
	return p.operation(fields)
}

func (p *parser) header(word string, values []string) error {
	x, ok := p.index, len(values) == 1
	switch word {
	case "# product":
		if !ok || values[0] != x.product {
			return fmt.Errorf("the file is for product %q, not for %q", strings.Join(values, " "), x.product)
		}
	case "# versions":
		if len(x.versions) > 0 || len(values) == 0 || len(values) > maxVersions || slices.Contains(values, "") {
			return fmt.Errorf("write one line with 1 to %d versions", maxVersions)
		}
		x.versions = values
	case "# partial":
		x.partial = values
		for _, version := range values {
			if !slices.Contains(x.versions, version) {
				return fmt.Errorf("version %q is not among those of the line \"# versions\"", version)
			}
		}
	case "# newest":
		if !ok {
			return errors.New("write one version")
		}
		if x.newest, ok = parseVersion("v" + values[0]); !ok {
			return fmt.Errorf("version %q is not a number such as 8.1", values[0])
		}
	}
	return nil
}

func (p *parser) operation(fields []string) error {
	x := p.index
	class, ok := ParseClass(fields[0])
	if !ok {
		return fmt.Errorf("unknown class %q (allowed: %s)", fields[0], strings.Join(classNames[:], ", "))
	}
	path, query, _ := strings.Cut(fields[2], "?")
	if err := checkTemplate(path); err != nil {
		return err
	}
	versions, ok := p.shared[fields[5]]
	if !ok {
		for _, letter := range fields[5] {
			i := int(letter - 'a')
			if i < 0 || i >= len(x.versions) {
				return fmt.Errorf("version %q is not one of the letters a to %c", letter, 'a'+len(x.versions)-1)
			}
			versions = append(versions, x.versions[i])
		}
		if len(versions) == 0 {
			return errors.New("no version")
		}
		p.shared[fields[5]] = versions
	}
	if len(x.operations) == maxOperations {
		return fmt.Errorf("the file exceeds %d operations", maxOperations)
	}
	x.operations = append(x.operations, Operation{
		Class: class, Method: fields[1], Path: path, Query: query, Name: fields[3], Group: fields[4], Versions: versions,
	})
	return x.add(len(x.operations) - 1)
}

var parameter = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^\{[^{}/]+\}$`) })

// withoutParameters is a template with x for each parameter that is a whole segment.
func withoutParameters(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if parameter().MatchString(s) {
			segments[i] = "x"
		}
	}
	return strings.Join(segments, "/")
}

// checkTemplate refuses the templates that no request can fit: of a path that Clean
// would refuse or spell otherwise, and with parameters that are a part of a segment.
func checkTemplate(path string) error {
	filled := withoutParameters(path)
	clean, ok := Clean(filled)
	switch {
	case strings.ContainsAny(filled, "{}"):
		return fmt.Errorf("path %q: a parameter must be a whole segment", path)
	case !ok || clean != filled || strings.HasSuffix(filled, "/"):
		return fmt.Errorf("path %q is not valid: a path begins with a slash, does not end with one, and is escaped", path)
	case strings.Count(filled, "/") > maxSegments:
		return fmt.Errorf("path %q exceeds %d segments", path, maxSegments)
	}
	return nil
}
