// This file holds what recognises a secret by the name beside its value, as in
// {"op":"replace","path":"/password","value":"x"}.

package svclog

import "strings"

// pairDepth is how deep objects are looked at in that way. Deeper ones lose
// every value that could be meant.
const pairDepth = 16

// pairing is what is known of an open object.
type pairing struct {
	start int
	named verdict // readable until somebody asked
	asked bool
}

// pairedWithSecret reports whether the key is one for the value of something,
// and the object names a secret.
func (m *jsonScanner) pairedWithSecret(key string) bool {
	if !strings.EqualFold(key, "value") && !strings.EqualFold(key, "newValue") && !strings.EqualFold(key, "oldValue") {
		return false
	}
	level := m.nest.depth - 1
	if level >= pairDepth {
		return true
	}
	p := &m.pairs[level]
	if !p.asked {
		p.named, p.asked = namedIn(m.s, p.start), true
	}
	return p.named != readable
}

// namedIn returns the verdict on the strings right inside the object that opens
// at s[start]. One that is not complete may go on with anything.
func namedIn(s string, start int) verdict {
	depth := 0
	for i := start; i < len(s); i++ {
		switch s[i] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return readable
			}
		case '"':
			end, escaped, result := scanString(s, i)
			if result != jsonComplete {
				return secretField
			}
			if depth == 1 {
				if v := judgeSegment(s[i+1:end-1], escaped); v != readable {
					return v
				}
			}
			i = end - 1
		}
	}
	return secretField
}

// judgeSegment judges the last part of a path such as /credentials/0/password.
func judgeSegment(name string, escaped bool) verdict {
	if escaped {
		name = unescape(name)
	}
	name = strings.TrimRight(name, "/")
	return judgeDecoded(name[strings.LastIndexAny(name, "/.")+1:])
}
