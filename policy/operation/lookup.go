// The router: from a method and a path to the operation, without allocating.

package operation

import (
	"fmt"
	"strings"
)

// Lookup returns the operation that a request asks for. path is one that Clean
// has returned. Neither the case of method and path matters nor a slash at the
// end; HEAD asks for what GET does. Where several templates fit, literal
// segments beat parameters, from left to right. If none fits, the result is an
// Operation of class Unknown, and false.
//
// A version segment fits up to the newest version in the index: servers go on
// serving the older paths, and of newer ones nothing is known.
func (x *Index) Lookup(method, path string) (op Operation, ok bool) {
	m := methodOf(method)
	if m < 0 || len(path) < 2 || path[0] != '/' {
		return Operation{}, false
	}
	path = path[1:]
	if path[len(path)-1] == '/' {
		path = path[:len(path)-1]
	}
	i := x.find(&x.root, path, m)
	if i < 0 {
		return Operation{}, false
	}
	return x.operations[i], true
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
	version  *node     // below {version}
	param    *node     // below any other parameter

	// ops are the operations that end here, by method; 0 is none, others are one
	// more than the place in Index.operations.
	ops [len(methods)]int32
}

type literal struct {
	text string // in lower case
	hash uint32
	next *node
}

const (
	hashBasis = 2166136261
	hashPrime = 16777619
)

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

// segmentOf returns the end of the first segment and its hash.
func segmentOf(path string) (end int, hash uint32) {
	hash = hashBasis
	for end = 0; end < len(path) && path[end] != '/'; end++ {
		hash = (hash ^ uint32(lower[path[end]])) * hashPrime
	}
	return end, hash
}

// find returns the place of the operation at path below n, or -1.
func (x *Index) find(n *node, path string, m int) int {
	end, hash := segmentOf(path)
	if end == 0 {
		return -1
	}
	segment := path[:end]
	if next := n.literal(segment, hash); next != nil {
		if i := x.descend(next, path, end, m); i >= 0 {
			return i
		}
	}
	if n.version != nil {
		if v, ok := parseVersion(segment); ok && !v.after(x.newest) {
			if i := x.descend(n.version, path, end, m); i >= 0 {
				return i
			}
		}
	}
	if n.param != nil {
		return x.descend(n.param, path, end, m)
	}
	return -1
}

func (x *Index) descend(n *node, path string, end, m int) int {
	if end == len(path) {
		return int(n.ops[m]) - 1
	}
	return x.find(n, path[end+1:], m)
}

func (n *node) literal(segment string, hash uint32) *node {
	if len(n.table) == 0 {
		return nil
	}
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
	m := methodOf(op.Method)
	if m < 0 || n.ops[m] != 0 {
		return fmt.Errorf("%s %s is there twice, or its method is none", op.Method, op.Path)
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
	_, hash := segmentOf(text)
	n.literals = append(n.literals, literal{text, hash, new(node)})
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
	if digits == "" || len(digits) > 4 {
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
