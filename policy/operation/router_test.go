// A router that is as plain as it can be, and the ways in which servers and the
// proxies before them read a path.

package operation_test

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// router tries every template. It shares nothing with Lookup.
type router struct {
	newest    string
	templates map[string][]template // by method and number of segments
}

type template struct {
	segments []string // parameters are empty
	op       operation.Operation
}

func newRouter(x *operation.Index) *router {
	r := &router{newest: newest[x.Product()], templates: make(map[string][]template)}
	for _, op := range x.All() {
		if op.Query != "" {
			continue // the paths are tried without a query
		}
		segments := strings.Split(strings.ToLower(op.Path[1:]), "/")
		for i, s := range segments {
			if s[0] == '{' && s != "{version}" {
				segments[i] = ""
			}
		}
		key := routerKey(op.Method, len(segments))
		r.templates[key] = append(r.templates[key], template{segments, op})
	}
	return r
}

// newest is the newest version in a path of each product.
var newest = map[string]string{"vbr": "10", "azure": "8.1", "vb365": "8", "one": "2.3"}

func routerKey(method string, segments int) string { return method + string(rune('0'+segments)) }

// route finds the template that fits best: the one that has a literal where
// another has a parameter, first difference first; but a stricter one that has a
// literal where the best has a parameter.
func (r *router) route(method string, segments []string) (best operation.Operation, found bool) {
	method = strings.ToUpper(method)
	if method == "HEAD" {
		method = "GET"
	}
	var fitting []template
	for _, t := range r.templates[routerKey(method, len(segments))] {
		if r.fits(t.segments, segments) {
			fitting = append(fitting, t)
		}
	}
	if len(fitting) == 0 {
		return operation.Operation{}, false
	}
	slices.SortFunc(fitting, func(a, b template) int {
		if beats(a.segments, b.segments) {
			return -1
		}
		return 1
	})
	best = fitting[0].op
	for _, t := range fitting[1:] {
		if crosses(t.segments, fitting[0].segments) && t.op.Class.StricterThan(best.Class) {
			best = t.op
		}
	}
	return best, true
}

// crosses reports whether a has a literal where b has a parameter.
func crosses(a, b []string) bool {
	for i := range a {
		if a[i] != "" && b[i] == "" {
			return true
		}
	}
	return false
}

func (r *router) fits(template, segments []string) bool {
	version := -1
	for i, want := range slices.Backward(template) {
		switch {
		case want == "":
		case want == "{version}":
			version = i
		case len(want) != len(segments[i]) && isASCII(segments[i]), !strings.EqualFold(want, segments[i]):
			return false
		}
	}
	return version < 0 || r.served(segments[version])
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
}

var versionSegment = regexp.MustCompile(`^v(\d+)(?:\.(\d+))?$`)

// served reports whether a segment is a version no newer than the index.
func (r *router) served(segment string) bool {
	of := func(s string) []int {
		var numbers []int
		for _, digits := range versionSegment.FindStringSubmatch(strings.ToLower(s)) {
			n, err := strconv.Atoi(digits)
			if len(digits) > 1 && digits[0] == '0' {
				return nil // v08
			}
			if err == nil {
				numbers = append(numbers, n)
			}
		}
		return numbers
	}
	numbers := of(segment)
	return len(numbers) > 0 && slices.Compare(numbers, append(of("v"+r.newest), 0)) <= 0
}

func beats(a, b []string) bool {
	for i := range a {
		if (a[i] == "") != (b[i] == "") {
			return a[i] != ""
		}
	}
	return false
}

// reading is a way to split a path as it was sent.
type reading struct {
	name     string
	segments func(path string) []string
}

var readings = []reading{
	{"decoded once, as the emulator does", func(p string) []string { return resolve(decodeOnce(p), true, true) }},
	{"decoded twice", func(p string) []string { return resolve(decodeOnce(decodeOnce(p)), true, true) }},
	{"split, then decoded", func(p string) []string {
		segments := resolve(p, false, false)
		for i, s := range segments {
			segments[i] = decodeOnce(s)
		}
		return segments
	}},
	{"never decoded", func(p string) []string { return resolve(p, false, false) }},
	{"as net/url does", func(p string) []string {
		u, err := url.ParseRequestURI(p)
		if err != nil {
			return nil
		}
		return resolve(u.Path, false, false)
	}},
}

// resolve splits a path and resolves its dot segments. backslashes are slashes
// and parameters go if that is wanted.
func resolve(path string, backslashes, params bool) (segments []string) {
	if backslashes {
		path = strings.ReplaceAll(path, `\`, "/")
	}
	for s := range strings.SplitSeq(path, "/") {
		if params {
			s, _, _ = strings.Cut(s, ";")
		}
		switch s {
		case "", ".":
		case "..":
			segments = segments[:max(len(segments)-1, 0)]
		default:
			segments = append(segments, s)
		}
	}
	return segments
}

// decodeOnce leaves what is no escape.
func decodeOnce(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := url.PathUnescape(s[i : i+3]); err == nil {
				b.WriteString(c)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
