// Watching the files that hold secrets: a changed one is noticed also while a
// token is valid.

package upstream

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

const (
	// WatchEvery is the time between two checks of the files of secrets. They are polled,
	// because network file systems send no notifications, and none tells of a link
	// further up in the path that is replaced, as Kubernetes does.
	WatchEvery = 500 * time.Millisecond

	// WatchAtOnce is how many accounts are looked at in a check, besides those whose files
	// are changing. More accounts take turns, so that watching never takes more than a few
	// percent of a processor: 100,000 accounts are looked at once in 25 s.
	WatchAtOnce = 2000

	// racyFor is how long after its last change a file is read at each look: what
	// is written within the precision of file times leaves them as they are.
	racyFor = 2 * time.Second

	// AbsentLooks is how many checks in a row must fail to read a file before its
	// account counts as one whose secret cannot be read.
	AbsentLooks = 4

	// changingLooks is how often a changed secret must be seen again in a file that is
	// written anew each time.
	changingLooks = 2
)

// secretWatcher looks at the secret files of one transport, in one goroutine that runs
// while an account with files has a token: without one the files are read for the
// next request. A file system that hangs stops the watching and nothing else.
type secretWatcher struct {
	server  *Server
	ctx     context.Context // ends with the transport
	cancel  context.CancelFunc
	waiting atomic.Bool // a source has a secret that is not in use

	mu       sync.Mutex
	running  bool
	accounts map[*account.Account]*watchedAccount
	turns    []*watchedAccount // the same accounts, in the order of their turns

	// For the goroutine that looks.
	turn int               // whose turn is next
	soon []*watchedAccount // those that are looked at in the next check in any case
}

// watchedAccount is an account whose secrets are in files.
type watchedAccount struct {
	account *account.Account
	files   []string
	last    map[string]secret.FileVersion // as they were when they were read last
	sighted string                        // the secrets of the look before
	sights  int                           // looks in a row at which they were there, in files that change
	settled bool
	failed  int  // looks in a row at which the secrets could not be used
	absent  int  // looks in a row at which a file could not be read
	fresh   bool // a file was changed a moment ago
	soon    bool // it is in secretWatcher.soon
}

func newSecretWatcher(s *Server) *secretWatcher {
	w := &secretWatcher{server: s, accounts: make(map[*account.Account]*watchedAccount)}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

func (w *secretWatcher) end() { w.cancel() }

// add has the files of an account watched, if it has any, while it has a token.
func (w *secretWatcher) add(a *account.Account) {
	files := a.Files()
	if len(files) == 0 {
		return
	}
	w.mu.Lock()
	if w.accounts[a] == nil {
		w.accounts[a] = &watchedAccount{account: a, files: files}
		w.turns = append(w.turns, w.accounts[a])
	}
	w.mu.Unlock()
}

// await has sources asked at each look whether what they wait for has come.
func (w *secretWatcher) await() {
	w.waiting.Store(true)
	w.start()
}

// start is told that there is something to watch for.
func (w *secretWatcher) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.running && w.ctx.Err() == nil && (len(w.accounts) > 0 || w.waiting.Load()) {
		w.running = true
		go w.run()
	}
}

func (w *secretWatcher) run() {
	ticker := time.NewTicker(WatchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-w.ctx.Done():
			return
		case <-ticker.C:
		}
		if w.idle() {
			return
		}
		w.look()
		// Two looks tell that a file is not being written only if there is time between
		// them. After a look that took long the next tick is due at once.
		ticker.Reset(WatchEvery)
	}
}

// idle ends the watching if there is nothing to watch for. Whoever gets a token
// after this look starts it again.
func (w *secretWatcher) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	needed := w.waiting.Load()
	for s := range w.server.sessions.sources.all() {
		if needed {
			break
		}
		if w.accounts[s.account] != nil {
			current := s.rotation.current.Load()
			needed = current != nil && current.usable()
		}
	}
	w.running = needed
	return !needed
}

func (w *secretWatcher) look() {
	files := make(map[string]secret.FileVersion)
	for _, a := range w.due() {
		if found := w.lookAt(a, files); found != nil {
			for s := range w.server.sessions.sources.of(a.account.Name) {
				s.changed(found)
			}
		}
		if a.soon = a.changing() && len(w.soon) < WatchAtOnce; a.soon {
			w.soon = append(w.soon, a)
		}
	}
	if w.waiting.Swap(false) {
		for s := range w.server.sessions.sources.all() {
			s.rotation.goOn()
		}
	}
}

// due returns the accounts to look at now.
func (w *secretWatcher) due() []*watchedAccount {
	w.mu.Lock()
	turns := w.turns
	w.mu.Unlock()
	due := w.soon
	w.soon = nil
	for range min(len(turns), WatchAtOnce) {
		a := turns[w.turn%len(turns)]
		w.turn = (w.turn + 1) % len(turns)
		if !a.soon {
			due = append(due, a)
		}
	}
	return due
}

// changing reports whether the next look at the account may find something else.
func (a *watchedAccount) changing() bool {
	return a.fresh || (!a.settled || a.absent > 0) && a.absent < AbsentLooks
}

// lookAt returns the account's secrets if one of its files has changed since they
// were told last, and they were the same at two looks. files are those that were
// looked at already.
func (w *secretWatcher) lookAt(a *watchedAccount, files map[string]secret.FileVersion) *account.Secrets {
	now, dirty := time.Now(), !a.settled
	a.fresh = false
	found := make(map[string]secret.FileVersion, len(a.files))
	for _, path := range a.files {
		version, ok := files[path]
		if !ok {
			version = secret.Glimpse(path)
			files[path] = version
		}
		info := version.Info
		if info == nil || info.IsDir() || info.Size() == 0 {
			a.missed(&account.Error{Account: a.account.Name, Option: "in the file " + path, Err: errFile}, now)
			return nil // it is being replaced: the secrets so far go on
		}
		found[path] = version
		if !version.Same(a.last[path]) {
			dirty, a.failed = true, 0
		}
		a.fresh = a.fresh || now.Sub(info.ModTime()).Abs() < racyFor
	}
	dirty = dirty || a.fresh
	if !dirty && a.absent == 0 {
		return nil
	}
	changed := !maps.EqualFunc(a.last, found, secret.FileVersion.Same)
	a.settled, a.last = false, found
	resolved, err := a.account.Resolve()
	if _, unreadable := errors.AsType[syscall.Errno](err); unreadable {
		a.missed(err, now)
		return nil
	}
	a.absent = 0
	if err == nil || a.failed > 0 {
		a.account.Health().Took(err, now)
	}
	if err != nil {
		if a.failed++; a.failed == 2 {
			w.server.Log.Warn(w.unusable(a.account), zap.String("account", a.account.Name), zap.Error(err))
		}
		a.settled = a.failed > 1
		return nil
	}
	a.failed = 0
	if a.sighted != resolved.Fingerprint {
		a.sighted, a.sights = resolved.Fingerprint, 0
		return nil
	}
	if a.sights++; changed && a.sights < changingLooks {
		return nil // as it may be in the middle of each write
	}
	a.settled = true
	return resolved
}

var errFile = errors.New("it is missing, empty, or cannot be read")

// missed counts a look at which a file could not be read. After some of them it is
// not being replaced.
func (a *watchedAccount) missed(err error, now time.Time) {
	if a.absent++; a.absent == AbsentLooks {
		a.account.Health().Took(err, now)
	}
}

// unusable says what it means for an account that its files hold nothing that can
// be used.
func (w *secretWatcher) unusable(a *account.Account) string {
	said := "the secrets of the account cannot be used, and it has no session"
	for s := range w.server.sessions.sources.of(a.Name) {
		if current := s.rotation.current.Load(); current != nil && current.alive() {
			said = "changed secrets cannot be used, the previous ones stay in use"
		}
	}
	return said
}
