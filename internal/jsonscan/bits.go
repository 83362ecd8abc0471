// One bit for each depth.

package jsonscan

// Bits is a set of depths, which grows as needed. Up to a depth of 256 it allocates
// nothing. The zero value is empty.
type Bits struct {
	near [4]uint64
	far  []uint64
}

// Set adds or removes a depth, which is one more than any before at most.
func (b *Bits) Set(depth int, on bool) {
	word := b.word(depth / 64)
	bit := uint64(1) << (depth % 64)
	if *word &^= bit; on {
		*word |= bit
	}
}

// Get reports whether a depth is in the set. It was set before.
func (b *Bits) Get(depth int) bool { return *b.word(depth / 64)>>(depth%64)&1 == 1 }

func (b *Bits) word(at int) *uint64 {
	if at < len(b.near) {
		return &b.near[at]
	}
	if at -= len(b.near); at == len(b.far) {
		b.far = append(b.far, 0)
	}
	return &b.far[at]
}
