// Tokens that were found good: looking at their signature once is enough.

package issuer

import (
	"sync"
	"sync/atomic"
	"time"
)

// maxChecked bounds how many tokens are remembered. Only good ones are.
const maxChecked = 4096

// checked holds the claims of tokens whose signature was verified. Whether they
// have expired, were logged out or revoked is asked each time. Reading takes no
// lock.
type checked struct {
	tokens sync.Map // token → *verified
	size   atomic.Int64
}

type verified struct {
	claims claims
	until  time.Time
	keys   *[]Key // the current keys; if they change the signature is checked again

	// judged is 1 more than what the ledger had counted of changes when the token was
	// found good last, 0 at first.
	judged atomic.Uint64
}

// find returns nil for what is not remembered, or not to be believed any more.
func (c *checked) find(token string, keys *[]Key) *verified {
	value, ok := c.tokens.Load(token)
	if !ok {
		return nil
	}
	v := value.(*verified)
	if v.keys == keys && time.Now().Before(v.until) {
		return v
	}
	if c.tokens.CompareAndDelete(token, value) {
		c.size.Add(-1)
	}
	return nil
}

func (c *checked) add(token string, good claims, keys *[]Key) {
	if c.size.Load() >= maxChecked {
		c.tokens.Clear()
		c.size.Store(0)
	}
	_, known := c.tokens.Swap(token, &verified{claims: good, until: good.ExpiresAt.Time, keys: keys})
	if !known {
		c.size.Add(1)
	}
}
