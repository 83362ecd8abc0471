// The committed index is what the lists and the rules say, and how versions are
// merged.

package build

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

func TestTheCommittedIndexIsNotStale(t *testing.T) {
	for _, name := range operation.Products() {
		lists, err := ReadLists(os.DirFS("../data"), name)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := Index(lists)
		got, err := os.ReadFile("../index/" + name + ".tsv")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("go generate ./policy/operation would change the index of %s:\n%s", name, diff)
		}
	}
	for _, p := range products {
		if !slices.Contains(operation.Products(), p.Index()) {
			t.Errorf("the index of %s is built, and not read", p.Name)
		}
	}
}

func TestVersionsAreMerged(t *testing.T) {
	list := func(rows ...string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(header + strings.Join(rows, "\n") + "\n")}
	}
	dir := fstest.MapFS{
		"azure_8.1.tsv": list(
			"GET\t/api/v8.1/things/{thingId}\tThing_Get\tThing\t-\t-\t-",
			"GET\t/api/v8.1/other\tOther_GetAll\tOther\t-\t-\tpassword"),
		"azure_10.tsv": list(
			"GET\t/api/v10/Things/{id}/\tThings_GetById\tThings\t-\t-\t-",
			"GET\t/api/v10/other\tOther_GetAll\tOther\t-\t-\t-",
			"POST\t/api/v10/things/{id}/frob\tThings_Frob\tThings\t-\t-\t-"),
		"azure_9.tsv": {Data: []byte("# partial: some\n" + header + "GET\t/api/v9/new\tNew_GetAll\tNew\t-\t-\t-\n")},
		"vbr_1.tsv":   list("GET\t/api/v1/jobs\tGetJobs\tJobs\t-\t-\t-"),
	}
	lists, err := ReadLists(dir, "azure")
	if err != nil {
		t.Fatal(err)
	}
	text, left := Index(lists)
	const want = "# product\tazure\n# versions\t8.1\t9\t10\n# partial\t9\n# newest\t8.1\n" +
		"read\tGET\t/api/{version}/Things/{id}\tThings_GetById\tThings\tac\n" +
		"read\tGET\t/api/{version}/new\tNew_GetAll\tNew\tb\n" +
		"secret\tGET\t/api/{version}/other\tOther_GetAll\tOther\tac\n" +
		"unknown\tPOST\t/api/{version}/things/{id}/frob\tThings_Frob\tThings\tc\n"
	if text != want {
		t.Errorf("the index is\n%s", text)
	}
	if len(left) != 1 || !strings.Contains(left[0], "frob") || !strings.HasPrefix(left[0], "10:") {
		t.Errorf("left over: %q", left)
	}
}

func TestAListIsReadAsItIsWritten(t *testing.T) {
	for _, p := range products {
		names, err := ReadLists(os.DirFS("../data"), p.Index())
		if err != nil {
			t.Fatal(err)
		}
		for _, list := range names {
			var b bytes.Buffer
			if err := WriteRows(&b, list.Rows); err != nil {
				t.Fatal(err)
			}
			again, err := ReadRows(&b)
			if err != nil || cmp.Diff(list.Rows, again) != "" {
				t.Errorf("%s %s changes when it is written: %v", p.Name, list.Version, err)
			}
		}
	}
}

func TestABrokenListIsRefused(t *testing.T) {
	for _, line := range []string{
		"GET /api/v1/jobs GetJobs", "get\t/api/v1/jobs\tGetJobs\tJobs\t-\t-\t-", "GET\tapi/v1/jobs\tGetJobs\tJobs\t-\t-\t-",
		"GET\t/api/v1/jobs\tGetJobs\tJobs\t-\t-", "<html>",
	} {
		if rows, err := ReadRows(strings.NewReader(header + line + "\n")); err == nil {
			t.Errorf("%q is read as %v", line, rows)
		}
	}
	if _, err := ReadLists(fstest.MapFS{}, "vbr"); err == nil {
		t.Error("no list, and no error")
	}
	if _, err := ReadLists(fstest.MapFS{"vbr_1.tsv": &fstest.MapFile{Data: []byte("x\n")}}, "vbr"); err == nil || !strings.Contains(err.Error(), "vbr_1.tsv") {
		t.Errorf("the error does not name the file: %v", err)
	}
}

func TestVersionsHaveAnOrder(t *testing.T) {
	want := []string{"1.0-rev1", "1.1-rev0", "1.2-rev1", "1.3-rev0", "1.3-rev2", "1.10-rev0", "3.6", "3.6.1", "8", "8.1", "10"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, compareVersions)
	if !slices.Equal(got, want) {
		t.Error(got)
	}
}
