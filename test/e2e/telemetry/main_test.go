// Package telemetry asks what a real Caddy with the module tells other programs: events
// that run commands, and spans at an OTLP receiver.
package telemetry

import (
	"os"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	_ "github.com/caddy-veeam/veeam-auth/test/harness/execevents"
)

func TestMain(m *testing.M) {
	os.Exit(harness.Run(m.Run))
}
