// Index files from the API description of an operator's own server.

package build

import (
	"errors"
	"fmt"
	"strings"

	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// MaxDescription is the maximum size of an API description in bytes.
const MaxDescription = 32 << 20

// Own is an index file made from an API description.
type Own struct {
	// Product is the product whose index the file extends.
	Product string

	// Version is the version of the description.
	Version string

	// Text is the content of the file.
	Text string

	// Counts contains the number of operations of each class.
	Counts map[operation.Class]int

	// Unclassed contains the operations that no rule matches; their class is unknown.
	Unclassed []string

	// LeftOut contains the operations that an index cannot contain, with the reasons.
	LeftOut []string
}

// FromOpenAPI makes an index file from an API description, OpenAPI 3 or Swagger 2. The
// classes are those of the product's rules. If product is empty, it is the product
// whose index contains most of the operations; if version is empty, it is that of the
// description.
func FromOpenAPI(text []byte, product, version string) (*Own, error) {
	if len(text) > MaxDescription {
		return nil, fmt.Errorf("the description exceeds %d bytes", MaxDescription)
	}
	d, err := decode(text)
	if err != nil {
		return nil, err
	}
	rows, err := d.rows()
	if err != nil {
		return nil, err
	}
	if version == "" {
		version = str(object(d["info"])["version"])
	}
	if version = word(version); version == "" {
		version = "own"
	}
	p, err := productOf(product, rows)
	if err != nil {
		return nil, err
	}
	own := &Own{Product: p.Index(), Version: version, Counts: make(map[operation.Class]int)}
	list := List{Product: p, Version: version}
	for _, row := range rows {
		alone := list
		alone.Rows = []Row{row}
		if found := pathVersion().FindStringSubmatch(p.base().FindString(row.Path)); p.newest != "" && found != nil && compareVersions(found[1], list.Product.newest) > 0 {
			alone.Product.newest = found[1]
		}
		if _, err := own.index(alone); err != nil {
			own.LeftOut = append(own.LeftOut, row.Method+" "+row.Path+": "+lineNumber().ReplaceAllString(err.Error(), ""))
			continue
		}
		list.Product.newest = alone.Product.newest
		list.Rows = append(list.Rows, row)
	}
	if len(list.Rows) == 0 {
		return nil, errors.New("it has no operations that an index can hold")
	}
	if own.Text, err = own.index(list); err != nil {
		return nil, err
	}
	_, own.Unclassed = Index([]List{list})
	for line := range strings.Lines(own.Text) {
		name, _, _ := strings.Cut(line, "\t")
		if class, ok := operation.ParseClass(name); ok {
			own.Counts[class]++
		}
	}
	return own, nil
}

var (
	pathVersion = expression(`/v([0-9]+(?:\.[0-9]+)?)/`)
	lineNumber  = expression(`^line [0-9]+: `)
)

// index is the checked text of an index.
func (own *Own) index(list List) (string, error) {
	for _, row := range list.Rows {
		if strings.ContainsAny(row.Path, "\t\r\n") {
			return "", errors.New("the path has a tab or a line break")
		}
	}
	text, _ := Index([]List{list})
	return text, operation.Check(own.Product, text)
}

// productOf is the product with a name, or the one whose index knows most rows.
func productOf(name string, rows []Row) (best Product, err error) {
	if name != "" {
		return Lookup(name)
	}
	most := 0
	for _, p := range products {
		index, ok := operation.For(p.Index())
		if !ok {
			continue
		}
		known := 0
		for _, row := range rows {
			path := parameter().ReplaceAllLiteralString(strings.TrimSuffix(row.Path, "/"), "x")
			if _, ok := index.Lookup(row.Method, path, ""); ok && p.base().MatchString(row.Path) {
				known++
			}
		}
		if known > most {
			best, most = p, known
		}
	}
	if most == 0 {
		return best, errors.New("no index contains any of its operations: specify the product")
	}
	return best, nil
}
