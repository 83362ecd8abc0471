// The issuers of the process: one for each storage.

package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// issuerPool keeps one issuer for each storage over reloads, because an issuer
// remembers who has logged out.
var issuerPool = caddy.NewUsagePool()

// pooledIssuer is an issuer that keeps up with the other replicas.
type pooledIssuer struct {
	*issuer.Issuer
	storage *reopened
	begin   sync.Once
	ctx     context.Context // ends with the issuer
	stop    context.CancelFunc
	done    chan struct{} // closed when nothing is told any more
}

// tellFor is how long the end of an issuer waits for what it has to tell the others.
// A storage that hangs need not heed that it is not wanted any more.
const tellFor = 5 * time.Second

// Destruct implements caddy.Destructor.
func (p *pooledIssuer) Destruct() error {
	p.stop()
	p.begin.Do(func() { close(p.done) }) // it has never started
	timer := time.NewTimer(tellFor)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
	}
	return nil
}

// acquireIssuer returns the issuer of a storage. It is to be released when the
// configuration that the storage belongs to is gone. Before its start it touches the
// storage for tokens that are issued or judged only.
func acquireIssuer(storage certmagic.Storage) (p *pooledIssuer, release func()) {
	key := fmt.Sprintf("%T", storage)
	if s, ok := storage.(fmt.Stringer); ok {
		key += " " + s.String()
	}
	value, _, _ := issuerPool.LoadOrNew(key, func() (caddy.Destructor, error) {
		store := new(reopened)
		added := &pooledIssuer{Issuer: issuer.New(issuer.NewKeys(store)), storage: store, done: make(chan struct{})}
		added.ctx, added.stop = context.WithCancel(context.Background())
		return added, nil
	})
	p = value.(*pooledIssuer)
	detach := p.storage.attach(storage)
	return p, func() {
		_, _ = issuerPool.Delete(key) // may tell the storage something
		detach()
	}
}

// start has the issuer keep up with the others, and tells whether the storage works
// at all. Only the first call of the process does anything.
func (p *pooledIssuer) start(ctx context.Context, storage certmagic.Storage, logger *zap.Logger) {
	p.begin.Do(func() {
		go p.watch()
		if err := tryStorage(ctx, storage); err != nil && ctx.Err() == nil {
			logger.Warn("Caddy's storage does not work: until it does, tokens can be neither issued nor judged, and requests that need that are refused",
				zap.String("reason", string(veeam.ReasonStorage)), zap.String("storage", StorageName(storage)), zap.Error(err))
		}
	})
}

func (p *pooledIssuer) watch() {
	defer close(p.done)
	p.Watch(p.ctx, func(err error) {
		caddy.Log().Named("veeam_auth.tokens").Warn("revocations of other replicas are not seen at present", zap.Error(err))
	})
}

// reopened is a storage that each configuration opens anew: the one that was
// opened last is used, because Caddy closes that of a configuration which is gone.
type reopened struct {
	mu     sync.Mutex
	opened []*opened
	locked map[string]certmagic.Storage // whose the lock is
}

type opened struct{ certmagic.Storage }

var errNoStorage = errors.New("the configurations that the storage belongs to are gone")

func (s *reopened) attach(storage certmagic.Storage) (detach func()) {
	added := &opened{storage}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened = append(s.opened, added)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.opened = slices.DeleteFunc(s.opened, func(o *opened) bool { return o == added })
	}
}

func (s *reopened) last() (certmagic.Storage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.opened) == 0 {
		return nil, errNoStorage
	}
	return s.opened[len(s.opened)-1].Storage, nil
}

// Lock implements issuer.Store.
func (s *reopened) Lock(ctx context.Context, name string) error {
	storage, err := s.last()
	if err != nil {
		return err
	}
	if err := storage.Lock(ctx, name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.locked == nil {
		s.locked = make(map[string]certmagic.Storage)
	}
	s.locked[name] = storage
	return nil
}

// Unlock implements issuer.Store.
func (s *reopened) Unlock(ctx context.Context, name string) error {
	s.mu.Lock()
	storage := s.locked[name]
	delete(s.locked, name)
	s.mu.Unlock()
	if storage == nil { // somebody else's, that was left behind
		var err error
		if storage, err = s.last(); err != nil {
			return err
		}
	}
	_, err := within(ctx, func() (any, error) { return nil, storage.Unlock(ctx, name) })
	return err
}

// Store implements issuer.Store.
func (s *reopened) Store(ctx context.Context, key string, value []byte) error {
	storage, err := s.last()
	if err != nil {
		return err
	}
	_, err = within(ctx, func() (any, error) { return nil, storage.Store(ctx, key, value) })
	return err
}

// Load implements issuer.Store.
func (s *reopened) Load(ctx context.Context, key string) ([]byte, error) {
	storage, err := s.last()
	if err != nil {
		return nil, err
	}
	return within(ctx, func() ([]byte, error) { return storage.Load(ctx, key) })
}

// exchanges holds those with storages that are under way. One that hangs for ever
// keeps its place, and perhaps a thread of the system.
var exchanges = make(chan struct{}, 500)

// within waits for an exchange with a storage no longer than ctx says: a folder on
// a network that hangs does not look at it.
func within[T any](ctx context.Context, exchange func() (T, error)) (value T, err error) {
	select {
	case exchanges <- struct{}{}:
	case <-ctx.Done():
		return value, ctx.Err()
	}
	return bounded.Call(ctx, func(context.Context) (T, error) {
		defer func() { <-exchanges }()
		return exchange()
	})
}

// liveIssuers lists the issuers of the running configuration.
func liveIssuers() (live []*issuer.Issuer) {
	issuerPool.Range(func(_, value any) bool {
		live = append(live, value.(*pooledIssuer).Issuer)
		return true
	})
	return live
}

// Interface guards
var (
	_ issuer.Store = (*reopened)(nil)
)
