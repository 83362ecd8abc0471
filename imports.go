// Package veeamauth registers the veeam_auth modules with Caddy. It holds blank
// imports only, so that `xcaddy build --with github.com/caddy-veeam/veeam-auth`
// needs no more than the module path.
package veeamauth

import (
	_ "github.com/caddy-veeam/veeam-auth/caddymodule"
	_ "github.com/caddy-veeam/veeam-auth/caddymodule/command"
	_ "github.com/caddy-veeam/veeam-auth/caddymodule/logging"
	_ "github.com/caddy-veeam/veeam-auth/caddymodule/probes"
)
