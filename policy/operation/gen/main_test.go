// The command, run on a copy of the lists.

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const description = `
openapi: 3.0.1
paths:
  /api/v1/newThings:
    get: {operationId: GetAllNewThings, tags: [New], responses: {"200": {description: all}}}
  /api/v1/newThings/{id}/frob:
    post: {operationId: FrobNewThing, tags: [New], responses: {"200": {description: frobbed}}}
`

func workdir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "data"), os.DirFS("../data")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "index"), 0o750); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestItWritesTheIndexThatIsCommitted(t *testing.T) {
	dir := workdir(t)
	if err := generate(dir, "", "", ""); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir("../index")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		want, _ := os.ReadFile(filepath.Join("../index", file.Name()))
		got, err := os.ReadFile(filepath.Join(dir, "index", file.Name()))
		if err != nil || string(got) != string(want) {
			t.Errorf("%s differs (%v)", file.Name(), err)
		}
	}
}

func TestANewVersionIsAddedAndWhatHasNoRuleIsNamed(t *testing.T) {
	dir := workdir(t)
	file := filepath.Join(dir, "swagger.yaml")
	if err := os.WriteFile(file, []byte(description), 0o600); err != nil {
		t.Fatal(err)
	}
	err := generate(dir, file, "vbr", "1.4-rev0")
	if err == nil || !strings.Contains(err.Error(), "1 operations have no class") {
		t.Error(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "index", "vbr.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"\t1.4-rev0\tahv-9\n",
		"read\tGET\t/api/v1/newThings\tGetAllNewThings\tNew\tf\n",
		"unknown\tPOST\t/api/v1/newThings/{id}/frob\tFrobNewThing\tNew\tf\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the index has no %q", want)
		}
	}
}

func TestFlagsThatDoNotGoTogetherAreRefused(t *testing.T) {
	dir := workdir(t)
	file := filepath.Join(dir, "swagger.yaml")
	if err := os.WriteFile(file, []byte("paths: {}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][3]string{
		{file, "", "1.4-rev0"},
		{file, "vbr", ""},
		{file, "other", "1"},
		{file, "vbr", "1.4-rev0"}, // no description
		{filepath.Join(dir, "missing.yaml"), "vbr", "1.4-rev0"},
	} {
		if err := generate(dir, c[0], c[1], c[2]); err == nil {
			t.Errorf("%q: no error", c)
		}
	}
	if err := generate(t.TempDir(), "", "", ""); err == nil {
		t.Error("no lists, no error")
	}
}
