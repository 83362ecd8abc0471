// Package veeamauth registers the veeam_auth modules with Caddy. It contains blank
// imports only, so that `xcaddy build --with github.com/caddy-veeam/veeam-auth`
// requires only the module path.
package veeamauth

import (
	_ "time/tzdata" // the zones of during, until and hours, where the system has none

	_ "github.com/caddy-veeam/veeam-auth/caddymodule"
	_ "github.com/caddy-veeam/veeam-auth/caddymodule/admin"
	_ "github.com/caddy-veeam/veeam-auth/caddymodule/command"
	_ "github.com/caddy-veeam/veeam-auth/caddymodule/logging"
	_ "github.com/caddy-veeam/veeam-auth/caddymodule/probes"
	_ "github.com/caddy-veeam/veeam-auth/caddymodule/secrets"
	_ "github.com/caddy-veeam/veeam-auth/caddymodule/times"
)
