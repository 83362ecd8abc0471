// Package caddymodule is the part of veeam-auth that Caddy sees.
package caddymodule

import _ "github.com/caddyserver/caddy/v2"
