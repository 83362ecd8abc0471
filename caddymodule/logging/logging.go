// Package logging holds the logging modules of veeam-auth. It knows nothing of
// requests and logins: package caddymodule does not import it, and it does not
// import package caddymodule.
//
//	caddy.logging.encoders.svc_resapi  encoder.go  log lines as Veeam writes them
//	caddy.logging.writers.veeam_queue  queue.go    log lines wait for a slow writer, requests do not
package logging

import "github.com/caddyserver/caddy/v2"

func init() {
	caddy.RegisterModule(new(SvcResAPIEncoder))
	caddy.RegisterModule(QueueWriter{})

	caddy.OnExit(flushQueues)
}
