// Package execevents registers a handler of events that runs a command, in the manner of
// the plugin exec of Caddy.
package execevents

import (
	"context"
	"os/exec"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
)

func init() { caddy.RegisterModule(Exec{}) }

// Exec runs a command for each event and waits for its end.
type Exec struct {
	Command string   `json:"command"`
	Args    []string `json:"args,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (Exec) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.exec", New: func() caddy.Module { return new(Exec) }}
}

// UnmarshalCaddyfile reads: exec <command> <args...>.
func (e *Exec) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.Args(&e.Command) {
		return d.ArgErr()
	}
	e.Args = d.RemainingArgs()
	return nil
}

// Handle implements caddyevents.Handler.
func (e *Exec) Handle(ctx context.Context, _ caddy.Event) error {
	repl := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	args := make([]string, len(e.Args))
	for i, arg := range e.Args {
		args[i] = repl.ReplaceAll(arg, "")
	}
	return exec.CommandContext(ctx, e.Command, args...).Run()
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Exec)(nil)
	_ caddyevents.Handler   = (*Exec)(nil)
)
