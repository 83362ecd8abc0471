package caddymodule_test

import (
	_ "github.com/caddy-veeam/veeam-auth/caddymodule/admin" // the golden files of Caddyfiles have its directive and its option
)
