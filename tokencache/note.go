// A note: what the book has of one session at a server.

package tokencache

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/internal/store"
)

// About is which session a note is about.
type About struct {
	Product string `json:"product"`
	Origin  string `json:"origin"`
	Account string `json:"account"`

	// User is the user to log in as. Default: that of the account.
	User string `json:"user,omitempty"`

	// Own reports whether the account was configured by name; otherwise the user came with a
	// request.
	Own bool `json:"own,omitempty"`

	// Version is the API version in which the session was opened. Default: the product's.
	Version string `json:"version,omitempty"`
}

// About implements Subject.
func (a About) About() About { return a }

// Subject says what a note is about, when the note is written.
type Subject interface{ About() About }

// noted is the value of a note in the store, sealed.
type noted struct {
	About

	// Began is since when a request is under way that may open the session, or change its
	// tokens. Zero if there is none.
	Began time.Time `json:"began,omitzero"`

	// Token has the tokens of the session, nil before it is open.
	Token *sharedToken `json:"token,omitempty"`

	// Until is when the session has ended by itself at the latest.
	Until time.Time `json:"until"`
}

// Left is a session that another process has left behind, or may have.
type Left struct {
	About

	// Began is not zero if the process has ended while a request was under way that may have
	// opened a session, or changed its tokens: what the server has answered is not known.
	Began time.Time

	// Token has the last known tokens, nil if there are none. It may be expired.
	Token *Token

	// Until is when the session has ended by itself at the latest.
	Until time.Time

	// Note is struck out when the session has been taken care of.
	Note *Note
}

// Note is what the book has of one session. It never makes a login fail: what the store
// does not take is tried again every BeatEvery. The methods of a nil Note do nothing.
type Note struct {
	book *Book
	in   *volume // nil for the own one
	of   Subject
	id   string

	turn bounded.Turn // there is no lock for the time in which a store does not answer

	// Of who has the turn:
	wanted *noted // what the store has not taken, nil if the note is struck out
	due    bool
	stored bool // the store may have it
}

// Begin notes that a request is about to be sent that may open a session, which ends by
// itself after longest. It returns nil before the first Run.
func (b *Book) Begin(ctx context.Context, of Subject, longest time.Duration) *Note {
	b.mu.Lock()
	began := b.began
	b.mu.Unlock()
	if !began {
		return nil
	}
	n := &Note{book: b, of: of, id: rand.Text()}
	now := time.Now().Round(0)
	n.write(ctx, &noted{About: of.About(), Began: now, Until: now.Add(longest)})
	return n
}

// Asking notes that a request is about to be sent that may change the tokens of the session
// of tok.
func (n *Note) Asking(ctx context.Context, tok *Token, longest time.Duration) {
	if n == nil {
		return
	}
	now := time.Now().Round(0)
	n.write(ctx, &noted{About: n.of.About(), Began: now, Token: share(tok, 0), Until: now.Add(longest)})
}

// Keep notes the tokens of the session. It returns before anybody uses them.
func (n *Note) Keep(ctx context.Context, tok *Token, longest time.Duration) {
	if n == nil {
		return
	}
	n.write(ctx, &noted{About: n.of.About(), Token: share(tok, 0), Until: time.Now().Round(0).Add(longest)})
}

// Strike strikes the session out, because it has ended or was not opened.
func (n *Note) Strike(ctx context.Context) {
	if n != nil {
		n.write(ctx, nil)
	}
}

// write has the store take what is wanted, nil for nothing, in bounded time.
func (n *Note) write(ctx context.Context, wanted *noted) {
	ctx = context.WithoutCancel(ctx)
	_ = n.turn.Take(ctx) // it does not end
	defer n.turn.End()
	n.wanted, n.due = wanted, true
	n.sync(ctx)
}

// again tries again, and reports whether the store takes anything.
func (n *Note) again(ctx context.Context) bool {
	if n.turn.Take(ctx) != nil {
		return false
	}
	defer n.turn.End()
	if n.due {
		n.sync(ctx)
	}
	return !n.due
}

// sync stores what is due. It is the caller's turn.
func (n *Note) sync(ctx context.Context) {
	err := error(nil)
	switch {
	case n.wanted != nil:
		err = n.store(ctx)
	case n.stored:
		err = n.remove(ctx)
	}
	if err == nil {
		n.wanted, n.due = nil, false
	}
	b := n.book
	b.mu.Lock()
	defer b.mu.Unlock()
	if n.due {
		b.due[n] = true
	} else {
		delete(b.due, n)
	}
}

func (n *Note) store(ctx context.Context) error {
	if !n.stored {
		n.stored = true // also if the store does not answer
		n.count(1)
	}
	ready := n.book.ready
	if n.in != nil { // it has its owner
		ready = func(context.Context) (*store.Attachment, error) { return n.book.store.Storage() }
	}
	to, err := ready(ctx)
	if err != nil {
		return err
	}
	in, err := n.volume()
	if err != nil {
		return err
	}
	at := in.recordKey(in.folder() + "/" + n.id)
	value, err := at.Seal(n.wanted)
	if err != nil {
		return err
	}
	return n.book.store.Put(ctx, to, at.Key, value)
}

func (n *Note) remove(ctx context.Context) error {
	in, err := n.volume()
	if err != nil {
		return err
	}
	to, err := n.book.store.Storage()
	if err == nil {
		err = n.book.store.Remove(ctx, to, in.folder()+"/"+n.id)
	}
	if err != nil {
		return err
	}
	n.stored = false
	if n.count(-1) {
		n.book.closeIfEmpty(ctx)
	}
	return nil
}

// count counts the notes of this process.
func (n *Note) count(more int) (last bool) { return n.in == nil && n.book.counted(more) }

// volume is where the note lies.
func (n *Note) volume() (*volume, error) {
	if n.in != nil {
		return n.in, nil
	}
	return n.book.volume()
}
