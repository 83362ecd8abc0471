// What all replicas must know within a second: clients that were cut off, and
// families that were logged out.

package issuer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-veeam/veeam-auth/storelock"
)

// RevokedPath is where the revocations lie in the store.
const RevokedPath = "veeam_auth/revoked.json"

// watchEvery is how often Watch looks at the store.
const watchEvery = 500 * time.Millisecond

// revokedList is the content of RevokedPath.
type revokedList struct {
	// Clients: tokens made up to this time, in milliseconds since 1970, are void.
	Clients map[string]int64 `json:"clients,omitempty"`

	// Families that were logged out, until when to remember them.
	Families map[string]int64 `json:"families,omitempty"`
}

type revocations struct {
	store   Store
	clients atomic.Pointer[map[string]int64]

	mu      sync.Mutex
	pending map[string]bool // families that the store does not have yet
}

func (v *revocations) covers(client string, made int64) bool {
	clients := v.clients.Load()
	if clients == nil {
		return false
	}
	until, ok := (*clients)[client]
	return ok && made <= until
}

// publish has Watch tell the other replicas that a family has ended.
func (v *revocations) publish(family string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.pending == nil {
		v.pending = make(map[string]bool)
	}
	v.pending[family] = true
}

func (v *revocations) takePending() map[string]bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	pending := v.pending
	v.pending = nil
	return pending
}

// Revoke makes all tokens void that the client has got so far, here at once and
// at other replicas within a second if Watch runs there.
func (i *Issuer) Revoke(ctx context.Context, client string) error {
	return i.revoked.change(ctx, i, func(list *revokedList) {
		list.Clients[client] = time.Now().UnixMilli()
	})
}

// Watch keeps up with what other replicas revoke and renew, until ctx ends, and
// tells them what happens here. failed is told of faults of the store, once for
// each time that it fails.
func (i *Issuer) Watch(ctx context.Context, failed func(error)) {
	var renewals sync.WaitGroup
	renewals.Go(func() { keepUp(ctx, i.refreshed.watch, func(error) {}) })
	keepUp(ctx, i.watch, failed)
	renewals.Wait()
}

// lastFor bounds what is told to the others when the process ends.
const lastFor = 3 * time.Second

// keepUp looks at the store now and then, and a last time when ctx ends. look gets
// what it has returned the time before.
func keepUp(ctx context.Context, look func(context.Context, []byte) ([]byte, error), failed func(error)) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	var last []byte
	broken := false
	for {
		text, err := look(ctx, last)
		if err != nil && !broken && ctx.Err() == nil {
			failed(err)
		}
		broken = err != nil
		if err == nil {
			last = text
		}
		select {
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFor)
			defer cancel()
			_, _ = look(ctx, last)
			return
		case <-ticker.C:
		}
	}
}

// catchUp reads what was revoked and renewed before this process has begun, without
// which no token is judged.
func (i *Issuer) catchUp(ctx context.Context) error {
	text, err := load(ctx, i.revoked.store, RevokedPath)
	if err != nil {
		return err
	}
	list, err := readRevoked(text)
	if err != nil {
		return err
	}
	if text, err = load(ctx, i.refreshed.store, RefreshedPath); err != nil {
		return err
	}
	known := readRefreshed(text)
	// Watch may have seen more.
	i.refreshed.known.CompareAndSwap(nil, &known)
	i.revoked.clients.CompareAndSwap(nil, &list.Clients)
	i.endFamilies(list)
	return nil
}

// watch looks at the store once, and brings what it does not have yet.
func (i *Issuer) watch(ctx context.Context, last []byte) ([]byte, error) {
	if pending := i.revoked.takePending(); len(pending) > 0 {
		until := time.Now().Add(RefreshLifetime).Unix()
		err := i.revoked.change(ctx, i, func(list *revokedList) {
			for family := range pending {
				list.Families[family] = until
			}
		})
		if err != nil {
			for family := range pending {
				i.revoked.publish(family)
			}
			return last, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, storeFor)
	defer cancel()
	text, err := load(ctx, i.revoked.store, RevokedPath)
	if err != nil || bytes.Equal(text, last) {
		return last, err
	}
	list, err := readRevoked(text)
	if err != nil {
		return last, err
	}
	i.revoked.apply(i, list)
	return text, nil
}

// change edits the list in the store, and applies it here.
func (v *revocations) change(ctx context.Context, i *Issuer, change func(*revokedList)) error {
	var list *revokedList
	err := edit(ctx, v.store, RevokedPath, func(text []byte) (_ []byte, err error) {
		if list, err = readRevoked(text); err != nil {
			return nil, err
		}
		change(list)
		list.tidy(time.Now())
		return json.Marshal(list)
	})
	if err == nil {
		v.apply(i, list)
	}
	return err
}

// edit changes what lies at a path under the store's lock. change gets nil if
// there is nothing.
func edit(ctx context.Context, store Store, path string, change func([]byte) ([]byte, error)) error {
	ctx, cancel := context.WithTimeout(ctx, storeFor)
	defer cancel()
	if _, err := storelock.Lock(ctx, store, path, nil); err != nil {
		return fmt.Errorf("locking %s: %w", path, err)
	}
	defer storelock.Unlock(ctx, store, path)
	since := time.Now()
	text, err := load(ctx, store, path)
	if err != nil {
		return err
	}
	if text, err = change(text); err != nil {
		return err
	}
	if time.Since(since) > storelock.Section {
		return errSlow // the lock may be somebody else's
	}
	if err := store.Store(ctx, path, text); err != nil {
		return fmt.Errorf("storing %s: %w", path, err)
	}
	return nil
}

// load returns nil if nothing lies at the path.
func load(ctx context.Context, store Store, path string) ([]byte, error) {
	text, err := store.Load(ctx, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("loading %s: %w", path, err)
	}
	return text, nil
}

// tidy forgets what has no living token any more.
func (l *revokedList) tidy(now time.Time) {
	for client, made := range l.Clients {
		if now.Sub(time.UnixMilli(made)) > RefreshLifetime {
			delete(l.Clients, client)
		}
	}
	for family, until := range l.Families {
		if now.Unix() > until {
			delete(l.Families, family)
		}
	}
}

func readRevoked(text []byte) (*revokedList, error) {
	list := &revokedList{Clients: map[string]int64{}, Families: map[string]int64{}}
	if text == nil {
		return list, nil
	}
	if err := json.Unmarshal(text, list); err != nil {
		return nil, fmt.Errorf("%s is damaged; remove it, and revoke anew what shall stay revoked: %w", RevokedPath, err)
	}
	if list.Clients == nil {
		list.Clients = map[string]int64{}
	}
	if list.Families == nil {
		list.Families = map[string]int64{}
	}
	return list, nil
}

func (v *revocations) apply(i *Issuer, list *revokedList) {
	v.clients.Store(&list.Clients)
	i.endFamilies(list)
}

func (i *Issuer) endFamilies(list *revokedList) {
	for family := range list.Families {
		i.families.Remove(family)
		i.ended.add(family)
	}
}
