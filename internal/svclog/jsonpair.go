// This file holds what recognises a secret by the name beside its value, as in
// {"op":"replace","path":"/password","value":"x"}.

package svclog

import (
	"strings"

	"github.com/caddy-veeam/veeam-auth/internal/jsonscan"
)

// pairDepth is how deep objects are looked at in that way. Deeper ones lose
// every value that could be meant.
const pairDepth = 16

// pairs is what is known of the open objects: where they start, and by one bit
// for each whether that was looked up and whether they name a secret.
type pairs struct {
	start        [pairDepth]int
	asked, named uint32
}

// open notes that a container starts at that depth.
func (p *pairs) open(depth, start int) {
	if depth < pairDepth {
		p.start[depth] = start
		p.asked &^= 1 << depth
	}
}

// pairedWithSecret reports whether the key is one for the value of something,
// and the object names a secret.
func (m *jsonMasker) pairedWithSecret(key string) bool {
	if PairRoleOf(key) != PairValue {
		return false
	}
	level := m.scan.Depth() - 1
	if level >= pairDepth {
		return true
	}
	if m.pairs.asked>>level&1 == 0 {
		m.pairs.asked |= 1 << level
		m.pairs.named &^= 1 << level
		if namesSecret(m.s, m.pairs.start[level]) {
			m.pairs.named |= 1 << level
		}
	}
	return m.pairs.named>>level&1 == 1
}

// namesSecret reports whether one of the strings right inside the object that
// opens at s[start] is the name of a secret. An object that is not complete may
// go on with anything.
func namesSecret(s string, start int) bool {
	depth := 0
	for i := start; i < len(s); i++ {
		switch s[i] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return false
			}
		case '"':
			event, end, escaped := jsonscan.StringEnd(bytesOf(s), i+1)
			if event != jsonscan.End {
				return true
			}
			if depth == 1 && judgeSegment(s[i+1:end-1], escaped) != readable {
				return true
			}
			i = end - 1
		}
	}
	return true
}

// judgeSegment judges the last part of a path such as /credentials/0/password.
func judgeSegment(name string, escaped bool) verdict {
	if escaped {
		name = unescape(name)
	}
	name = strings.TrimRight(name, "/")
	return judgeDecoded(name[strings.LastIndexAny(name, "/.")+1:])
}
