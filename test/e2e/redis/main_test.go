// Package redis shows the shared cache with several real Caddys over real
// storages: a Redis server that the tests start themselves, and a shared folder.
package redis

import (
	"os"
	"testing"

	_ "github.com/pberkel/caddy-storage-redis"

	"github.com/caddy-veeam/veeam-auth/test/harness"
)

func TestMain(m *testing.M) {
	os.Exit(harness.Run(m.Run))
}
