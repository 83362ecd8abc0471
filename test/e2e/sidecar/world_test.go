// A world of a test: emulated servers, a sidecar with a site for each of them,
// and a Caddyfile that was written for it.

package sidecar

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// world is what one Caddy serves.
type world struct {
	t      *testing.T
	dir    string
	global string // global options beside those that every test needs
	env    []string
	sites  []*site
	caddy  *harness.Caddy
	leaks  leaks
}

// site is one server with the sidecar in front of it.
type site struct {
	*product
	world  *world
	name   string
	server *veeamtest.Server
	port   int
	client *client

	// How its block in the Caddyfile is written. Fields that are empty have
	// their defaults.
	listen   string // address and what comes before the directive
	upstream string
	account  string
	trust    string
	options  string // more subdirectives
	absent   bool   // not in the Caddyfile now
}

// newWorld returns a world without any site.
func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{t: t, dir: t.TempDir()}
}

// add makes an emulated server and a site for it. The account is the one without
// a second factor. Change the fields of the result before start.
func (w *world) add(p *product, options ...veeamtest.Option) *site {
	w.t.Helper()
	server := veeamtest.New(p.profile, options...)
	if err := server.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(server.Close)
	s := w.addFor(p, server)
	w.leaks.servers = append(w.leaks.servers, server)
	return s
}

// addFor makes a site for a server that is there already.
func (w *world) addFor(p *product, server *veeamtest.Server) *site {
	s := &site{product: p, world: w, name: fmt.Sprintf("%s%d", p.name, len(w.sites)), server: server}
	s.upstream = server.URL()
	s.trust = "tls_pin " + harness.Pin(server)
	s.account = "account " + veeamtest.DefaultUser + " " + s.secret("password", veeamtest.DefaultPassword)
	s.client = newClient(s)
	w.sites = append(w.sites, s)
	return s
}

// withMFA gives the site an account that is asked for a verification code. A
// code of one seed is good once, so each site needs its own.
func (s *site) withMFA(user, password, seed string) *site {
	s.account = fmt.Sprintf("account %s {\n\t\tpassword %s\n\t\ttotp_secret %s\n\t}",
		user, s.secret("mfa_password", password), s.secret("totp_secret", seed))
	return s
}

// secret writes a secret to a file and returns the placeholder for it.
func (s *site) secret(name, value string) (placeholder string) {
	s.world.t.Helper()
	s.world.leaks.keep(value)
	path := s.file(name)
	if err := os.WriteFile(path, []byte(value+"\n"), 0o600); err != nil {
		s.world.t.Fatal(err)
	}
	return "{file." + path + "}"
}

// file is where a file of the site lies.
func (s *site) file(name string) string { return filepath.Join(s.world.dir, s.name+"_"+name) }

// block is the site in the Caddyfile.
func (s *site) block() string {
	listen := s.listen
	if listen == "" {
		listen = "http://:" + s.variable("PORT") + " {\n\tbind 127.0.0.1"
	}
	return fmt.Sprintf("%s\n\tveeam_auth %s {\n\t\tproduct %s\n\t\t%s\n\t\t%s\n\t\t%s\n\t}\n}\n",
		listen, s.upstream, s.product.name, s.account, s.trust, s.options)
}

func (s *site) variable(name string) string { return "{$" + strings.ToUpper(s.name) + "_" + name + "}" }

// log is where the lines of Svc.ResAPI.log go.
func (w *world) log() string { return filepath.Join(w.dir, "Svc.ResAPI.log") }

// caddyfile is the configuration of all sites.
func (w *world) caddyfile() string {
	var b strings.Builder
	fmt.Fprintf(&b, `{
	admin {$CADDY_ADMIN}
	skip_install_trust
	log svc {
		include http.handlers.veeam_auth.svc
		output file %s
		format svc_resapi
	}
	log default {
		exclude http.handlers.veeam_auth.svc
	}
	%s
}
`, w.log(), w.global)
	for _, s := range w.sites {
		if !s.absent {
			b.WriteString(s.block())
		}
	}
	text := b.String()
	for _, s := range w.sites {
		text = strings.ReplaceAll(text, s.variable("PORT"), fmt.Sprint(s.port))
	}
	return text
}

// start runs Caddy. What it has printed and answered is searched for secrets
// when the test is over.
func (w *world) start() *world {
	w.t.Helper()
	path := filepath.Join(w.dir, "Caddyfile")
	for try := 0; ; try++ {
		ports, err := harness.FreePorts(len(w.sites))
		if err != nil {
			w.t.Fatal(err)
		}
		for i, s := range w.sites {
			s.port = ports[i]
		}
		if err := os.WriteFile(path, []byte(w.caddyfile()), 0o600); err != nil {
			w.t.Fatal(err)
		}
		w.caddy, err = harness.StartCaddy(w.dir, path, w.env)
		if err == nil {
			break
		}
		// A port that was free may be taken by the time that Caddy wants it.
		if try == 3 || !strings.Contains(err.Error(), "address already in use") {
			w.t.Fatalf("%v\n%s", err, w.caddyfile())
		}
	}
	w.t.Cleanup(w.end)
	return w
}

// reload loads the sites as they are now.
func (w *world) reload(ctx context.Context) error {
	text := strings.ReplaceAll(w.caddyfile(), "{$CADDY_ADMIN}", w.caddy.Admin)
	return w.caddy.Load(ctx, []byte(text))
}

// end looks for what must not have got out, and stops Caddy.
func (w *world) end() {
	for _, s := range w.sites {
		s.client.close()
	}
	w.leaks.scanAdmin(w.t, w.caddy)
	w.caddy.Stop()
	for _, leak := range w.leaks.scan(w) {
		w.t.Error(leak)
	}
	if w.t.Failed() && testing.Verbose() {
		w.t.Logf("caddy:\n%s\nSvc.ResAPI.log:\n%s", tail(w.caddy.Output()), tail(w.svclog()))
	}
}

// svclog is what is in Svc.ResAPI.log so far.
func (w *world) svclog() string {
	text, err := os.ReadFile(w.log())
	if err != nil && !os.IsNotExist(err) {
		w.t.Error(err)
	}
	return string(text)
}

func tail(text string) string {
	const length = 8 << 10
	return text[max(0, len(text)-length):]
}

// patience is what only a hang exceeds.
const patience = 2 * time.Minute

// eventually waits for what has to come true without more being done.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
