// Keys as they lie in the storage.

package keys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/store"
	"github.com/caddy-veeam/veeam-auth/policy"
)

// Paths in the store. IndexPath is a mark that changes with the keys; it is also the name
// of the lock. UsedPath has the last uses.
const (
	IndexPath = "veeam_auth/keys/index.json"
	KeysPath  = "veeam_auth/keys/keys.json"
	UsedPath  = "veeam_auth/keys/used.json"
)

const (
	// maxKeys bounds the keys of a storage.
	maxKeys = 10_000

	// rememberFor is how long a key that has ended is listed and told apart from an unknown
	// one.
	rememberFor = 30 * 24 * time.Hour
)

// record is a key as it lies in the store.
type record struct {
	Name   string `json:"name"`
	Client string `json:"client"`
	Hash   Hash   `json:"hash"`
	Scope
	Created int64 `json:"created"` // in seconds since 1970, as the others
	Expires int64 `json:"expires"`
	Revoked int64 `json:"revoked,omitempty"`
	Warned  bool  `json:"warned,omitempty"` // it was told that it expires

	// Rotated is the lifetime that the key was issued for, in seconds, if a rotation has
	// brought its end forward.
	Rotated int64 `json:"rotated,omitempty"`
}

// MarshalText returns what ParseHash parses.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText parses the result of MarshalText.
func (h *Hash) UnmarshalText(text []byte) (err error) {
	*h, err = ParseHash(string(text))
	return err
}

// over returns when the key has ended or will.
func (r *record) over() int64 {
	if r.Revoked != 0 {
		return min(r.Revoked, r.Expires)
	}
	return r.Expires
}

// due reports whether the key expires soon, and was neither made for so short a time nor
// replaced by a rotation.
func (r *record) due(now time.Time) bool {
	soon := int64(Warning / time.Second)
	return r.Revoked == 0 && r.Rotated == 0 && now.Unix() < r.Expires && r.Expires-now.Unix() <= soon && r.Expires-r.Created > soon
}

func (r *record) key(used *atomic.Int64) (*Key, error) {
	scope, err := r.Parse()
	if err != nil {
		return nil, err
	}
	scope.Until = time.Unix(r.Expires, 0)
	k := &Key{
		Key:  policy.Key{ID: r.Hash.ID(), Name: r.Name, Client: r.Client, Scope: scope},
		hash: r.Hash, Created: time.Unix(r.Created, 0), used: used, record: r,
	}
	if r.Revoked != 0 {
		k.Revoked = time.Unix(r.Revoked, 0)
	}
	return k, nil
}

func loadRecords(ctx context.Context, from store.Store) ([]*record, error) {
	text, err := store.LoadIfAny(ctx, from, KeysPath)
	if text == nil {
		return nil, err
	}
	var records []*record
	if err := json.Unmarshal(text, &records); err != nil {
		return nil, fmt.Errorf("%s is corrupt: remove it, and issue the keys again", KeysPath) // the error could quote it
	}
	for _, r := range records {
		if r == nil || r.Client == "" || r.Name == "" {
			return nil, fmt.Errorf("%s is corrupt: remove it, and issue the keys again", KeysPath)
		}
	}
	return records, nil
}

// tidy forgets keys that have ended long ago.
func tidy(records []*record, now time.Time) []*record {
	return slices.DeleteFunc(records, func(r *record) bool { return r.over() < now.Add(-rememberFor).Unix() })
}

// errSame is returned by a change that changes nothing.
var errSame = errors.New("nothing has changed")

// change reads the keys under their lock, has them changed and stores them, the mark last.
// It returns what the store has then.
func change(ctx context.Context, at store.Store, act func([]*record) ([]*record, error)) (records []*record, mark []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, store.For)
	defer cancel()
	lock, err := store.Lock(ctx, at, IndexPath, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("locking %s: %w", IndexPath, err)
	}
	defer lock.Unlock(ctx)
	if records, err = loadRecords(ctx, at); err != nil {
		return nil, nil, err
	}
	if records, err = act(records); err != nil {
		return nil, nil, err
	}
	records = tidy(records, time.Now())
	text, err := json.Marshal(records)
	if err != nil {
		return nil, nil, err
	}
	if err := lock.Store(ctx, KeysPath, text); err != nil {
		return nil, nil, err
	}
	mark, err = json.Marshal(store.Mark())
	if err != nil {
		return nil, nil, err
	}
	if err := lock.Store(ctx, IndexPath, mark); err != nil {
		return nil, nil, err
	}
	return records, mark, nil
}
