// The stack of open arrays and objects: three bits for each.

package filter

// nest is the stack. It grows as needed, up to 3 bits for each of MaxDepth levels.
type nest struct {
	depth    int
	inObject bool // the innermost open level is an object
	objects  bits // the level is an object
	secrets  bits // the level is an object that has named a secret
	titles   bits // the level is an object that has named something
}

func (n *nest) push(object bool) {
	n.objects.set(n.depth, object)
	n.secrets.set(n.depth, false)
	n.titles.set(n.depth, false)
	n.depth++
	n.inObject = object
}

func (n *nest) pop() {
	n.depth--
	n.inObject = n.depth > 0 && n.objects.get(n.depth-1)
}

func (n *nest) nameSecret()       { n.secrets.set(n.depth-1, true) }
func (n *nest) namedSecret() bool { return n.secrets.get(n.depth - 1) }
func (n *nest) nameSomething()    { n.titles.set(n.depth-1, true) }
func (n *nest) named() bool       { return n.titles.get(n.depth - 1) }

type bits []uint64

func (b *bits) set(at int, on bool) {
	if at/64 == len(*b) {
		*b = append(*b, 0)
	}
	word, bit := &(*b)[at/64], uint64(1)<<(at%64)
	if *word &^= bit; on {
		*word |= bit
	}
}

func (b *bits) get(at int) bool { return (*b)[at/64]>>(at%64)&1 == 1 }
