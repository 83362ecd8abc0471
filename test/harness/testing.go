// What tests need beside: servers, folders and waiting that end with them.

package harness

import (
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// Patience is what only a hang exceeds: to start, to end, to answer, to come true.
const Patience = 2 * time.Minute

// New returns a world of a test, without any site. It ends with the test.
func New(t testing.TB) *World {
	t.Helper()
	w := &World{Dir: t.TempDir()}
	t.Cleanup(w.Kill)
	return w
}

// Run starts the world's Caddy for a test.
func (w *World) Run(t testing.TB) {
	t.Helper()
	if err := w.Start(); err != nil {
		t.Fatalf("%v\n%s", err, w.Caddyfile())
	}
}

// StartServer starts an emulated server that ends with the test.
func StartServer(t testing.TB, profile veeamtest.Profile, options ...veeamtest.Option) *veeamtest.Server {
	t.Helper()
	server := veeamtest.New(profile, options...)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server
}

// Eventually waits for what has to come true without more being done.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	if !Until(holds) {
		t.Fatalf("not within %v: %s", Patience, what)
	}
}

// Until waits for what has to come true. It reports false for what does not.
func Until(holds func() bool) bool {
	for deadline := time.Now().Add(Patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}
