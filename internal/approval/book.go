// The approvals as they lie in the storage: one list under one lock, and a mark for each
// approval that was used, under a lock of its own.

package approval

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/store"
	"github.com/caddy-veeam/veeam-auth/internal/username"
	"github.com/caddy-veeam/veeam-auth/policy"
)

// Paths in the store. IndexPath is a mark that changes with the list; it is also the name
// of the list's lock. Below UsedFolder is a record for each approval that was used.
const (
	IndexPath  = "veeam_auth/approvals/index.json"
	ListPath   = "veeam_auth/approvals/list.json"
	UsedFolder = "veeam_auth/approvals/used/"
)

const (
	// rememberFor is how long an approval that has ended is listed.
	rememberFor = time.Hour

	// mostEnded bounds those that have ended.
	mostEnded = 200

	writeFor = 3 * time.Second

	// mostSkew is how far the clocks of processes may differ.
	mostSkew = time.Minute
)

// record is an approval as it lies in the store.
type record struct {
	State
	MAC       string        `json:"mac"`
	Wait      time.Duration `json:"wait"`       // how long a denial holds, in nanoseconds
	UseWithin time.Duration `json:"use_within"` // after the approval, in nanoseconds
	Told      bool          `json:"told,omitempty"`
}

// standing is the status at a time. What was asked or decided after that has expired, too:
// a clock that was put back would let it live on.
func (r *record) standing(now time.Time) Status {
	since := r.Asked
	switch r.Status {
	case Approved:
		since = r.Decided
		fallthrough
	case Waiting:
		if !now.Before(r.Expires) || now.Add(mostSkew).Before(since) {
			return Expired
		}
	}
	return r.Status
}

// speaks reports whether the approval says what becomes of its request: otherwise the
// request asks for another one.
func (r *record) speaks(now time.Time) bool {
	switch r.standing(now) {
	case Waiting, Approved:
		return true
	case Denied:
		return now.Before(r.Expires)
	case Expired:
		return !r.Told
	}
	return false
}

// end has the approval end with a status. Its body is not needed any more.
func (r *record) end(status Status) { r.Status, r.Body = status, "" }

// over is when an approval has ended that has.
func (r *record) over() time.Time {
	if r.Status == Used {
		return r.Used
	}
	return r.Expires
}

// book is the list.
type book struct {
	Salt      []byte    `json:"salt"` // of the macs
	Approvals []*record `json:"approvals"`
}

// of returns the last approval of a request, nil if there is none.
func (b *book) of(r *request) *record {
	if len(b.Approvals) == 0 {
		return nil
	}
	mac := r.mac(b.Salt)
	for _, rec := range slices.Backward(b.Approvals) {
		if rec.MAC == mac {
			return rec
		}
	}
	return nil
}

func (b *book) byID(id string) *record {
	for _, rec := range b.Approvals {
		if rec.ID == id {
			return rec
		}
	}
	return nil
}

// waiting counts the requests that wait: all, and those of a client.
func (b *book) waiting(client string, now time.Time) (all, own int) {
	client = counted(client)
	for _, rec := range b.Approvals {
		if rec.standing(now) == Waiting {
			all++
			if counted(rec.Client) == client {
				own++
			}
		}
	}
	return all, own
}

// counted is the name under which the requests of a client count: that of a user of the
// server is the same however the user has written it at the login.
func counted(client string) string {
	caller, err := policy.ParseIdentity(client)
	if err != nil || caller.Via != policy.ViaPassthrough {
		return client
	}
	return string(caller.Via) + ":" + username.Bare(caller.Name)
}

// tidy ends the approvals whose time is over, and forgets those that have ended long ago. It
// returns both.
func (b *book) tidy(now time.Time) (expired []State, forgotten []string) {
	ended := 0
	for _, rec := range b.Approvals {
		status := rec.standing(now)
		if status != rec.Status {
			expired = append(expired, rec.State)
			rec.end(status)
		}
		if status != Waiting && status != Approved {
			ended++
		}
	}
	b.Approvals = slices.DeleteFunc(b.Approvals, func(rec *record) bool {
		if rec.Status == Waiting || rec.Status == Approved || ended <= mostEnded && now.Before(rec.over().Add(rememberFor)) {
			return false
		}
		ended--
		forgotten = append(forgotten, rec.ID)
		return true
	})
	return expired, forgotten
}

// due reports whether tidy has something to do.
func (b *book) due(now time.Time) bool {
	return slices.ContainsFunc(b.Approvals, func(rec *record) bool { return rec.standing(now) != rec.Status })
}

// StorageError reports that the storage cannot be read or written, or is too slow.
type StorageError struct{ Err error }

// Error returns the reason.
func (e *StorageError) Error() string { return "approvals: " + e.Err.Error() }

// Unwrap returns the reason.
func (e *StorageError) Unwrap() error { return e.Err }

func load(ctx context.Context, from store.Store) (*book, error) {
	text, err := store.LoadIfAny(ctx, from, ListPath)
	b := new(book)
	if text == nil || err != nil {
		return b, err
	}
	corrupt := fmt.Errorf("%s is corrupt: remove it; requests that wait must be repeated, and approvals given again", ListPath)
	if err := json.Unmarshal(text, b); err != nil || len(b.Salt) == 0 {
		return nil, corrupt // the error could quote it
	}
	for _, rec := range b.Approvals {
		if rec == nil || rec.ID == "" || rec.MAC == "" {
			return nil, corrupt
		}
	}
	return b, nil
}

// errSame is returned by an act that changes nothing.
var errSame = errors.New("nothing has changed")

// change has the list changed under its lock and stored, the mark last, unless act returns
// an error or errSame.
func (a *Approvals) change(ctx context.Context, act func(*book, time.Time) error) error {
	// A change that was begun is completed, whoever has asked for it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), store.For)
	defer cancel()
	select { // the lock is one of processes: they look once a second whether it is free
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return &StorageError{ctx.Err()}
	}
	lock, err := store.Lock(ctx, a.store, IndexPath, nil)
	if err != nil {
		return &StorageError{fmt.Errorf("locking %s: %w", IndexPath, err)}
	}
	defer lock.Unlock(ctx)
	b, err := load(ctx, a.store)
	if err != nil {
		return &StorageError{err}
	}
	if len(b.Salt) == 0 {
		b.Salt = []byte(rand.Text())
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	expired, forgotten := b.tidy(now)
	err = act(b, now)
	if same := errors.Is(err, errSame); err != nil && !same || same && len(expired)+len(forgotten) == 0 {
		if same {
			return nil
		}
		return err
	}
	mark, err := save(ctx, b, lock)
	if err != nil {
		return &StorageError{err}
	}
	a.loaded.Store(&view{b, mark})
	for _, s := range expired {
		a.tell(Expired, s)
	}
	for _, id := range forgotten {
		_ = a.store.Delete(ctx, usedPath(id)) // few have one
	}
	return nil
}

func save(ctx context.Context, b *book, lock *store.Held) (mark []byte, err error) {
	text, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	if mark, err = json.Marshal(store.Mark()); err != nil {
		return nil, err
	}
	if err := lock.Store(ctx, ListPath, text); err != nil {
		return nil, err
	}
	return mark, lock.Store(ctx, IndexPath, mark)
}

func usedPath(id string) string { return UsedFolder + id + ".json" }

// use is the record of an approval that was used.
type use struct {
	By string    `json:"by"` // a random text: who has it is the one that has used it
	At time.Time `json:"at"`
}

// alone runs act while nobody else uses or denies the approval.
func (a *Approvals) alone(ctx context.Context, id string, act func(context.Context) error) error {
	name := usedPath(id)
	if err := store.LockOnly(ctx, a.store, name); err != nil {
		return &StorageError{fmt.Errorf("locking %s: %w", name, err)}
	}
	ctx = context.WithoutCancel(ctx) // only the wait for the lock can be given up
	defer store.Unlock(ctx, a.store, name)
	return act(ctx)
}

// spent returns who has used an approval, nil if nobody has.
func (a *Approvals) spent(ctx context.Context, id string) (*use, error) {
	text, err := store.LoadIfAny(ctx, a.store, usedPath(id))
	if text == nil || err != nil {
		return nil, err
	}
	u := new(use)
	_ = json.Unmarshal(text, u) // whatever is there, it was used
	return u, nil
}

// spend records that the approval is used, and by whom. since is when its lock was got.
func (a *Approvals) spend(ctx context.Context, id string, u *use, since time.Time) error {
	text, err := json.Marshal(u)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, writeFor)
	defer cancel()
	if err := store.StoreLocked(ctx, a.store, usedPath(id), text, since); err != nil {
		return err
	}
	// A process that was stopped meanwhile may have lost the lock.
	if time.Since(since) > store.Abandoned {
		return store.ErrSlow
	}
	return nil
}
