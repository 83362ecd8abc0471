// How a header's name was written. net/http forgets it: Enterprise Manager's clients and scripts compare the name of
// its session header letter by letter, so the emulator reads it before net/http does.

package veeamtest

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
)

const sessionHeader = "X-RestSvcSessionId"

// spelledListener accepts TLS connections whose requests are read for the spelling of the session header. They speak
// HTTP/1.1 only, as HTTP/2 has names in lower case.
type spelledListener struct {
	net.Listener
	config *tls.Config
}

func (l spelledListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	config := l.config.Clone()
	config.NextProtos = []string{"http/1.1"}
	return &spelledConn{Conn: tls.Server(conn, config), start: true}, nil
}

type spelledConn struct {
	*tls.Conn

	mu    sync.Mutex
	start bool   // the bytes in line are all of a line so far
	line  []byte // no longer than the name and its colon
	names []string
}

func (c *spelledConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range p[:n] {
		switch {
		case b == '\n':
			c.line, c.start = c.line[:0], true
		case !c.start:
		case b == ':':
			if c.start = false; bytes.EqualFold(c.line, []byte(sessionHeader)) {
				c.names = append(c.names, string(c.line))
			}
		case len(c.line) > len(sessionHeader):
			c.start = false
		default:
			c.line = append(c.line, b)
		}
	}
	return n, err
}

// spellings returns how the session header of a request was spelled. It is asked once per request, and nil where there is
// no connection to read it from.
func spellings(r *http.Request) []string {
	c, ok := r.Context().Value(spelledKey{}).(*spelledConn)
	if !ok {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	names := append([]string{}, c.names...)
	c.names = nil
	return names
}

type spelledKey struct{}

func withSpelling(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, spelledKey{}, conn)
}

// sessionHeaders returns the values of the session header and whether each had the name in its one right spelling.
func (x *exchange) sessionHeaders() (values []string, right bool) {
	right = true
	for name, v := range x.r.Header {
		if strings.EqualFold(name, sessionHeader) {
			values = append(values, v...)
			right = right && name == sessionHeader
		}
	}
	if x.spellings != nil {
		right = !slices.ContainsFunc(x.spellings, func(name string) bool { return name != sessionHeader })
	}
	return values, right || x.s.cfg.anySpelling
}

// spell sets a header of the answer under the name as it is given.
func spell(h http.Header, name, value string) { h[name] = []string{value} }
