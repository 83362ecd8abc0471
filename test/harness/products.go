// The products that tests of a table run over.

package harness

import (
	"slices"
	"testing"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// ProductsBut returns the names of all products but those that are named: for these a
// test has to say why it does without them.
func ProductsBut(without ...string) []string {
	return slices.DeleteFunc(veeam.Names(), func(name string) bool { return slices.Contains(without, name) })
}

// HasEveryProduct fails the test unless a table has a row for every product but those
// that are named after it.
func HasEveryProduct(t testing.TB, table []string, without ...string) {
	t.Helper()
	for _, name := range ProductsBut(without...) {
		if !slices.Contains(table, name) {
			t.Errorf("the table has no row for %s", name)
		}
	}
}
