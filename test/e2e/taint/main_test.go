// Package taint plants secrets of every kind into a real Caddy with the module,
// drives it through good and bad times, and looks for them in every byte that
// comes out.
package taint

import (
	"os"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	_ "github.com/caddy-veeam/veeam-auth/test/harness/execevents"
)

func TestMain(m *testing.M) {
	os.Exit(harness.Run(m.Run))
}
