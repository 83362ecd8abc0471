// A world of a test: emulated servers, a sidecar with a site for each of them,
// and a Caddyfile that was written for it.

package sidecar

import (
	"fmt"
	"slices"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// world is what one Caddy serves, searched for secrets at its end.
type world struct {
	*harness.World
	t     *testing.T
	sites []*site
	leaks leaks
}

// site is one server with the sidecar in front of it, and a client.
type site struct {
	*harness.Site
	*product
	world  *world
	client *client
}

// newWorld returns a world without any site.
func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{World: harness.New(t), t: t}
}

// add makes an emulated server and a site for it. The account is the one without
// a second factor. Change the fields of the result before start.
func (w *world) add(p *product, options ...veeamtest.Option) *site {
	w.t.Helper()
	server := harness.StartServer(w.t, p.profile, append(slices.Clone(p.options), options...)...)
	w.leaks.servers = append(w.leaks.servers, server)
	return w.addFor(p, server)
}

// addFor makes a site for a server that is there already.
func (w *world) addFor(p *product, server *veeamtest.Server) *site {
	s := &site{
		Site:    &harness.Site{Name: fmt.Sprintf("%s%d", p.name, len(w.sites)), Product: p.name, Server: server, Trust: "tls_pin " + harness.Pin(server)},
		product: p, world: w,
	}
	s.Account = "account " + veeamtest.DefaultUser + " " + s.secret("password", veeamtest.DefaultPassword) + p.setup
	s.client = newClient(s)
	w.sites, w.Sites = append(w.sites, s), append(w.Sites, s.Site)
	return s
}

// withMFA gives the site an account that is asked for a verification code. A
// code of one seed is good once, so each site needs its own.
func (s *site) withMFA(user, password, seed string) *site {
	s.Account = fmt.Sprintf("account %s {\n\t\tpassword %s\n\t\ttotp_secret %s\n\t}",
		user, s.secret("mfa_password", password), s.secret("totp_secret", seed))
	return s
}

// secret writes a secret to a file and returns the placeholder for it.
func (s *site) secret(name, value string) (placeholder string) {
	s.world.t.Helper()
	s.world.leaks.keep(value)
	placeholder, err := s.world.Secret(s.Name+"_"+name, value)
	if err != nil {
		s.world.t.Fatal(err)
	}
	return placeholder
}

// file is where a file of the site lies.
func (s *site) file(name string) string { return s.world.File(s.Name + "_" + name) }

// start runs Caddy. What it has printed and answered is searched for secrets
// when the test is over.
func (w *world) start() *world {
	w.t.Helper()
	w.Run(w.t)
	w.t.Cleanup(w.end)
	return w
}

// end looks for what must not have got out, and stops Caddy.
func (w *world) end() {
	for _, s := range w.sites {
		s.client.close()
	}
	w.leaks.scanAdmin(w.t, w.Caddy)
	w.Stop()
	for _, leak := range w.leaks.scan(w) {
		w.t.Error(leak)
	}
	if w.t.Failed() && testing.Verbose() {
		w.t.Logf("caddy:\n%s\nSvc.ResAPI.log:\n%s", tail(w.Caddy.Output()), tail(w.svclog()))
	}
}

// svclog is what is in Svc.ResAPI.log so far.
func (w *world) svclog() string {
	text, err := w.SvcLog()
	if err != nil {
		w.t.Error(err)
	}
	return text
}

func tail(text string) string {
	const length = 8 << 10
	return text[max(0, len(text)-length):]
}
