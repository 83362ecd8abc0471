// What the builder knows of products: which there are, in which order their
// versions came, and which part of a path is the same for all operations.

package build

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Product tells how to read a product's lists.
type Product struct {
	Name string

	// base is what paths begin with; rules see the rest. Where the version is in
	// it, the index has {version} in its place.
	base *regexp.Regexp

	// index is base as the index has it.
	index string
}

var products = []Product{
	{"vbr", regexp.MustCompile(`^/api/v1/`), "/api/v1/"},
	{"vspc", regexp.MustCompile(`^/api/v3/`), "/api/v3/"},
	{"azure", regexp.MustCompile(`^/api/v[0-9.]+/`), "/api/{version}/"},
	{"aws", regexp.MustCompile(`^/api/v1/`), "/api/v1/"},
	{"vb365", regexp.MustCompile(`^/v[0-9.]+/`), "/{version}/"},
}

// Lookup finds a product by its name.
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
	return p.base.ReplaceAllLiteralString(path, p.index)
}

// subject is a path as rules see it: without the base, in lower case, {} for each
// parameter.
func (p Product) subject(path string) string {
	path = p.base.ReplaceAllLiteralString(path, "")
	return strings.ToLower(parameter.ReplaceAllLiteralString(strings.TrimSuffix(path, "/"), "{}"))
}

var (
	parameter  = regexp.MustCompile(`\{[^}]*\}`)
	numberPart = regexp.MustCompile(`[0-9]+`)
)

// compareVersions orders versions by the numbers in them: 1.2-rev1 before
// 1.3-rev0, and 8.1 before 10.
func compareVersions(a, b string) int {
	as, bs := numberPart.FindAllString(a, -1), numberPart.FindAllString(b, -1)
	for i := range min(len(as), len(bs)) {
		an, _ := strconv.Atoi(as[i])
		bn, _ := strconv.Atoi(bs[i])
		if an != bn {
			return cmp.Compare(an, bn)
		}
	}
	return cmp.Or(cmp.Compare(len(as), len(bs)), strings.Compare(a, b))
}
