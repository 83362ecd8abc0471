// What the name of a field tells about its value.

package filter

import (
	"encoding/binary"
	"math/bits"
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
	// quietName: there is nothing in the name itself that has to be looked at.
	quietName
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

// judgeKey returns the traits of a key.
func judgeKey(name []byte) traits {
	told := judge(name)
	if quiet(name, name) {
		told |= quietName
	}
	return told
}

// namesSecret is secretValue if the value of a naming field is the name of a secret,
// or a path that ends in one.
func namesSecret(name []byte) traits {
	if likeUUID(name) {
		return 0
	}
	last := strings.TrimRight(view(name), "/")
	if svclog.SecretName(last[strings.LastIndexAny(last, "/.")+1:]) {
		return secretValue
	}
	return 0
}

// likeUUID reports whether a text is built as a UUID is, which names nothing.
func likeUUID(text []byte) bool {
	return len(text) == 36 && text[8] == '-' && text[13] == '-' && text[23] == '-'
}

// view looks at b as a string without a copy. The string must not outlive the
// call that it is handed to.
func view(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b)) //nolint:gosec // the bytes do not change while they are looked at
}

// judged remembers what judgeKey or namesSecret has said about the names of a stream,
// which are few and come again and again.
type judged [64][2]judgement

// judgement is about one name.
type judgement struct {
	print  namePrint
	size   uint8
	traits traits
}

// namePrint is all of a name of at most longestPrint bytes, together with its size.
type namePrint [4]uint64

const longestPrint = 32

func printOf(name []byte) (p namePrint) {
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(name[i:]) }
	switch size := len(name); {
	case size > 16:
		p = namePrint{word(0), word(8), word(size - 16), word(size - 8)}
	case size >= 8:
		p = namePrint{word(0), word(size - 8)}
	case size >= 4:
		p[0] = uint64(binary.LittleEndian.Uint32(name)) | uint64(binary.LittleEndian.Uint32(name[size-4:]))<<32
	default:
		for _, c := range name {
			p[0] = p[0]<<8 | uint64(c)
		}
	}
	return p
}

// mix is a number below 64 for a print and a size.
func (p *namePrint) mix(size int) uint64 {
	const golden = 0x9e3779b97f4a7c15
	return (p[0] ^ bits.RotateLeft64(p[1]^p[2], 23) ^ bits.RotateLeft64(p[3], 41) ^ uint64(size)) * golden >> 58
}

func (j *judged) ask(judge func([]byte) traits, name []byte) traits {
	if len(name) > longestPrint {
		return judge(name)
	}
	p, size := printOf(name), uint8(len(name))
	two := &j[p.mix(len(name))]
	switch {
	case two[0].size == size && two[0].print == p && size > 0:
		return two[0].traits
	case two[1].size == size && two[1].print == p && size > 0:
		return two[1].traits
	}
	two[1] = two[0]
	two[0] = judgement{p, size, judge(name)}
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
