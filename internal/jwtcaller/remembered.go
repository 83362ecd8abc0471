// Tokens that were verified: looking at their signature once is enough.

package jwtcaller

import (
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/caddy-veeam/veeam-auth/policy"
)

// maxRemembered bounds how many tokens are remembered. Only verified ones are.
const maxRemembered = 2048

// verified is a token that was verified.
type verified struct {
	token  string
	caller policy.Caller
	until  time.Time

	source *source
	set    *keySet // the keys of the source then; if they change the signature is checked again
}

// remembered holds tokens by a hash that nobody else can compute. Each has two places;
// reading takes no lock and no allocation.
type remembered struct {
	seed   maphash.Seed
	places [maxRemembered]atomic.Pointer[verified]
}

func newRemembered() *remembered { return &remembered{seed: maphash.MakeSeed()} }

func (r *remembered) at(token string) (first, second *atomic.Pointer[verified]) {
	hash := maphash.String(r.seed, token)
	return &r.places[hash%maxRemembered], &r.places[hash>>32%maxRemembered]
}

// find returns a token that still counts, nil if it is not remembered, or has to be
// verified again.
func (r *remembered) find(token string, now time.Time) *verified {
	first, second := r.at(token)
	found := first.Load()
	if found == nil || found.token != token {
		if found = second.Load(); found == nil || found.token != token {
			return nil
		}
	}
	if !now.Before(found.until) || found.source.current(now) != found.set {
		return nil
	}
	return found
}

// add remembers a token, in place of the one that ends first.
func (r *remembered) add(v *verified) {
	first, second := r.at(v.token)
	a, b := first.Load(), second.Load()
	switch {
	case a == nil || a.token == v.token:
		first.Store(v)
	case b == nil || b.token == v.token || b.until.Before(a.until):
		second.Store(v)
	default:
		first.Store(v)
	}
}
