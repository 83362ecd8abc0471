package operation_test

// Index files of the operator: what they add, and that they make nothing milder.

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

func indexFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "own.tsv")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

const own = "# product\tvbr\n# versions\t1.4-rev0\n# a comment\n" +
	"read\tGET\t/api/v1/newThings/{id}\tGetNewThing\tNew\ta\n" +
	"read\tGET\t/api/v1/credentials\tGetAllCreds\tCredentials\ta\n" + // secret in the index that ships
	"secret\tGET\t/API/v1/jobs/{jobId}\tGetJob\tJobs\ta\n" +
	"unknown\tPOST\t/api/v1/newThings\tFrob\tNew\ta\n" +
	"run\tPOST\t/api/v1/newThings?action=start\tStart\tNew\ta\n"

func TestAnIndexFileAddsOperationsAndMakesNoneMilder(t *testing.T) {
	x, err := operation.Open("vbr", indexFile(t, own))
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]operation.Class{
		"GET /api/v1/newThings/7":              operation.Read,
		"GET /api/v1/credentials":              operation.Secret,
		"GET /api/v1/jobs/7":                   operation.Secret,
		"GET /api/v1/jobs":                     operation.Read,
		"POST /api/v1/newThings":               operation.Unknown,
		"POST /api/v1/newThings?action=start":  operation.Run,
		"POST /api/v1/newThings?action=delete": operation.Unknown,
		"GET /api/v1/other":                    operation.Unknown,
	} {
		method, target, _ := strings.Cut(target, " ")
		path, query, _ := strings.Cut(target, "?")
		if op, _ := x.LookupRaw(method, path, query); op.Class != want {
			t.Errorf("%s %s is %v, want %v", method, target, op.Class, want)
		}
	}
	if versions := x.Versions(); versions[len(versions)-1] != "1.4-rev0" {
		t.Error(versions)
	}
	// The index that ships has not changed.
	if _, ok := index(t, "vbr").Lookup("GET", "/api/v1/newThings/7", ""); ok {
		t.Error("the file has become part of the index of all")
	}
	if op, _ := index(t, "vbr").Lookup("GET", "/api/v1/jobs/7", ""); op.Class != operation.Read {
		t.Error(op.Class)
	}
}

// For every operation of every index: a file that calls all of them reads changes
// nothing.
func TestAFileOfReadsChangesNoClass(t *testing.T) {
	for _, product := range operation.Products() {
		var b strings.Builder
		b.WriteString("# product\t" + product + "\n# versions\t99\n")
		for _, op := range index(t, product).All() {
			b.WriteString("read\t" + op.Method + "\t" + op.Target() + "\tX\tX\ta\n")
		}
		x, err := operation.Open(product, indexFile(t, b.String()))
		if err != nil {
			t.Fatal(err)
		}
		if len(x.All()) != len(index(t, product).All()) {
			t.Errorf("%s: %d operations", product, len(x.All()))
		}
		for i, op := range index(t, product).All() {
			if got := x.All()[i]; got.Class != op.Class || got.Target() != op.Target() {
				t.Errorf("%s %s: %v, was %v", product, op.Target(), got.Class, op.Class)
			}
		}
	}
}

func TestANewerVersionOfPathsComesFromTheFile(t *testing.T) {
	x, err := operation.Open("azure", indexFile(t, "# product\tazure\n# versions\t9\n# newest\t9\nread\tGET\t/api/{version}/newThings\tGet\tNew\ta\n"))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{"/api/v9/newThings": true, "/api/v9/policies/sql": true, "/api/v10/newThings": false} {
		if _, ok := x.Lookup("GET", path, ""); ok != want {
			t.Errorf("%s: %v", path, ok)
		}
	}
}

func TestAFaultOfAnIndexFileIsNamedWithItsLine(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"another product": {strings.Replace(own, "vbr", "aws", 1), `line 1: the file is for product "aws", not for "vbr"`},
		"no versions":     {strings.Replace(own, "# versions", "# version", 1), `line 4: the line "# versions" must come before the operations`},
		"a description":   {`{"openapi": "3.0.1"}`, "not an index file, which begins with \"# product\": create one from an API description with `caddy veeam-auth policy index`"},
		"a class":         {strings.Replace(own, "unknown\t", "harmless\t", 1), `line 7: unknown class "harmless" (allowed: unknown, read,`},
		"columns":         {strings.Replace(own, "\tFrob\t", "\t", 1), "line 7: the line has 5 of 6 columns"},
		"a method":        {strings.Replace(own, "POST\t/api/v1/newThings\t", "FETCH\t/api/v1/newThings\t", 1), `line 7: method "FETCH" is not allowed`},
		"a path":          {strings.Replace(own, "/API/v1", "/API//v1", 1), `line 6: path "/API//v1/jobs/{jobId}" is not valid: a path begins with a slash`},
		"the root":        {strings.Replace(own, "/API/v1/jobs/{jobId}", "/", 1), `line 6: path "/" is not`},
		"half a segment":  {strings.Replace(own, "/{jobId}", "/x{jobId}", 1), "line 6: path \"/API/v1/jobs/x{jobId}\": a parameter must be a whole segment"},
		"a query":         {strings.Replace(own, "?action=start", "?action", 1), `line 8: query "action" is not a name and a value`},
		"twice":           {own + "read\tGET\t/api/v1/newthings/{other}\tX\tX\ta\n", "line 9: GET /api/v1/newthings/{other}: duplicate operation"},
		"a version":       {strings.Replace(own, "New\ta\n", "New\tb\n", 1), "line 4: version 'b' is not one of the letters a to a"},
		"a long line":     {own + "# " + strings.Repeat("x", 3000), "line 9: the line exceeds 2000 bytes"},
		"nothing":         {"", "the file lists no operations"},
		"a large file":    {strings.Repeat("# x\n", operation.MaxFile/4+1), "exceeds 8388608 bytes"},
		"deep":            {strings.Replace(own, "/API/v1", strings.Repeat("/x", 70), 1), "exceeds 60 segments"},
	} {
		file := indexFile(t, c.text)
		_, err := operation.Open("vbr", file)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := operation.Open("vbr", filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("no file, no error")
	}
	if _, err := operation.Open("vbr", t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Error(err)
	}
	if x, err := operation.Open("vspc35", ""); err != nil || x != index(t, "vspc") {
		t.Error(x, err)
	}
}

// FuzzParse: a file is refused, or every operation in it is found again with its class
// or a stricter one.
func FuzzParse(f *testing.F) {
	f.Add(own)
	f.Add("# versions\t1\t2\n# partial\t2\n# newest\t8.1\ndestroy\tDELETE\t/api/{version}/{a}/b\tX\tX\tab\nread\tDELETE\t/api/v8/x/{b}\tX\tX\tb\n")
	f.Fuzz(func(t *testing.T, text string) {
		x, err := operation.Parse("vbr", text)
		if err != nil {
			return
		}
		for _, op := range x.All() {
			if strings.Contains(op.Path, "{version}") {
				continue
			}
			query := op.Query
			if name, value, _ := strings.Cut(query, "="); strings.HasPrefix(value, "{") {
				query = name + "=x"
			}
			path := concrete(op.Path)
			found, ok := x.Lookup(op.Method, path, query)
			if !ok || op.Class.StricterThan(found.Class) && !strings.Contains(op.Path, "{") {
				t.Errorf("%s %s finds %+v", op.Method, op.Target(), found)
			}
		}
	})
}
