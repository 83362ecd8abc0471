// Package test holds what must be true of the whole repository. Its folders hold
// the equipment of the other tests.
package test

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

const root = ".."

func TestEveryGoFileOpensWithACommentThatSaysWhatItHolds(t *testing.T) {
	for name, text := range goFiles(t) {
		if opensWithComment(parse(t, name, text)) {
			continue
		}
		t.Errorf("%s: say above or right below the package clause what the file holds", name)
	}
}

func TestEveryCaddyModuleEndsInInterfaceGuards(t *testing.T) {
	for name, text := range goFiles(t) {
		if !strings.HasPrefix(name, "caddymodule/") {
			continue
		}
		file := parse(t, name, text)
		if holdsModule(file) && !endsInGuards(file) {
			t.Errorf("%s holds a Caddy module: end it in interface guards, var ( _ caddy.X = (*T)(nil) … )", name)
		}
	}
}

// TestTheTestsOfCaddymoduleRunBesideOthers wants a reason from those that do not: the
// variables of the environment, or a line "Not parallel: why." in the comment.
func TestTheTestsOfCaddymoduleRunBesideOthers(t *testing.T) {
	seen := 0
	for name, text := range files(t) {
		if path.Dir(name) != "caddymodule" || !strings.HasSuffix(name, "_test.go") {
			continue
		}
		for _, decl := range parse(t, name, text).Decls {
			test, ok := decl.(*ast.FuncDecl)
			if !ok || test.Recv != nil || !strings.HasPrefix(test.Name.Name, "Test") || test.Name.Name == "TestMain" {
				continue
			}
			seen++
			if !runsBesideOthers(test) && !strings.Contains(test.Doc.Text(), "Not parallel: ") {
				t.Errorf("%s: %s does not call t.Parallel: say why in its comment, as \"Not parallel: …\"", name, test.Name.Name)
			}
		}
	}
	if seen < 100 {
		t.Errorf("found %d tests", seen)
	}
}

// runsBesideOthers reports whether a test calls t.Parallel, or t.Setenv, which forbids that.
func runsBesideOthers(test *ast.FuncDecl) bool {
	found := false
	for _, statement := range test.Body.List {
		if does, ok := statement.(*ast.ExprStmt); ok {
			if call, ok := does.X.(*ast.CallExpr); ok {
				method, _ := call.Fun.(*ast.SelectorExpr)
				found = found || method != nil && (method.Sel.Name == "Parallel" || method.Sel.Name == "Setenv")
			}
		}
	}
	return found
}

// A folder of pages has a README.md of its own, which links the others.
func TestEveryPageOfTheDocsIsLinkedFromTheReadme(t *testing.T) {
	linked := make(map[string]bool)
	for _, index := range []string{"README.md", "docs/clients/README.md"} {
		for _, target := range links(read(t, index)) {
			linked[path.Join(path.Dir(index), target)] = true
		}
	}
	for name := range files(t) {
		if strings.HasPrefix(name, "docs/") && path.Ext(name) == ".md" && !linked[name] {
			t.Errorf("neither README.md nor that of docs/clients has a link to %s", name)
		}
	}
}

func TestEveryRelativeLinkLeadsSomewhere(t *testing.T) {
	for name, text := range files(t) {
		if path.Ext(name) != ".md" {
			continue
		}
		for _, target := range links(text) {
			if _, err := os.Stat(filepath.Join(root, path.Dir(name), target)); err != nil {
				t.Errorf("%s links to %s, which does not exist", name, target)
			}
		}
	}
}

func TestEveryScriptCanBeExecuted(t *testing.T) {
	for name, text := range files(t) {
		if !bytes.HasPrefix(text, []byte("#!")) {
			continue
		}
		info, err := os.Stat(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode()&0o111 == 0 {
			t.Errorf("%s begins with #! and is not executable", name)
		}
	}
}

// files gives the text files of the repository by their slash-separated path.
func files(t *testing.T) map[string][]byte {
	t.Helper()
	found, err := tree()
	if err != nil {
		t.Fatal(err)
	}
	return maps.Clone(found)
}

// tree reads what files gives.
var tree = sync.OnceValues(func() (map[string][]byte, error) {
	found := make(map[string][]byte)
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			switch entry.Name() {
			case ".git", "bin", "dist", "node_modules", ".idea", ".vscode":
				return filepath.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another test's, and gone again
		}
		if err != nil {
			return err
		}
		if bytes.IndexByte(text, 0) >= 0 {
			return nil
		}
		relative, err := filepath.Rel(root, name)
		found[filepath.ToSlash(relative)] = text
		return err
	})
	return found, err
})

// goFiles gives the Go files that are not tests.
func goFiles(t *testing.T) map[string][]byte {
	t.Helper()
	found := files(t)
	for name := range found {
		if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") || strings.Contains(name, "/testdata/") {
			delete(found, name)
		}
	}
	return found
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func parse(t *testing.T, name string, text []byte) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// opensWithComment accepts a comment before the package clause, which may or
// may not be the package's, and one between it and the first declaration that
// is not that declaration's own.
func opensWithComment(file *ast.File) bool {
	for _, comment := range file.Comments {
		if len(file.Decls) > 0 && comment.Pos() > file.Decls[0].Pos() {
			return false
		}
		// Text leaves out directives such as //go:build.
		if len(strings.Fields(comment.Text())) >= 3 && !isDocOfFirst(file, comment) {
			return true
		}
	}
	return false
}

func isDocOfFirst(file *ast.File, comment *ast.CommentGroup) bool {
	if len(file.Decls) == 0 {
		return false
	}
	switch first := file.Decls[0].(type) {
	case *ast.FuncDecl:
		return first.Doc == comment
	case *ast.GenDecl:
		return first.Doc == comment && first.Tok != token.IMPORT
	}
	return false
}

func holdsModule(file *ast.File) bool {
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && f.Recv != nil && f.Name.Name == "CaddyModule" {
			return true
		}
	}
	return false
}

// endsInGuards reports whether the last declaration is a var block of blank
// names with a type, caddy.Module or another.
func endsInGuards(file *ast.File) bool {
	last, ok := file.Decls[len(file.Decls)-1].(*ast.GenDecl)
	if !ok || last.Tok != token.VAR || !last.Lparen.IsValid() || len(last.Specs) == 0 {
		return false
	}
	for _, spec := range last.Specs {
		value, ok := spec.(*ast.ValueSpec)
		if !ok || len(value.Names) != 1 || value.Names[0].Name != "_" || value.Type == nil {
			return false
		}
	}
	return true
}

var (
	linkPattern = regexp.MustCompile(`\]\(([^)\s]+)(?:\s+"[^"]*")?\)`)
	codePattern = regexp.MustCompile("(?s)```.*?\n```|`[^`\n]*`")
)

// links gives the targets of Markdown links that are files, without anchors.
func links(text []byte) []string {
	var targets []string
	for _, match := range linkPattern.FindAllSubmatch(codePattern.ReplaceAll(text, nil), -1) {
		target, _, _ := strings.Cut(string(match[1]), "#")
		if target != "" && !strings.Contains(target, ":") {
			targets = append(targets, target)
		}
	}
	return targets
}

// The rules above are worth what these helpers see.
func TestTheHelpersSeeWhatTheyShould(t *testing.T) {
	comments := map[string]bool{
		"// Package p holds things.\npackage p\n":                           true,
		"// This file holds things.\n\npackage p\n\nimport \"fmt\"\n":       true,
		"package p\n\n// This file holds things.\n\nimport \"fmt\"\n":       true,
		"package p\n\n// This file holds things.\nimport \"fmt\"\n":         true,
		"package p\n\n// This file holds things.\n\n// T is.\ntype T int\n": true,
		"package p\n\n// T is a type.\ntype T int\n":                        false,
		"package p\n\n// f is a function.\nfunc f() {}\n":                   false,
		"package p\n\nimport \"fmt\"\n\n// Late comments tell nothing.\n":   false,
		"//go:build linux && amd64 && race\n\npackage p\n":                  false,
		"// p\npackage p\n": false,
		"package p\n":       false,
	}
	for text, want := range comments {
		if got := opensWithComment(parse(t, "p.go", []byte(text))); got != want {
			t.Errorf("opensWithComment is %v for\n%s", got, text)
		}
	}

	const module = "package p\nfunc (M) CaddyModule() {}\n"
	guards := map[string]bool{
		module: false,
		module + "var (\n\t_ caddy.Module = (*M)(nil)\n)\n":                true,
		module + "var (\n\t_ caddy.Module = (*M)(nil)\n)\nfunc f() {}\n":   false,
		module + "var (\n\t_ caddy.Module = (*M)(nil)\n\tx int = 1\n)\n":   false,
		module + "const (\n\t_ int = 1\n)\n":                               false,
		module + "var (\n\t_ = new(M)\n)\n":                                false,
		module + "var (\n\t_ caddy.Module = M{}\n\t_ io.Closer = M{}\n)\n": true,
	}
	for text, want := range guards {
		file := parse(t, "p.go", []byte(text))
		if got := endsInGuards(file); !holdsModule(file) || got != want {
			t.Errorf("endsInGuards is %v for\n%s", got, text)
		}
	}

	got := links([]byte("[a](docs/a.md) [b](./b.md#part \"B\") [c](#c) [d](https://d) `[e](e.md)`\n```\n[f](f.md)\n```\n![g](g.svg)"))
	if want := "docs/a.md ./b.md g.svg"; strings.Join(got, " ") != want {
		t.Errorf("links %q, want %q", got, want)
	}
}
