// The keys of a site: those of its configuration and those of the storage; and the keys
// of the process.

package keys

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/pool"
	"github.com/caddy-veeam/veeam-auth/internal/store"
	"github.com/caddy-veeam/veeam-auth/metrics"
)

// Ring has the keys of a site: those of its configuration and those of its storage.
type Ring struct {
	stored     *Keys
	configured []*Key
	byHash     map[Hash]*Key
	byID       map[string]*Key
}

// NewRing returns the configured keys of a site. Two equal keys, or two with one name, are
// an error.
func NewRing(configured []*Key) (*Ring, error) {
	r := &Ring{configured: configured, byHash: make(map[Hash]*Key, len(configured)), byID: make(map[string]*Key, len(configured))}
	names := make(map[string]bool, len(configured))
	for _, key := range configured {
		switch other := r.byHash[key.hash]; {
		case other != nil:
			return nil, fmt.Errorf("client %s: key %s: its hash is that of the key %s; write one of them", key.Client, key.Name, other.Name)
		case names[key.Name]:
			return nil, fmt.Errorf("client %s: key %s: another key has this name; write another one", key.Client, key.Name)
		}
		r.byHash[key.hash], r.byID[key.ID], names[key.Name] = key, key, true
	}
	return r, nil
}

// Configured returns the configured keys, in their order.
func (r *Ring) Configured() []*Key { return r.configured }

// With returns the keys of the site together with those of a storage, which may be nil.
func (r *Ring) With(stored *Keys) *Ring {
	with := *r
	with.stored = stored
	return &with
}

// Find returns the key of a text. The error is an *Error if the key does not count, an
// *UnreadableError if the storage cannot be read, or that of ctx.
func (r *Ring) Find(ctx context.Context, text string, now time.Time) (*Key, error) {
	hash, err := Read(text)
	if err != nil {
		return nil, Unknown(err.Error())
	}
	key := r.byHash[hash]
	if key == nil && r.stored != nil {
		if key, err = r.stored.Find(ctx, hash); err != nil {
			return nil, err
		}
	}
	return counts(key, now)
}

// ByID is Find by the ID of a key.
func (r *Ring) ByID(ctx context.Context, id string, now time.Time) (key *Key, err error) {
	if key = r.byID[id]; key == nil && r.stored != nil {
		if key, err = r.stored.ByID(ctx, id); err != nil {
			return nil, err
		}
	}
	return counts(key, now)
}

// Named returns the configured key with a name, nil if there is none.
func (r *Ring) Named(name string) *Key {
	for _, key := range r.configured {
		if key.Name == name {
			return key
		}
	}
	return nil
}

// counts returns a key that counts, or why it does not.
func counts(key *Key, now time.Time) (*Key, error) {
	if key == nil {
		return nil, Unknown("the key is unknown: it was not issued into this storage, or has ended more than 30 days ago")
	}
	if err := key.Check(now); err != nil {
		return nil, err
	}
	return key, nil
}

// Pooled are the keys of a storage over reloads.
type Pooled struct {
	*Keys
	*store.Shared
}

// pooled keeps the keys of each storage over reloads, which do not read them again.
var pooled = pool.New[string]((*Pooled).Stop)

// Acquire returns the keys of the storage that key identifies. Call release when the
// configuration of the storage is unloaded. Before Start, the storage is accessed only when
// a key is looked for or issued. expiring is as Keys.Expiring.
func Acquire(key string, storage store.Store, expiring func(*Key)) (p *Pooled, release func()) {
	p = pooled.Acquire(key, func() *Pooled {
		shared := store.NewShared()
		added := &Pooled{New(shared), shared}
		added.Expiring = expiring
		return added
	})
	attached := p.Attach(storage)
	return p, func() {
		pooled.Release(key) // may tell the storage something
		attached.Detach()
	}
}

// Start begins to keep the keys in step with other processes. failed is called as by
// Keys.Watch. Only the first call of the process has an effect.
func (p *Pooled) Start(failed func(error)) {
	p.Shared.Start(func(ctx context.Context) { p.Watch(ctx, failed) }, nil)
}

// Live returns the keys of the storages of the running configuration.
func Live() (live []*Keys) {
	for _, p := range pooled.All() {
		live = append(live, p.Keys)
	}
	return live
}

// book has the configured keys of the process. It outlives a reload, because each key whose
// end is near is told of once.
var book = &catalog{told: make(map[string]bool)}

type catalog struct {
	mu   sync.Mutex
	keys []*Key
	told map[string]bool // by ID: that the key expires
}

// Enter adds the configured keys of a site to those of the process, until leave is called.
func (r *Ring) Enter() (leave func()) {
	book.mu.Lock()
	defer book.mu.Unlock()
	book.keys = append(book.keys, r.configured...)
	return func() {
		book.mu.Lock()
		defer book.mu.Unlock()
		book.keys = slices.DeleteFunc(book.keys, func(key *Key) bool { return slices.Contains(r.configured, key) })
	}
}

// Removed reports whether a configured key of the ring is in no configuration of the process
// any more.
func (r *Ring) Removed(id string) bool {
	if r.byID[id] == nil {
		return false
	}
	book.mu.Lock()
	defer book.mu.Unlock()
	return !slices.ContainsFunc(book.keys, func(key *Key) bool { return key.ID == id && key.Client == r.byID[id].Client })
}

// Configured returns the configured keys of the process. A key that several sites have is
// in it once.
func Configured() []*Key {
	book.mu.Lock()
	defer book.mu.Unlock()
	seen := make(map[string]*Key, len(book.keys))
	var all []*Key
	for _, key := range book.keys {
		if known := seen[key.ID]; known == nil || known.Name != key.Name || known.Client != key.Client {
			seen[key.ID] = key
			all = append(all, key)
		}
	}
	return all
}

// warn tells of configured keys that expire soon, of each once in this process.
func (c *catalog) warn(now time.Time, tell func(*Key)) {
	for _, key := range Configured() {
		if !key.due(now) {
			continue
		}
		c.mu.Lock()
		known := c.told[key.ID]
		c.told[key.ID] = true
		c.mu.Unlock()
		if !known {
			tell(key)
		}
	}
}

// List describes the keys of the process: configured ones and those of its storages. The
// error is that of a storage that cannot be read.
func List(ctx context.Context, now time.Time) (states []State, err error) {
	states = []State{}
	for _, key := range Configured() {
		states = append(states, key.State(now))
	}
	for _, stored := range Live() {
		listed, err := stored.List(ctx)
		if err != nil {
			return nil, err
		}
		for _, key := range listed {
			states = append(states, key.State(now))
		}
	}
	sortStates(states)
	return states, nil
}

// maxExpiries bounds the result of Expiries.
const maxExpiries = 1000

// Expiries returns the valid keys that have an end, the 1000 that end first. It reads no
// storage.
func Expiries(now time.Time) (ends []metrics.KeyEnd) {
	var ending []*Key
	all := Configured()
	for _, stored := range Live() {
		if v := stored.loaded.Load(); v != nil {
			all = append(all, v.all...)
		}
	}
	for _, key := range all {
		if !key.Until.IsZero() && key.Check(now) == nil {
			ending = append(ending, key)
		}
	}
	slices.SortFunc(ending, func(a, b *Key) int { return a.Until.Compare(b.Until) })
	for _, key := range ending[:min(len(ending), maxExpiries)] {
		ends = append(ends, metrics.KeyEnd{Client: key.Client, Key: key.Name, End: key.Until, Due: key.due(now)})
	}
	return ends
}
