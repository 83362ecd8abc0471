// The page about the architecture speaks of the code as it is: what it names exists.

package test

import (
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"strings"
	"testing"
)

const architecturePage = "docs/architecture.md"

// mostWords is how many terms a newcomer has to learn at most.
const mostWords = 40

// Functions, methods and types are named file:name.
func TestArchitecture_EveryFunctionThatThePageNamesExists(t *testing.T) {
	names := regexp.MustCompile("`([\\w./-]+\\.go):(\\w+)`").FindAllStringSubmatch(string(read(t, architecturePage)), -1)
	sources, declared := files(t), make(map[string]map[string]bool)
	for _, name := range names {
		file, function := name[1], name[2]
		text, found := sources[file]
		if !found {
			t.Errorf("there is no file %s, which is to hold %s", file, function)
			continue
		}
		if declared[file] == nil {
			declared[file] = declarations(parse(t, file, text))
		}
		if !declared[file][function] {
			t.Errorf("%s declares no %s", file, function)
		}
	}
	if len(names) < 50 {
		t.Errorf("%d names found", len(names))
	}
}

func TestArchitecture_EveryTestThatThePageNamesExists(t *testing.T) {
	_, section, _ := strings.Cut(string(read(t, architecturePage)), "\n## What must stay true\n")
	section, _, _ = strings.Cut(section, "\n## ")
	exists, rows := testFunctions(t), 0
	for line := range strings.Lines(section) {
		columns := strings.Split(line, "|")
		if len(columns) < 4 || strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| invariant |") {
			continue
		}
		rows++
		tests := testName.FindAllStringSubmatch(columns[len(columns)-2], -1)
		if len(tests) == 0 {
			t.Errorf("no test holds:%s", columns[1])
		}
		for _, test := range tests {
			if !exists[test[1]] {
				t.Errorf("there is no test %s; it is to hold:%s", test[1], columns[1])
			}
		}
	}
	if rows < 10 {
		t.Errorf("%d invariants found", rows)
	}
}

// A package that is new or gone is so on both pages.
func TestArchitecture_ThePagesNameThePackagesThatExist(t *testing.T) {
	packages := make(map[string]bool)
	for name := range goFiles(t) {
		if folder := path.Dir(name); strings.HasPrefix(folder, "internal/") {
			packages[folder] = true
		}
	}
	named := regexp.MustCompile(`\binternal/[a-z]+`)
	for _, page := range []string{architecturePage, "CONTRIBUTING.md"} {
		found := make(map[string]bool)
		for _, name := range named.FindAllString(string(read(t, page)), -1) {
			found[name] = true
			if !packages[name] {
				t.Errorf("%s names the package %s, which does not exist", page, name)
			}
		}
		for name := range packages {
			if !found[name] {
				t.Errorf("%s does not name the package %s", page, name)
			}
		}
	}
}

// The linter knows for each package which others it may not import.
func TestArchitecture_EachPackageHasARuleOfItsRow(t *testing.T) {
	ruled := make(map[string]bool)
	for _, found := range regexp.MustCompile(`"\*\*/([a-z/]+)/\*\.go"`).FindAllStringSubmatch(string(read(t, ".golangci.yml")), -1) {
		ruled[found[1]] = true
	}
	packages := make(map[string]bool)
	for name := range goFiles(t) {
		packages[path.Dir(name)] = true
	}
	for name := range packages {
		if !ruled[name] && (strings.HasPrefix(name, "internal/") || strings.HasPrefix(name, "caddymodule/")) {
			t.Errorf(".golangci.yml has no rule of depguard for the package %s", name)
		}
	}
	for name := range ruled {
		if !packages[name] {
			t.Errorf(".golangci.yml has a rule for the package %s, which does not exist", name)
		}
	}
}

func TestArchitecture_TheWordsAreFew(t *testing.T) {
	_, section, _ := strings.Cut(string(read(t, architecturePage)), "\n## Words\n")
	words := strings.Count(section, "\n| ") - 1 // the head
	if words < 10 || words > mostWords {
		t.Errorf("%d words; at most %d", words, mostWords)
	}
}

// processWide are the values of variables that a process has once and that change.
var processWide = regexp.MustCompile(`^(sync\.(Mutex|RWMutex|Map|WaitGroup)\b|atomic\.|pool\.New|new[A-Z]\w*\(|\w+\.New(Holders)?\(|&?(\w+\.)?\w*(Ledger|catalog)\b)`)

// What outlives a reload does so on purpose.
func TestArchitecture_EachVariableOfTheProcessSaysWhyItOutlivesAReload(t *testing.T) {
	found := 0
	for name, text := range goFiles(t) {
		if strings.HasPrefix(name, "test/") || strings.HasPrefix(name, "tools/") {
			continue
		}
		for _, declaration := range parse(t, name, text).Decls {
			block, ok := declaration.(*ast.GenDecl)
			if !ok || block.Tok != token.VAR {
				continue
			}
			for _, spec := range block.Specs {
				variable := spec.(*ast.ValueSpec)
				value := string(text[variable.Names[len(variable.Names)-1].End()-1 : variable.End()-1])
				value = strings.TrimLeft(value, " =")
				if !processWide.MatchString(value) || strings.HasPrefix(value, "errors.New") {
					continue
				}
				found++
				if why := variable.Doc.Text() + block.Doc.Text(); !strings.Contains(why, "reload") {
					t.Errorf("%s: say why %s outlives a reload", name, variable.Names[0])
				}
			}
		}
	}
	if found < 10 {
		t.Errorf("%d variables found", found)
	}
}

// declarations are the functions, methods and types of a file.
func declarations(file *ast.File) map[string]bool {
	names := make(map[string]bool)
	for _, declaration := range file.Decls {
		switch d := declaration.(type) {
		case *ast.FuncDecl:
			names[d.Name.Name] = true
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if s, ok := spec.(*ast.TypeSpec); ok {
					names[s.Name.Name] = true
				}
			}
		}
	}
	return names
}
