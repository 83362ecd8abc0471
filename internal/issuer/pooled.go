// The issuers of the process: one for each storage.

package issuer

import (
	"context"

	"github.com/caddy-veeam/veeam-auth/internal/pool"
	"github.com/caddy-veeam/veeam-auth/internal/store"
)

// issuers keeps one issuer for each storage over reloads, because an issuer remembers
// who has logged out.
var issuers = pool.New[string]((*Pooled).Stop)

// Pooled is the shared issuer of a storage. It synchronizes with other replicas.
type Pooled struct {
	*Issuer
	*store.Shared
}

// Acquire returns the issuer of the storage that key identifies. Call release when the
// configuration of the storage is unloaded. Before Start, the issuer accesses the
// storage only when it issues or verifies tokens.
func Acquire(key string, storage store.Store) (p *Pooled, release func()) {
	p = issuers.Acquire(key, func() *Pooled {
		shared := store.NewShared()
		return &Pooled{New(NewKeys(shared)), shared}
	})
	attached := p.Attach(storage)
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
	p.Shared.Start(func(ctx context.Context) { p.Watch(ctx, unseen) }, first)
}

// KeepInMemory keeps in memory what the issuer would store, until the process ends, for a
// storage that cannot be written to. Keys and revocations that it has still count if they
// can be read.
func (p *Pooled) KeepInMemory(ctx context.Context) { p.Shared.KeepInMemory(ctx, KeyPath) }
