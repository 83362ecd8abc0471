// Merging: the lists of all versions of a product become one index.

package build

import (
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// List contains the operations of one version of an API.
type List struct {
	Product Product
	Version string
	Rows    []Row

	// Partial reports whether the list is known to be incomplete.
	Partial bool
}

// ReadLists reads the lists for the index of a product from files named
// PRODUCT_VERSION.tsv, oldest version first. The lists of its plug-ins follow; their
// version is preceded by the name of the plug-in. A product without a list is an error.
func ReadLists(dir fs.FS, index string) (all []List, err error) {
	for _, p := range products {
		if p.Index() != index {
			continue
		}
		lists, err := p.lists(dir)
		if err != nil {
			return nil, err
		}
		all = append(all, lists...)
	}
	return all, nil
}

func (p Product) lists(dir fs.FS) (lists []List, err error) {
	names, err := fs.Glob(dir, p.Name+"_*.tsv")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		text, err := fs.ReadFile(dir, name)
		if err != nil {
			return nil, err
		}
		rows, err := ReadRows(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		version := strings.TrimSuffix(strings.TrimPrefix(name, p.Name+"_"), ".tsv")
		lists = append(lists, List{p, version, rows, bytes.HasPrefix(text, []byte("# partial"))})
	}
	if len(lists) == 0 {
		return nil, fmt.Errorf("no file %s_VERSION.tsv", p.Name)
	}
	slices.SortFunc(lists, func(a, b List) int { return compareVersions(a.Version, b.Version) })
	for i := range lists {
		if p.host != "" {
			lists[i].Version = p.Name + "-" + lists[i].Version
		}
	}
	return lists, nil
}

// entry is an operation of all versions that have it.
type entry struct {
	class                     operation.Class
	method, path, name, group string
	versions                  string // a letter each
}

// Index returns the text of the index file made from lists, and the operations that no
// rule matches.
func Index(lists []List) (text string, unclassed []string) {
	entries := make(map[string]*entry)
	var versions, partial []string
	newest := ""
	for i, list := range lists {
		p := list.Product
		versions = append(versions, list.Version)
		if list.Partial {
			partial = append(partial, list.Version)
		}
		if compareVersions(p.newest, newest) > 0 {
			newest = p.newest
		}
		for _, row := range list.Rows {
			class, why, ok := Classify(p, row)
			if !ok {
				unclassed = append(unclassed, list.Version+": "+why)
			}
			path := p.template(row.Path)
			key := row.Method + " " + strings.ToLower(parameter().ReplaceAllLiteralString(path, "{}"))
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

	var b strings.Builder
	fmt.Fprintf(&b, "# product\t%s\n# versions\t%s\n", lists[0].Product.Index(), strings.Join(versions, "\t"))
	if len(partial) > 0 {
		fmt.Fprintf(&b, "# partial\t%s\n", strings.Join(partial, "\t"))
	}
	if newest != "" {
		fmt.Fprintf(&b, "# newest\t%s\n", newest)
	}
	sorted := slices.SortedFunc(maps.Values(entries), func(a, b *entry) int {
		return cmp.Or(strings.Compare(a.path, b.path), strings.Compare(a.method, b.method))
	})
	for _, e := range sorted {
		fields := []string{e.class.String(), e.method, e.path, e.name, e.group, e.versions}
		b.WriteString(strings.Join(fields, "\t") + "\n")
	}
	return b.String(), unclassed
}
