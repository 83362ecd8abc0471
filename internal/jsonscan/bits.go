// One bit for each depth.

package jsonscan

// Bits is a set of depths. It grows as needed and allocates nothing up to a depth of
// 256. The zero value is empty.
type Bits struct {
	near [4]uint64
	far  []uint64
}

// Set adds or removes a depth. depth must not exceed the largest depth that was set
// before by more than one.
func (b *Bits) Set(depth int, on bool) {
	word := b.word(depth / 64)
	bit := uint64(1) << (depth % 64)
	if *word &^= bit; on {
		*word |= bit
	}
}

// Get reports whether a depth is in the set. Set must have been called for it before.
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
