// The rows of the page about the architecture, held against what the code imports, and the
// sizes of packages.

package test

import (
	"path"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const (
	modulePath = "github.com/caddy-veeam/veeam-auth"

	mostLines = 5000 // of caddymodule
	mostFiles = 30   // of caddymodule
	mostShare = 30   // of all code, in percent, for any package
)

var (
	rowStart   = regexp.MustCompile(`^  (\d)  `)
	rowPackage = regexp.MustCompile(`(?:internal/[a-z]+|tokencache|metrics|policy(?:/operation(?:/build)?)?)\b`)
)

// rowsOf returns the rows of the packages in the picture of the page, by their folders.
func rowsOf(page string) map[string]int {
	_, picture, _ := strings.Cut(page, "```text\n")
	picture, _, _ = strings.Cut(picture, "```")
	rows, row := make(map[string]int), -1
	for line := range strings.Lines(picture) {
		if start := rowStart.FindStringSubmatch(line); start != nil {
			row, _ = strconv.Atoi(start[1])
		}
		for _, name := range rowPackage.FindAllString(line, -1) {
			if _, known := rows[name]; !known && row >= 0 {
				rows[name] = row
			}
		}
	}
	return rows
}

// imported returns the paths that the files of each package import.
func imported(t *testing.T, sources map[string][]byte) map[string]map[string]bool {
	t.Helper()
	found := make(map[string]map[string]bool)
	for name, text := range sources {
		folder := path.Dir(name)
		if found[folder] == nil {
			found[folder] = make(map[string]bool)
		}
		for _, spec := range parse(t, name, text).Imports {
			where, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			found[folder][where] = true
		}
	}
	return found
}

// upward describes the imports of a package of a row that do not lead downward.
func upward(folder string, imports map[string]bool, rows map[string]int) (wrong []string) {
	row := rows[folder]
	for name := range imports {
		other, own := strings.CutPrefix(name, modulePath+"/")
		switch below, known := rows[other]; {
		case strings.HasPrefix(name, "github.com/caddyserver/"):
			wrong = append(wrong, folder+" imports "+name+": only caddymodule and the packages below it may")
		case !own, other == "internal/jsonscan" && folder == "internal/svclog": // as the page says
		case !known:
			wrong = append(wrong, folder+" imports "+other+", which is in no row")
		case below >= row:
			wrong = append(wrong, folder+" in row "+strconv.Itoa(row)+" imports "+other+" in row "+strconv.Itoa(below))
		}
	}
	return wrong
}

func TestArchitecture_ImportsLeadDownward(t *testing.T) {
	rows := rowsOf(string(read(t, architecturePage)))
	if len(rows) < 40 {
		t.Errorf("%d packages found in the rows", len(rows))
	}
	packages := imported(t, goFiles(t))
	for folder := range rows {
		if packages[folder] == nil {
			t.Errorf("there is no package %s", folder)
		}
		for _, wrong := range upward(folder, packages[folder], rows) {
			t.Error(wrong)
		}
	}
}

func TestArchitecture_TheRulesSeeAnArrowThatLeadsUpward(t *testing.T) {
	rows := map[string]int{"tokencache": 4, "internal/veeam": 2, "internal/store": 1}
	for name, wrong := range map[string]int{
		modulePath + "/internal/store":           0,
		modulePath + "/tokencache":               1, // its own row
		modulePath + "/caddymodule":              1,
		"github.com/caddyserver/caddy/v2":        1,
		"github.com/caddyserver/certmagic":       1,
		"net/http":                               0,
		"github.com/caddy-veeam/veeam-auth-else": 0,
	} {
		if got := upward("tokencache", map[string]bool{name: true}, rows); len(got) != wrong {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestArchitecture_PackagesStayWithinTheirSizes(t *testing.T) {
	lines, count, all := make(map[string]int), make(map[string]int), 0
	for name, text := range goFiles(t) {
		if strings.HasPrefix(name, "test/") || strings.HasPrefix(name, "tools/") {
			continue
		}
		n := strings.Count(string(text), "\n")
		lines[path.Dir(name)] += n
		count[path.Dir(name)]++
		all += n
	}
	if lines["caddymodule"] > mostLines || count["caddymodule"] > mostFiles {
		t.Errorf("caddymodule has %d lines in %d files; at most %d in %d", lines["caddymodule"], count["caddymodule"], mostLines, mostFiles)
	}
	for name, n := range lines {
		if n*100 > all*mostShare {
			t.Errorf("%s has %d of %d lines; at most %d percent", name, n, all, mostShare)
		}
	}
	if all < 10_000 {
		t.Errorf("%d lines found", all)
	}
}
