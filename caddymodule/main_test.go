// The process of the tests.

package caddymodule

import (
	"os"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// TestMain sets the password that configurations of tests name by its variable: a test
// that sets a variable itself cannot run beside others.
func TestMain(m *testing.M) {
	if err := os.Setenv("VEEAM_AUTH_TEST_PASSWORD", veeamtest.DefaultPassword); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
