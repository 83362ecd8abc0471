// Everything that the source defines is in every Caddy that is built from here.

package test

import (
	"go/ast"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestModules_ImportingTheModulePathRegistersAll looks at what this program has
// registered, which imports the module path alone, as xcaddy makes a program do.
func TestModules_ImportingTheModulePathRegistersAll(t *testing.T) {
	registered := caddy.Modules()
	defined := moduleIDs(t)
	if len(defined) < 7 {
		t.Fatalf("found %v", defined)
	}
	for id, name := range defined {
		if !slices.Contains(registered, id) {
			t.Errorf("%s defines %s, but a Caddy with this module does not have it: import its package in imports.go", name, id)
		}
	}
}

// TestModules_EveryProgramImportsTheModulePath keeps programs from importing some
// packages of the module and missing others.
func TestModules_EveryProgramImportsTheModulePath(t *testing.T) {
	for _, name := range []string{"cmd/caddy/main.go", "cmd/veeam-auth/main.go", "test/harness/caddy.go"} {
		text := strings.ReplaceAll(string(read(t, name)), "\t\"github.com/caddy-veeam/veeam-auth/caddymodule/command\"\n", "") // its names of commands
		if !strings.Contains(text, "\t_ \"github.com/caddy-veeam/veeam-auth\"") || strings.Contains(text, "veeam-auth/caddymodule") {
			t.Errorf("%s does not import the module path, or more than it", name)
		}
	}
}

// moduleIDs gives the IDs of all Caddy modules of the source, with their files.
func moduleIDs(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for name, text := range goFiles(t) {
		if !strings.HasPrefix(name, "caddymodule/") {
			continue
		}
		for _, decl := range parse(t, name, text).Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Recv == nil || f.Name.Name != "CaddyModule" {
				continue
			}
			ast.Inspect(f.Body, func(n ast.Node) bool {
				pair, ok := n.(*ast.KeyValueExpr)
				if !ok {
					return true
				}
				key, _ := pair.Key.(*ast.Ident)
				value, _ := pair.Value.(*ast.BasicLit)
				if key != nil && key.Name == "ID" && value != nil && value.Kind == token.STRING {
					id, err := strconv.Unquote(value.Value)
					if err != nil {
						t.Fatal(err)
					}
					found[id] = name
				}
				return true
			})
		}
	}
	return found
}
