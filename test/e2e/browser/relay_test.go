// The relay: a name of the attacker's that leads to this machine.

package browser

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// startRelay listens on a port that serves the attacker's page at /page and passes
// everything else on to the sidecar, byte for byte: what a browser meets whose
// attacker points the name of a page to this machine after the page was loaded.
// The relay speaks TLS if it has a configuration for it.
func startRelay(t *testing.T, config *tls.Config, dial func() (net.Conn, error), attacker string) (port int) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{dial: dial, attacker: attacker, conns: map[net.Conn]struct{}{}}
	r.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if config != nil {
				conn = tls.Server(conn, config)
			}
			r.running.Go(func() { r.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		r.end()
	})
	return listener.Addr().(*net.TCPAddr).Port
}

type relay struct {
	dial     func() (net.Conn, error)
	attacker string
	running  sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	ended bool
}

// hold makes end close a connection.
func (r *relay) hold(conn net.Conn) (release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[conn] = struct{}{}
	if r.ended {
		_ = conn.Close()
	}
	return func() {
		_ = conn.Close()
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.conns, conn)
	}
}

func (r *relay) end() {
	r.mu.Lock()
	r.ended = true
	for conn := range r.conns {
		_ = conn.Close()
	}
	r.mu.Unlock()
	r.running.Wait()
}

func (r *relay) serve(conn net.Conn) {
	defer r.hold(conn)()
	in := bufio.NewReader(conn)
	head, err := in.Peek(len("GET /page"))
	if err != nil {
		return
	}
	if strings.HasSuffix(string(head), " /page") {
		r.page(conn, in)
		return
	}
	sidecar, err := r.dial()
	if err != nil {
		return
	}
	defer r.hold(sidecar)()
	r.running.Go(func() {
		defer sidecar.Close()
		for chunk := make([]byte, 64<<10); ; {
			n, err := in.Read(chunk)
			// A later request for the page: closed, so that the browser connects again.
			if err != nil || bytes.HasPrefix(chunk[:n], []byte("GET /page")) {
				return
			}
			if _, err := sidecar.Write(chunk[:n]); err != nil {
				return
			}
		}
	})
	_, _ = io.Copy(conn, sidecar)
}

// page answers one request with the attacker's page.
func (r *relay) page(conn net.Conn, in *bufio.Reader) {
	req, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	res, err := http.Get(r.attacker + req.URL.RequestURI())
	if err != nil {
		return
	}
	defer res.Body.Close()
	res.Close = true
	_ = res.Write(conn)
}
