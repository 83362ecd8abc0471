// What the documentation says must be so: its examples adapt, and its lists are
// those of the code.

package test

import (
	"encoding/json"
	"fmt"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/bcrypt"

	_ "github.com/caddy-veeam/veeam-auth"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/metrics"
	_ "github.com/caddy-veeam/veeam-auth/test/harness/execevents"
)

// block is a fenced block of a page.
type block struct {
	page, info, text string
	line             int
}

var fence = regexp.MustCompile("(?ms)^( *)```([^\n`]*)\n(.*?)^ *```[ \t]*$")

// TestEveryCaddyfileOfTheDocsAdapts adapts each block ```caddyfile of README.md
// and the pages below docs, which must give neither an error nor a warning. A block
// ```caddyfile error must give an error. A block ```json must be JSON, a block
// ```json adapted what the Caddyfile before it becomes.
func TestEveryCaddyfileOfTheDocsAdapts(t *testing.T) {
	adapter := caddyconfig.GetAdapter("caddyfile")
	caddyfiles := 0
	var before []byte
	for _, b := range blocks(t) {
		switch b.info {
		case "caddyfile", "caddyfile error":
			caddyfiles++
			result, warnings, err := adapter.Adapt([]byte(b.text), map[string]any{"filename": "Caddyfile"})
			before = result
			switch {
			case b.info == "caddyfile error" && err == nil:
				t.Errorf("%s:%d: adapts, but is marked as an error", b.page, b.line)
			case b.info == "caddyfile" && err != nil:
				t.Errorf("%s:%d: %v", b.page, b.line, err)
			}
			for _, w := range warnings {
				t.Errorf("%s:%d: warning in line %d of the block: %s", b.page, b.line, w.Line, w.Message)
			}
		case "json", "json adapted":
			var shown, adapted any
			if err := json.Unmarshal([]byte(b.text), &shown); err != nil {
				t.Errorf("%s:%d: %v", b.page, b.line, err)
			}
			if b.info == "json" {
				continue
			}
			if err := json.Unmarshal(before, &adapted); err != nil || !reflect.DeepEqual(shown, adapted) {
				t.Errorf("%s:%d: the Caddyfile above becomes %s (%v)", b.page, b.line, before, err)
			}
		}
	}
	if caddyfiles < 10 {
		t.Errorf("%d Caddyfiles found", caddyfiles)
	}
}

// The page has a row for each series with its labels, and names those without a product.
func TestTheDocsNameEverySeries(t *testing.T) {
	page := string(read(t, "docs/metrics.md"))
	set := metrics.New(func() []metrics.Session { return nil })
	descriptions := make(chan *prometheus.Desc, 100)
	if err := set.Register(describer(descriptions)); err != nil {
		t.Fatal(err)
	}
	close(descriptions)
	shape := regexp.MustCompile(`fqName: "caddy_veeam_auth_([^"]+)".*constLabels: {(.*)}, variableLabels: {(.*)}`)
	label := regexp.MustCompile(`\w+`)
	var without []string
	found := 0
	for d := range descriptions {
		found++
		match := shape.FindStringSubmatch(d.String())
		if match == nil {
			t.Fatalf("%v has another form", d)
		}
		labels := label.FindAllString(regexp.MustCompile(`"[^"]*"`).ReplaceAllString(match[2], "")+" "+match[3], -1)
		others := slices.DeleteFunc(slices.Clone(labels), func(name string) bool { return name == "product" })
		if len(others) == len(labels) {
			without = append(without, "`"+match[1]+"`")
		}
		_, row, _ := strings.Cut(page, "| `caddy_veeam_auth_"+match[1]+"` |")
		column, _, closed := strings.Cut(row, "|")
		documented := label.FindAllString(column, -1)
		slices.Sort(others)
		slices.Sort(documented)
		if !closed || !slices.Equal(documented, others) {
			t.Errorf("docs/metrics.md gives %s the labels %q, it has %q", match[1], documented, others)
		}
	}
	slices.Sort(without)
	last := len(without) - 1
	if except := strings.Join(without[:last], ", ") + " and " + without[last]; !strings.Contains(page, "All have the label `product`, except "+except+".") {
		t.Errorf("docs/metrics.md does not say that these have no product: %s", except)
	}
	if found < 9 {
		t.Errorf("%d series found", found)
	}
}

// describer is a registerer that passes descriptions on.
type describer chan<- *prometheus.Desc

func (d describer) Register(c prometheus.Collector) error {
	c.Describe(d)
	return nil
}

func (d describer) MustRegister(...prometheus.Collector) {}
func (d describer) Unregister(prometheus.Collector) bool { return false }

// The table of the docs is that of the code, row for row.
func TestTheDocsHaveTheTableOfReasons(t *testing.T) {
	var want strings.Builder
	want.WriteString("| reason | status | meaning | what to do |\n|---|---|---|---|\n")
	for _, row := range veeam.Reasons() {
		status := "-"
		if row.Status != 0 {
			status = strconv.Itoa(row.Status)
		}
		fmt.Fprintf(&want, "| `%s` | %s | %s | %s |\n", row.Reason, status, row.Meaning, row.Action)
	}
	if _, table, found := strings.Cut(string(read(t, "docs/behaviour.md")), "\n## Reasons\n"); !found || !strings.HasSuffix(table, "\n"+want.String()) {
		t.Errorf("docs/behaviour.md has to end with this table:\n%s", want.String())
	}
}

func TestTheDocsNameWhatTheProductTableHolds(t *testing.T) {
	page := string(read(t, "docs/products.md"))
	for _, name := range veeam.Names() {
		p, _ := veeam.Lookup(name)
		facts := []string{"`" + name + "`", p.Title, strconv.Itoa(p.Port), "`POST " + p.TokenPath + "`"}
		if p.Version.Header != "" {
			facts = append(facts, "`"+p.Version.Header+"`")
		}
		if p.Version.Default != "" {
			facts = append(facts, "`"+p.Version.Default+"`")
		}
		if p.SessionLogout != nil {
			facts = append(facts, "`"+p.SessionLogout.Method+" "+p.SessionLogout.Path+"`")
		}
		for _, path := range p.CodePaths {
			facts = append(facts, "`"+path+"`")
		}
		for _, fact := range facts {
			if !strings.Contains(page, fact) {
				t.Errorf("docs/products.md does not say %s of %s", fact, name)
			}
		}
	}
}

// The names are written once in the code, and the lists for people follow it.
func TestTheListsOfProductsAreTheTable(t *testing.T) {
	for file, list := range map[string]string{
		"caddymodule/directive.go": "product      " + strings.Join(veeam.Names(), " | ") + "\n",
		"docs/configuration.md":    "product      " + strings.Join(veeam.Names(), " | ") + "\n",
	} {
		if !strings.Contains(string(read(t, file)), list) {
			t.Errorf("%s has to list the products: %s", file, list)
		}
	}
	for _, name := range veeam.Names() {
		if p, _ := veeam.Lookup(name); !strings.Contains(string(read(t, "README.md")), "`"+name+"`") {
			t.Errorf("README.md does not name %s", p.Title)
		}
	}
}

func TestTheDocsNameEverySubdirective(t *testing.T) {
	code := string(read(t, "caddymodule/directive.go"))
	_, grammar, _ := strings.Cut(code, "//\tveeam_auth [")
	grammar, _, _ = strings.Cut(grammar, "//\t}\n")
	names := regexp.MustCompile(`(?m)^//\t{2,3}(\w+)`).FindAllStringSubmatch(grammar, -1)
	if len(names) < 10 {
		t.Fatalf("found %v", names)
	}
	page := string(read(t, "docs/configuration.md"))
	for _, name := range names {
		if !strings.Contains(page, "`"+name[1]) {
			t.Errorf("docs/configuration.md does not explain %s", name[1])
		}
	}
}

// TestEveryLinkToASectionLeadsToIt follows the part behind the # of each link.
func TestEveryLinkToASectionLeadsToIt(t *testing.T) {
	pages, followed := files(t), 0
	anchors := make(map[string]map[string]bool) // by page
	for name, text := range pages {
		if path.Ext(name) != ".md" {
			continue
		}
		for _, match := range linkPattern.FindAllSubmatch(codePattern.ReplaceAll(text, nil), -1) {
			target, section, found := strings.Cut(string(match[1]), "#")
			if !found || strings.Contains(target, ":") || path.Ext(target) != ".md" && target != "" {
				continue
			}
			page := name
			if target != "" {
				page = path.Join(path.Dir(name), target)
			}
			followed++
			if anchors[page] == nil {
				anchors[page] = sections(pages[page])
			}
			if !anchors[page][section] {
				t.Errorf("%s links to %s, which has no section #%s", name, page, section)
			}
		}
	}
	if followed < 50 {
		t.Errorf("%d links to sections found", followed)
	}
}

var (
	headingPattern = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`)
	notInAnchors   = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// sections gives the anchors that GitHub makes of the headings of a page.
func sections(page []byte) map[string]bool {
	found := make(map[string]bool)
	for _, heading := range headingPattern.FindAllSubmatch(fence.ReplaceAll(page, nil), -1) {
		anchor := strings.ReplaceAll(notInAnchors.ReplaceAllString(strings.ToLower(string(heading[1])), ""), " ", "-")
		for n, name := 1, anchor; ; n++ {
			if !found[name] {
				found[name] = true
				break
			}
			name = anchor + "-" + strconv.Itoa(n)
		}
	}
	return found
}

func TestSectionsAreThoseOfGitHub(t *testing.T) {
	page := "# A page\n## `allow`, `deny`\n### What is *it* & why?\n## max_users\n## A page\n```sh\n# no heading\n```\n"
	want := map[string]bool{"a-page": true, "allow-deny": true, "what-is-it--why": true, "max_users": true, "a-page-1": true}
	if got := sections([]byte(page)); !reflect.DeepEqual(got, want) {
		t.Errorf("sections %v, want %v", got, want)
	}
}

// TestTheGoTestCommandsOfTheDocsRunSomething: the folder exists, and a test or a
// benchmark in it has the name. Each column of figures stands on such a command.
func TestTheGoTestCommandsOfTheDocsRunSomething(t *testing.T) {
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Benchmark|Fuzz)\w+)\(`)
	sources, commands := files(t), 0
	for name, text := range sources {
		if path.Ext(name) != ".md" {
			continue
		}
		for _, command := range goTest.FindAllStringSubmatch(string(text), -1) {
			commands++
			module, arguments := command[1], command[2]
			folder := path.Clean(strings.TrimSpace(goTestFolder.FindString(" " + arguments)))
			if module != "" {
				folder = path.Join(module, folder)
			}
			var names []string
			for source, text := range sources {
				if strings.HasSuffix(source, "_test.go") && path.Dir(source) == folder {
					for _, match := range declared.FindAllSubmatch(text, -1) {
						names = append(names, string(match[1]))
					}
				}
			}
			if len(names) == 0 {
				t.Errorf("%s: no tests in %q: go test %s", name, folder, arguments)
			}
			for _, chosen := range goTestChoice.FindAllStringSubmatch(arguments, -1) {
				pattern := strings.Trim(chosen[1], "'")
				if pattern != "." && pattern != "^$" && !slices.ContainsFunc(names, regexp.MustCompile(pattern).MatchString) {
					t.Errorf("%s: nothing in %s has a name like %s", name, folder, pattern)
				}
			}
		}
	}
	if commands < 10 {
		t.Errorf("%d commands found", commands)
	}
}

// TestThePasswordsOfTheDocsFitTheirHashes: who copies a page can log in, with the password
// that the page names, and no page has a hash whose password is known from elsewhere.
func TestThePasswordsOfTheDocsFitTheirHashes(t *testing.T) {
	const password = "blue-Otter-41"
	found := make(map[string]string)
	for _, b := range blocks(t) {
		for _, hash := range hashes.FindAllString(b.text, -1) {
			found[hash] = fmt.Sprintf("%s:%d", b.page, b.line)
		}
	}
	if len(found) == 0 {
		t.Error("no hash found")
	}
	for hash, where := range found {
		if err := bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)); err != nil {
			t.Errorf("%s: %s is not the hash of %s: %v", where, hash, password, err)
		}
	}
}

var hashes = regexp.MustCompile(`\$2a\$\d\d\$[./0-9A-Za-z]{53}`)

var (
	goTest       = regexp.MustCompile("go (?:-C ([^ ]+) )?test ([^`\n]*)")
	goTestFolder = regexp.MustCompile(` \./[\w./]+| \.$`)
	goTestChoice = regexp.MustCompile(`-(?:run|bench) ('[^']*'|[^ ]+)`)
)

// blocks gives the fenced blocks of README.md and the pages below docs, page by page.
func blocks(t *testing.T) (found []block) {
	t.Helper()
	for name, text := range files(t) {
		if name != "README.md" && (!strings.HasPrefix(name, "docs/") || path.Ext(name) != ".md") {
			continue
		}
		for _, at := range fence.FindAllSubmatchIndex(text, -1) {
			indent := string(text[at[2]:at[3]]) // of a block in a list
			content := "\n" + string(text[at[6]:at[7]])
			found = append(found, block{
				page: name,
				info: strings.TrimSpace(string(text[at[4]:at[5]])),
				text: strings.ReplaceAll(content, "\n"+indent, "\n")[1:],
				line: 1 + strings.Count(string(text[:at[0]]), "\n"),
			})
		}
	}
	return found
}
