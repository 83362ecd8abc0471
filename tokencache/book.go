// The book: what this process has opened at servers and not ended yet, in the store. The
// next process reads there what this one has left behind when it was killed.

package tokencache

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/internal/store"
)

const (
	// BookFolder has a folder for each process that has sessions open, with an owner and a
	// note for each session.
	BookFolder = store.Folder + "/open_sessions"

	ownerName = "owner"

	// BeatEvery is how often a process gives a sign of life, and looks for what others have
	// left behind.
	BeatEvery = 20 * time.Second

	// AbandonedAfter is after which time without a sign of life a process counts as ended, by
	// the clock of the one that looks. It is at once where the kernel knows.
	AbandonedAfter = 6 * BeatEvery

	listFor = 30 * time.Second // one list, which may have a name for each of many accounts
)

// Book has the sessions of this process that are open at servers. It requires a store that
// lists its keys. A Shared has one. A note has one writer, so no lock of the store is
// taken.
type Book struct {
	shared *Shared
	turn   chan struct{} // of who writes or removes the owner

	mu     sync.Mutex
	own    *volume // nil before the first note
	began  bool
	opened int // how often, without an end of Run
	beat   uint64
	at     *store.Attachment // that has the owner
	stored int               // notes that the store may have
	due    map[*Note]bool    // notes that the store has not taken
}

// volume is the part of the book that one process has written.
type volume struct {
	instance string
	keys     *Keyset // seals its notes
}

// owner is the record of a process in its folder. Where there is no cache its key is the
// one of the notes: see docs/cache.md.
type owner struct {
	Process string `json:"process,omitempty"` // see SharedOptions.Process
	Holder  string `json:"holder,omitempty"`
	Beat    uint64 `json:"beat"`
	Keys    string `json:"keys"`
}

// sign is when another process has changed its owner record last, by the local clock.
type sign struct {
	text  string
	since time.Time

	// What is kept of what it has left behind is looked at after wait, from again on.
	again time.Time
	wait  time.Duration
}

// mostWait is the most of sign.wait.
const mostWait = 15 * BeatEvery

// Book returns the book of this process in the store of s.
func (s *Shared) Book() *Book {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.book == nil {
		s.book = &Book{shared: s, turn: make(chan struct{}, 1), due: make(map[*Note]bool)}
	}
	return s.book
}

func (v *volume) folder() string { return BookFolder + "/" + v.instance }

// Open has notes written from now on. Call Run after it.
func (b *Book) Open() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.began = true
	b.opened++
}

// Run gives signs of life and stores what the store has not taken, until ctx ends. It calls
// left for each session that another process has left behind, again every BeatEvery until
// left returns true. A book has one Run at a time.
func (b *Book) Run(ctx context.Context, left func(context.Context, *Left) (done bool)) {
	var wg sync.WaitGroup
	wg.Go(func() {
		seen := b.look(ctx, nil, left)
		every(ctx, func() { seen = b.look(ctx, seen, left) })
	})
	every(ctx, func() { b.live(ctx) })
	wg.Wait()
	b.mu.Lock()
	b.opened--
	b.mu.Unlock()
	b.closeIfEmpty(context.WithoutCancel(ctx))
}

// every calls do again and again, BeatEvery after the last call has ended.
func every(ctx context.Context, do func()) {
	for {
		timer := time.NewTimer(BeatEvery)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
			do()
		}
	}
}

// live gives a sign of life and stores what is due.
func (b *Book) live(ctx context.Context) {
	b.mu.Lock()
	at := b.at
	due := make([]*Note, 0, len(b.due))
	for n := range b.due {
		due = append(due, n)
	}
	b.mu.Unlock()
	if to, err := b.shared.last(); at != nil && err == nil {
		b.turn <- struct{}{}
		_ = b.sign(ctx, to)
		<-b.turn
	}
	for _, n := range due {
		if ctx.Err() != nil || !n.again(ctx) {
			return
		}
	}
}

// ready returns the store when it has the owner of the notes.
func (b *Book) ready(ctx context.Context) (*store.Attachment, error) {
	to, err := b.shared.last()
	if err != nil || b.signed(to) {
		return to, err
	}
	b.turn <- struct{}{}
	defer func() { <-b.turn }()
	to, err = b.shared.last() // it may have failed while this one waited
	if err != nil || b.signed(to) {
		return to, err
	}
	return to, b.sign(ctx, to)
}

func (b *Book) signed(to *store.Attachment) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.at == to
}

// volume is the own part of the book.
func (b *Book) volume() (*volume, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.own == nil {
		keys, err := NewKeyset()
		if err != nil {
			return nil, err
		}
		b.own = &volume{rand.Text(), keys}
	}
	return b.own, nil
}

// sign writes the owner. It is the caller's turn.
func (b *Book) sign(ctx context.Context, to *store.Attachment) error {
	own, err := b.volume()
	if err != nil {
		return err
	}
	text, err := own.keys.Text()
	if err != nil {
		return err
	}
	at, err := b.shared.ownerOf(own.instance)
	if err != nil {
		return err
	}
	b.beat++
	options := &b.shared.options
	sealed, err := at.seal(owner{options.Process, options.Holder, b.beat, text})
	if err != nil {
		return err
	}
	if err := b.shared.put(ctx, to, at.key, sealed); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at = to
	return nil
}

// ownerOf is where the owner of an instance lies.
func (s *Shared) ownerOf(instance string) (place, error) {
	sealer, err := s.options.Keys()
	if err != nil {
		return place{}, s.keyless(err)
	}
	return place{BookFolder + "/" + instance + "/" + ownerName, associated("owner", instance), sealer}, nil
}

// put stores a value that has one writer.
func (s *Shared) put(ctx context.Context, to *store.Attachment, key string, value []byte) error {
	_, err := exchange(ctx, func(ctx context.Context) (any, error) { return nil, to.Store(ctx, key, value) })
	if err != nil {
		return s.failed(ctx, to, fmt.Errorf("storing: %w", err))
	}
	s.worked()
	return nil
}

// remove removes a value that may not be there.
func (s *Shared) remove(ctx context.Context, to *store.Attachment, key string) error {
	_, err := exchange(ctx, func(ctx context.Context) (any, error) { return nil, to.Delete(ctx, key) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.failed(ctx, to, fmt.Errorf("deleting: %w", err))
	}
	return nil // which does not tell that it can be written to
}

// list lists a folder, which need not exist.
func list(ctx context.Context, to *store.Attachment, folder string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, listFor)
	defer cancel()
	keys, err := bounded.Call(ctx, func(ctx context.Context) ([]string, error) { return to.List(ctx, folder) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return keys, err
}

// counted records that the store may have one note more, or has one less.
func (b *Book) counted(more int) (last bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stored += more
	return b.stored == 0
}

// closeIfEmpty removes the owner of a book that nobody runs and that has no notes.
func (b *Book) closeIfEmpty(ctx context.Context) {
	b.turn <- struct{}{}
	defer func() { <-b.turn }()
	b.mu.Lock()
	own, empty := b.own, b.at != nil && b.stored == 0 && b.opened == 0
	if empty {
		b.at = nil
	}
	b.mu.Unlock()
	if to, err := b.shared.last(); empty && err == nil {
		b.shared.removeVolume(ctx, to, own)
	}
}

// removeVolume removes the owner of a volume without notes, and its folder, which is there
// in a file system only.
func (s *Shared) removeVolume(ctx context.Context, to *store.Attachment, v *volume) {
	if s.remove(ctx, to, v.folder()+"/"+ownerName) != nil {
		return
	}
	if keys, err := list(ctx, to, v.folder()); err == nil && len(keys) == 0 {
		_ = s.remove(ctx, to, v.folder())
	}
}

// Hold keeps the store attached until release is called, also if its configuration is
// unloaded meanwhile: what is ended then is to be struck out.
func (b *Book) Hold() (release func()) {
	b.shared.mu.Lock()
	defer b.shared.mu.Unlock()
	if last := b.shared.stores.Last(); last != nil {
		return last.Hold()
	}
	return func() {}
}

// look takes over what processes have left behind that have ended. seen is what it has seen
// of others so far, nil at first.
func (b *Book) look(ctx context.Context, seen map[string]*sign, left func(context.Context, *Left) bool) map[string]*sign {
	to, err := b.shared.last()
	if err != nil {
		return seen
	}
	folders, err := list(ctx, to, BookFolder)
	if err != nil {
		return seen // of a fault others tell
	}
	now := make(map[string]*sign, len(folders))
	for _, folder := range folders {
		v := &volume{instance: path.Base(folder)}
		if b.isOwn(v) {
			continue
		}
		text, err := exchange(ctx, func(ctx context.Context) ([]byte, error) { return to.Load(ctx, folder+"/"+ownerName) })
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return seen
		}
		found := seen[v.instance]
		if found == nil || found.text != string(text) {
			found = &sign{text: string(text), since: time.Now()}
		}
		now[v.instance] = found
		var by owner
		if len(text) > 0 {
			at, err := b.shared.ownerOf(v.instance)
			if err != nil {
				return seen
			}
			if at.open(text, &by) != nil {
				if seen == nil {
					b.shared.removeOld(ctx, to, folder)
				}
				continue // a process with another key takes care of it
			}
		}
		ended := by.Process != "" && b.shared.options.Ended(by.Process) || time.Since(found.since) >= AbandonedAfter
		if v.keys, _ = ReadKeyset(by.Keys); ended && !time.Now().Before(found.again) && !b.takeOver(ctx, to, v, left) {
			found.wait = min(max(2*found.wait, BeatEvery), mostWait)
			found.again = time.Now().Add(found.wait - time.Second) // a tick may come early
		}
	}
	return now
}

func (b *Book) isOwn(v *volume) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.own != nil && b.own.instance == v.instance
}

// takeOver hands over the notes of a process that has ended, and reports whether nothing
// is left of them.
func (b *Book) takeOver(ctx context.Context, to *store.Attachment, v *volume, left func(context.Context, *Left) bool) (done bool) {
	keys, err := list(ctx, to, v.folder())
	if err != nil {
		return false
	}
	unreadable, kept := 0, 0
	for _, key := range keys {
		if path.Base(key) == ownerName {
			continue
		}
		l, err := b.leftAt(ctx, to, v, key)
		switch {
		case err != nil || ctx.Err() != nil:
			return false
		case l == nil:
			unreadable++
			_ = b.shared.remove(ctx, to, key)
		case left(ctx, l):
			l.Note.Strike(ctx)
		default:
			kept++
		}
	}
	if unreadable > 0 {
		b.shared.options.Log(fmt.Sprintf("another process has left behind sessions whose records cannot be read (%d): those sessions expire", unreadable), errNotOpened)
	}
	if kept == 0 {
		b.shared.removeVolume(ctx, to, v)
	}
	return kept == 0
}

// leftAt reads a note, nil if it does not open.
func (b *Book) leftAt(ctx context.Context, to *store.Attachment, v *volume, key string) (*Left, error) {
	sealed, err := exchange(ctx, func(ctx context.Context) ([]byte, error) { return to.Load(ctx, key) })
	switch {
	case errors.Is(err, fs.ErrNotExist): // another process was faster
		return nil, nil //nolint:nilnil // there is nothing to read
	case err != nil:
		return nil, b.shared.failed(ctx, to, fmt.Errorf("loading: %w", err))
	case v.keys == nil:
		return nil, nil //nolint:nilnil // it does not open
	}
	var rec noted
	if err := v.place(key).open(sealed, &rec); err != nil {
		return nil, nil //nolint:nilnil,nilerr // it does not open
	}
	l := &Left{About: rec.About, Began: rec.Began, Until: rec.Until, Note: &Note{book: b, in: v, of: rec.About, id: path.Base(key), stored: true}}
	if rec.Token != nil {
		l.Token = rec.Token.token(time.Now(), Options{}.complete())
		l.Token.Note = l.Note
	}
	return l, nil
}

// place is where a note of the volume lies.
func (v *volume) place(key string) place {
	return place{key, associated("open session", v.instance), v.keys}
}
