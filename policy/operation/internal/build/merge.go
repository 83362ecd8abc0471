// Merging: the lists of all versions of a product become one index.

package build

import (
	"cmp"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// List is what the description of one version lists.
type List struct {
	Version string
	Rows    []Row
}

// ReadLists reads the lists of a product, oldest version first, from files named
// PRODUCT_VERSION.tsv.
func ReadLists(dir fs.FS, product string) ([]List, error) {
	names, err := fs.Glob(dir, product+"_*.tsv")
	if err != nil {
		return nil, err
	}
	var lists []List
	for _, name := range names {
		file, err := dir.Open(name)
		if err != nil {
			return nil, err
		}
		rows, err := ReadRows(file)
		file.Close()
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		version := strings.TrimSuffix(strings.TrimPrefix(name, product+"_"), ".tsv")
		lists = append(lists, List{version, rows})
	}
	if len(lists) == 0 {
		return nil, fmt.Errorf("no file %s_VERSION.tsv", product)
	}
	slices.SortFunc(lists, func(a, b List) int { return compareVersions(a.Version, b.Version) })
	return lists, nil
}

// entry is an operation of all versions that have it.
type entry struct {
	class                     operation.Class
	method, path, name, group string
	versions                  string // a letter each
}

// Index returns the text of a product's index file, and the operations that no
// rule is for.
func Index(p Product, lists []List) (text string, unclassed []string) {
	entries := make(map[string]*entry)
	var b strings.Builder
	b.WriteString("# versions")
	for i, list := range lists {
		b.WriteString("\t" + list.Version)
		for _, row := range list.Rows {
			class, why, ok := Classify(p, row)
			if !ok {
				unclassed = append(unclassed, list.Version+": "+why)
			}
			path := strings.TrimSuffix(p.template(row.Path), "/")
			key := row.Method + " " + strings.ToLower(parameter.ReplaceAllLiteralString(path, "{}"))
			e := entries[key]
			if e == nil {
				e = &entry{class: class, method: row.Method}
				entries[key] = e
			}
			if class.StricterThan(e.class) {
				e.class = class
			}
			// The newest description has the last word on how things are called.
			e.path, e.name, e.group = path, row.Name, row.Group
			if letter := string(rune('a' + i)); !strings.HasSuffix(e.versions, letter) {
				e.versions += letter
			}
		}
	}
	b.WriteByte('\n')

	sorted := make([]*entry, 0, len(entries))
	for _, e := range entries {
		sorted = append(sorted, e)
	}
	slices.SortFunc(sorted, func(a, b *entry) int {
		return cmp.Or(strings.Compare(a.path, b.path), strings.Compare(a.method, b.method))
	})
	for _, e := range sorted {
		fields := []string{e.class.String(), e.method, e.path, e.name, e.group, e.versions}
		b.WriteString(strings.Join(fields, "\t") + "\n")
	}
	return b.String(), unclassed
}
