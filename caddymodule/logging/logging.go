// Package logging holds the logging modules of veeam-auth. It does not depend on
// requests and logins: neither of the packages logging and caddymodule imports the
// other.
//
//	caddy.logging.encoders.svc_resapi  encoder.go  log lines in the format of Veeam's services
//	caddy.logging.writers.veeam_queue  queue.go    a queue before a slow writer, so that requests do not wait
//	caddy.logging.writers.log_chain    chain.go    a hash chain with signed checkpoints, so that changes of a log are found
package logging

import "github.com/caddyserver/caddy/v2"

func init() {
	caddy.RegisterModule(new(SvcResAPIEncoder))
	caddy.RegisterModule(QueueWriter{})
	caddy.RegisterModule(ChainWriter{})

	caddy.OnExit(flushQueues)
	caddy.OnExit(endChains) // when the queues before them are empty
}
