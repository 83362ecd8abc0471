// What replicas tell each other of refresh tokens that were used: a token that was
// used at one of them is not good at another.

package issuer

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// RefreshedPath is where the renewals lie in the store.
const RefreshedPath = "veeam_auth/refreshed.json"

// maxRefreshed bounds how many families the replicas tell each other of: those
// that were renewed last.
const maxRefreshed = 5_000

// use says which refresh token of a family was used last, counted from its login,
// and when, in milliseconds since 1970.
type use struct {
	Number int64 `json:"n"`
	At     int64 `json:"at"`
}

type refreshed struct {
	store Store
	known atomic.Pointer[map[string]use]

	mu      sync.Mutex
	pending map[string]use // what the store does not have yet
}

// last is the latest use that the replicas know of.
func (r *refreshed) last(family string) (u use, ok bool) {
	if known := r.known.Load(); known != nil {
		u, ok = (*known)[family]
	}
	return u, ok
}

// publish has watch tell the other replicas.
func (r *refreshed) publish(family string, u use) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pending == nil {
		r.pending = make(map[string]use)
	}
	if len(r.pending) < maxRefreshed && r.pending[family].Number <= u.Number {
		r.pending[family] = u
	}
}

func (r *refreshed) takePending() map[string]use {
	r.mu.Lock()
	defer r.mu.Unlock()
	pending := r.pending
	r.pending = nil
	return pending
}

// watch looks at the store once, and brings what it does not have yet.
func (r *refreshed) watch(ctx context.Context, last []byte) ([]byte, error) {
	if pending := r.takePending(); len(pending) > 0 {
		err := edit(ctx, r.store, RefreshedPath, func(text []byte) ([]byte, error) {
			list := readRefreshed(text)
			for family, u := range pending {
				if u.Number > list[family].Number {
					list[family] = u
				}
			}
			tidyRefreshed(list, time.Now())
			return json.Marshal(list)
		})
		if err != nil {
			for family, u := range pending {
				r.publish(family, u)
			}
			return last, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, storeFor)
	defer cancel()
	text, err := load(ctx, r.store, RefreshedPath)
	if err != nil || bytes.Equal(text, last) {
		return last, err
	}
	list := readRefreshed(text)
	r.known.Store(&list)
	return text, nil
}

// readRefreshed makes a damaged list anew.
func readRefreshed(text []byte) map[string]use {
	list := map[string]use{}
	if json.Unmarshal(text, &list) != nil || list == nil {
		return map[string]use{}
	}
	return list
}

// tidyRefreshed forgets families without a living token, and the oldest of too
// many.
func tidyRefreshed(list map[string]use, now time.Time) {
	for family, u := range list {
		if now.Sub(time.UnixMilli(u.At)) > RefreshLifetime {
			delete(list, family)
		}
	}
	if len(list) <= maxRefreshed {
		return
	}
	families := make([]string, 0, len(list))
	for family := range list {
		families = append(families, family)
	}
	slices.SortFunc(families, func(a, b string) int { return cmp.Compare(list[a].At, list[b].At) })
	for _, family := range families[:len(families)-maxRefreshed] {
		delete(list, family)
	}
}
