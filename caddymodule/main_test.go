// The process of the tests.

package caddymodule

import (
	"flag"
	"os"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"pgregory.net/rapid"

	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// TestMain sets the password that configurations of tests name by its variable: a test
// that sets a variable itself cannot run beside others.
func TestMain(m *testing.M) {
	if err := os.Setenv("VEEAM_AUTH_TEST_PASSWORD", veeamtest.DefaultPassword); err != nil {
		panic(err)
	}
	// A property here costs a provisioned configuration or a whole world at each check.
	if err := flag.Set("rapid.checks", "30"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// provisioning guards what Caddy has once in a process: certmagic.Default.Storage, which
// it sets for each configuration, and the cache of certificates, which the app http makes
// and each end of one stops.
var provisioning sync.Mutex

// provisionContext is caddy.ProvisionContext for tests that run beside others.
func provisionContext(t rapid.TB, config *caddy.Config) caddy.Context {
	t.Helper()
	provisioning.Lock()
	defer provisioning.Unlock()
	ctx, err := caddy.ProvisionContext(config)
	if err != nil {
		t.Fatal(err)
	}
	return ctx
}

// validate is caddy.Validate for tests that run beside others.
func validate(config *caddy.Config) error {
	provisioning.Lock()
	defer provisioning.Unlock()
	return caddy.Validate(config)
}
