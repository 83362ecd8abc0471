// Command caddy is a Caddy web server with the veeam_auth module and Caddy's
// standard modules, built from the versions that go.sum pins.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-veeam/veeam-auth"
	"github.com/caddy-veeam/veeam-auth/internal/process"
)

func main() {
	process.CalmGC()
	process.TidyEnvironment()
	caddycmd.Main()
}
