// Numbers, whose form is checked byte by byte.

package filter

// numberPlace is how far a number has come.
type numberPlace uint8

const (
	behindMinus numberPlace = iota
	behindZero              // nothing but a fraction or an exponent may follow
	inInteger
	behindPoint
	inFraction
	behindE
	behindSign
	inExponent
)

// begin starts a number, if c does.
func (n *numberPlace) begin(c byte) bool {
	switch {
	case c == '-':
		*n = behindMinus
	case c == '0':
		*n = behindZero
	case '1' <= c && c <= '9':
		*n = inInteger
	default:
		return false
	}
	return true
}

// take reports whether c belongs to the number.
func (n *numberPlace) take(c byte) bool {
	digit := '0' <= c && c <= '9'
	switch *n {
	case behindMinus:
		return digit && n.begin(c)
	case behindZero, inInteger, inFraction:
		switch {
		case digit:
			return *n != behindZero
		case c == '.' && *n != inFraction:
			*n = behindPoint
		case c|0x20 == 'e':
			*n = behindE
		default:
			return false
		}
		return true
	case behindE:
		if c == '+' || c == '-' {
			*n = behindSign
			return true
		}
	}
	if digit {
		*n = behindDigit[*n]
	}
	return digit
}

// behindDigit is where a number has come with a digit that needs no other look.
var behindDigit = [...]numberPlace{
	behindPoint: inFraction, inFraction: inFraction,
	behindE: inExponent, behindSign: inExponent, inExponent: inExponent,
}

// inDigits reports whether any number of digits may follow and change nothing.
func (n *numberPlace) inDigits() bool {
	return *n == inInteger || *n == inFraction || *n == inExponent
}

// complete reports whether the number may end here.
func (n *numberPlace) complete() bool {
	switch *n {
	case behindZero, inInteger, inFraction, inExponent:
		return true
	}
	return false
}
