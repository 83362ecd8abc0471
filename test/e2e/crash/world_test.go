// Package crash kills real Caddys with a shared cache and looks at what is left
// at the server. This file holds the world of a test: an emulated server and one
// sidecar, which is killed and started again.
package crash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

func TestMain(m *testing.M) {
	os.Exit(harness.Run(m.Run))
}

type product struct {
	name      string
	profile   veeamtest.Profile
	protected string // GET, needs a token
	logout    bool   // one session can be logged out
	refresh   bool   // it is renewed by a token that is good once
	version   string // of the API, where a request without a token would find it
}

var products = []product{
	{"vbr", veeamtest.VBR13, "/api/v1/serverInfo", true, true, ""},
	{"vspc", veeamtest.VSPC, "/api/v3/about", false, true, ""},
	{"azure", veeamtest.Azure, "/api/v8.1/system/about", true, true, ""},
	{"aws", veeamtest.AWS, "/api/v1/about", true, true, ""},
	{"gcp", veeamtest.GCP, "/api/v1/version", true, true, ""},
	{"vb365", veeamtest.VB365, "/v8/Organizations", true, true, "v8"},
	{"one", veeamtest.ONE, "/api/v2.3/about", true, true, "v2.3"},
	{"em", veeamtest.EM13, "/api/jobs", true, false, ""},
}

func TestTheTableHasEveryProduct(t *testing.T) {
	t.Parallel()
	names := make([]string, len(products))
	for i, p := range products {
		names[i] = p.name
	}
	harness.HasEveryProduct(t, names, "vspc35") // which is a version
}

// budgeted is in the name of a world with the lock-out budget of its product.
const budgeted = " budgeted"

// alone ends the name of a world without a cache.
const alone = " alone"

// world is one server, one folder and one Caddy. It may be used in a goroutine of
// its own: what goes wrong is an error, and ok tells whether anything has.
type world struct {
	*harness.World
	t       *testing.T
	name    string
	product product
	server  *veeamtest.Server
	client  *http.Client
	broken  bool
	before  string // the output of processes that have ended
}

// worlds runs a scene in each world at the same time, at most some at once: they
// spend most of their time waiting.
func worlds(t *testing.T, scenes map[string]func(*world), of func(name string) (product, []veeamtest.Option)) {
	t.Helper()
	var wg sync.WaitGroup
	atOnce := make(chan struct{}, 8)
	for name, scene := range scenes {
		p, options := of(name)
		w := &world{t: t, name: name, product: p, server: veeamtest.New(p.profile, append(options, veeamtest.WithTokenLimits(0, 0, 0), veeamtest.WithParallelSessions())...), World: harness.New(t)}
		w.client = &http.Client{Transport: &http.Transport{}, Timeout: harness.Patience}
		wg.Go(func() {
			atOnce <- struct{}{}
			defer func() { <-atOnce }()
			w.play(scene)
		})
	}
	wg.Wait()
}

func (w *world) play(scene func(*world)) {
	if err := w.server.Start(); err != nil {
		w.errorf("%v", err)
		return
	}
	defer w.server.Close()
	if err := w.configure(); err != nil {
		w.errorf("%v", err)
		return
	}
	defer w.client.CloseIdleConnections()
	if w.start() {
		scene(w)
	}
	w.Kill()
	if w.Caddy != nil && w.broken && testing.Verbose() {
		w.t.Logf("%s: caddy:\n%s", w.name, w.before+w.Caddy.Output())
	}
}

func (w *world) errorf(format string, args ...any) {
	w.broken = true
	w.t.Errorf("%s: %s", w.name, fmt.Sprintf(format, args...))
}

// configure gives the world its one site.
func (w *world) configure() error {
	keyset, err := sealed.NewKeyset()
	if err != nil {
		return err
	}
	key, err := keyset.Text()
	if err != nil {
		return err
	}
	w.Env = []string{"KEY=" + key, "PASSWORD=" + veeamtest.DefaultPassword}
	w.Global = "storage file_system " + w.File("storage")
	w.Sites = []*harness.Site{{
		Server: w.server, Account: "account " + veeamtest.DefaultUser + " {env.PASSWORD}",
		Options: "pace off",
	}}
	if !strings.Contains(w.name, budgeted) {
		w.Sites[0].Options += "\n\t\tlockout_budget 100 15m"
	}
	if !strings.HasSuffix(w.name, alone) {
		w.Sites[0].Options += "\n\t\tcache {\n\t\t\tencryption_key {env.KEY}\n\t\t}"
	}
	if w.product.version != "" {
		w.Sites[0].Options += "\n\t\tapi_version " + w.product.version
	}
	return nil
}

// start starts Caddy, again if it was there before.
func (w *world) start() (ok bool) {
	if err := w.Start(); err != nil {
		w.errorf("%v", err)
		return false
	}
	return true
}

// restart kills Caddy as the kernel does when it is out of memory, and starts it
// again.
func (w *world) restart() (ok bool) {
	w.Kill()
	w.before += w.Caddy.Output()
	w.client.CloseIdleConnections()
	return w.start()
}

// ask sends a request that needs a token, and returns the status of its answer, 0
// without one.
func (w *world) ask() int {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet,
		w.Sites[0].URL()+w.product.protected, nil)
	if err != nil {
		return 0
	}
	res, err := w.client.Do(req)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

// must asks and wants a good answer. It returns how long that took.
func (w *world) must(when string) time.Duration {
	began := time.Now()
	if status := w.ask(); status != http.StatusOK {
		w.errorf("%s: status %d after %v", when, status, time.Since(began))
	}
	return time.Since(began)
}

// alone counts how often Caddy has said that its storage does not work, which a busy machine
// takes over a second for now and then. Each time there may be a login and a session more, as
// is documented. Exact counts are shown on a fake clock, in tokencache.
func (w *world) alone() int {
	return strings.Count(w.before, harness.SaysAlone) + w.Caddy.Alone()
}

// left compares what the server has seen, and what is left there.
func (w *world) left(when string, logins, live int) {
	c, alone := w.server.Counters(), w.alone()
	if more := int(c.Logins) - logins; more < 0 || more > alone || c.LiveSessions < live || c.LiveSessions > live+alone || c.Unauthorized != 0 {
		w.errorf("%s: %d logins, %d sessions and %d refused tokens, want %d, %d and none; the storage was too slow %d times",
			when, c.Logins, c.LiveSessions, c.Unauthorized, logins, live, alone)
	}
}

// eventually waits for what has to come true without more being done.
func (w *world) eventually(what string, holds func() bool) (ok bool) {
	if ok = harness.Until(holds); !ok {
		w.errorf("not within %v: %s", harness.Patience, what)
	}
	return ok
}

// known waits until everything is taken care of that killed processes have left behind, and
// returns what is known of sessions: how many this process has recorded, and of how many the
// log says so far that nobody can log them out: those of logins whose outcome is not known,
// and those of a product that cannot end one.
func (w *world) known() (recorded, unknown, expire int) {
	own := fmt.Sprintf(" %d ", w.Caddy.Pid())
	w.eventually("nothing is left of others", func() bool {
		folders, err := filepath.Glob(w.File("storage/" + tokencache.BookFolder + "/*"))
		recorded = 0
		for _, folder := range folders {
			owner, errOwner := os.ReadFile(filepath.Join(folder, "owner"))
			if errors.Is(errOwner, fs.ErrNotExist) {
				continue // killed before it had an owner, or done with: there is no session in it
			}
			if errOwner != nil || !strings.Contains(string(owner), own) {
				return false
			}
			notes, errNotes := os.ReadDir(folder)
			err = errors.Join(err, errNotes)
			recorded += len(notes) - 1
		}
		return err == nil
	})
	now := ""
	for result, said := range map[string]string{"unknown": saidUnknown, "expires": saidAlone} {
		w.eventually("the log says what the metrics say of "+result, func() bool { // one of them comes first
			n, err := w.Caddy.Metric("left_sessions_total", `result="`+result+`"`)
			now = w.Caddy.Output()
			return err == nil && int(n) == strings.Count(now, said)
		})
	}
	all := w.before + now
	return recorded, strings.Count(all, saidUnknown), strings.Count(all, saidAlone) + strings.Count(all, saidExpires)
}

// What the log says of sessions that were left behind.
const (
	saidUnknown = "the server may have a session that nobody can log out"
	saidAlone   = "a session that a process has left behind was not logged out, and expires"
	saidExpires = "because the product cannot end it alone; it expires"
)
