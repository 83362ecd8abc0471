// Package access shows who gets in and what they may do: a real Caddy with the
// module, clients on sockets, emulated servers. This file holds the one Caddy
// that most tests share.
package access

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestMain(m *testing.M) {
	os.Exit(harness.Run(func() int {
		defer func() {
			if shared.world != nil {
				shared.world.stop()
			}
		}()
		return m.Run()
	}))
}

// The accounts of each site, the first is the default.
const (
	monitor  = veeamtest.DefaultUser
	operator = "svc-operator"
)

// Users of the servers whom one test has to itself: what it counts depends on no other one.
const (
	fresh        = "svc-fresh"
	second       = "svc-second"
	secondSecret = "KRSXG5CTMVRXEZLUKRSXG5CTMVRXEZLU"
)

var (
	products = harness.ProductsBut("vspc35") // which is a version

	// kinds are a product for each kind of what clients hold: tokens, which are signed,
	// and sessions, which lie in the storage.
	kinds = []string{"vbr", "em"}

	// formed are those whose clients log in with a form, and renew what they get.
	formed = slices.DeleteFunc(slices.Clone(products), func(product string) bool { return facts[product].basic })
)

// facts are what clients know of a product.
var facts = map[string]struct {
	profile   veeamtest.Profile
	token     string
	refused   int    // status of a refused login
	challenge int    // status of the MFA challenge. 0: there is none
	logout    string // method and path, with {} for the id of a session
	basic     bool   // clients log in with Basic and get a session
}{
	"vbr":   {veeamtest.VBR13, "/api/oauth2/token", 401, 0, "POST /api/oauth2/logout", false},
	"vspc":  {veeamtest.VSPC, "/api/v3/token", 400, 200, "DELETE /api/v3/users/1/tokens", false},
	"azure": {veeamtest.Azure, "/api/oauth2/token", 401, 200, "DELETE /api/oauth2/token", false},
	"aws":   {veeamtest.AWS, "/api/v1/token", 401, 200, "DELETE /api/v1/token", false},
	"gcp":   {veeamtest.GCP, "/api/v1/token", 401, 202, "DELETE /api/v1/token", false},
	"vb365": {veeamtest.VB365, "/v8/token", 401, 0, "POST /v8/token/logout", false},
	"one":   {veeamtest.ONE, "/api/token", 400, 0, "POST /api/revoke", false},
	"em":    {veeamtest.EM13, "/api/sessionMngr/?v=latest", 401, 0, "DELETE /api/logonSessions/{}", true},
}

// logon is how clients of a product log in.
func logon(product string) harness.Logon {
	return harness.Logon{Path: facts[product].token, Grant: "password", Basic: facts[product].basic}
}

// world is a Caddy with sites, and the servers behind them.
type world struct {
	*harness.World
	servers map[string]*veeamtest.Server // by product
}

// site is one site of the Caddyfile. It has both accounts if it says nothing else.
type site = harness.Site

func newWorld(dir string, sites ...*site) *world {
	return &world{World: &harness.World{Dir: dir, Sites: sites}}
}

// site returns the site of this name.
func (w *world) site(name string) *site {
	for _, s := range w.Sites {
		if s.Name == name {
			return s
		}
	}
	panic("there is no site " + name)
}

func (w *world) port(site string) int { return w.site(site).Port }

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
	w := newWorld(dir, sharedSites(dir)...)
	w.Global = "auto_https disable_redirects"
	if err := w.serve(); err != nil {
		return nil, err
	}
	return w, w.start()
}

// serve starts the emulated servers.
func (w *world) serve() error {
	w.servers = make(map[string]*veeamtest.Server)
	for product, fact := range facts {
		server := veeamtest.New(fact.profile, veeamtest.WithFourEyes(false), veeamtest.WithTokenLimits(0, 0, 0),
			veeamtest.WithAccount(veeamtest.Account{Username: operator, Password: "operator-pass-1"}),
			veeamtest.WithAccount(veeamtest.Account{Username: fresh, Password: "fresh-pass-1"}),
			veeamtest.WithAccount(veeamtest.Account{Username: second, Password: "second-pass-1", TOTPSecret: secondSecret}),
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
	_, one := w.Secret("monitor", veeamtest.DefaultPassword)
	_, two := w.Secret("operator", "operator-pass-1")
	return errors.Join(one, two)
}

// start runs Caddy.
func (w *world) start() error {
	for _, s := range w.Sites {
		if s.Product == "" {
			s.Product = "vbr"
		}
		s.Server = w.servers[s.Product]
		if s.Product == "vb365" && !strings.Contains(s.Options, "pace off") {
			s.Options += "\n\t\tpace off" // the tests log in more often than its quota allows
		}
		if s.Account == "" {
			s.Account = fmt.Sprintf("account %s {file.%s}\n\t\taccount %s {file.%s}", monitor, w.File("monitor"), operator, w.File("operator"))
		}
	}
	return w.Start()
}

func (w *world) stop() {
	w.Stop()
	for _, s := range w.servers {
		s.Close()
	}
	_ = os.RemoveAll(w.Dir)
}

// reload loads the sites as they are now.
func (w *world) reload(t *testing.T) {
	t.Helper()
	if err := w.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// logs waits for a line of Svc.ResAPI.log that has all of these in it.
func (w *world) logs(t *testing.T, words ...string) {
	t.Helper()
	harness.Eventually(t, fmt.Sprintf("the log has a line with %q", words), func() bool {
		found, err := w.HasLogged(words...)
		if err != nil {
			t.Fatal(err)
		}
		return found
	})
}

// metric is the sum of the series with these labels.
func (w *world) metric(t *testing.T, name string, labels ...string) (value float64) {
	t.Helper()
	value, err := w.Caddy.Metric(name, labels...)
	if err != nil {
		t.Fatal(err)
	}
	return value
}
