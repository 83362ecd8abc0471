// The forwarder and reverse_proxy do the same: made-up requests and answers go through a
// site of each kind, and what the upstream and the client get is compared.
//
//	go test ./caddymodule/forwarder -run Differential -exchanges 200000

package forwarder_test

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

var (
	exchanges = flag.Int("exchanges", 1500, "exchanges that the differential test compares")
	seedFlag  = flag.Uint64("seed", 0, "seed of the differential test; 0 for a new one")
)

// Not parallel: Caddy runs once in a process.
func TestDifferentialTheForwarderDoesWhatReverseProxyDoes(t *testing.T) {
	l := newLab(t, pairs())
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-seed %d", seed)
	l.warm(t, l.pairs...)
	var made, differences atomic.Int64
	var mu sync.Mutex
	kinds := make(map[string]int)
	var wg sync.WaitGroup
	for _, proto := range []string{"HTTP/1.1", "HTTP/2", "HTTP/3"} {
		for worker := range 2 {
			wg.Go(func() {
				s := newSender(proto)
				defer s.close()
				gen := &generator{rand.New(rand.NewPCG(seed, uint64(worker)+uint64(proto[5])<<8))}
				for i := 0; made.Add(1) <= int64(*exchanges) && differences.Load() < 5; i++ {
					x := gen.exchange(fmt.Sprintf("%s-%d-%d", proto, worker, i), proto)
					p := l.pairs[gen.IntN(len(l.pairs))]
					status, difference := l.compare(s, x, p)
					if difference != "" {
						differences.Add(1)
						t.Errorf("%s, %s: %s\n%s\n%v", p.name, proto, difference, x.text(), &x.script)
					}
					mu.Lock()
					kinds[fmt.Sprint(proto, " ", status)]++
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	t.Logf("%d exchanges: %v", *exchanges, kinds)
	for _, proto := range []string{"HTTP/1.1", "HTTP/2", "HTTP/3"} {
		if kinds[proto+" 200"] < *exchanges/50 || kinds[proto+" 502"] == 0 {
			t.Errorf("%s: too few of a kind", proto)
		}
	}
	forwarded := l.metric(t, `caddy_veeam_auth_forwarded_total{by="forwarder",product="vbr"}`)
	if forwarded < float64(*exchanges)/3 {
		t.Errorf("the forwarder has sent %v requests", forwarded)
	}
}

// compare sends an exchange through both sites of a pair. If one of them did not reach the
// upstream, a connection was closed at the wrong moment: then both get it again.
func (l *lab) compare(s sender, x *exchange, p *pair) (status, difference string) {
	l.cases.Store(x.id, x)
	defer l.cases.Delete(x.id)
	for range 3 {
		var lost bool
		if status, difference, lost = l.compareOnce(s, x, p); difference == "" || !lost {
			break
		}
	}
	return status, difference
}

func (l *lab) compareOnce(s sender, x *exchange, p *pair) (status, difference string, lost bool) {
	var got [2]received
	var seen [2][]string
	for i := range got {
		answer, err := s.send(x, p.ports[i])
		if err != nil {
			answer.info += "no answer"
		}
		own := fmt.Sprintf(`h3=\":%d\"`, p.ports[i])
		answer.head, answer.info = strings.ReplaceAll(answer.head, own, "h3"), strings.ReplaceAll(answer.info, own, "h3")
		answer.head, answer.info = duration.ReplaceAllString(answer.head, "|0|duration|"), duration.ReplaceAllString(answer.info, "|0|duration|")
		got[i], seen[i] = answer, x.take()
	}
	status, _, _ = strings.Cut(strings.TrimPrefix(got[1].head[strings.Index(got[1].head, " ")+1:], " "), " ")
	if x.script.ends == "drop" || x.script.ends == "raw" { // net/http may send it again, on a connection that is older
		seen[0], seen[1] = slices.Compact(seen[0]), slices.Compact(seen[1])
	}
	lost = (len(seen[0]) == 0) != (len(seen[1]) == 0)
	if !slices.Equal(seen[0], seen[1]) {
		return status, fmt.Sprintf("the upstream got\n%sand the client\n%s", diff(strings.Join(seen[0], "\n"), strings.Join(seen[1], "\n")), diff(got[0].info+got[0].head, got[1].info+got[1].head)), lost
	}
	encoded := strings.Contains(p.before, "encode")
	nested, own := x.comparable(got[0], encoded), x.comparable(got[1], encoded)
	switch {
	case x.script.ends != "" && (nested.head == "" || nested.failed) && (own.head == "" || own.failed):
		// How much of it arrives is the kernel's affair.
	case nested.info != own.info:
		return status, "informational answers\n" + diff(nested.info, own.info), lost
	case nested.head != own.head:
		return status, fmt.Sprint("the head of the answer ", nested.err, own.err, "\n") + diff(nested.head, own.head), lost
	case nested.failed != own.failed:
		return status, fmt.Sprintf("fails: %t, %t", nested.failed, own.failed), lost
	case !bytes.Equal(nested.body, own.body):
		return status, fmt.Sprintf("the body of the answer: %d bytes, %d bytes", len(nested.body), len(own.body)), lost
	case nested.trailer != own.trailer:
		return status, "the trailers of the answer\n" + diff(nested.trailer, own.trailer), lost
	}
	return status, "", lost
}

// duration is how long a request took, among the placeholders.
var duration = regexp.MustCompile(`\|0\|[0-9.]+[mµn]?s\|`)

// comparable removes what is chance with reverse_proxy: whether the header of an answer is
// flushed before its body is, or before it ends without one, and in which parts a body comes.
// An encoder sees that.
func (x *exchange) comparable(got received, encoded bool) received {
	if encoded && len(x.script.body) == 0 && x.script.ends == "" { // an encoder that is flushed without anything to encode
		got.failed = false
	}
	if got.failed || len(got.body) > 0 && (!encoded || x.script.length && !x.script.streams()) {
		return got
	}
	var kept strings.Builder
	for line := range strings.Lines(got.head) {
		if at := strings.Index(line, " length "); at >= 0 && strings.HasPrefix(line, "HTTP/") {
			line = line[:at] + "\n"
		}
		switch { // what an encoder adds where it encodes
		case strings.HasPrefix(line, "Vary: "):
			line = strings.NewReplacer(` "Accept-Encoding"`, "", `"Accept-Encoding"`, "").Replace(line)
		case strings.HasPrefix(line, "Etag: "):
			line = strings.Replace(line, `-gzip\"`, `\"`, 1)
			if first, _, several := strings.Cut(line, `" "`); encoded && several { // of which it leaves the first
				line = first + "\"]\n"
			}
		}
		if !strings.HasPrefix(line, "Content-Length: ") && !strings.HasPrefix(line, "Content-Encoding: ") && line != "Vary: []\n" {
			kept.WriteString(line)
		}
	}
	got.head = kept.String()
	return got
}

// streams reports whether reverse_proxy flushes each part of the answer.
func (s *script) streams() bool {
	return slices.ContainsFunc(s.header, func(h [2]string) bool {
		return h[0] == "Incremental" || h[0] == "Content-Type" && strings.HasPrefix(strings.ToLower(h[1]), "text/event-stream")
	})
}

// diff shows the lines that are in one text only.
func diff(nested, own string) string {
	var b strings.Builder
	left, right := strings.Split(nested, "\n"), strings.Split(own, "\n")
	for _, line := range left {
		if !slices.Contains(right, line) {
			fmt.Fprintf(&b, "  reverse_proxy: %.300s\n", line)
		}
	}
	for _, line := range right {
		if !slices.Contains(left, line) {
			fmt.Fprintf(&b, "  forwarder:     %.300s\n", line)
		}
	}
	return b.String()
}

// generator makes up exchanges.
type generator struct{ *rand.Rand }

func one[T any](g *generator, of ...T) T { return of[g.IntN(len(of))] }

// times reports true in one of n cases.
func (g *generator) times(n int) bool { return g.IntN(n) == 0 }

func (g *generator) exchange(id, proto string) *exchange {
	x := &exchange{id: id, proto: proto}
	x.method = one(g, "GET", "GET", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
	x.target = one(g, "/api/v1/jobs", "/api/v1/jobs/a%20b", "/api/v1/jobs?limit=1", "/api/v1/jobs?a=%2F&b=c+d", "/api/v1/backups/%C3%A4", "/api/v1/jobs/", "/api/v1/jobs?", "/api/v1/serverInfo")
	for range g.IntN(5) {
		x.header = append(x.header, g.requestHeader(proto))
	}
	if !g.times(3) {
		x.header = append(x.header, [2]string{"User-Agent", one(g, "client/1.0", "")})
	}
	if x.method == "POST" || x.method == "PUT" || x.method == "PATCH" || g.times(10) {
		x.body = g.bytes(one(g, 0, 1, 20, 20, 3000, 40_000))
		x.header = append(x.header, [2]string{"Content-Type", one(g, "application/json", "text/plain", "application/octet-stream")})
		if g.times(3) {
			x.chunked = true
			if g.times(2) {
				x.trailer = append(x.trailer, [2]string{"X-Sum", "1"})
			}
		}
		if proto == "HTTP/1.1" && g.times(10) {
			x.header = append(x.header, [2]string{"Expect", "100-continue"})
		}
	}
	x.script = g.script(x.method == "HEAD")
	return x
}

func (g *generator) requestHeader(proto string) [2]string {
	all := [][2]string{
		{"Accept", one(g, "application/json", "*/*")},
		{"Accept-Encoding", one(g, "gzip", "identity", "br, gzip;q=0.5", "")},
		{"X-Forwarded-For", one(g, "10.1.2.3", "10.1.2.3, 10.9.9.9", "", "nonsense")},
		{"X-Forwarded-Proto", one(g, "http", "https", "")},
		{"X-Forwarded-Host", one(g, "outside.example", "")},
		{"Via", one(g, "1.1 first", "1.0 a, 1.1 b")},
		{"Forwarded", "for=10.0.0.1"},
		{"Te", one(g, "trailers", "gzip", "trailers, deflate")},
		{"X-Request-Id", "a-b-c"},
		{"X-Api-Version", one(g, "1.2-rev0", "1.3-rev0")},
		{"If-None-Match", `"a"`},
		{"Range", "bytes=0-9"},
		{"X-Two", "1"},
		{"X-Two", "2"},
		{"x-lower", "MiXed"},
		{"X-Empty", ""},
		{"Cookie", "a=b"},
		{"Authorization", "Basic eDp5"},
		{"X-Secret", "api_key=abcdef"},
		{"Early-Data", "1"},
		{"Alt-Svc", "h3"},
		{"Content-Encoding", "identity"},
		{"Origin", "null"},
		{"Referer", "https://localhost/"},
		{"Incremental", one(g, "?1", "?0")},
		{"X_Under", "score"},
		{"Priority", "u=1"},
	}
	if proto == "HTTP/1.1" {
		all = append(all, [][2]string{
			{"Connection", one(g, "keep-alive", "close", "X-Two", "X-Two, User-Agent", "X-Forwarded-For", "te", "Via, keep-alive", "Upgrade")},
			{"Keep-Alive", "timeout=5"},
			{"Proxy-Connection", "keep-alive"},
			{"Proxy-Authorization", "Basic eDp5"},
			{"Proxy-Authenticate", "Basic"},
			{"Upgrade", one(g, "websocket", "h2c")},
			{"Trailer", "X-None"},
		}...)
	}
	return one(g, all...)
}

// script makes up an answer. One without a body ends in the usual way: nobody would notice
// another end, and use the connection again that the upstream has closed.
func (g *generator) script(head bool) script {
	s := script{status: one(g, 200, 200, 200, 200, 201, 202, 204, 206, 301, 302, 304, 400, 403, 404, 409, 418, 429, 500, 502, 503, 599)}
	s.length, s.writes = g.times(2), one(g, 1, 1, 2, 5)
	hasBody := s.status != 204 && s.status != 304
	if hasBody {
		s.body = g.bytes(one(g, 0, 1, 100, 100, 100, 2000, 2048, 2049, 4096, 4097, 40_000))
		s.header = append(s.header, [2]string{"Content-Type", one(g, "application/json", "text/plain; charset=utf-8", "text/event-stream", "Text/Event-Stream; a=b", "text/event-streams", "application/octet-stream", "text/html")})
		if kind := s.header[0][1]; kind == "application/json" {
			s.body = fmt.Appendf(nil, `{"data":%q,"password":"hidden"}`, fmt.Sprintf("%x", s.body))
		}
	} else {
		s.length = false
	}
	for range g.IntN(4) {
		s.header = append(s.header, one(g, [][2]string{
			{"X-A", "1"},
			{"X-A", "2"},
			{"Via", "1.1 server"},
			{"Server", "upstream"},
			{"Location", one(g, "/api/v1/jobs/1", "https://elsewhere.example/")},
			{"Set-Cookie", "session=1"},
			{"Connection", one(g, "close", "X-A", "keep-alive")},
			{"Keep-Alive", "timeout=5"},
			{"Proxy-Authenticate", "Basic"},
			{"Alt-Svc", `h3=":443"`},
			{"Upgrade", "h2c"},
			{"X-Restsvcsessionid", "abc"},
			{"Cache-Control", "no-store"},
			{"Etag", `"a"`},
			{"X-Empty", ""},
			{"Incremental", one(g, "?1", "?0")},
			{"Vary", "Accept"},
			{"Content-Language", "en"},
			{"Trailer", "X-Never"},
			{"Te", "trailers"},
			{"X-Placeholders", "theirs"},
			{"Warning", `199 - "a"`},
			{"Retry-After", "1"},
			{"Www-Authenticate", "Basic"},
		}...))
	}
	if g.times(20) { // by chance they hardly ever meet
		s.header = append(s.header, [2]string{"Connection", "X-A, keep-alive"}, [2]string{"X-A", "3"})
	}
	if g.times(8) {
		s.info = append(s.info, one(g, 103, 102, 199))
		if g.times(2) {
			s.info = append(s.info, 103)
		}
	}
	if g.times(5) {
		s.trailer, s.announced = [][2]string{{"X-Sum", "1"}, {"X-Sum", "2"}, {"X-Other", "a"}}[:1+g.IntN(3)], g.times(2)
	}
	if hasBody && !head && g.times(12) {
		s.ends = one(g, "drop", "abort", "abort", "raw", "raw")
		s.raw = one(g,
			"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end",
			"HTTP/1.1 200 Fine\r\nConnection: close, X-A\r\nX-A: 1\r\nContent-Type: text/plain\r\n\r\nuntil the end",
			"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nContent-Type: text/plain\r\n\r\ntoo short",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n5\r\nhello\r\nnonsense\r\n",
			"HTTP/1.1 204 No Content\r\nConnection: close\r\nX-A: 1\r\n\r\n",
			"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
			"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n",
			"nonsense\r\n\r\n",
			"HTTP/1.1 200 OK\r\nx-lower: a\r\nX-LOWER: b\r\nX_Under: c\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
		)
	}
	return s
}

func (g *generator) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + g.IntN(26))
	}
	return b
}
