// Secrets in files that are being written.

package upstream

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// rewritten is a file that is written anew, with a time of its own, each time.
type rewritten struct {
	t    *testing.T
	path string
	n    int
}

func (r *rewritten) write(text string) {
	r.t.Helper()
	r.n++
	at := time.Now().Add(time.Duration(r.n)*time.Minute - time.Hour)
	if err := os.WriteFile(r.path, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Chtimes(r.path, at, at); err != nil {
		r.t.Fatal(err)
	}
}

func rewriting(t *testing.T) (*rewritten, *account.Account) {
	t.Helper()
	file := &rewritten{t: t, path: filepath.Join(t.TempDir(), "password")}
	a := &account.Account{Name: "svc", Username: "svc", Password: "{file." + file.path + "}"}
	a.Prepare(account.Env{Product: "vbr", Expand: expandFile})
	return file, a
}

// Each reading finds the first half of the same secret, because the file is written anew
// before each.
func TestASecretIsStableOnlyInAFileThatIsNotWrittenMeanwhile(t *testing.T) {
	t.Parallel()
	file, a := rewriting(t)
	var d debounce
	began := time.Now()
	for i, step := range []struct {
		write string // empty: the file is as before
		want  bool
	}{{"half", false}, {"half", false}, {"half", false}, {"whole", false}, {"", true}, {"half", false}, {"", true}} {
		if step.write != "" {
			file.write(step.write)
		}
		found, err := a.Resolve()
		if err != nil {
			t.Fatal(err)
		}
		reading := &account.Reading{Began: began.Add(time.Duration(i) * SettleFor), Value: found}
		if got := d.takes(reading, "before"); got != step.want {
			t.Errorf("step %d: %v", i, got)
		}
	}
}

func TestAWatchedSecretIsSeenOnceMoreInAFileThatIsWrittenAnew(t *testing.T) {
	t.Parallel()
	file, a := rewriting(t)
	w := newSecretWatcher(&Server{ServerOptions: ServerOptions{Log: zap.NewNop()}, sessions: newSessions(NewState(), tokencache.Options{}, "", nil, 1)})
	defer w.end()
	w.add(a)
	for i, step := range []struct {
		write string
		want  bool
	}{{"half", false}, {"half", false}, {"whole", false}, {"", true}, {"other", false}, {"other", false}, {"other", true}} {
		if step.write != "" {
			file.write(step.write)
		}
		w.look()
		if got := w.turns[0].settled; got != step.want {
			t.Errorf("look %d: %v", i, got)
		}
	}
}
