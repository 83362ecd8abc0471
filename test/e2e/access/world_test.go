// Package access shows who gets in and what they may do: a real Caddy with the
// module, clients on sockets, emulated servers. This file holds the one Caddy
// that most tests share.
package access

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestMain(m *testing.M) {
	harness.Main() // does not return where this program is to be Caddy
	code := m.Run()
	if shared.world != nil {
		shared.world.stop()
	}
	os.Exit(code)
}

// The accounts of each site, the first is the default.
const (
	monitor  = veeamtest.DefaultUser
	operator = "svc-operator"
)

var products = []string{"vbr", "vspc", "azure", "aws"}

// world is one Caddy with sites, and the servers behind them.
type world struct {
	dir     string
	servers map[string]*veeamtest.Server // by product
	ports   map[string]int               // by site
	sites   []site
	global  string
	caddy   *harness.Caddy

	layout func() string // the whole Caddyfile; default: that of sites
}

// site is one site of the Caddyfile.
type site struct {
	name    string
	product string // default vbr
	bind    string // default 127.0.0.1
	listen  string // default http://:<port>
	before  string // directives of the site before veeam_auth
	account string // default both accounts
	options string
}

var shared struct {
	once  sync.Once
	world *world
	err   error
}

// here returns the Caddy that the tests share, and starts it for the first.
func here(t *testing.T) *world {
	t.Helper()
	shared.once.Do(func() { shared.world, shared.err = startShared() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.world
}

func startShared() (*world, error) {
	dir, err := os.MkdirTemp("", "access")
	if err != nil {
		return nil, err
	}
	if err := newPKI(dir); err != nil {
		return nil, err
	}
	w := &world{dir: dir, sites: sharedSites(dir), global: "auto_https disable_redirects"}
	if err := w.serve(); err != nil {
		return nil, err
	}
	return w, w.start()
}

// serve starts the emulated servers.
func (w *world) serve() error {
	w.servers = make(map[string]*veeamtest.Server)
	for product, profile := range map[string]veeamtest.Profile{
		"vbr": veeamtest.VBR13, "vspc": veeamtest.VSPC, "azure": veeamtest.Azure, "aws": veeamtest.AWS,
	} {
		server := veeamtest.New(profile, veeamtest.WithFourEyes(false),
			veeamtest.WithAccount(veeamtest.Account{Username: operator, Password: "operator-pass-1"}),
			veeamtest.WithAccount(veeamtest.Account{Username: "CN=exporter,O=Lab", Password: "exporters-pass-1"}))
		if err := server.Start(); err != nil {
			return err
		}
		w.servers[product] = server
	}
	return w.writeSecrets()
}

// writeSecrets puts the passwords where the configuration reads them.
func (w *world) writeSecrets() error {
	return errors.Join(
		os.WriteFile(filepath.Join(w.dir, "monitor"), []byte(veeamtest.DefaultPassword), 0o600),
		os.WriteFile(filepath.Join(w.dir, "operator"), []byte("operator-pass-1"), 0o600))
}

// start runs Caddy.
func (w *world) start() error {
	for try := 0; ; try++ {
		ports, err := harness.FreePorts(len(w.sites))
		if err != nil {
			return err
		}
		w.ports = make(map[string]int)
		for i, s := range w.sites {
			w.ports[s.name] = ports[i]
		}
		path := filepath.Join(w.dir, "Caddyfile")
		if err := os.WriteFile(path, []byte(w.caddyfile()), 0o600); err != nil {
			return err
		}
		w.caddy, err = harness.StartCaddy(w.dir, path, nil)
		// A port that was free may be taken by the time that Caddy wants it.
		if err == nil || try == 3 || !strings.Contains(err.Error(), "address already in use") {
			return err
		}
	}
}

func (w *world) stop() {
	if w.caddy != nil {
		w.caddy.Stop()
	}
	for _, s := range w.servers {
		s.Close()
	}
	_ = os.RemoveAll(w.dir)
}

func (w *world) caddyfile() string {
	if w.layout != nil {
		return w.layout()
	}
	var b strings.Builder
	b.WriteString(w.preamble())
	for _, s := range w.sites {
		b.WriteString(w.block(s))
	}
	return b.String()
}

// preamble are the global options.
func (w *world) preamble() string {
	return fmt.Sprintf(`{
	admin {$CADDY_ADMIN}
	skip_install_trust
	%s
	log svc {
		include http.handlers.veeam_auth.svc
		level DEBUG
		output file %s
		format svc_resapi
	}
	log default {
		exclude http.handlers.veeam_auth.svc
	}
}
`, w.global, w.logFile())
}

func (w *world) block(s site) string {
	product, bind, listen, account := s.product, s.bind, s.listen, s.account
	if product == "" {
		product = "vbr"
	}
	if bind == "" {
		bind = "127.0.0.1"
	}
	if listen == "" {
		listen = "http://"
	}
	if account == "" {
		account = fmt.Sprintf("account %s {file.%s}\n\t\taccount %s {file.%s}",
			monitor, filepath.Join(w.dir, "monitor"), operator, filepath.Join(w.dir, "operator"))
	}
	if !strings.HasPrefix(bind, "unix/") {
		listen += fmt.Sprintf(":%d", w.ports[s.name])
	}
	server := w.servers[product]
	return fmt.Sprintf("%s {\n\tbind %s\n\t%s\n\tveeam_auth %s {\n\t\tproduct %s\n\t\ttls_pin %s\n\t\t%s\n\t\t%s\n\t}\n}\n",
		listen, bind, s.before, server.URL(), product, harness.Pin(server), account, s.options)
}

// reload loads the sites as they are now.
func (w *world) reload(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := w.caddy.Load(ctx, []byte(strings.ReplaceAll(w.caddyfile(), "{$CADDY_ADMIN}", w.caddy.Admin))); err != nil {
		t.Fatal(err)
	}
}

func (w *world) logFile() string { return filepath.Join(w.dir, "Svc.ResAPI.log") }

// logs waits for a line of Svc.ResAPI.log that has all of these in it.
func (w *world) logs(t *testing.T, words ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("the log has a line with %q", words), func() bool {
		text, err := os.ReadFile(w.logFile())
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	lines:
		for line := range strings.Lines(string(text)) {
			for _, word := range words {
				if !strings.Contains(line, word) {
					continue lines
				}
			}
			return true
		}
		return false
	})
}

// metric is the value of a series, 0 if there is none with these labels.
func (w *world) metric(t *testing.T, name string, labels ...string) (value float64) {
	t.Helper()
	text, err := w.caddy.Metrics()
	if err != nil {
		t.Fatal(err)
	}
lines:
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, name+"{") {
			continue
		}
		for _, label := range labels {
			if !strings.Contains(line, label) {
				continue lines
			}
		}
		var v float64
		if _, err := fmt.Sscan(line[strings.LastIndexByte(strings.TrimSpace(line), ' '):], &v); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		value += v
	}
	return value
}

// patience is what only a hang exceeds.
const patience = 2 * time.Minute

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
