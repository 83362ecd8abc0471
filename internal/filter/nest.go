// What the open objects have named: two bits for each.

package filter

import "github.com/caddy-veeam/veeam-auth/internal/jsonscan"

// objects is what is known of the open containers. It grows as needed, up to 2 bits for
// each of MaxDepth levels.
type objects struct {
	secrets jsonscan.Bits // the level is an object that has named a secret
	titles  jsonscan.Bits // the level is an object that has named something
}

// open is called with the depth that a container has brought.
func (o *objects) open(depth int) {
	o.secrets.Set(depth-1, false)
	o.titles.Set(depth-1, false)
}

func (o *objects) nameSecret(depth int)       { o.secrets.Set(depth-1, true) }
func (o *objects) namedSecret(depth int) bool { return o.secrets.Get(depth - 1) }
func (o *objects) nameSomething(depth int)    { o.titles.Set(depth-1, true) }
func (o *objects) named(depth int) bool       { return o.titles.Get(depth - 1) }
