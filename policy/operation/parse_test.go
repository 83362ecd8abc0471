package operation_test

// Index files: the form, and that a broken one is not taken for a small one.

import (
	"slices"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

const small = "# versions\t1.0-rev0\t1.1-rev0\n" +
	"read\tGET\t/api/v1/things\tGetThings\tThings\tab\n" +
	"destroy\tDELETE\t/api/v1/things/{id}\tDeleteThing\tThings\tb\n" +
	"unknown\tPOST\t/api/v1/things\tFrobThings\tThings\tb\n"

func TestAnIndexFileIsParsed(t *testing.T) {
	x, err := operation.Parse("vbr", small)
	if err != nil {
		t.Fatal(err)
	}
	op, ok := x.Lookup("DELETE", "/api/v1/things/7", "")
	if !ok || op.Class != operation.Destroy || op.Name != "DeleteThing" || op.Group != "Things" || !slices.Equal(op.Versions, []string{"1.1-rev0"}) {
		t.Errorf("%+v, %v", op, ok)
	}
	// In the index, but nobody has said what it is.
	if op, ok := x.Lookup("POST", "/api/v1/things", ""); !ok || op.Class != operation.Unknown {
		t.Errorf("%+v, %v", op, ok)
	}
	if got := x.Versions(); !slices.Equal(got, []string{"1.0-rev0", "1.1-rev0"}) {
		t.Error(got)
	}
}

func TestABrokenIndexFileIsRefused(t *testing.T) {
	for name, change := range map[string]func(string) string{
		"empty":         func(string) string { return "" },
		"no header":     func(s string) string { return strings.SplitAfterN(s, "\n", 2)[1] },
		"short line":    func(s string) string { return strings.Replace(s, "\tThings\tab", "", 1) },
		"no class":      func(s string) string { return strings.Replace(s, "read\t", "harmless\t", 1) },
		"no path":       func(s string) string { return strings.Replace(s, "/api/v1/things\tGet", "things\tGet", 1) },
		"no method":     func(s string) string { return strings.Replace(s, "GET", "FETCH", 1) },
		"twice":         func(s string) string { return s + strings.SplitAfter(s, "\n")[1] },
		"other version": func(s string) string { return strings.Replace(s, "\tab", "\tabc", 1) },
		"cut off":       func(s string) string { return s[:len(s)-20] },
	} {
		if x, err := operation.Parse("vbr", change(small)); err == nil {
			t.Errorf("%s: %d operations", name, len(x.All()))
		}
	}
}
