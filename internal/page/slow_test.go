package page

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/adminapi"
)

// pipes is a listener in memory.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	close sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error { p.close.Do(func() { close(p.done) }); return nil }

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "@", Net: "unix"} }

// listening is the server of a page, in memory, with one act that takes a while.
type listening struct {
	*pipes
	takes  time.Duration
	acts   int
	failed error // of the context of the last act, when it was over
}

func serve(t *testing.T, record *Record) *listening {
	t.Helper()
	l := &listening{pipes: &pipes{conns: make(chan net.Conn), done: make(chan struct{})}}
	approve := adminapi.Approvals{}.Routes()[adminapi.ApprovePath]
	server := NewServer(Handler(newPage(record), map[string]adminapi.Handler{adminapi.ApprovePath: func(w http.ResponseWriter, r *http.Request) error {
		err := approve(w, r)
		if statusOf(err) == http.StatusNotFound { // it has its body, and there is no such approval
			l.acts++
			time.Sleep(l.takes)
			l.failed = r.Context().Err()
		}
		return err
	}}))
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		_ = server.Close()
		serving.Wait()
	})
	return l
}

// dial returns a connection to the server.
func (l *listening) dial() net.Conn {
	near, far := net.Pipe()
	l.conns <- far
	return near
}

const (
	approves = `{"id": "apr_aaaaaaaaaaaaaaaa"}`
	posted   = "POST /veeam_auth/approvals/approve HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
)

// Whoever sends slowly is hung up on, whatever is asked for, and nothing is done.
func TestARequestThatTricklesIsEnded(t *testing.T) {
	for name, c := range map[string]struct{ at, once string }{
		"a header":                     {"", "GET /veeam_auth/ HTTP/1.1\r\nHost: localhost\r\nX-Slow: "},
		"a body":                       {"", posted + "Content-Length: 4000\r\n\r\n"},
		"a body that never comes":      {"-", posted + "Content-Length: 27\r\n\r\n"},
		"a body in parts":              {"1\r\n \r\n", posted + "Transfer-Encoding: chunked\r\n\r\n"},
		"what follows an act":          {"1\r\n \r\n", posted + "Transfer-Encoding: chunked\r\n\r\n1e\r\n" + approves + "\r\n"},
		"a body that is not JSON":      {"", posted + "Content-Length: 4000\r\n\r\nnot JSON"},
		"a body that nobody wants":     {"", "GET /veeam_auth/state HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000\r\n\r\n"},
		"a body for no path":           {"", "POST /config/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000\r\n\r\n"},
		"a body under another name":    {"", strings.Replace(posted, "localhost", "evil.test", 1) + "Content-Length: 4000\r\n\r\n"},
		"a body that is not allowed":   {"", strings.Replace(posted, "application/json", "text/plain", 1) + "Content-Length: 4000\r\n\r\n"},
		"a body that waits for a word": {"-", posted + "Expect: 100-continue\r\nContent-Length: 27\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				record := NewRecord()
				record.Open()
				l := serve(t, record)
				conn := l.dial()
				began := time.Now()
				var sending sync.WaitGroup
				sending.Go(func() {
					_, err := io.WriteString(conn, c.once)
					part := c.at
					if part == "" {
						part = " "
					}
					for err == nil && part != "-" {
						time.Sleep(3 * time.Second)
						_, err = io.WriteString(conn, part)
					}
				})
				answer, _ := io.ReadAll(conn)
				if took := time.Since(began); took > arrivesIn+2*time.Second {
					t.Errorf("after %v: %.80q", took, answer)
				}
				_ = conn.Close()
				sending.Wait()
				if l.acts != 0 || strings.Contains(string(answer), " 200 ") && !strings.HasPrefix(c.once, "GET ") {
					t.Errorf("%d acts, %.80q", l.acts, answer)
				}
			})
		})
	}
}

// Who does not read its answer is hung up on, too.
func TestAnAnswerThatIsNotReadIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		record := NewRecord()
		record.Open()
		logger := record.Tee(zap.NewNop())
		for range KeptLines {
			logger.Info(strings.Repeat("long ", 500))
		}
		l := serve(t, record)
		conn := l.dial()
		began := time.Now()
		if _, err := io.WriteString(conn, "GET /veeam_auth/state HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(answerIn + time.Second)
		rest, _ := io.ReadAll(conn)
		if took := time.Since(began); took > answerIn+5*time.Second || len(rest) > 64<<10 {
			t.Errorf("after %v there are %d bytes", took, len(rest))
		}
		_ = conn.Close()
	})
}

// An act that has its body may take as long as a Veeam server takes, and the next request on
// its connection has limits again.
func TestAnActMayTakeLongerThanItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		record := NewRecord()
		record.Open()
		l := serve(t, record)
		l.takes = 2 * answerIn
		conn := l.dial()
		reader := bufio.NewReader(conn)
		for i := range 2 {
			if _, err := io.WriteString(conn, posted+"Content-Length: 30\r\n\r\n"+approves); err != nil {
				t.Fatal(err)
			}
			answer, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, answer.Body)
			if answer.StatusCode != http.StatusNotFound || l.acts != i+1 || l.failed != nil {
				t.Errorf("%s, %d acts, %v", answer.Status, l.acts, l.failed)
			}
		}
		began := time.Now()
		if _, err := io.WriteString(conn, posted+"Content-Length: 30\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(reader)
		if took := time.Since(began); took > arrivesIn+2*time.Second || !strings.HasPrefix(string(answer), "HTTP/1.1 408 ") {
			t.Errorf("after %v: %.80q", took, answer)
		}
		_ = conn.Close()
	})
}
