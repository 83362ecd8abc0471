// Numbers, whose form is checked byte by byte.

package jsonscan

// numberState is how far a number has come.
type numberState uint8

const (
	outside numberState = iota
	behindMinus
	behindZero // nothing but a fraction or an exponent may follow
	behindPoint
	behindE
	behindSign
	inInteger // in the states from here on, any number of digits may follow and change nothing
	inFraction
	inExponent
)

// beginNumber is where a number has come with its first byte, or outside.
func beginNumber(c byte) numberState {
	switch {
	case c == '-':
		return behindMinus
	case c == '0':
		return behindZero
	case '1' <= c && c <= '9':
		return inInteger
	}
	return outside
}

// behind is where a number has come with one more byte, or outside if that is not of the
// number.
var behind = func() (table [inExponent + 1][256]numberState) {
	for c := byte('0'); c <= '9'; c++ {
		table[behindMinus][c] = inInteger
		table[behindPoint][c] = inFraction
		table[behindE][c], table[behindSign][c] = inExponent, inExponent
		table[inInteger][c], table[inFraction][c], table[inExponent][c] = inInteger, inFraction, inExponent
	}
	table[behindMinus]['0'] = behindZero
	table[behindZero]['.'], table[inInteger]['.'] = behindPoint, behindPoint
	for _, e := range []byte("eE") {
		table[behindZero][e], table[inInteger][e], table[inFraction][e] = behindE, behindE, behindE
	}
	table[behindE]['+'], table[behindE]['-'] = behindSign, behindSign
	return table
}()

func (n numberState) inDigits() bool { return n >= inInteger }

// complete reports whether the number may end here.
func (n numberState) complete() bool { return n >= inInteger || n == behindZero }
