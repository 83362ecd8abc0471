// This file holds the tokens of JSON: strings, numbers, words and the stack of
// open containers.

package svclog

import "strings"

// scanString measures the string that opens at s[i]; end is behind its closing
// quote.
func scanString(s string, i int) (end int, escaped bool, result jsonEnd) {
	for j := i + 1; j < len(s); j++ {
		switch c := s[j]; {
		case c == '"':
			return j + 1, escaped, jsonComplete
		case c < ' ':
			return 0, false, jsonBroken
		case c == '\\':
			escaped = true
			j++
			if j == len(s) {
				return 0, false, jsonIncomplete
			}
			if s[j] != 'u' {
				if strings.IndexByte(`"\/bfnrt`, s[j]) < 0 {
					return 0, false, jsonBroken
				}
				continue
			}
			digits := s[j+1 : min(j+5, len(s))]
			if _, ok := hexValue(digits); !ok {
				return 0, false, jsonBroken
			}
			if len(digits) < 4 {
				return 0, false, jsonIncomplete
			}
			j += 4
		}
	}
	return 0, false, jsonIncomplete
}

// scanNumber measures the number that starts at s[i].
func scanNumber(s string, i int) (end int, result jsonEnd) {
	digits := func() bool {
		first := i
		for i < len(s) && '0' <= s[i] && s[i] <= '9' {
			i++
		}
		return i > first
	}
	failed := func() (int, jsonEnd) {
		if i == len(s) {
			return 0, jsonIncomplete
		}
		return 0, jsonBroken
	}
	if s[i] == '-' {
		i++
	}
	if i < len(s) && s[i] == '0' {
		i++
	} else if !digits() {
		return failed()
	}
	if i < len(s) && s[i] == '.' {
		i++
		if !digits() {
			return failed()
		}
	}
	if i < len(s) && s[i]|0x20 == 'e' {
		i++
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		if !digits() {
			return failed()
		}
	}
	return i, jsonComplete
}

// scanWord measures true, false or null at s[i].
func scanWord(s string, i int) (end int, result jsonEnd) {
	for _, word := range [...]string{"true", "false", "null"} {
		switch rest := s[i:min(i+len(word), len(s))]; {
		case rest == word:
			return i + len(word), jsonComplete
		case strings.HasPrefix(word, rest):
			return 0, jsonIncomplete
		}
	}
	return 0, jsonBroken
}

// bits is the stack of open containers: true for an object. It costs one bit
// per level, so depth needs no limit.
type bits struct {
	depth int
	near  [4]uint64
	far   []uint64
}

func (b *bits) word(level int) *uint64 {
	at := level / 64
	if at < len(b.near) {
		return &b.near[at]
	}
	at -= len(b.near)
	if at == len(b.far) {
		b.far = append(b.far, 0)
	}
	return &b.far[at]
}

func (b *bits) push(object bool) {
	w := b.word(b.depth)
	bit := uint64(1) << (b.depth % 64)
	*w &^= bit
	if object {
		*w |= bit
	}
	b.depth++
}

func (b *bits) pop() { b.depth-- }

// top reports whether the innermost open container is an object.
func (b *bits) top() bool {
	level := b.depth - 1
	return *b.word(level)>>(level%64)&1 == 1
}
