// The index that ships: one file per product, read when the product is first
// asked for.

package operation

import (
	"embed"
	"fmt"
	"strings"
	"sync"
)

//go:embed index/*.tsv
var files embed.FS

// Index is the operations of one product, of all its versions in the index. It
// may be used by many goroutines at once.
type Index struct {
	product    string
	versions   []string
	newest     version
	operations []Operation
	root       node
}

// products in the order of the documentation.
var products = []string{"vbr", "vspc", "azure", "aws", "vb365"}

var indexes = func() map[string]func() *Index {
	all := make(map[string]func() *Index)
	for _, product := range products {
		all[product] = sync.OnceValue(func() *Index { return load(product) })
	}
	all["vspc35"] = all["vspc"] // another way to log in, the same API
	return all
}()

// For returns the index of a product, named as in the configuration. The first
// call for a product takes a few milliseconds.
func For(product string) (*Index, bool) {
	index, ok := indexes[product]
	if !ok {
		return nil, false
	}
	return index(), true
}

// Products returns the products that have an index, in a fixed order.
func Products() []string { return append([]string(nil), products...) }

// Product is the name of the product.
func (x *Index) Product() string { return x.product }

// Versions are the API versions in the index, oldest first. The slice is shared
// and must not be changed.
func (x *Index) Versions() []string { return x.versions }

// All returns every operation, sorted by path and method. The slice is shared
// and must not be changed.
func (x *Index) All() []Operation { return x.operations }

// load reads an embedded file. What is wrong with one is found by the tests.
func load(product string) *Index {
	text, err := files.ReadFile("index/" + product + ".tsv")
	if err == nil {
		var index *Index
		if index, err = parse(product, string(text)); err == nil {
			return index
		}
	}
	panic(fmt.Sprintf("operation: index of %s: %v", product, err))
}

// parse reads an index file: a line with the versions, then a line for each
// operation with class, method, path, name, group, and the versions as letters.
func parse(product, text string) (*Index, error) {
	header, text, _ := strings.Cut(text, "\n")
	named, ok := strings.CutPrefix(header, "# versions\t")
	if !ok {
		return nil, fmt.Errorf("no versions in %q", header)
	}
	x := &Index{product: product, versions: strings.Split(named, "\t")}
	x.newest, _ = parseVersion("v" + x.versions[len(x.versions)-1])
	x.operations = make([]Operation, 0, strings.Count(text, "\n"))
	shared := make(map[string][]string)
	for line := range strings.Lines(text) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) != 6 {
			return nil, fmt.Errorf("line %q", line)
		}
		class, ok := ParseClass(fields[0])
		if !ok || !strings.HasPrefix(fields[2], "/") {
			return nil, fmt.Errorf("line %q", line)
		}
		versions, ok := shared[fields[5]]
		if !ok {
			for _, letter := range fields[5] {
				if letter < 'a' || int(letter-'a') >= len(x.versions) {
					return nil, fmt.Errorf("version in %q", line)
				}
				versions = append(versions, x.versions[letter-'a'])
			}
			shared[fields[5]] = versions
		}
		x.operations = append(x.operations, Operation{
			Class: class, Method: fields[1], Path: fields[2], Name: fields[3], Group: fields[4],
			Versions: versions,
		})
		if err := x.add(len(x.operations) - 1); err != nil {
			return nil, err
		}
	}
	x.root.build()
	return x, nil
}
