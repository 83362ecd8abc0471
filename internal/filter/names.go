// What the name of a field tells about its value.

package filter

import (
	"strings"
	"unsafe"

	"github.com/caddy-veeam/veeam-auth/internal/svclog"
)

// traits are what a name tells.
type traits uint8

const (
	// secretValue: the value is a secret.
	secretValue traits = 1 << iota
	// statusNumber: the value is a secret unless it is a number.
	statusNumber
	// naming: the value is the name of something, whose value stands beside it.
	naming
	// named: the value is that of what a field beside it names.
	named
)

// special are the names about which answers differ from what svclog masks in
// logs.
var special = map[string]traits{
	// Errors have a code, which is a number. The codes that log in are strings.
	"code": secretValue | statusNumber,
	// A log needs no public keys; clients that ask for one do.
	"publickey": 0,
}

// judge returns the traits of a name.
func judge(name []byte) traits {
	const longest = 9
	if len(name) <= longest {
		var lower [longest]byte
		for i, c := range name {
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			lower[i] = c
		}
		if t, ok := special[string(lower[:len(name)])]; ok {
			return t
		}
	}
	if svclog.SecretName(view(name)) {
		return secretValue
	}
	switch svclog.PairRoleOf(view(name)) {
	case svclog.PairName:
		return naming
	case svclog.PairValue:
		return named
	}
	return 0
}

// namesSecret is secretValue if the value of a naming field is the name of a secret,
// or a path that ends in one.
func namesSecret(name []byte) traits {
	if len(name) == 36 && name[8] == '-' && name[13] == '-' && name[23] == '-' {
		return 0 // a UUID
	}
	last := strings.TrimRight(view(name), "/")
	if svclog.SecretName(last[strings.LastIndexAny(last, "/.")+1:]) {
		return secretValue
	}
	return 0
}

// view looks at b as a string without a copy. The string must not outlive the
// call that it is handed to.
func view(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b)) //nolint:gosec // the bytes do not change while they are looked at
}

// judged remembers what judge or namesSecret has said about the names of a stream,
// which are few and come again and again.
type judged [64][2]judgement

type judgement struct {
	traits traits
	size   uint8
	name   [30]byte
}

func (j *judgement) is(name []byte) bool {
	return int(j.size) == len(name) && string(j.name[:j.size]) == string(name)
}

func (j *judged) ask(judge func([]byte) traits, name []byte) traits {
	size := len(name)
	if size == 0 || size > len(j[0][0].name) {
		return judge(name)
	}
	const mix = 0x9e3779b1
	hash := uint32(size) + uint32(name[0])<<5 + uint32(name[size/2])<<12 + uint32(name[size-1])<<19 + uint32(name[size/4])<<25
	two := &j[hash*mix>>26]
	switch {
	case two[0].is(name):
	case two[1].is(name):
		return two[1].traits
	default:
		two[1] = two[0]
		e := &two[0]
		e.traits = judge(name)
		e.size = uint8(size)
		copy(e.name[:], name)
	}
	return two[0].traits
}

// Bounds of a captured name: all that judge looks at lies at its end.
const (
	nameKept = 512
	nameRoom = 2 * nameKept

	// longestNaming is the longest value of a naming field that counts as a name.
	longestNaming = 128
)

// capture collects a string without its escapes.
type capture struct {
	size int // of the whole string
	kept []byte
}

func (c *capture) reset() {
	c.size = 0
	c.kept = c.kept[:0]
}

func (c *capture) add(part []byte) {
	c.size += len(part)
	part = part[max(0, len(part)-nameKept):]
	if c.kept == nil {
		c.kept = make([]byte, 0, nameRoom)
	}
	if len(c.kept)+len(part) > nameRoom {
		n := copy(c.kept, c.kept[max(0, len(c.kept)-nameKept):])
		c.kept = c.kept[:n]
	}
	c.kept = append(c.kept, part...)
}

// end returns the last bytes of the string, which ends with rest, and the same ones
// however the string came in.
func (c *capture) end(rest []byte) []byte {
	if c.size == 0 {
		c.size = len(rest)
		return rest[max(0, len(rest)-nameKept):]
	}
	c.add(rest)
	return c.kept[max(0, len(c.kept)-nameKept):]
}
