// The ledger in the store, in segments, so that little is written and read when
// little has changed: what replicas tell each other, and the next start.

package issuer

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/caddy-veeam/veeam-auth/internal/store"
)

// IndexPath is the path of the records' index in the store. The index contains a mark
// for each record, which changes with the record. The lock of all records has the same
// name.
const IndexPath = "veeam_auth/tokens/index.json"

// RecordsPath returns the path of a caller's record in the store.
func RecordsPath(client string) string { return recordsPath(segmentOf(client)) }

func recordsPath(n int) string { return fmt.Sprintf("veeam_auth/tokens/%02d.json", n) }

// index are the marks of the segments, empty for those that nobody has written.
type index [segments]string

// watcher keeps a ledger and the store in step.
type watcher struct {
	store  Store
	ledger *ledger
	seen   index
	text   []byte // of the index as it was read last
}

// Watch synchronizes revocations, logouts, renewals and the use of sessions with other
// replicas until ctx ends. failed is called once for each period in which the store fails.
func (i *Issuer) Watch(ctx context.Context, failed func(error)) {
	w := &watcher{store: i.keys.store, ledger: &i.ledger}
	var others sync.WaitGroup
	others.Go(func() { i.saveSessions(ctx) })
	defer others.Wait()
	store.Look(ctx, w.look, failed)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), store.LastFor)
	defer cancel()
	_ = w.publish(last, i.ledger.unpublished())
}

// look brings what the store does not have, and reads what has changed in it.
func (w *watcher) look(ctx context.Context) error {
	if own := w.ledger.unpublished(); len(own) > 0 {
		if err := w.publish(ctx, own); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, storeFor)
	defer cancel()
	text, changed, err := store.Changed(ctx, w.store, IndexPath, w.text)
	if !changed {
		return err
	}
	marks, err := readIndex(text)
	if err != nil {
		return err
	}
	for n, mark := range marks {
		if mark == w.seen[n] {
			continue
		}
		now, err := loadSegment(ctx, w.store, n)
		if err != nil {
			return err
		}
		w.ledger.published(n, now, nil)
		w.seen[n] = mark
	}
	w.text = text
	return nil
}

// publish brings segments to the store. Those that were brought before a fault do
// not need it again.
func (w *watcher) publish(ctx context.Context, own map[int]*segment) error {
	if len(own) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeFor)
	defer cancel()
	lock, err := store.Lock(ctx, w.store, IndexPath, nil)
	if err != nil {
		return fmt.Errorf("locking %s: %w", IndexPath, err)
	}
	defer lock.Unlock(ctx)
	text, err := store.LoadIfAny(ctx, w.store, IndexPath)
	if err != nil {
		return err
	}
	marks, err := readIndex(text)
	if err != nil {
		return err
	}
	done := make(map[int]*segment, len(own))
	for n, mine := range own {
		var now *segment
		if now, err = w.bring(ctx, n, mine, lock); err != nil {
			break
		}
		done[n], marks[n] = now, store.Mark()
	}
	if len(done) == 0 {
		return err
	}
	// What was stored and is not in the index is stored once more.
	text, textErr := json.Marshal(marks)
	if textErr == nil {
		textErr = lock.Store(ctx, IndexPath, text)
	}
	if textErr != nil {
		return textErr
	}
	for n, now := range done {
		w.ledger.published(n, now, own[n])
		w.seen[n] = marks[n]
	}
	return err
}

// bring adds to what lies in the store.
func (w *watcher) bring(ctx context.Context, n int, own *segment, lock *store.Held) (*segment, error) {
	now, err := loadSegment(ctx, w.store, n)
	if err != nil {
		return nil, err
	}
	now.absorb(own)
	now.tidy(w.ledger.now(), w.ledger.limits)
	text, err := json.Marshal(now)
	if err != nil {
		return nil, err
	}
	return now, lock.Store(ctx, recordsPath(n), text)
}

// catchUp reads what has happened before this process has begun, without which no
// token is judged.
func (i *Issuer) catchUp(ctx context.Context) error {
	for n := range segments {
		now, err := loadSegment(ctx, i.keys.store, n)
		if err != nil {
			return err
		}
		i.ledger.caughtUp(n, now)
	}
	return nil
}

// caughtUp takes over what was read of the store, unless Watch has read more.
func (l *ledger) caughtUp(n int, now *segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stored[n].empty() {
		l.stored[n] = *now
		l.changed.Add(1)
	}
}

func loadSegment(ctx context.Context, from Store, n int) (*segment, error) {
	text, err := store.LoadIfAny(ctx, from, recordsPath(n))
	if err != nil {
		return nil, err
	}
	s, err := readSegment(text)
	if err != nil {
		return nil, fmt.Errorf("%s is corrupt: remove it, and revoke the tokens of its callers again: %w", recordsPath(n), err)
	}
	return s, nil
}

// readSegment reads what lies in the store, nil for nothing.
func readSegment(text []byte) (*segment, error) {
	s := new(segment)
	if text == nil {
		return s, nil
	}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, err
	}
	for client, sh := range s.Callers {
		if sh == nil {
			return nil, fmt.Errorf("unknown caller %q", client)
		}
	}
	return s, nil
}

func readIndex(text []byte) (marks index, err error) {
	if text == nil {
		return marks, nil
	}
	var list []string
	if err := json.Unmarshal(text, &list); err != nil || len(list) != segments {
		return marks, fmt.Errorf("%s is corrupt: remove it", IndexPath)
	}
	return index(list), nil
}

// Revoke revokes all tokens that a caller got so far, in this process immediately and
// at other replicas within a second if Watch runs there. client is the caller's
// identity. An error reports that it could not be stored; it applies here nevertheless.
func (i *Issuer) Revoke(ctx context.Context, client string) error {
	i.ledger.revoke(client)
	n := segmentOf(client)
	own := i.ledger.unpublished()[n]
	if own == nil {
		return nil // Watch was faster
	}
	w := &watcher{store: i.keys.store, ledger: &i.ledger}
	return w.publish(ctx, map[int]*segment{n: own})
}
