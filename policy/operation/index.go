// The index that ships: one file per product, read when the product is first
// asked for.

package operation

import (
	"embed"
	"fmt"
	"sync"
)

//go:embed index/*.tsv
var files embed.FS

// Index contains the operations of one product in all indexed versions. It is safe for
// concurrent use.
type Index struct {
	product    string
	versions   []string
	partial    []string
	newest     version
	operations []Operation
	root       node

	// selectors are the names of the parameters that select operations, in lower case.
	selectors []string
}

// products in the order of the documentation.
var products = []string{"vbr", "vspc", "azure", "aws", "gcp", "vb365", "em", "one"}

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

// Product returns the name of the product.
func (x *Index) Product() string { return x.product }

// Versions returns the API versions in the index, oldest first. The slice is shared and
// must not be changed.
func (x *Index) Versions() []string { return x.versions }

// Partial returns the versions whose operations are known to be incomplete in the
// index, oldest first. The slice is shared and must not be changed.
func (x *Index) Partial() []string { return x.partial }

// All returns every operation, sorted by path, query and method. The slice is shared
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
