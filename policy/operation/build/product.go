// What the builder knows of products: which there are, in which order their
// versions came, and which part of a path is the same for all operations.

package build

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// Product describes how the lists of a product are read. See Lookup.
type Product struct {
	Name string

	// base is what paths begin with; rules see the rest. Where the version is in
	// it, the index has {version} in its place.
	base func() *regexp.Regexp

	// index is base as the index has it.
	index string

	// newest is the newest version that may stand in the place of {version}.
	newest string

	// host is the product in whose index the operations are, if they are not in one of
	// their own: a plug-in is reached by the sessions of its host.
	host string
}

// expression compiles an expression when it is first needed.
func expression(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

var products = []Product{
	{Name: "vbr", base: expression(`^/api/v1/`), index: "/api/v1/"},
	// The plug-in for Nutanix AHV. Servers name the instance themselves.
	{Name: "ahv", base: expression(`^/extension/[^/]+/api/v[0-9.]+/`), index: "/extension/{instance}/api/{version}/", newest: "10", host: "vbr"},
	{Name: "vspc", base: expression(`^/api/v3/`), index: "/api/v3/"},
	{Name: "azure", base: expression(`^/api/v[0-9.]+/`), index: "/api/{version}/", newest: "8.1"},
	{Name: "aws", base: expression(`^/api/v1/`), index: "/api/v1/"},
	{Name: "gcp", base: expression(`^/api/v1/`), index: "/api/v1/"},
	{Name: "vb365", base: expression(`^/v[0-9.]+/`), index: "/{version}/", newest: "8"},
	{Name: "em", base: expression(`^/api/`), index: "/api/"},
	{Name: "one", base: expression(`^/api/v[0-9.]+/`), index: "/api/{version}/", newest: "2.3"},
}

// Index returns the product whose index contains the operations: the host product for a
// plug-in, otherwise the product itself.
func (p Product) Index() string { return cmp.Or(p.host, p.Name) }

// Lookup returns the product with a name. The error lists the names.
func Lookup(name string) (Product, error) {
	var names []string
	for _, p := range products {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Product{}, fmt.Errorf("unknown product %q (allowed: %s)", name, strings.Join(names, ", "))
}

// template is a path as the index has it.
func (p Product) template(path string) string {
	path, query, selected := strings.Cut(path, "?")
	path = strings.TrimSuffix(p.base().ReplaceAllLiteralString(path, p.index), "/")
	if selected {
		path += "?" + query
	}
	return path
}

// subject is a path as rules see it: without the base, in lower case, {} for each
// parameter. A query is a segment of its own, with its question mark.
func (p Product) subject(path string) string {
	path, query, selected := strings.Cut(p.base().ReplaceAllLiteralString(path, ""), "?")
	path = strings.TrimSuffix(path, "/")
	if selected {
		path += "/?" + query
	}
	return strings.ToLower(parameter().ReplaceAllLiteralString(path, "{}"))
}

var (
	parameter  = expression(`\{[^}]*\}`)
	numberPart = expression(`[0-9]+`)
)

// compareVersions orders versions by the numbers in them: 1.2-rev1 before
// 1.3-rev0, and 8.1 before 10.
func compareVersions(a, b string) int {
	as, bs := numberPart().FindAllString(a, -1), numberPart().FindAllString(b, -1)
	for i := range min(len(as), len(bs)) {
		an, _ := strconv.Atoi(as[i])
		bn, _ := strconv.Atoi(bs[i])
		if an != bn {
			return cmp.Compare(an, bn)
		}
	}
	return cmp.Or(cmp.Compare(len(as), len(bs)), strings.Compare(a, b))
}
