//go:build linux

// What happens to requests while the log cannot be written.

package logfail

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const small = `{"name":"Nightly"}`

// large is more than the kernel holds for a connection, 200 times.
var large = `{"name":"` + strings.Repeat("x", 60_000) + `"}`

func TestAFullDiskIsToldOnceAndStopsNobody(t *testing.T) {
	t.Parallel()
	for name, output := range map[string]string{
		"file":  "file /dev/full {\n roll_disabled\n }",
		"queue": "veeam_queue file /dev/full {\n roll_disabled\n }",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, output)
			s.served(small)
			s.served(small)
			s.told("a log cannot be written, requests are served without: write /dev/full: no space left on device")
			if n := strings.Count(s.Caddy.Output(), "no space left"); n != 1 {
				t.Errorf("told %d times:\n%s", n, s.Caddy.Output())
			}
		})
	}
}

func TestARemovedFileStopsNobody(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "Svc.ResAPI.log")
	s := start(t, "file "+file)
	s.served(small)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	s.served(small)
	s.told()
}

func TestARemovedFileBehindAQueueIsToldOnceAndMadeAnew(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "Svc.ResAPI.log")
	log := func() string {
		text, _ := os.ReadFile(file)
		return string(text)
	}
	s := start(t, "veeam_queue file "+file)
	s.served(small)
	s.arrives(log, "many")
	for range 2 {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		s.served(small)
		s.goesOn(log, "last") // when the file has been looked for
	}
	s.told("a log cannot be written, requests are served without: " + regexp.QuoteMeta(file) + " was removed and is created again")
}

const (
	slower  = `the log \S+ cannot keep up: \d+ lines are queued, further lines are dropped`
	again   = `the log \S+ is written again, lines dropped: [1-9]\d*`
	wasShut = `the log \S+ was closed, lines dropped: [1-9]\d*`
)

func TestABlockedPipeBehindAQueueStopsNobody(t *testing.T) {
	t.Parallel()
	pipe := newPipe(t)
	s := start(t, "veeam_queue 16 file "+pipe.name+" {\n roll_disabled\n }")
	s.blocked(pipe.sink, small)
}

// Without the queue requests wait, so the tests above and below would see it.
func TestABlockedPipeWithoutAQueueStopsEverybody(t *testing.T) {
	t.Parallel()
	pipe := newPipe(t)
	s := start(t, "file "+pipe.name+" {\n roll_disabled\n }")
	s.client.Timeout = 5 * time.Second // here a hang is wanted
	if n := s.askMany(small); n == 0 {
		t.Error("all requests were answered")
	}
}

func TestABlockedConnectionBehindAQueueStopsNobody(t *testing.T) {
	t.Parallel()
	address, sink := newListener(t)
	s := start(t, "veeam_queue 16 net tcp/"+address)
	s.blocked(sink, large)
}

func TestCaddyEndsAlthoughNobodyReadsItsLog(t *testing.T) {
	t.Parallel()
	pipe := newPipe(t)
	s := start(t, "veeam_queue 16 file "+pipe.name+" {\n roll_disabled\n }")
	s.served(small)
	if !s.Caddy.Ends() {
		t.Error("it hangs")
	}
	s.told(slower, wasShut)
}

// blocked shows that lines arrive, that requests are served while nobody reads,
// and that lines arrive again afterwards.
func (s *scene) blocked(sink *sink, body string) {
	s.t.Helper()
	sink.read()
	if err := s.ask("first", small); err != nil {
		s.t.Fatal(err)
	}
	s.arrives(sink.String, "first")
	sink.stop()
	s.served(body)
	s.served(body)
	s.told(slower)
	sink.read()
	s.arrives(sink.String, "many")
	s.goesOn(sink.String, "last") // when the queue has room again
	s.told(slower, again)
}

// sink reads a log, or does not.
type sink struct {
	source func() source // waits for it
	from   source

	mu   sync.Mutex
	text strings.Builder
	done chan struct{}
}

type source interface {
	Read([]byte) (int, error)
	SetReadDeadline(time.Time) error
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *sink) read() {
	if s.from == nil {
		s.from = s.source()
	}
	_ = s.from.SetReadDeadline(time.Time{})
	done := make(chan struct{})
	s.done = done
	go func() {
		defer close(done)
		buf := make([]byte, 64<<10)
		for {
			n, err := s.from.Read(buf)
			s.mu.Lock()
			s.text.Write(buf[:n])
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
}

func (s *sink) stop() {
	_ = s.from.SetReadDeadline(time.Now())
	<-s.done
}

type pipe struct {
	*sink
	name string
}

func newPipe(t *testing.T) pipe {
	t.Helper()
	name := filepath.Join(t.TempDir(), "svc.pipe")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(name, os.O_RDWR, 0) // does not wait for a writer, nor lets one wait for it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return pipe{&sink{source: func() source { return file }}, name}
}

// newListener has small buffers.
func newListener(t *testing.T) (address string, s *sink) {
	t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 16<<10)
		})
	}}
	l, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String(), &sink{source: func() source {
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}}
}
