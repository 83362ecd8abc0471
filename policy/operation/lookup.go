// The router: from a method and a path to the operation, without allocating.

package operation

import (
	"fmt"
	"slices"
	"strings"
)

// Lookup returns the operation of a request. path is a result of Clean. The case of
// method and path and a trailing slash are ignored, and HEAD is treated as GET. If
// several templates match, literal segments take precedence over parameters, from left
// to right. If none matches, the result is an Operation of class Unknown, and false.
//
// If each of two templates has a literal where the other has a parameter, servers may
// choose either for a path that matches both: users/{}/keys and users/local/{} for
// users/local/keys. The result is then the stricter operation.
//
// query is a result of CleanQuery. It matters only for products whose operations are
// selected by a parameter. The operation of such a product is unknown if a selecting
// parameter is not in the template, is repeated, or might be read by some servers only.
//
// A version segment matches up to the newest version in the index: servers continue to
// serve older paths, and newer ones are unknown.
func (x *Index) Lookup(method, path, query string) (op Operation, ok bool) {
	m := methodOf(method)
	if m < 0 || len(path) < 2 || path[0] != '/' {
		return Operation{}, false
	}
	s := search{index: x, method: m, best: -1}
	if query != "" && len(x.selectors) > 0 {
		if s.selector, s.value, ok = x.selected(query); !ok {
			return Operation{}, false
		}
	}
	path = path[1:]
	if path[len(path)-1] == '/' {
		path = path[:len(path)-1]
	}
	s.walk(&x.root, path, 1, 0)
	if s.best < 0 {
		return Operation{}, false
	}
	return x.operations[s.best], true
}

// LookupRaw is like Lookup for a path and a query as received. ok is false if they are
// ambiguous. An operation that is not in the index has the class Unknown.
func (x *Index) LookupRaw(method, path, query string) (op Operation, ok bool) {
	path, unambiguous := Clean(path)
	query, ok = CleanQuery(query)
	if !ok || !unambiguous {
		return Operation{}, false
	}
	op, _ = x.Lookup(method, path, query)
	return op, true
}

var methods = [...]string{"GET", "POST", "PUT", "PATCH", "DELETE"}

// methodOf returns the place of a method in methods, or -1.
func methodOf(method string) int {
	for i, m := range methods {
		if m == method {
			return i
		}
	}
	for i, m := range methods {
		if strings.EqualFold(m, method) {
			return i
		}
	}
	if strings.EqualFold(method, "HEAD") {
		return 0
	}
	return -1
}

// node is a place in the tree of templates.
type node struct {
	literals []literal // until build
	table    []literal // by hash, with gaps; its length is a power of two
	lengths  uint64    // a bit for each length of a literal, modulo 64
	version  *node     // below {version}
	param    *node     // below any other parameter

	// ops are the operations that end here, by method; 0 is none, others are one
	// more than the place in Index.operations.
	ops [len(methods)]int32

	// selected are the operations that end here and are selected by a parameter.
	selected []selected
}

type literal struct {
	text string // in lower case
	hash uint32
	next *node
}

// lower maps letters of ASCII to lower case and nothing else: an index has none
// beyond ASCII, and Clean refuses those that some readers take for ASCII.
var lower = func() (table [256]byte) {
	for c := range table {
		table[c] = byte(c)
		if 'A' <= c && c <= 'Z' {
			table[c] += 'a' - 'A'
		}
	}
	return table
}()

// hashOf looks at the length and at three characters, which tells apart nearly
// all words that stand at one place of a path.
func hashOf(segment string) uint32 {
	n := len(segment)
	h := uint32(n)
	for _, i := range [...]int{0, n / 2, n - 1} {
		h = (h ^ uint32(lower[segment[i]])) * 0x01000193
	}
	return h ^ h>>15
}

// search is one call of Lookup.
type search struct {
	index  *Index
	method int

	// selector is the name of the parameter that selects the operation, in lower
	// case, and value its value. selector is empty without one.
	selector, value string

	// best is the place of the operation found, or -1. literals has a bit for each
	// segment that is a literal of the template that was found first.
	best     int
	literals uint64
}

// walk visits every template that fits path, literals first. bit is that of the
// first segment, literals has those of the segments before.
func (s *search) walk(n *node, path string, bit, literals uint64) {
	end := strings.IndexByte(path, '/')
	if end < 0 {
		end = len(path)
	}
	if end == 0 {
		return
	}
	segment := path[:end]
	if next := n.literal(segment); next != nil {
		s.descend(next, path, end, bit, literals|bit)
	}
	if n.version != nil {
		if v, ok := parseVersion(segment); ok && !v.after(s.index.newest) {
			s.descend(n.version, path, end, bit, literals)
		}
	}
	if n.param != nil {
		s.descend(n.param, path, end, bit, literals)
	}
}

func (s *search) descend(n *node, path string, end int, bit, literals uint64) {
	if end < len(path) {
		s.walk(n, path[end+1:], bit<<1, literals)
		return
	}
	place := s.place(n)
	switch {
	case place < 0:
	case s.best < 0:
		s.best, s.literals = place, literals
	case literals&^s.literals != 0 && s.class(place).StricterThan(s.class(s.best)):
		s.best = place
	}
}

func (s *search) class(place int) Class { return s.index.operations[place].Class }

func (n *node) literal(segment string) *node {
	if n.lengths>>(len(segment)&63)&1 == 0 {
		return nil
	}
	hash := hashOf(segment)
	mask := uint32(len(n.table) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		l := &n.table[i]
		if l.next == nil {
			return nil
		}
		if l.hash == hash && equalLower(l.text, segment) {
			return l.next
		}
	}
}

func equalLower(lowered, s string) bool {
	if len(lowered) != len(s) {
		return false
	}
	for i := range len(s) {
		if lowered[i] != lower[s[i]] {
			return false
		}
	}
	return true
}

// add puts an operation into the tree.
func (x *Index) add(place int) error {
	op := &x.operations[place]
	n := &x.root
	for segment := range strings.SplitSeq(strings.Trim(op.Path, "/"), "/") {
		switch {
		case segment == "{version}":
			n = child(&n.version)
		case segment[0] == '{':
			n = child(&n.param)
		default:
			n = n.grow(strings.ToLower(segment))
		}
	}
	m := slices.Index(methods[:], op.Method)
	switch {
	case m < 0:
		return fmt.Errorf("method %q is not allowed (allowed: %s)", op.Method, strings.Join(methods[:], ", "))
	case op.Query != "":
		return x.addSelected(n, m, place)
	case n.ops[m] != 0:
		return fmt.Errorf("%s %s: duplicate operation", op.Method, op.Path)
	}
	n.ops[m] = int32(place + 1)
	return nil
}

func child(n **node) *node {
	if *n == nil {
		*n = new(node)
	}
	return *n
}

func (n *node) grow(text string) *node {
	for _, l := range n.literals {
		if l.text == text {
			return l.next
		}
	}
	n.literals = append(n.literals, literal{text, hashOf(text), new(node)})
	return n.literals[len(n.literals)-1].next
}

// build lays out the tables of a finished tree, at most half full.
func (n *node) build() {
	if len(n.literals) > 0 {
		size := 2
		for size < 2*len(n.literals) {
			size *= 2
		}
		n.table = make([]literal, size)
	}
	for _, l := range n.literals {
		n.lengths |= 1 << (len(l.text) & 63)
		i := l.hash
		for n.table[i&uint32(len(n.table)-1)].next != nil {
			i++
		}
		n.table[i&uint32(len(n.table)-1)] = l
		l.next.build()
	}
	n.literals = nil
	for _, next := range []*node{n.version, n.param} {
		if next != nil {
			next.build()
		}
	}
}

// version is a version in a path, such as v8.1.
type version struct{ major, minor int }

func (v version) after(w version) bool {
	return v.major > w.major || v.major == w.major && v.minor > w.minor
}

// parseVersion reads v8 and v8.1, with small numbers only.
func parseVersion(segment string) (v version, ok bool) {
	if len(segment) < 2 || lower[segment[0]] != 'v' {
		return version{}, false
	}
	major, minor, dotted := strings.Cut(segment[1:], ".")
	v.major, ok = number(major)
	if ok && dotted {
		v.minor, ok = number(minor)
	}
	return v, ok
}

func number(digits string) (n int, ok bool) {
	if digits == "" || len(digits) > 4 || len(digits) > 1 && digits[0] == '0' {
		return 0, false
	}
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}
