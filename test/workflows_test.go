// Workflows, packages and the set-up for Windows name what there is.

package test

import (
	"encoding/xml"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"go.yaml.in/yaml/v3"
)

type workflow struct {
	Name        string            `yaml:"name"`
	On          any               `yaml:"on"`
	Permissions map[string]string `yaml:"permissions"`
	Concurrency any               `yaml:"concurrency"`
	Jobs        map[string]job    `yaml:"jobs"`
}

type job struct {
	Needs       []string          `yaml:"needs"`
	RunsOn      string            `yaml:"runs-on"`
	Container   any               `yaml:"container"`
	Environment string            `yaml:"environment"`
	Timeout     int               `yaml:"timeout-minutes"`
	Permissions map[string]string `yaml:"permissions"`
	Env         map[string]string `yaml:"env"`
	Steps       []workflowStep    `yaml:"steps"`
}

type workflowStep struct {
	Name string            `yaml:"name"`
	Uses string            `yaml:"uses"`
	With map[string]any    `yaml:"with"`
	Env  map[string]string `yaml:"env"`
	Run  string            `yaml:"run"`
}

// onRunners are the commands that the machines of the workflows have.
var onRunners = []string{"gh", "git", "go", "printf", "rm", "skopeo", "umask"}

var (
	pinnedAction = regexp.MustCompile(`^[\w-]+/[\w-]+@[0-9a-f]{40}$`)
	usedAction   = regexp.MustCompile(`(?m)^ +(?:- )?uses: (.*)$`)
	namedVersion = regexp.MustCompile(` # v\d+\.\d+\.\d+$`)
	packedFile   = regexp.MustCompile(`(?m)^(?:  - src|  post\w+|  pre\w+): ([^$\s]+)$`)
)

func TestWorkflowsRunWhatThereIs(t *testing.T) {
	targets := map[string]bool{}
	for _, match := range makeTarget.FindAllStringSubmatch(string(read(t, "Makefile")), -1) {
		targets[match[1]] = true
	}
	names, err := filepath.Glob(filepath.Join(root, ".github/workflows/*"))
	if err != nil || len(names) < 3 {
		t.Fatalf("%q, %v", names, err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range usedAction.FindAllStringSubmatch(string(text), -1) {
			if !namedVersion.MatchString(match[1]) {
				t.Errorf("%s: a comment must name the version of %s", filepath.Base(name), match[1])
			}
		}
		decoder := yaml.NewDecoder(strings.NewReader(string(text)))
		decoder.KnownFields(true)
		var w workflow
		if err := decoder.Decode(&w); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, problem := range w.problems(targets) {
			t.Errorf("%s: %s", filepath.Base(name), problem)
		}
	}
}

// problems are what GitHub would refuse, what would fail there, and rights that a
// workflow takes for all of its jobs.
func (w workflow) problems(targets map[string]bool) []string {
	var out []string
	if w.Name == "" || w.On == nil || len(w.Jobs) == 0 {
		out = append(out, "name, on or jobs is missing")
	}
	if !maps.Equal(w.Permissions, map[string]string{"contents": "read"}) {
		out = append(out, "the permissions must be contents: read; a job that needs more says so itself")
	}
	for name, j := range w.Jobs {
		if j.RunsOn == "" || j.Timeout == 0 || len(j.Steps) == 0 {
			out = append(out, name+": runs-on, timeout-minutes or steps is missing")
		}
		for _, need := range j.Needs {
			if _, ok := w.Jobs[need]; !ok {
				out = append(out, name+": needs the unknown job "+need)
			}
		}
		for _, s := range j.Steps {
			if (s.Uses == "") == (s.Run == "") || s.Uses != "" && !pinnedAction.MatchString(s.Uses) {
				out = append(out, name+": a step needs either run or uses with a commit: "+s.Uses)
			}
			for line := range strings.Lines(s.Run) {
				if problem := unknownCommand(line, targets); problem != "" {
					out = append(out, name+": "+problem)
				}
			}
		}
	}
	return out
}

func unknownCommand(line string, targets map[string]bool) string {
	if strings.Contains(line, "${{") {
		return "an expression in a command is code of others: pass it in env: " + line
	}
	for command := range strings.SplitSeq(line, " | ") {
		words := strings.Fields(command)
		switch {
		case len(words) == 0:
		case words[0] == "make" && len(words) > 1:
			if !targets[words[1]] {
				return "the Makefile has no target " + words[1]
			}
		case strings.HasPrefix(words[0], "./"):
			if info, err := os.Stat(filepath.Join(root, words[0])); err != nil || info.Mode()&0o100 == 0 {
				return words[0] + " cannot be executed"
			}
		case words[0] == "go" && len(words) > 2 && words[1] == "run" && strings.HasPrefix(words[2], "./"):
			if _, err := os.Stat(filepath.Join(root, words[2])); err != nil {
				return "there is no command " + words[2]
			}
		case !slices.Contains(onRunners, words[0]):
			return "the command " + words[0] + " is not known"
		}
	}
	return ""
}

func TestUnknownCommandFindsWhatIsMissing(t *testing.T) {
	targets := map[string]bool{"release": true}
	for _, line := range []string{
		"make other", "make", "./test/nothing", "./README.md", "go run ./test/nothing", "curl x", "printf x | curl x",
		"echo ${{ github.ref }}", "gh release create ${{ github.ref_name }}",
	} {
		if unknownCommand(line, targets) == "" {
			t.Errorf("%q passes", line)
		}
	}
	for _, line := range []string{"", "make release VERSION=x", "./test/run --install", "go run ./test/demo -once", "printf x | skopeo login"} {
		if problem := unknownCommand(line, targets); problem != "" {
			t.Errorf("%q: %s", line, problem)
		}
	}
	w := workflow{Name: "x", On: "push", Permissions: map[string]string{"contents": "write"}, Jobs: map[string]job{
		"a": {Needs: []string{"b"}, Steps: []workflowStep{{Uses: "actions/checkout@main"}, {Uses: "actions/checkout@v4"}}},
	}}
	if got := w.problems(targets); len(got) != 5 {
		t.Errorf("%d problems: %q", len(got), got)
	}
}

// TestAReleaseIsBuiltWithOneVersionOfGo compares the workflow with the Dockerfile. Both
// name it exactly: two versions make different files.
func TestAReleaseIsBuiltWithOneVersionOfGo(t *testing.T) {
	version := regexp.MustCompile(`(?m)(?:go-version: "|golang:)([\d.]+)`)
	var found []string
	for _, name := range []string{".github/workflows/release.yml", "Dockerfile"} {
		for _, match := range version.FindAllStringSubmatch(string(read(t, name)), -1) {
			found = append(found, match[1])
		}
	}
	if len(found) != 3 || len(slices.Compact(slices.Clone(found))) != 1 || strings.Count(found[0], ".") != 2 {
		t.Errorf("versions of Go: %q", found)
	}
}

// TestThePlatformsOfAReleaseAreDocumented compares the list of the Makefile, which is that of
// `make release` and `make cross`, with the archives of docs/release.md.
func TestThePlatformsOfAReleaseAreDocumented(t *testing.T) {
	match := regexp.MustCompile(`(?m)^TARGETS \?= (.*)$`).FindStringSubmatch(string(read(t, "Makefile")))
	if match == nil {
		t.Fatal("the Makefile has no TARGETS")
	}
	want := map[string]bool{}
	for target := range strings.SplitSeq(match[1], ",") {
		want[strings.ReplaceAll(target, "/", "_")] = true
	}
	got := map[string]bool{}
	for _, archive := range regexp.MustCompile(`_((?:linux|darwin|windows)_\w+)\.(?:tar\.gz|zip)`+"`").FindAllStringSubmatch(string(read(t, "docs/release.md")), -1) {
		got[archive[1]] = true
	}
	if len(want) < 5 || !maps.Equal(got, want) {
		t.Errorf("docs/release.md names archives for %v, the Makefile has %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

func TestPackagesTakeFilesThatThereAre(t *testing.T) {
	matches := packedFile.FindAllStringSubmatch(string(read(t, "deploy/packages/nfpm.yaml")), -1)
	if len(matches) < 8 {
		t.Fatalf("found %d files", len(matches))
	}
	for _, match := range matches {
		if _, err := os.Stat(filepath.Join(root, match[1])); err != nil {
			t.Error(err)
		}
	}
}

// winsw are the elements of a service that WinSW 2.12 or 3 document, with those inside.
var winsw = map[string][]string{
	"id": nil, "name": nil, "description": nil, "executable": nil, "arguments": nil, "env": nil,
	"serviceaccount": {"domain", "user", "username"},
	"onfailure":      nil, "stoptimeout": nil, "logpath": nil,
	"log": {"sizeThreshold", "keepFiles"},
}

// TestTheSetUpForWindows reads what WinSW would read, and adapts the Caddyfile.
func TestTheSetUpForWindows(t *testing.T) {
	type element struct {
		XMLName  xml.Name
		Text     string    `xml:",chardata"`
		Children []element `xml:",any"`
	}
	var service element
	if err := xml.Unmarshal(read(t, "deploy/windows/veeam-auth.xml"), &service); err != nil {
		t.Fatal(err)
	}
	text := map[string]string{}
	for _, e := range service.Children {
		name := e.XMLName.Local
		inside, known := winsw[name]
		if !known {
			t.Errorf("WinSW has no element %s", name)
		}
		text[name] = e.Text
		for _, c := range e.Children {
			if !slices.Contains(inside, c.XMLName.Local) {
				t.Errorf("WinSW has no element %s in %s", c.XMLName.Local, name)
			}
			text[name+"/"+c.XMLName.Local] = c.Text
		}
	}
	if service.XMLName.Local != "service" || !regexp.MustCompile(`^[A-Za-z0-9]+$`).MatchString(text["id"]) || text["executable"] == "" {
		t.Errorf("%s with %q", service.XMLName.Local, text)
	}
	// The two versions name the account differently; what a version does not know it ignores,
	// and takes LocalSystem.
	if both := text["serviceaccount/domain"] + `\` + text["serviceaccount/user"]; both != `NT AUTHORITY\LocalService` || both != text["serviceaccount/username"] {
		t.Errorf("accounts %q and %q", both, text["serviceaccount/username"])
	}
	_, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(read(t, "deploy/windows/Caddyfile"), map[string]any{"filename": "Caddyfile"})
	if err != nil || len(warnings) > 0 {
		t.Errorf("%v, %v", err, warnings)
	}
}
