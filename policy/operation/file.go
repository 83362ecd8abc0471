// Index files of the operator: operations of a server that the index that ships does
// not know yet.

package operation

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// MaxFile is the maximum size of an index file in bytes.
const MaxFile = 8 << 20

// Open returns the index of a product, extended by the operations of an index file. If
// both contain an operation, the stricter class applies, so that a file cannot relax a
// class. If name is empty, Open returns the result of For, which is nil for a product
// without an index. Errors contain the name of the file, and the line if there is one.
func Open(product, name string) (*Index, error) {
	shipped, _ := For(product)
	if name == "" {
		return shipped, nil
	}
	text, err := readFile(name)
	if err != nil {
		return nil, fmt.Errorf("index_file: %w", err)
	}
	if shipped != nil {
		product = shipped.product // vspc35 has the index of vspc
	}
	if text != "" && text[0] != '#' {
		return nil, fmt.Errorf("index_file %s: not an index file, which begins with \"# product\": create one from an API description with `caddy veeam-auth policy index`", name)
	}
	own, err := parse(product, text)
	if err == nil && shipped != nil {
		own, err = merge(shipped, own)
	}
	if err != nil {
		return nil, fmt.Errorf("index_file %s: %w", name, err)
	}
	return own, nil
}

func readFile(name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a regular file", name)
	}
	text, err := io.ReadAll(io.LimitReader(file, MaxFile+1))
	if err == nil && len(text) > MaxFile {
		err = fmt.Errorf("%s exceeds %d bytes", name, MaxFile)
	}
	return string(text), err
}

// Check returns an error if text is not a valid index file for the product.
func Check(product, text string) error {
	if len(text) > MaxFile {
		return fmt.Errorf("the file exceeds %d bytes", MaxFile)
	}
	_, err := parse(product, text)
	return err
}

// merge makes one index of two.
func merge(shipped, own *Index) (*Index, error) {
	x := &Index{
		product:  shipped.product,
		versions: union(shipped.versions, own.versions), partial: union(shipped.partial, own.partial),
		newest: shipped.newest, operations: slices.Clone(shipped.operations),
	}
	if own.newest.after(x.newest) {
		x.newest = own.newest
	}
	places := make(map[string]int, len(x.operations))
	for i, op := range x.operations {
		places[op.key()] = i
	}
	for _, op := range own.operations {
		i, ok := places[op.key()]
		if !ok {
			x.operations = append(x.operations, op)
			continue
		}
		known := &x.operations[i]
		known.Versions = union(known.Versions, op.Versions)
		if op.Class.StricterThan(known.Class) {
			known.Class = op.Class
		}
	}
	if len(x.operations) > maxOperations {
		return nil, errors.New("there are too many operations")
	}
	slices.SortStableFunc(x.operations, func(a, b Operation) int {
		return cmp.Or(strings.Compare(a.Target(), b.Target()), strings.Compare(a.Method, b.Method))
	})
	for i := range x.operations {
		if err := x.add(i); err != nil {
			return nil, err
		}
	}
	x.root.build()
	return x, nil
}

// key is the same for all spellings of an operation.
func (op Operation) key() string {
	segments := strings.Split(strings.ToLower(op.Path), "/")
	for i, s := range segments {
		if s != "{version}" && parameter().MatchString(s) {
			segments[i] = "{}"
		}
	}
	name, value, _ := strings.Cut(strings.ToLower(op.Query), "=")
	if strings.HasPrefix(value, "{") {
		value = "{}"
	}
	return op.Method + " " + strings.Join(segments, "/") + "?" + name + "=" + value
}

func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, one := range b {
		if !slices.Contains(all, one) {
			all = append(all, one)
		}
	}
	return all
}
