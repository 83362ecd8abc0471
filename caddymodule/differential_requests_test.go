// Random requests: an operation of the product, spelled in ways that servers,
// proxies and rules may read differently.

package caddymodule

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// labRequest is one request, as a client would write it.
type labRequest struct {
	id      string
	method  string
	target  string // path and query
	header  [][2]string
	body    string
	proto   string // HTTP/1.1, HTTP/2.0, HTTP/3.0
	connect string // :protocol of an extended CONNECT
	remote  string

	status int  // of the answer
	lost   bool // there is no answer: the client or the server found that this is no request
}

func (r *labRequest) String() string {
	return fmt.Sprintf("%s %s %s %q connect=%q from %s body %q: %d", r.proto, r.method, r.target, r.header, r.connect, r.remote, r.body, r.status)
}

// known reports whether the caller's address suffices.
func (r *labRequest) known() bool {
	return strings.HasPrefix(r.remote, "127.") && !r.has("X-Forwarded-For")
}

// plain reports whether method and target are all that there is to say, so that
// they can be given to `policy test`.
func (r *labRequest) plain() bool {
	return r.connect == "" && len(r.header) == 0 && !r.lost && strings.HasPrefix(r.target, "/")
}

func (r *labRequest) has(name string) bool {
	for _, h := range r.header {
		if strings.EqualFold(h[0], name) {
			return true
		}
	}
	return false
}

type labGenerator struct {
	*rand.Rand
	prefix  string
	count   int
	indexes map[string][]operation.Operation
}

func newLabGenerator(seed, worker uint64) *labGenerator {
	g := &labGenerator{Rand: rand.New(rand.NewPCG(seed, worker)), prefix: fmt.Sprintf("%d-", worker), indexes: make(map[string][]operation.Operation)}
	for _, product := range veeam.Names() {
		index, _ := operation.For(product)
		g.indexes[product] = index.All()
	}
	return g
}

func (g *labGenerator) one(in int) bool { return g.IntN(in) == 0 }

func pick[T any](g *labGenerator, of ...T) T { return of[g.IntN(len(of))] }

// next is a request for a site. Half of them are spelled as the documents do.
func (g *labGenerator) next(s *differentialSite) *labRequest {
	g.count++
	all := g.indexes[s.product]
	op := all[g.IntN(len(all))]
	r := &labRequest{
		id: fmt.Sprint(g.prefix, g.count), method: op.Method, target: g.fill(s.product, op.Path), proto: "HTTP/1.1", remote: "127.0.0.1:40000",
	}
	if g.one(8) {
		r.target = g.other(s)
	}
	if g.one(3) {
		r.method = g.methodOf(r.method)
	}
	if g.one(2) {
		r.target = g.spell(r.target)
	}
	if query := g.selecting(s.product, op.Query); query != "" {
		r.target += "?" + query
	}
	if g.one(4) {
		r.header = append(r.header, g.headers()...)
	}
	if g.one(4) {
		r.proto = pick(g, "HTTP/2.0", "HTTP/3.0")
		if g.one(3) {
			r.connect = pick(g, "websocket", "websocket", "WebSocket", "connect-udp", "webtransport", "h2c")
			r.method = http.MethodConnect
		}
	}
	if g.one(10) {
		r.remote = "192.0.2.7:40000"
	}
	switch r.method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, "post", "put":
		r.body = pick(g, "", "{}", "grant_type=password&username=a&password=b", `{"name":"x"}`)
	}
	return r
}

// fill puts values into a path template.
func (g *labGenerator) fill(product, template string) string {
	var b strings.Builder
	for segment := range strings.SplitSeq(strings.Trim(template, "/"), "/") {
		b.WriteByte('/')
		switch {
		case segment == "{version}":
			b.WriteString(g.version(product))
		case strings.HasPrefix(segment, "{"):
			b.WriteString(pick(g, "5", "6745a648-9f1a-41d3-b3d2-1d2b0f1a2c3e", "all", "a.b", "jobs", "token", "v8"))
		default:
			b.WriteString(segment)
		}
	}
	return b.String()
}

// version is a part of a path that names a version, one that the product has or another.
func (g *labGenerator) version(product string) string {
	if p, _ := veeam.Lookup(product); strings.HasPrefix(p.Version.Default, "v") && !g.one(3) {
		return pick(g, p.Version.Known...)
	}
	return pick(g, "v8", "v8", "v7", "v8.1", "v6", "v5", "v9", "v08", "V8", "v8.01", "v10", "v0", "v2.03", "V2.3")
}

// other is a path beside the operations.
func (g *labGenerator) other(s *differentialSite) string {
	return pick(g, "/api/oauth2/token", "/api/v1/token", "/api/v8/token", "/api/v8/oauth2/token", "/token", "/v8/token", "/api/oauth2/logout",
		"/api/oauth2/authorization_code", "/api/v1/login", "/api/login", "/api/v1/echo", "/api/v8/echo", "/api/v1/execute", "/api/v1/websocket",
		"/swagger/index.html", "/api/v1/serverTime", "/api/v1/jobs", "/api/v1/credentials", "/api/v1/jobs/5", "/", "", "/old/api/v1/jobs", "/old/api/v1/credentials",
		"/short/x", "/api/v1/jobs/../credentials", "/api", "/API/V1/CREDENTIALS", "/api/v1/unknown/thing", "/private-api/oauth2/token",
		"*", "//api/v1/jobs", "http://localhost/api/v1/credentials", "/extension/799a5a3e/api/v8/clusters")
}

func (g *labGenerator) methodOf(method string) string {
	switch g.IntN(8) {
	case 0:
		return strings.ToLower(method)
	case 1:
		return method[:1] + strings.ToLower(method[1:])
	case 2:
		return pick(g, "TRACE", "TRACK", "trace", "OPTIONS", "HEAD", "head", "CONNECT", "connect")
	case 3:
		return pick(g, "PROPFIND", "MERGE", "FOO", "foo", "X-DELETE", "DELETE!", "PURGE", "SEARCH", "QUERY", "ACL")
	}
	return pick(g, "GET", "GET", "POST", "PUT", "DELETE", "PATCH", "delete", "post", "Delete", "dELETE", "put", "pOsT", "get")
}

// spell writes a path in another way.
func (g *labGenerator) spell(path string) string {
	for range 1 + g.IntN(3) {
		if path == "" || path[0] != '/' {
			return path
		}
		at := g.IntN(len(path))
		switch g.IntN(16) {
		case 0:
			path = strings.ToUpper(path)
		case 1:
			path = swapCase(g, path)
		case 2, 3:
			path = path[:at] + fmt.Sprintf("%%%02x", path[at]) + path[at+1:]
		case 4:
			path = strings.Replace(path, "/", "//", 1+g.IntN(3))
		case 5:
			path += pick(g, "/", "/.", "//", "/..", ".", "%2f", "%20", " ", "%00", ";", ";a=b", "/;", "::$DATA", "%2e", "?", "#x")
		case 6:
			path = insertSegment(g, path, pick(g, ".", "x/..", "%2e", "x/%2e%2e", ";a/..", ".;", "%2e%2e/api"))
		case 7:
			path = strings.Replace(path, "/", pick(g, `\`, "%5c", "%2f", "%252f"), 1+g.IntN(2))
		case 8:
			path = path[:at] + pick(g, "%u0061", "%c0%af", "\u212a", "%e2%84%aa", "%ef%bd%81", "%zz", "%", "%25", "%2561", "\u0131") + path[at:]
		case 9:
			path = strings.TrimPrefix(path, "/api")
		case 10:
			path = pick(g, "/api", "/api/v1", "/x", "/old", "/.", "//localhost") + path
		default:
			path = swapCase(g, path)
		}
	}
	return path
}

func swapCase(g *labGenerator, path string) string {
	b := []byte(path)
	for i, c := range b {
		if g.one(3) && (c|0x20) >= 'a' && (c|0x20) <= 'z' && (i == 0 || b[i-1] != '%') {
			b[i] = c ^ 0x20
		}
	}
	return string(b)
}

func insertSegment(g *labGenerator, path, segment string) string {
	parts := strings.Split(path, "/")
	at := 1 + g.IntN(len(parts)-1)
	return strings.Join(parts[:at], "/") + "/" + segment + "/" + strings.Join(parts[at:], "/")
}

func (g *labGenerator) query() string {
	parts := make([]string, 1+g.IntN(2))
	for i := range parts {
		parts[i] = pick(g, "limit=100", "format=secret", "Format=secret", "FORMAT=Secret", "format=plain", "_method=DELETE", "_METHOD=delete",
			"format=plain;format=secret", "format=%73ecret", "format=secret%20", "format=%00secret", "format=%EF%BD%93ecret", "f%6frmat=secret", "x=1&format=secret", "%zz=1", "a", "=", "access_token=x", "format")
	}
	return strings.Join(parts, "&")
}

// selecting is a query: what selects an operation of the product, in one spelling or
// another, and what means nothing to it.
func (g *labGenerator) selecting(product, selector string) string {
	var parts []string
	if g.one(3) {
		parts = append(parts, g.query())
	}
	name, value, _ := strings.Cut(selector, "=")
	if strings.HasPrefix(value, "{") {
		value = pick(g, "urn:veeam:hierarchy:5", "", "x%26action=edit")
	}
	if selector == "" && (product != "em" || !g.one(8)) {
		return strings.Join(parts, "&")
	}
	for range 1 + g.IntN(5)/4 {
		if selector == "" || g.one(4) {
			name = pick(g, "action", "type", "hierarchyRef")
			value = pick(g, "start", "stop", "edit", "create", "Credentials", "LogonSession", "Job", "unknown", "")
		}
		pair := name + "=" + value
		if g.one(3) {
			pair = g.spellPair(name, value)
		}
		parts = append(parts, pair)
	}
	g.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	return strings.Join(parts, pick(g, "&", "&", "&", "&", ";", "&&"))
}

// spellPair writes a parameter in another way.
func (g *labGenerator) spellPair(name, value string) string {
	at := g.IntN(len(name))
	switch g.IntN(9) {
	case 0:
		return name[:at] + fmt.Sprintf("%%%02x", name[at]) + name[at+1:] + "=" + value
	case 1:
		return name + pick(g, "[]", "[0]", "%5b%5d", "%00", " ", "%20", ".x") + "=" + value
	case 2:
		return pick(g, "x.", "?", "%3f", "%20", "+", "x[", "$", ";") + name + "=" + value
	case 3:
		return name + pick(g, "%3d", "==", "", "=%20", "=+") + value
	case 4:
		return strings.ToUpper(name) + "=" + strings.ToUpper(value)
	case 5:
		return name + "=" + value + pick(g, "%20", ",edit", ";x=1", "%00", "%26action=edit", "#", "\u0131")
	case 6:
		return name + "=" + pick(g, "read", "Job", "start") + "&" + name + "=" + value
	}
	return swapCase(g, name) + "=" + swapCase(g, value)
}

func (g *labGenerator) headers() [][2]string {
	all := [][2]string{
		{"X-Http-Method-Override", "DELETE"},
		{"X-HTTP-Method", "POST"},
		{"X-Method-Override", "PUT"},
		{"X-Original-URL", "/api/v1/credentials"},
		{"X-Rewrite-URL", "/api/v1/credentials"},
		{"x-original-url", "/api/v8/accounts"},
		{"Upgrade", "websocket"},
		{"Upgrade", "h2c"},
		{"Upgrade", "WebSocket, h2c"},
		{"Connection", "Upgrade"},
		{"Connection", "close, X-Lab-Other"},
		{"Connection", "Authorization"},
		{"Connection", "X-Api-Version"},
		{"Authorization", "Basic YTpi"},
		{"X-Forwarded-For", "192.0.2.1"},
		{"Transfer-Encoding", "chunked"},
		{"Expect", "100-continue"},
		{"TE", "trailers"},
		{"Cookie", "a=b"},
		{"X-Forwarded-Method", "DELETE"},
		{"HTTP2-Settings", "AAMAAABkAAQAAP__"},
		{"Content-Type", "application/x-www-form-urlencoded"},
	}
	picked := make([][2]string, 1+g.IntN(3))
	for i := range picked {
		picked[i] = pick(g, all...)
	}
	if g.one(5) {
		picked = [][2]string{{"Connection", "Upgrade"}, {"Upgrade", pick(g, "websocket", "h2c", "TLS/1.0", "websocket ", "foo")}}
	}
	return picked
}
