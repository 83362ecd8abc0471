// A Caddy with sites, each in front of a server, and the Caddyfile that is written
// for them.

package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness/ports"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// World is what one Caddy serves.
type World struct {
	// Dir takes the Caddyfile, the data and the logs.
	Dir string

	// Global are more global options.
	Global string

	// Env is more of Caddy's environment.
	Env []string

	Sites []*Site

	// Layout writes the whole Caddyfile. Default: Preamble and the sites.
	Layout func() string

	// Caddy is set by Start.
	Caddy *Caddy
}

// Site is one site of the Caddyfile.
type Site struct {
	Name   string
	Server *veeamtest.Server

	// Port is where it listens on the loopback address. 0: Start finds one.
	Port int

	// How its block is written. Fields that are empty have these defaults.
	Product  string // that of the server
	Address  string // http:// ; the port is added
	Bind     string // 127.0.0.1
	Before   string // directives before veeam_auth
	Upstream string // the server's URL
	Account  string // subdirectives with the accounts
	Trust    string // the fingerprint of the server's certificate
	Options  string // more subdirectives
	Absent   bool   // the site is not in the Caddyfile
}

// URL is the site's address for a client on this machine.
func (s *Site) URL() string { return fmt.Sprintf("http://127.0.0.1:%d", s.Port) }

// Preamble are the global options, with the lines of Svc.ResAPI.log in SvcLogFile.
func (w *World) Preamble() string {
	return fmt.Sprintf(`{
	admin {$CADDY_ADMIN}
	skip_install_trust
	log svc {
		include http.handlers.veeam_auth.svc
		level DEBUG
		output file %s
		format svc_resapi
	}
	log default {
		exclude http.handlers.veeam_auth.svc
	}
	%s
}
`, w.SvcLogFile(), w.Global)
}

// Block is the site in the Caddyfile.
func (s *Site) Block() string {
	address := or(s.Address, "http://")
	bind := or(s.Bind, "127.0.0.1")
	if !strings.HasPrefix(bind, "unix/") {
		address += fmt.Sprintf(":%d", s.Port)
	}
	upstream, product, trust := s.Upstream, s.Product, s.Trust
	if s.Server != nil {
		upstream, product, trust = or(upstream, s.Server.URL()), or(product, s.Server.Profile().Product()), or(trust, "tls_pin "+Pin(s.Server))
	}
	return fmt.Sprintf("%s {\n\tbind %s\n\t%s\n\tveeam_auth %s {\n\t\tproduct %s\n\t\t%s\n\t\t%s\n\t\t%s\n\t}\n}\n",
		address, bind, s.Before, upstream, product, s.Account, trust, s.Options)
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// Caddyfile is the configuration as it is now.
func (w *World) Caddyfile() string {
	if w.Layout != nil {
		return w.Layout()
	}
	var b strings.Builder
	b.WriteString(w.Preamble())
	for _, s := range w.Sites {
		if !s.Absent {
			b.WriteString(s.Block())
		}
	}
	return b.String()
}

// Start runs Caddy, and returns when it serves. It may be called again after the
// Caddy has ended.
func (w *World) Start() (err error) {
	if err := w.findPorts(); err != nil {
		return err
	}
	path := filepath.Join(w.Dir, "Caddyfile")
	if err := os.WriteFile(path, []byte(w.Caddyfile()), 0o600); err != nil {
		return err
	}
	w.Caddy, err = StartCaddy(w.Dir, path, w.Env)
	return err
}

// FreePorts is ports.Free.
func FreePorts(n int) ([]int, error) { return ports.Free(n) }

// findPorts gives the sites ports, except those that have one.
func (w *World) findPorts() error {
	for _, s := range w.Sites {
		if s.Port != 0 {
			continue
		}
		found, err := FreePorts(1)
		if err != nil {
			return err
		}
		s.Port = found[0]
	}
	return nil
}

// Reload loads the configuration as it is now, and returns when nothing listens for the
// one before.
func (w *World) Reload(ctx context.Context) error {
	return w.reload(ctx, func(ctx context.Context) error {
		return w.Caddy.Load(ctx, []byte(strings.ReplaceAll(w.Caddyfile(), "{$CADDY_ADMIN}", w.Caddy.Admin)))
	})
}

// Change loads the configuration that runs with a change that no Caddyfile can make, and
// returns as Reload does.
func (w *World) Change(ctx context.Context, change func(config map[string]any)) error {
	text, err := w.Caddy.Config()
	if err != nil {
		return err
	}
	var config map[string]any
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		return err
	}
	change(config)
	changed, err := json.Marshal(config)
	if err != nil {
		return err
	}
	return w.reload(ctx, func(ctx context.Context) error { return w.Caddy.LoadJSON(ctx, changed) })
}

// reload waits after a load. Caddy answers a little earlier than its old sockets are
// closed: the kernel would still give connections to them beside the new ones, and reset
// those when Caddy closes them.
func (w *World) reload(ctx context.Context, load func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	err := load(ctx)
	for ; err == nil && w.listensTwice(); time.Sleep(time.Millisecond) {
		err = ctx.Err()
	}
	return err
}

// listensTwice reports whether two sockets listen on an address of the world.
func (w *World) listensTwice() bool {
	for _, l := range ports.Listening() {
		if l.Sockets > 1 && w.hasPort(l.Port) {
			return true
		}
	}
	return false
}

// hasPort reports whether the Caddyfile or the admin endpoint has a port.
func (w *World) hasPort(port int) bool {
	return regexp.MustCompile(fmt.Sprintf(`:%d\b`, port)).MatchString(w.Caddy.Admin + "\n" + w.Caddyfile())
}

// Dropped reports whether a request has failed because its connection was closed before an
// answer began. At a reload Caddy closes its old sockets with what the kernel has queued
// for them, and Go's server closes idle connections, whatever handlers are behind them: a
// client has to try again.
func Dropped(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

// Stop ends Caddy, if it was started.
func (w *World) Stop() {
	if w.Caddy != nil {
		w.Caddy.Stop()
	}
}

// Kill ends Caddy at once, if it was started.
func (w *World) Kill() {
	if w.Caddy != nil {
		w.Caddy.Kill()
	}
}

// File is where a file of this name lies.
func (w *World) File(name string) string { return filepath.Join(w.Dir, name) }

// Secret writes a secret to a file of this name, as a secret manager does: under
// another name first. It returns the placeholder for it.
func (w *World) Secret(name, value string) (placeholder string, err error) {
	path := w.File(name)
	if err := os.WriteFile(path+".new", []byte(value+"\n"), 0o600); err != nil {
		return "", err
	}
	return "{file." + path + "}", os.Rename(path+".new", path)
}

// SvcLogFile is where the lines of Svc.ResAPI.log go.
func (w *World) SvcLogFile() string { return w.File("Svc.ResAPI.log") }

// SvcLog is what is in Svc.ResAPI.log so far.
func (w *World) SvcLog() (string, error) {
	text, err := os.ReadFile(w.SvcLogFile())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return string(text), err
}

// HasLogged reports whether a line of Svc.ResAPI.log has all of these in it.
func (w *World) HasLogged(words ...string) (bool, error) {
	text, err := w.SvcLog()
	for line := range strings.Lines(text) {
		if containsAll(line, words) {
			return true, err
		}
	}
	return false, err
}
