// An upstream that answers what no server should, through a site of each kind.

package forwarder_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

var protocols = []string{"HTTP/1.1", "HTTP/2", "HTTP/3"}

// Not parallel: Caddy runs once in a process.
func TestHostileUpstream(t *testing.T) {
	const http1 = "transport http {\n\t\t\tversions 1.1\n\t\t}"
	all := []*pair{{name: "HTTP/2 upstream"}, {name: "HTTP/1.1 upstream", options: http1}, {name: "filtered", options: http1 + "\n\t\tfilter_secrets"}}
	l := newLab(t, all)
	l.warm(t, all...)
	t.Run("nothing passes around the answer", l.nothingPassesAroundTheAnswer)
	t.Run("what is no answer", l.whatIsNoAnswer)
	t.Run("no change is sent twice", l.noChangeIsSentTwice)
}

// through sends an exchange through both sites of each pair, in each version of HTTP.
func (l *lab) through(x *exchange, pairs []*pair, check func(about string, got received, err error)) {
	l.cases.Store(x.id, x)
	defer l.cases.Delete(x.id)
	for _, proto := range protocols {
		for _, p := range pairs {
			for i, port := range p.ports {
				s := newSender(proto)
				got, err := s.send(x, port)
				s.close()
				check(fmt.Sprintf("%s, %s, %s", p.name, proto, []string{"nested", "auto"}[i]), got, err)
			}
		}
	}
}

// A session of the upstream is in no part of what a client gets: not before the answer, not
// in it, and not behind it.
func (l *lab) nothingPassesAroundTheAnswer(t *testing.T) {
	secrets := [][2]string{{"Set-Cookie", "session=" + canary}, {"X-RestSvcSessionId", canary}, {"X-Csrf-Token", canary}}
	for _, announced := range []bool{true, false} {
		for _, target := range []string{"/api/v1/jobs", "/api/v1/unheard/of", "/api/v1/serverInfo"} {
			x := &exchange{id: fmt.Sprint(target, announced), method: http.MethodGet, target: target, header: [][2]string{{"Te", "trailers"}}, script: script{
				status: http.StatusOK, info: []int{http.StatusEarlyHints, http.StatusProcessing}, header: append(slices.Clip(secrets), [2]string{"Content-Type", "application/json"}),
				body: []byte("{}"), trailer: secrets, announced: announced,
			}}
			l.through(x, l.pairs, func(about string, got received, err error) {
				if err != nil || !strings.Contains(got.head, " 200 ") || string(got.body) != "{}" {
					t.Errorf("%s: %v %s %q", about, err, got.head, got.body)
				}
				if strings.Contains(fmt.Sprint(got), canary) || got.info != "" || got.trailer != "" {
					t.Errorf("%s, %s: a client gets\n%s%s%s", about, target, got.info, got.head, got.trailer)
				}
			})
		}
	}
}

// What is no answer of HTTP becomes a 502. A client never takes it for a success.
func (l *lab) whatIsNoAnswer(t *testing.T) {
	const end = "\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
	for name, raw := range map[string]string{
		"a status of 0":                 "HTTP/1.1 000 Odd" + end,
		"a status below 100":            "HTTP/1.1 042 Odd" + end,
		"another protocol":              "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n",
		"a websocket that nobody wants": "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"another protocol, unnamed":     "HTTP/1.1 101 Switching Protocols\r\n\r\n",
		"a flood before the answer":     strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: "+strings.Repeat("a", 1000)+"\r\n\r\n", 11_000) + "HTTP/1.1 200 OK" + end,
		"two lengths":                   "HTTP/1.1 200 OK\r\nContent-Length: 1" + end,
		"headers without an end":        "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-A: "+strings.Repeat("a", 1000)+"\r\n", 11_000),
	} {
		x := &exchange{id: name, method: http.MethodDelete, target: "/api/v1/jobs/1", script: script{ends: "raw", raw: raw}}
		http1 := slices.DeleteFunc(slices.Clone(l.pairs), func(p *pair) bool { return p.options == "" })
		l.through(x, http1, func(about string, got received, err error) {
			if err != nil || !strings.Contains(got.head, " 502 ") {
				t.Errorf("%s: %s: %v %s", name, about, err, got.head)
			}
		})
	}
}

// A request that changes something is sent once, also where the connection is lost and the
// client says that it may be repeated.
func (l *lab) noChangeIsSentTwice(t *testing.T) {
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		for _, header := range []string{"Idempotency-Key", "X-Idempotency-Key", "idempotency-key"} {
			x := &exchange{id: method + header, method: method, target: "/api/v1/jobs/1", header: [][2]string{{header, "1"}}, script: script{ends: "drop"}}
			l.warm(t, l.pairs...) // there are connections, on which net/http would try again
			l.through(x, l.pairs, func(about string, got received, err error) {
				if times := len(x.take()); err != nil || times != 1 || !strings.Contains(got.head, " 502 ") {
					t.Errorf("%s, %s, %s: sent %d times, %v %s", method, header, about, times, err, got.head)
				}
			})
		}
	}
}
