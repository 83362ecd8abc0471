// What is written down of sessions, so that a process which is killed leaves none that
// nobody knows.

package upstream

import (
	"cmp"
	"context"
	"sync"

	"github.com/caddy-veeam/veeam-auth/internal/process"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// NewTries returns what keeps the tries and the open sessions of transports without a cache.
// log is called when the storage fails, and with a nil error when it works again.
func NewTries(log func(message string, err error)) *sealed.Store {
	return sealed.New(sealed.Options{
		Away:        "the storage does not work: failed logins are counted in memory only, and a restart forgets them; open sessions are not recorded",
		Back:        "the storage works again: failed logins are remembered over a restart, and open sessions recorded",
		ProbeWrites: true, Keys: func() (sealed.Sealer, error) { return PlainSealer{}, nil }, Log: log,
		Holder: processName(), Process: process.ID(), Ended: process.Ended,
	})
}

// About implements tokencache.Subject.
func (s *Session) About() tokencache.About {
	about := tokencache.About{Product: s.key.product, Origin: s.key.origin, Account: s.key.account, Own: s.key.user == ""}
	if a := s.access.Load(); a != nil {
		about.User, about.Version = a.candidate.credentials.Account.Username, cmp.Or(a.source.server.APIVersion, a.source.FoundVersion())
	}
	return about
}

// begin notes that a request is about to be sent that may open a session. It returns nil
// where nothing is to be noted: an API key is no session, and what is in a cache the next
// process finds there.
func (g *granter) begin(ctx context.Context) *tokencache.Note {
	s := g.candidate.session
	options := s.Options()
	if g.source.server.NoRecords || g.source.account.GrantType() == veeam.GrantAPIKey || options.Shared != nil && !options.HoldOnly {
		return nil
	}
	return g.source.server.book().Begin(ctx, s, g.longest())
}

// asking notes that a renewal of prev is about to be sent.
func (g *granter) asking(ctx context.Context, prev *tokencache.Token) *tokencache.Note {
	switch {
	case prev.Note == nil:
		return g.begin(ctx)
	case !g.source.server.Product.Idling(): // otherwise the tokens stay the same
		prev.Note.Asking(ctx, prev, g.longest())
	}
	return prev.Note
}

// book is where the sessions of the server are noted.
func (s *Server) book() *tokencache.Book {
	t := &s.State.books
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.of(s.Tries).book
}

// bookTable has the books of the process, by the stores that they are in, and what runs them.
type bookTable struct {
	mu    sync.Mutex
	books map[*sealed.Store]*bookRun
}

// of returns the run of the book in a store. t.mu is held.
func (t *bookTable) of(in *sealed.Store) *bookRun {
	run := t.books[in]
	if run == nil {
		run = &bookRun{book: tokencache.NewBook(in), servers: make(map[*Server]bool)}
		if t.books == nil {
			t.books = make(map[*sealed.Store]*bookRun)
		}
		t.books[in] = run
	}
	return run
}

// bookRun is the run of a book, as long as a server in force uses it.
type bookRun struct {
	book    *tokencache.Book
	servers map[*Server]bool
	stop    context.CancelFunc
}

// begin runs the book of a server in force.
func (t *bookTable) begin(s *Server) {
	t.mu.Lock()
	defer t.mu.Unlock()
	run := t.of(s.Tries)
	if run.servers[s] = true; len(run.servers) > 1 {
		return
	}
	var ctx context.Context
	ctx, run.stop = context.WithCancel(context.Background())
	run.book.Open()
	release, leftovers := run.book.Hold(), newLeftovers(s.State)
	s.State.logouts.Go(func() {
		defer release()
		run.book.Run(ctx, leftovers.end)
	})
}

// end is told that a server is not in force any more.
func (t *bookTable) end(s *Server) {
	t.mu.Lock()
	defer t.mu.Unlock()
	run := t.books[s.Tries]
	if run == nil || !run.servers[s] {
		return
	}
	if delete(run.servers, s); len(run.servers) == 0 {
		run.stop()
	}
}

// hold keeps the stores of the books attached until release is called.
func (t *bookTable) hold() (release func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	releases := make([]func(), 0, len(t.books))
	for _, run := range t.books {
		releases = append(releases, run.book.Hold())
	}
	return func() {
		for _, release := range releases {
			release()
		}
	}
}
