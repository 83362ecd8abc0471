// What leads from one value to the next, taken at once.

package jsonscan

// Step is what stands between a value and the value of a field.
type Step uint8

const (
	// NoStep is anything else.
	NoStep Step = iota
	// ToField leads from the value of a field to that of the next one: ,"key":
	ToField
	// ToRow leads from the last value of an object in an array to the first one of the
	// next object: },{"key":
	ToRow
	// Outward leads from the last value of an object in an object to the value of the
	// outer object's next field: },"key":
	Outward
	// Inward leads to the first value of an object: {"key":
	Inward
)

// Step returns the step that begins at part[i], where its value begins, and that the name
// of the field is part[from:to] and contains no escape. It is NoStep if the step does not
// end before part does, or is not allowed. Nothing is taken: see Take.
func (s *Scanner) Step(part []byte, i int) (step Step, from, to, next int) {
	switch part[i] {
	case ',':
		step = ToField
	case '{':
		step = Inward
	case '}':
		if i = blanks(part, i+1); i == len(part) || part[i] != ',' {
			return NoStep, 0, 0, 0
		}
		step = Outward
		if open := blanks(part, i+1); open < len(part) && part[open] == '{' {
			step, i = ToRow, open
		}
	}
	if !s.Allows(step) {
		return NoStep, 0, 0, 0
	}
	if i = blanks(part, i+1); i == len(part) || part[i] != '"' {
		return NoStep, 0, 0, 0
	}
	from = i + 1
	if to = Plain(part, from); to == len(part) || part[to] != '"' {
		return NoStep, 0, 0, 0
	}
	if i = blanks(part, to+1); i == len(part) || part[i] != ':' {
		return NoStep, 0, 0, 0
	}
	if next = blanks(part, i+1); next == len(part) {
		return NoStep, 0, 0, 0
	}
	return step, from, to, next
}

// Allows reports whether a step may be taken next.
func (s *Scanner) Allows(step Step) bool {
	switch step {
	case ToField:
		return s.state == wantComma && s.object
	case ToRow:
		return s.state == wantComma && s.object && s.depth > 1 && !s.objects.Get(s.depth-2)
	case Outward:
		return s.state == wantComma && s.object && s.depth > 1 && s.objects.Get(s.depth-2)
	case Inward:
		return s.AtValue() && (s.MaxDepth == 0 || s.depth < s.MaxDepth)
	}
	return false
}

// Take takes a step that is allowed, instead of Next.
func (s *Scanner) Take(step Step) {
	switch step {
	case Outward:
		s.depth--
	case Inward:
		s.objects.Set(s.depth, true)
		s.depth++
		s.object = true
	}
	s.state, s.key, s.Escaped = wantValue, true, false
}

// Inner reports whether the scanner is within a container, where a value may come next or
// has ended.
func (s *Scanner) Inner() bool { return s.depth > 0 && (s.AtValue() || s.state == wantComma) }

// AtValue reports whether a value may come next.
func (s *Scanner) AtValue() bool { return s.state == wantValue || s.state == wantValueOrEnd }

// Element takes the comma at part[i], if it is followed by another element of an array in
// part, and returns the index of that. Otherwise it returns i.
func (s *Scanner) Element(part []byte, i int) int {
	if s.object || s.state != wantComma || part[i] != ',' {
		return i
	}
	next := blanks(part, i+1)
	if next == len(part) {
		return i
	}
	s.state = wantValue
	return next
}

// TakeValue takes a string, number or word within a container, instead of Next.
func (s *Scanner) TakeValue() { s.state, s.key, s.Escaped = wantComma, false, false }

// SimpleEnd returns the index behind the number or word that begins at part[i]. It is 0 for
// everything else, and if part ends with it.
func SimpleEnd(part []byte, i int) int {
	c := part[i]
	if at := beginNumber(c); at != outside {
		for i++; i < len(part); i++ {
			c := part[i]
			if c-'0' <= 9 && at.inDigits() {
				continue
			}
			to := behind[at][c]
			if to == outside {
				if !at.complete() {
					return 0
				}
				return i
			}
			at = to
		}
		return 0
	}
	var word string
	switch c {
	case 't':
		word = "true"
	case 'f':
		word = "false"
	case 'n':
		word = "null"
	default:
		return 0
	}
	if end := i + len(word); end < len(part) && string(part[i:end]) == word {
		return end
	}
	return 0
}

// blanks is behind the white space that begins at part[i].
func blanks(part []byte, i int) int {
	for i < len(part) && part[i] <= ' ' && blank[part[i]] {
		i++
	}
	return i
}
