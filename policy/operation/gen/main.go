// The command gen writes the index of operations of package operation.
//
//	go run ./policy/operation/gen
//	go run ./policy/operation/gen -openapi file -product vbr -version 1.4-rev0
//
// Without flags, which is what go generate does, it reads data/*.tsv and writes
// index/*.tsv. With -openapi it first reads the description of another version,
// OpenAPI 3 or Swagger 2, JSON or YAML, and writes its list to data. It names the
// operations that no rule is for: they stay unknown until there is one.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/caddy-veeam/veeam-auth/policy/operation"
	"github.com/caddy-veeam/veeam-auth/policy/operation/build"
)

func main() {
	dir := flag.String("dir", ".", "directory of package operation")
	file := flag.String("openapi", "", "API description with the operations, JSON or YAML")
	product := flag.String("product", "", "product of the API description")
	version := flag.String("version", "", "API version of the description")
	flag.Parse()
	if err := generate(*dir, *file, *product, *version); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func generate(dir, file, product, version string) error {
	if file != "" {
		if err := list(dir, file, product, version); err != nil {
			return err
		}
	}
	left := 0
	for _, name := range operation.Products() {
		lists, err := build.ReadLists(os.DirFS(filepath.Join(dir, "data")), name)
		if err != nil {
			return err
		}
		text, unclassed := build.Index(lists)
		if err := os.WriteFile(filepath.Join(dir, "index", name+".tsv"), []byte(text), 0o644); err != nil { //nolint:gosec // a source file, for all to read
			return err
		}
		for _, why := range unclassed {
			fmt.Fprintln(os.Stderr, why)
		}
		left += len(unclassed)
	}
	if left > 0 {
		return fmt.Errorf("%d operations have no class: add them to rules.go", left)
	}
	return nil
}

// list writes the operations of an API description to data.
func list(dir, file, product, version string) error {
	if product == "" || version == "" {
		return errors.New("-openapi needs -product and -version")
	}
	if _, err := build.Lookup(product); err != nil {
		return err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	rows, err := build.ReadOpenAPI(text)
	if err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	out, err := os.Create(filepath.Join(dir, "data", product+"_"+version+".tsv"))
	if err != nil {
		return err
	}
	return errors.Join(build.WriteRows(out, rows), out.Close())
}
