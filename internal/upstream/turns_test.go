// Many accounts with files take turns to be looked at.

package upstream

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

func TestManyAccountsWithFilesTakeTurns(t *testing.T) { synctest.Test(t, testTurns) }

func testTurns(t *testing.T) {
	const many, cycle = 2*WatchAtOnce + 500, 3 // looks at all of them
	dir := t.TempDir()
	write := func(name, text string, age time.Duration) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if then := time.Now().Add(-age); os.Chtimes(path, then, then) != nil {
			t.Fatal("the time cannot be set")
		}
		return path
	}
	shared, own := write("shared", "secret", time.Hour), write("own", "secret", time.Hour)
	w := newSecretWatcher(&Server{ServerOptions: ServerOptions{Log: zap.NewNop()}, sessions: newSessions(NewState(), tokencache.Options{}, "", nil, 1)})
	defer w.end()
	for i := range many {
		path := shared
		if i == many-1 {
			path = own
		}
		a := &account.Account{Name: fmt.Sprint(i), Password: "{file." + path + "}"}
		a.Prepare(account.Env{Product: "vbr", Expand: expandFile})
		w.add(a)
	}
	seen := func() (n int) {
		for _, a := range w.turns {
			if a.last != nil {
				n++
			}
		}
		return n
	}
	for look := range cycle {
		w.look()
		if want := min(many, (look+1)*WatchAtOnce); seen() != want {
			t.Fatalf("%d accounts were looked at in %d checks, want %d", seen(), look+1, want)
		}
	}
	w.look()
	if len(w.soon) > 0 {
		t.Errorf("%d accounts are looked at out of turn, though no file has changed", len(w.soon))
	}

	last := w.turns[many-1]
	before := last.sighted
	write("own", "another", time.Minute)
	for range cycle {
		w.look()
	}
	if last.sighted == before {
		t.Errorf("a changed file was not noticed in %d checks", cycle)
	}
	for range 2 { // also if its turn came last
		w.look()
	}
	if !last.settled {
		t.Error("a changed file was not looked at again")
	}

	write("own", "a third one", 0)
	for range cycle {
		w.look()
	}
	if !last.soon {
		t.Error("a file that was changed a moment ago is not looked at out of turn")
	}
	sighted := last.sighted
	write("own", "the fourth", 0)
	if w.look(); last.sighted == sighted {
		t.Error("a file that changes again was not noticed at once")
	}
}
