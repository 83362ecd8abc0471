// The issuers of the process: one for each storage.

package issuer

import (
	"context"
	"sync"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/pool"
	"github.com/caddy-veeam/veeam-auth/internal/store"
)

// issuers keeps one issuer for each storage over reloads, because an issuer remembers
// who has logged out.
var issuers = pool.New[string]((*Pooled).end)

// Pooled is the shared issuer of a storage. It synchronizes with other replicas.
type Pooled struct {
	*Issuer
	storage store.Reattachable
	kept    store.Fallback // before storage
	begin   sync.Once
	ctx     context.Context // ends with the issuer
	stop    context.CancelFunc
	done    chan struct{} // closed when nothing is told any more
}

// tellFor is how long the end of an issuer waits for what it has to tell the others.
// A storage that hangs need not heed that it is not wanted any more.
const tellFor = 5 * time.Second

// Acquire returns the issuer of the storage that key identifies. Call release when the
// configuration of the storage is unloaded. Before Start, the issuer accesses the
// storage only when it issues or verifies tokens.
func Acquire(key string, storage store.Store) (p *Pooled, release func()) {
	p = issuers.Acquire(key, func() *Pooled {
		added := &Pooled{done: make(chan struct{})}
		added.kept.Inner = &added.storage
		added.Issuer = New(NewKeys(&added.kept))
		added.ctx, added.stop = context.WithCancel(context.Background())
		return added
	})
	attached := p.storage.Attach(store.Opened(storage))
	return p, func() {
		issuers.Release(key) // may tell the storage something
		attached.Detach()
	}
}

// Live returns the issuers of the running configuration.
func Live() (live []*Issuer) {
	for _, p := range issuers.All() {
		live = append(live, p.Issuer)
	}
	return live
}

// Start begins to synchronize the issuer with other replicas, and calls unseen whenever
// that begins to fail, as Watch does. Then it calls first. Only the first call of the
// process has an effect.
func (p *Pooled) Start(unseen func(error), first func()) {
	p.begin.Do(func() {
		go func() {
			defer close(p.done)
			p.Watch(p.ctx, unseen)
		}()
		first()
	})
}

// KeepInMemory keeps in memory what the issuer would store, until the process ends, for a
// storage that cannot be written to. Keys and revocations that it has still count if they
// can be read.
func (p *Pooled) KeepInMemory(ctx context.Context) { p.kept.KeepInMemory(ctx, KeyPath) }

func (p *Pooled) end() {
	p.stop()
	p.begin.Do(func() { close(p.done) }) // it has never started
	timer := time.NewTimer(tellFor)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
	}
}
