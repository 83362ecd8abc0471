// Package caddymodule is all that Caddy sees of veeam-auth, and the only package
// that imports Caddy. This file is its table of contents: every registration.
//
//	http.handlers.veeam_auth                 handler.go    who calls, what is asked for, log and metrics
//	http.reverse_proxy.transport.veeam_auth  transport.go  grants, injects, repeats once after a 401
//	http.matchers.veeam_operation            matcher.go    operations by class, in rules and elsewhere
//	caddy.logging.encoders.svc_resapi        encoder.go    log lines as Veeam writes them
//	caddy.logging.writers.veeam_queue        queue.go      log lines wait for a slow writer, requests do not
//	admin.api.veeam_auth_tokens              admin_tokens.go  cuts clients off
//	admin.api.veeam_auth_sessions            admin_sessions.go  shows and ends upstream sessions
//	veeam_auth                               directive.go  the Caddyfile directive over the first two
//	caddy veeam-auth                         command.go    the commands
package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

func init() {
	caddy.RegisterModule(Handler{})
	caddy.RegisterModule(Transport{})
	caddy.RegisterModule(MatchOperation{})
	caddy.RegisterModule(AdminTokens{})
	caddy.RegisterModule(AdminSessions{})
	caddy.RegisterModule(QueueWriter{})

	httpcaddyfile.RegisterDirective(directive, parseDirective)
	httpcaddyfile.RegisterDirectiveOrder(directive, httpcaddyfile.Before, "reverse_proxy")

	caddycmd.RegisterCommand(command)

	caddy.OnExit(waitForEndings)
	caddy.OnExit(flushQueues)
}
