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

	"github.com/caddy-veeam/veeam-auth/internal/sealed"
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
)

// Book has the sessions of this process that are open at servers. It requires a store that
// lists its keys. A store has one. A note has one writer, so no lock of the store is
// taken.
type Book struct {
	store *sealed.Store
	turn  chan struct{} // of who writes or removes the owner

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
	keys     *sealed.Keyset // seals its notes
}

// owner is the record of a process in its folder. Where there is no cache its key is the
// one of the notes: see docs/cache.md.
type owner struct {
	Process string `json:"process,omitempty"` // see sealed.Options.Process
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

// NewBook returns the book of this process in a store. A store has one book.
func NewBook(in *sealed.Store) *Book {
	return &Book{store: in, turn: make(chan struct{}, 1), due: make(map[*Note]bool)}
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
	if to, err := b.store.Storage(); at != nil && err == nil {
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
	to, err := b.store.Storage()
	if err != nil || b.signed(to) {
		return to, err
	}
	b.turn <- struct{}{}
	defer func() { <-b.turn }()
	to, err = b.store.Storage() // it may have failed while this one waited
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
		keys, err := sealed.NewKeyset()
		if err != nil {
			return nil, err
		}
		b.own = &volume{rand.Text(), keys}
		b.store.Sweep(b.own.folder()) // of sessions whose end nobody has noticed
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
	at, err := b.ownerOf(own.instance)
	if err != nil {
		return err
	}
	b.beat++
	options := b.store.Options()
	value, err := at.Seal(owner{options.Process, options.Holder, b.beat, text})
	if err != nil {
		return err
	}
	if err := b.store.Put(ctx, to, at.Key, value); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at = to
	return nil
}

// ownerOf is where the owner of an instance lies.
func (b *Book) ownerOf(instance string) (sealed.RecordKey, error) {
	sealer, err := b.store.Sealer()
	if err != nil {
		return sealed.RecordKey{}, err
	}
	return sealed.RecordKey{Key: BookFolder + "/" + instance + "/" + ownerName, Bound: sealed.Join("owner", instance), Sealer: sealer}, nil
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
	if to, err := b.store.Storage(); empty && err == nil {
		b.removeVolume(ctx, to, own)
	}
}

// removeVolume removes the owner of a volume without notes, and its folder, which is there
// in a file system only.
func (b *Book) removeVolume(ctx context.Context, to *store.Attachment, v *volume) {
	if b.store.Remove(ctx, to, v.folder()+"/"+ownerName) != nil {
		return
	}
	if keys, err := sealed.List(ctx, to, v.folder()); err == nil && len(keys) == 0 {
		_ = b.store.Remove(ctx, to, v.folder())
	}
}

// Hold keeps the store attached until release is called, also if its configuration is
// unloaded meanwhile: what is ended then is to be struck out.
func (b *Book) Hold() (release func()) {
	return b.store.Hold()
}

// look takes over what processes have left behind that have ended. seen is what it has seen
// of others so far, nil at first.
func (b *Book) look(ctx context.Context, seen map[string]*sign, left func(context.Context, *Left) bool) map[string]*sign {
	to, err := b.store.Storage()
	if err != nil {
		return seen
	}
	folders, err := sealed.List(ctx, to, BookFolder)
	if err != nil {
		return seen // of a fault others tell
	}
	now := make(map[string]*sign, len(folders))
	for _, folder := range folders {
		v := &volume{instance: path.Base(folder)}
		if b.isOwn(v) {
			continue
		}
		text, err := sealed.Read(ctx, to, folder+"/"+ownerName)
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
			at, err := b.ownerOf(v.instance)
			if err != nil {
				return seen
			}
			if at.Open(text, &by) != nil {
				if seen == nil {
					sealed.RemoveOld(ctx, to, folder)
				}
				continue // a process with another key takes care of it
			}
		}
		ended := by.Process != "" && b.store.Options().Ended(by.Process) || time.Since(found.since) >= AbandonedAfter
		if v.keys, _ = sealed.ReadKeyset(by.Keys); ended && !time.Now().Before(found.again) && !b.takeOver(ctx, to, v, left) {
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
	keys, err := sealed.List(ctx, to, v.folder())
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
			_ = b.store.Remove(ctx, to, key)
		case left(ctx, l):
			l.Note.Strike(ctx)
		default:
			kept++
		}
	}
	if unreadable > 0 {
		b.store.Options().Log(fmt.Sprintf("another process has left behind sessions whose records cannot be read (%d): those sessions expire", unreadable), sealed.ErrNotOpened)
	}
	if kept == 0 {
		b.removeVolume(ctx, to, v)
	}
	return kept == 0
}

// leftAt reads a note, nil if it does not open.
func (b *Book) leftAt(ctx context.Context, to *store.Attachment, v *volume, key string) (*Left, error) {
	value, err := sealed.Read(ctx, to, key)
	switch {
	case errors.Is(err, fs.ErrNotExist): // another process was faster
		return nil, nil //nolint:nilnil // there is nothing to read
	case err != nil:
		return nil, b.store.Failed(ctx, to, fmt.Errorf("loading: %w", err))
	case v.keys == nil:
		return nil, nil //nolint:nilnil // it does not open
	}
	var rec noted
	if err := v.recordKey(key).Open(value, &rec); err != nil {
		return nil, nil //nolint:nilnil,nilerr // it does not open
	}
	l := &Left{About: rec.About, Began: rec.Began, Until: rec.Until, Note: &Note{book: b, in: v, of: rec.About, id: path.Base(key), stored: true}}
	if rec.Token != nil {
		l.Token = rec.Token.token(time.Now(), Options{}.complete())
		l.Token.Note = l.Note
	}
	return l, nil
}

// recordKey is where a note of the volume lies.
func (v *volume) recordKey(key string) sealed.RecordKey {
	return sealed.RecordKey{Key: key, Bound: sealed.Join("open session", v.instance), Sealer: v.keys}
}
