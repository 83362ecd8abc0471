// The commands that the pages name can be typed.

package test

import (
	"go/ast"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	inlineCode = regexp.MustCompile("`([^`\n]+)`")
	makeTarget = regexp.MustCompile(`(?m)^([a-z-]+):`)
)

// TestEveryCommandOfThePagesExists looks at `make`, `go test -run` or -bench, `go run`
// and scripts, in inline code and in blocks of sh.
func TestEveryCommandOfThePagesExists(t *testing.T) {
	targets := make(map[string]bool)
	for _, match := range makeTarget.FindAllSubmatch(read(t, "Makefile"), -1) {
		targets[string(match[1])] = true
	}
	names := functionsOfTests(t)
	seen := make(map[string]int)
	for page, text := range files(t) {
		if path.Ext(page) != ".md" {
			continue
		}
		for _, command := range commandsIn(string(text)) {
			words := strings.Fields(strings.ReplaceAll(command, "'", ""))
			kind := words[0]
			switch {
			case kind == "make" && len(words) > 1:
				if !targets[words[1]] {
					t.Errorf("%s: %s: the Makefile has no such target", page, command)
				}
			case kind == "go" && len(words) > 2 && (words[1] == "run" || words[1] == "test" || words[1] == "-C"):
				if says := goCommand(words[1:], names); says != "" {
					t.Errorf("%s: %s: %s", page, command, says)
				}
			case strings.HasPrefix(kind, "./test/"):
				if !isThere(kind) {
					t.Errorf("%s: %s: there is no such file", page, command)
				}
			default:
				continue
			}
			seen[kind]++
		}
	}
	if seen["make"] < 5 || seen["go"] < 10 {
		t.Errorf("found %v", seen)
	}
}

// commandsIn gives what a page has in inline code and in blocks of sh, without comments.
func commandsIn(page string) []string {
	var found []string
	for _, match := range fence.FindAllStringSubmatch(page, -1) {
		if match[2] != "sh" {
			continue
		}
		for line := range strings.Lines(match[3]) {
			line, _, _ = strings.Cut(line, " #")
			if strings.TrimSpace(line) != "" {
				found = append(found, strings.TrimSpace(line))
			}
		}
	}
	for _, match := range inlineCode.FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
		if strings.TrimSpace(match[1]) != "" {
			found = append(found, match[1])
		}
	}
	return found
}

// goCommand says what is wrong with the arguments of go.
func goCommand(words []string, names map[string][]string) string {
	dir, folder, pattern := ".", "", ""
	for i := 0; i < len(words); i++ {
		switch word := words[i]; {
		case word == "-C" && i+1 < len(words):
			i++
			dir = words[i]
		case (word == "-run" || word == "-bench") && i+1 < len(words):
			i++
			if words[i] != "^$" {
				pattern = words[i]
			}
		case folder == "" && (word == "." || strings.HasPrefix(word, "./")):
			folder = path.Join(dir, word)
		}
	}
	switch {
	case folder == "" || strings.HasSuffix(folder, "/..."):
		return ""
	case !isThere(folder):
		return "there is no such folder"
	case pattern == "":
		return ""
	}
	match, err := regexp.Compile(pattern)
	if err != nil {
		return err.Error()
	}
	if slices.ContainsFunc(names[folder], match.MatchString) {
		return ""
	}
	return "no test has such a name"
}

func isThere(name string) bool {
	found, err := filepath.Glob(filepath.Join(root, name))
	return err == nil && len(found) == 1
}

// functionsOfTests gives the tests, benchmarks and fuzz tests of each folder.
func functionsOfTests(t *testing.T) map[string][]string {
	t.Helper()
	found := make(map[string][]string)
	for name, text := range files(t) {
		if !strings.HasSuffix(name, "_test.go") {
			continue
		}
		for _, decl := range parse(t, name, text).Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil {
				found[path.Dir(name)] = append(found[path.Dir(name)], f.Name.Name)
			}
		}
	}
	return found
}
