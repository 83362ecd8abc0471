// Command veeam-auth is a Caddy with the veeam_auth module and those of Caddy's modules
// that a sidecar or gateway in front of Veeam servers needs. Command caddy, beside it,
// has all of Caddy's standard modules.
//
// The commands under `caddy veeam-auth` are commands of it: `veeam-auth check` is
// `caddy veeam-auth check`.
package main

import (
	"os"
	"slices"
	_ "time/tzdata" // the log is in local time, and an image has no time zones

	// Configuration, and what the process does beside HTTP.
	_ "github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/caddyevents"
	_ "github.com/caddyserver/caddy/v2/modules/caddyevents/eventsconfig"
	// HTTP: what decides about a request, changes it and sends it.
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/logging"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/map"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/proxyprotocol"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/requestbody"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/tracing"
	_ "github.com/caddyserver/caddy/v2/modules/caddypki"
	_ "github.com/caddyserver/caddy/v2/modules/caddytls"
	_ "github.com/caddyserver/caddy/v2/modules/caddytls/standardstek"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"
	_ "github.com/caddyserver/caddy/v2/modules/logging"
	_ "github.com/caddyserver/caddy/v2/modules/metrics"
	_ "github.com/pberkel/caddy-storage-redis"

	_ "github.com/caddy-veeam/veeam-auth"
	"github.com/caddy-veeam/veeam-auth/caddymodule/command"
	"github.com/caddy-veeam/veeam-auth/internal/process"
)

func main() {
	process.CalmGC()
	process.TidyEnvironment()
	os.Args = withName(os.Args)
	caddycmd.Main()
}

// withName names the group of a command in the arguments that leave it out.
func withName(args []string) []string {
	if len(args) < 2 || !slices.Contains(command.Names(), args[1]) {
		return args
	}
	return slices.Insert(slices.Clone(args), 1, command.Group)
}
