// What tests need beside: servers, folders and waiting that end with them.

package harness

import (
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// Patience is what only a hang exceeds: to start, to end, to answer, to come true.
const Patience = 2 * time.Minute

// New returns a world of a test, without any site. It ends with the test.
func New(tb testing.TB) *World {
	tb.Helper()
	w := &World{Dir: tb.TempDir()}
	tb.Cleanup(w.Kill)
	return w
}

// Run starts the world's Caddy for a test.
func (w *World) Run(tb testing.TB) {
	tb.Helper()
	if err := w.Start(); err != nil {
		tb.Fatalf("%v\n%s", err, w.Caddyfile())
	}
}

// StartServer starts an emulated server that ends with the test.
func StartServer(tb testing.TB, profile veeamtest.Profile, options ...veeamtest.Option) *veeamtest.Server {
	tb.Helper()
	server := veeamtest.New(profile, options...)
	if err := server.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(server.Close)
	return server
}

// Keyset returns the text of a new keyset, for the option encryption_key.
func Keyset(tb testing.TB) string {
	tb.Helper()
	keyset, err := sealed.NewKeyset()
	if err != nil {
		tb.Fatal(err)
	}
	text, err := keyset.Text()
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// Eventually waits for what has to come true without more being done.
func Eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	if !Until(holds) {
		tb.Fatalf("not within %v: %s", Patience, what)
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
