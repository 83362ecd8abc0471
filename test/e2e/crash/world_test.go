// Package crash kills real Caddys with a shared cache and looks at what is left
// at the server. This file holds the world of a test: an emulated server and one
// sidecar, which is killed and started again.
package crash

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

func TestMain(m *testing.M) {
	harness.Main() // does not return where this program is to be Caddy
	os.Exit(m.Run())
}

// answerWithin is how long a request may take after a crash, whatever it was that
// the crash has left behind. Only a hang exceeds it.
const answerWithin = 2 * time.Minute

type product struct {
	name      string
	profile   veeamtest.Profile
	protected string // GET, needs a token
	logout    bool   // one session can be logged out
}

var products = []product{
	{"vbr", veeamtest.VBR13, "/api/v1/serverInfo", true},
	{"vspc", veeamtest.VSPC, "/api/v3/about", false},
	{"azure", veeamtest.Azure, "/api/v8.1/system/about", true},
	{"aws", veeamtest.AWS, "/api/v1/about", true},
}

// world is one server, one folder and one Caddy. It may be used in a goroutine of
// its own: what goes wrong is an error, and ok tells whether anything has.
type world struct {
	t       *testing.T
	name    string
	product product
	server  *veeamtest.Server
	dir     string
	key     string
	client  *http.Client
	caddy   *harness.Caddy
	port    int
	broken  bool
}

// worlds runs a scene in each world at the same time, at most some at once: they
// spend most of their time waiting.
func worlds(t *testing.T, scenes map[string]func(*world), of func(name string) (product, []veeamtest.Option)) {
	t.Helper()
	var wg sync.WaitGroup
	atOnce := make(chan struct{}, 8)
	for name, scene := range scenes {
		p, options := of(name)
		w := &world{t: t, name: name, product: p, server: veeamtest.New(p.profile, options...), dir: t.TempDir()}
		w.client = &http.Client{Transport: &http.Transport{}, Timeout: answerWithin}
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
	keyset, err := tokencache.NewKeyset()
	if err == nil {
		w.key, err = keyset.Text()
	}
	if err != nil {
		w.errorf("%v", err)
		return
	}
	defer w.client.CloseIdleConnections()
	if w.start() {
		scene(w)
	}
	if w.caddy != nil {
		w.caddy.Kill()
		if w.broken && testing.Verbose() {
			w.t.Logf("%s: caddy:\n%s", w.name, w.caddy.Output())
		}
	}
}

func (w *world) errorf(format string, args ...any) {
	w.broken = true
	w.t.Errorf("%s: %s", w.name, fmt.Sprintf(format, args...))
}

// start starts Caddy, again if it was there before.
func (w *world) start() (ok bool) {
	path := filepath.Join(w.dir, "Caddyfile")
	for try := 0; ; try++ {
		ports, err := harness.FreePorts(1)
		if err != nil {
			w.errorf("%v", err)
			return false
		}
		w.port = ports[0]
		text := fmt.Sprintf(`{
	admin {$CADDY_ADMIN}
	skip_install_trust
	storage file_system %s
}
http://:%d {
	bind 127.0.0.1
	veeam_auth %s {
		product %s
		account %s {env.PASSWORD}
		tls_pin %s
		lockout_budget 100 15m
		cache {
			encryption_key {env.KEY}
		}
	}
}
`, filepath.Join(w.dir, "storage"), w.port, w.server.URL(), w.product.name, veeamtest.DefaultUser, harness.Pin(w.server))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			w.errorf("%v", err)
			return false
		}
		w.caddy, err = harness.StartCaddy(w.dir, path, []string{"KEY=" + w.key, "PASSWORD=" + veeamtest.DefaultPassword})
		if err == nil {
			return true
		}
		// A port that was free may be taken by the time that Caddy wants it.
		if try == 3 || !strings.Contains(err.Error(), "address already in use") {
			w.errorf("%v", err)
			return false
		}
	}
}

// restart kills Caddy as the kernel does when it is out of memory, and starts it
// again.
func (w *world) restart() (ok bool) {
	w.caddy.Kill()
	w.client.CloseIdleConnections()
	return w.start()
}

// ask sends a request that needs a token, and returns the status of its answer, 0
// without one.
func (w *world) ask() int {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet,
		fmt.Sprintf("http://127.0.0.1:%d%s", w.port, w.product.protected), nil)
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

// left compares what the server has seen, and what is left there.
func (w *world) left(when string, logins, live int) {
	if c := w.server.Counters(); c.Logins != int64(logins) || c.LiveSessions != live || c.Unauthorized != 0 {
		w.errorf("%s: %d logins, %d sessions and %d refused tokens, want %d, %d and none",
			when, c.Logins, c.LiveSessions, c.Unauthorized, logins, live)
	}
}

// eventually waits for what has to come true without more being done.
func (w *world) eventually(what string, holds func() bool) (ok bool) {
	const within = 2 * time.Minute
	for deadline := time.Now().Add(within); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.errorf("not within %v: %s", within, what)
			return false
		}
	}
	return true
}
