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

// Watch keeps up with what other replicas revoke, until ctx ends. failed is told
// of faults of the store, once for each time that it fails.
func (i *Issuer) Watch(ctx context.Context, failed func(error)) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	var last []byte
	broken := false
	for {
		text, err := i.watch(ctx, last)
		if err != nil && !broken && ctx.Err() == nil {
			failed(err)
		}
		broken = err != nil
		if err == nil {
			last = text
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
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
	list, text, err := i.revoked.load(ctx)
	if err != nil || bytes.Equal(text, last) {
		return last, err
	}
	i.revoked.apply(i, list)
	return text, nil
}

// change edits the list in the store, and applies it here.
func (v *revocations) change(ctx context.Context, i *Issuer, edit func(*revokedList)) (err error) {
	ctx, cancel := context.WithTimeout(ctx, storeFor)
	defer cancel()
	if err := v.store.Lock(ctx, RevokedPath); err != nil {
		return fmt.Errorf("locking %s: %w", RevokedPath, err)
	}
	defer func() {
		if unlockErr := v.store.Unlock(context.WithoutCancel(ctx), RevokedPath); unlockErr != nil && err == nil {
			err = fmt.Errorf("unlocking %s: %w", RevokedPath, unlockErr)
		}
	}()
	list, _, err := v.load(ctx)
	if err != nil {
		return err
	}
	edit(list)
	list.tidy(time.Now())
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	if err := v.store.Store(ctx, RevokedPath, text); err != nil {
		return fmt.Errorf("storing %s: %w", RevokedPath, err)
	}
	v.apply(i, list)
	return nil
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

func (v *revocations) load(ctx context.Context) (*revokedList, []byte, error) {
	list := &revokedList{Clients: map[string]int64{}, Families: map[string]int64{}}
	text, err := v.store.Load(ctx, RevokedPath)
	if errors.Is(err, fs.ErrNotExist) {
		return list, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("loading %s: %w", RevokedPath, err)
	}
	if err := json.Unmarshal(text, list); err != nil {
		return nil, nil, fmt.Errorf("%s is damaged; remove it, and revoke anew what shall stay revoked: %w", RevokedPath, err)
	}
	if list.Clients == nil {
		list.Clients = map[string]int64{}
	}
	if list.Families == nil {
		list.Families = map[string]int64{}
	}
	return list, text, nil
}

func (v *revocations) apply(i *Issuer, list *revokedList) {
	v.clients.Store(&list.Clients)
	for family := range list.Families {
		i.families.Remove(family)
		i.ended.add(family)
	}
}
