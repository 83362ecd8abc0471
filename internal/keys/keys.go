// The keys of a storage: finding, issuing, rotating and revoking them, in step with other
// processes.

package keys

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/caddy-veeam/veeam-auth/internal/store"
)

// Keys are the keys of one storage. All methods are safe for concurrent use.
type Keys struct {
	store  store.Store
	loaded atomic.Pointer[view] // nil until the first key is looked for
	flight singleflight.Group

	// Expiring is called for a key that expires within Warning, once in all processes. Set
	// it before Watch. Default: nobody is told.
	Expiring func(*Key)

	turn sync.Mutex // of who exchanges the keys with the store: an older state never replaces a newer one

	mu      sync.Mutex
	mark    []byte                   // of what was read last
	pending map[Hash]time.Time       // revoked here, and the store does not know it
	uses    map[string]*atomic.Int64 // by ID, over all views
	saved   time.Time                // when the uses were stored last
}

// view is what the store had when it was read last.
type view struct {
	byHash map[Hash]*Key
	byID   map[string]*Key
	all    []*Key
}

// Warning is how long before its end it is told that a key expires.
const Warning = 7 * 24 * time.Hour

// New returns the keys of a store, without accessing it.
func New(store store.Store) *Keys {
	return &Keys{store: store, pending: make(map[Hash]time.Time), uses: make(map[string]*atomic.Int64)}
}

// view returns what was read of the store, and reads it if that was not done yet.
func (k *Keys) view(ctx context.Context) (*view, error) {
	if v := k.loaded.Load(); v != nil {
		return v, nil
	}
	done := k.flight.DoChan("", func() (any, error) {
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), store.For)
		defer cancel()
		return nil, k.read(within)
	})
	select {
	case result := <-done:
		if result.Err != nil {
			return nil, result.Err
		}
		return k.loaded.Load(), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// UnreadableError reports that the keys could not be read.
type UnreadableError struct{ Err error }

// Error returns the reason.
func (e *UnreadableError) Error() string { return "keys: " + e.Err.Error() }

// Unwrap returns the reason.
func (e *UnreadableError) Unwrap() error { return e.Err }

// read reads the keys if their mark is another one than before.
func (k *Keys) read(ctx context.Context) error {
	k.turn.Lock()
	defer k.turn.Unlock()
	k.mu.Lock()
	before, first := k.mark, k.loaded.Load() == nil
	k.mu.Unlock()
	mark, changed, err := store.Changed(ctx, k.store, IndexPath, before)
	if err != nil {
		return &UnreadableError{err}
	}
	if !changed && !first {
		return nil
	}
	records, err := loadRecords(ctx, k.store)
	if err == nil {
		var used map[string]int64
		if used, err = loadUses(ctx, k.store); err == nil {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.absorb(used)
			err = k.take(records, mark)
		}
	}
	if err != nil {
		return &UnreadableError{err}
	}
	return nil
}

// take takes over what the store has. k.mu is held.
func (k *Keys) take(records []*record, mark []byte) error {
	v := &view{byHash: make(map[Hash]*Key, len(records)), byID: make(map[string]*Key, len(records))}
	for _, r := range records {
		key, err := r.key(k.use(r.Hash.ID()))
		if err != nil {
			return fmt.Errorf("%s: key %s: %w", KeysPath, r.Name, err)
		}
		if revoked, ok := k.pending[r.Hash]; ok && r.Revoked == 0 {
			key.Revoked = revoked
		}
		v.byHash[r.Hash], v.byID[key.ID] = key, key
		v.all = append(v.all, key)
	}
	maps.DeleteFunc(k.uses, func(id string, _ *atomic.Int64) bool { return v.byID[id] == nil })
	k.mark = mark
	k.loaded.Store(v)
	return nil
}

// use returns where the last use of a key is noted. k.mu is held.
func (k *Keys) use(id string) *atomic.Int64 {
	if k.uses[id] == nil {
		k.uses[id] = new(atomic.Int64)
	}
	return k.uses[id]
}

// change changes the keys in the store and here.
func (k *Keys) change(ctx context.Context, act func([]*record) ([]*record, error)) error {
	k.turn.Lock()
	defer k.turn.Unlock()
	records, mark, err := change(ctx, k.store, act)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range records {
		if r.Revoked != 0 {
			delete(k.pending, r.Hash)
		}
	}
	return k.take(records, mark)
}

// Find returns the key with a hash, nil if there is none. It may be expired or revoked:
// see Key.Check. The error is an *UnreadableError, or that of ctx.
func (k *Keys) Find(ctx context.Context, hash Hash) (*Key, error) {
	v, err := k.view(ctx)
	if err != nil {
		return nil, err
	}
	return v.byHash[hash], nil
}

// ByID is Find by the ID of a key.
func (k *Keys) ByID(ctx context.Context, id string) (*Key, error) {
	v, err := k.view(ctx)
	if err != nil {
		return nil, err
	}
	return v.byID[id], nil
}

// List returns the keys of the storage.
func (k *Keys) List(ctx context.Context) ([]*Key, error) {
	v, err := k.view(ctx)
	if err != nil {
		return nil, err
	}
	return v.all, nil
}

// Order is a key to issue.
type Order struct {
	// Client is the client that the key identifies. Required.
	Client string

	// Name is the name of the key. Default: one that begins with the client's.
	Name string

	Scope

	// For is how long the key is valid, at least a minute and at most MaxLifetime.
	// Required.
	For time.Duration
}

// MaxLifetime is the maximum lifetime of a key.
const MaxLifetime = 5 * 366 * 24 * time.Hour

// An OrderError says what is wrong about a request of an operator.
type OrderError struct{ text string }

// Error returns what is wrong.
func (e *OrderError) Error() string { return e.text }

func wrongOrder(format string, args ...any) error { return &OrderError{fmt.Sprintf(format, args...)} }

// Issue issues a key and returns it with its state. It is not stored and cannot be shown
// again. The error is an *OrderError if the order is wrong.
func (k *Keys) Issue(ctx context.Context, order Order) (text string, state State, err error) {
	if err := order.check(); err != nil {
		return "", State{}, err
	}
	text, r := order.make(time.Now())
	err = k.change(ctx, func(records []*record) ([]*record, error) { return r.enter(records) })
	if err != nil {
		return "", State{}, err
	}
	return k.issued(text, r)
}

func (k *Keys) issued(text string, r *record) (string, State, error) {
	key, err := r.key(new(atomic.Int64))
	if err != nil {
		return "", State{}, err
	}
	return text, key.State(time.Now()), nil
}

func (o *Order) check() error {
	if _, err := o.Parse(); err != nil {
		return &OrderError{err.Error()}
	}
	if err := CheckName(o.Name); o.Name != "" && err != nil {
		return &OrderError{err.Error()}
	}
	switch {
	case o.Client == "":
		return wrongOrder("a key requires a client")
	case o.For < time.Minute:
		return wrongOrder("a key is valid for a minute at least")
	case o.For > MaxLifetime:
		return wrongOrder("a key is valid for five years at most")
	}
	return nil
}

var notInNames = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`[^A-Za-z0-9._@-]+`) })

// make makes a key and its record.
func (o *Order) make(now time.Time) (text string, r *record) {
	text = Make()
	hash, err := Read(text)
	if err != nil {
		panic(err) // it was made here
	}
	name := o.Name
	if name == "" {
		name = strings.TrimLeft(notInNames().ReplaceAllString(o.Client, "-"), "._@-")
		name = strings.TrimLeft(name[:min(len(name), 48)]+"-"+strings.ToLower(rand.Text()[:6]), "-")
	}
	return text, &record{
		Name: name, Client: o.Client, Hash: hash, Scope: o.Scope, Created: now.Unix(), Expires: now.Add(o.For).Unix(),
	}
}

// enter adds a record to others.
func (r *record) enter(records []*record) ([]*record, error) {
	if slices.ContainsFunc(records, func(other *record) bool { return other.Name == r.Name }) {
		return nil, wrongOrder("there is a key named %s: choose another name", r.Name)
	}
	if len(records) >= maxKeys {
		return nil, wrongOrder("there are %d keys, which is the maximum: revoke some, and wait until they are forgotten after 30 days", maxKeys)
	}
	return append(records, r), nil
}

// Rotate issues a successor of a key, with the same client and scope. The key itself ends
// after the overlap, unless it ends before. The successor is valid for as long as the key
// was made for, unless lifetime is another one. The error is an *OrderError if that is not
// possible.
func (k *Keys) Rotate(ctx context.Context, name string, overlap, lifetime time.Duration) (text string, state State, err error) {
	if overlap < 0 {
		return "", State{}, wrongOrder("the overlap is negative")
	}
	var successor *record
	err = k.change(ctx, func(records []*record) ([]*record, error) {
		now := time.Now()
		old, err := named(records, name)
		switch {
		case err != nil:
			return nil, err
		case old.Revoked != 0, old.Expires <= now.Unix():
			return nil, wrongOrder("the key %s has ended: issue another one", name)
		}
		order := Order{Client: old.Client, Scope: old.Scope, For: lifetime}
		if lifetime == 0 {
			order.For = time.Duration(old.Expires-old.Created) * time.Second
		}
		if old.Rotated != 0 && lifetime == 0 { // its end was brought forward
			order.For = time.Duration(old.Rotated) * time.Second
		}
		if err := order.check(); err != nil {
			return nil, err
		}
		if end := now.Add(overlap).Unix(); end < old.Expires {
			if old.Rotated == 0 {
				old.Rotated = old.Expires - old.Created
			}
			old.Expires, old.Warned = end, true
		}
		text, successor = order.make(now)
		return successor.enter(records)
	})
	if err != nil {
		return "", State{}, err
	}
	return k.issued(text, successor)
}

func named(records []*record, name string) (*record, error) {
	for _, r := range records {
		if r.Name == name {
			return r, nil
		}
	}
	return nil, wrongOrder("no issued key is named %q; see caddy veeam-auth keys list. A key of the configuration ends when it is removed there", name)
}

// Revoke revokes a key, in this process at once and in others within a second if Watch
// runs. The error is an *OrderError if there is no such key. Another error reports that it
// could not be stored; it applies here nevertheless, and Watch tries to store it again.
func (k *Keys) Revoke(ctx context.Context, name string) error {
	now := time.Now()
	if err := k.revokeHere(name, now); err != nil {
		return err
	}
	return k.change(ctx, func(records []*record) ([]*record, error) {
		r, err := named(records, name)
		if err == nil && r.Revoked == 0 {
			r.Revoked = now.Unix()
		}
		return records, err
	})
}

// revokeHere revokes a key that this process knows, before the store is asked.
func (k *Keys) revokeHere(name string, now time.Time) error {
	v := k.loaded.Load()
	if v == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	v = k.loaded.Load()
	i := slices.IndexFunc(v.all, func(key *Key) bool { return key.Name == name })
	if i < 0 || !v.all[i].Revoked.IsZero() {
		return nil
	}
	k.pending[v.all[i].hash] = now
	revoked := *v.all[i]
	revoked.Revoked = now
	next := &view{byHash: maps.Clone(v.byHash), byID: maps.Clone(v.byID), all: slices.Clone(v.all)}
	next.byHash[revoked.hash], next.byID[revoked.ID], next.all[i] = &revoked, &revoked, &revoked
	k.loaded.Store(next)
	return nil
}

// Watch keeps the keys in step with other processes, stores the last uses and tells of
// keys that expire, until ctx ends. failed is called once for each period in which the
// store fails.
func (k *Keys) Watch(ctx context.Context, failed func(error)) {
	store.Look(ctx, k.look, failed)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), store.LastFor)
	defer cancel()
	_ = k.saveUses(last)
}

func (k *Keys) look(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, store.For)
	defer cancel()
	if err := k.read(within); err != nil {
		return err
	}
	if err := k.publish(ctx); err != nil {
		return err
	}
	if err := k.warn(ctx); err != nil {
		return err
	}
	if k.Expiring != nil {
		book.warn(time.Now(), k.Expiring)
	}
	if time.Since(k.saved) < saveEvery {
		return nil
	}
	k.saved = time.Now()
	return k.saveUses(ctx)
}

// publish stores the revocations that the store does not have.
func (k *Keys) publish(ctx context.Context) error {
	k.mu.Lock()
	pending := maps.Clone(k.pending)
	k.mu.Unlock()
	if len(pending) == 0 {
		return nil
	}
	return k.change(ctx, func(records []*record) ([]*record, error) {
		for _, r := range records {
			if at, ok := pending[r.Hash]; ok && r.Revoked == 0 {
				r.Revoked = at.Unix()
			}
		}
		return records, nil
	})
}

// warn tells of keys that expire soon. The process that notes it in the store tells.
func (k *Keys) warn(ctx context.Context) error {
	now := time.Now()
	due := func(r *record) bool { return !r.Warned && r.due(now) }
	if !slices.ContainsFunc(k.loaded.Load().all, func(key *Key) bool { return due(key.record) }) {
		return nil
	}
	var told []*record
	err := k.change(ctx, func(records []*record) ([]*record, error) {
		for _, r := range records {
			if due(r) {
				r.Warned = true
				told = append(told, r)
			}
		}
		if len(told) == 0 {
			return nil, errSame
		}
		return records, nil
	})
	if errors.Is(err, errSame) {
		return nil // another process was faster, and the next look will see it
	}
	if err != nil || k.Expiring == nil {
		return err
	}
	for _, r := range told {
		if key := k.loaded.Load().byHash[r.Hash]; key != nil {
			k.Expiring(key)
		}
	}
	return nil
}

// saveEvery is how often the last uses are stored.
const saveEvery = time.Minute

func loadUses(ctx context.Context, from store.Store) (uses map[string]int64, err error) {
	text, err := store.LoadIfAny(ctx, from, UsedPath)
	if text == nil {
		return nil, err
	}
	if json.Unmarshal(text, &uses) != nil {
		return nil, nil //nolint:nilerr // they are for people only, and are stored again
	}
	return uses, nil
}

// absorb takes over later uses. k.mu is held.
func (k *Keys) absorb(uses map[string]int64) {
	for id, minute := range uses {
		for used := k.use(id); ; {
			before := used.Load()
			if before >= minute || used.CompareAndSwap(before, minute) {
				break
			}
		}
	}
}

// saveUses stores the last uses that the store does not have, and takes over those of
// other processes.
func (k *Keys) saveUses(ctx context.Context) error {
	v := k.loaded.Load()
	if v == nil || len(v.all) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, store.For)
	defer cancel()
	stored, err := loadUses(ctx, k.store)
	if err != nil {
		return err
	}
	later := func(stored map[string]int64) bool {
		return slices.ContainsFunc(v.all, func(key *Key) bool { return key.used.Load() > stored[key.ID] })
	}
	if !later(stored) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.absorb(stored)
		return nil
	}
	lock, err := store.Lock(ctx, k.store, UsedPath, nil)
	if err != nil {
		return fmt.Errorf("locking %s: %w", UsedPath, err)
	}
	defer lock.Unlock(ctx)
	if stored, err = loadUses(ctx, k.store); err != nil {
		return err
	}
	k.mu.Lock()
	k.absorb(stored)
	k.mu.Unlock()
	uses := make(map[string]int64, len(v.all))
	for _, key := range v.all {
		if minute := key.used.Load(); minute != 0 {
			uses[key.ID] = minute
		}
	}
	text, err := json.Marshal(uses)
	if err != nil {
		return err
	}
	return lock.Store(ctx, UsedPath, text)
}
