// The server: made by New, used as a handler in memory or started on a socket.

package veeamtest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Server emulates one product server. It implements http.Handler and may be used without a socket.
// All methods may be called at any time from any goroutine.
type Server struct {
	profile Profile
	product *product
	cfg     config
	routes  []route
	ids     serverIDs
	offset  atomic.Int64 // what Advance added to the clock

	mu       sync.Mutex // guards everything below
	accounts map[string]*account
	tokens   map[string]*token
	mfa      map[string]*challenge
	issued   []string
	seen     []*Recorded
	count    Counters
	faults   []*Fault
	throttle throttle

	done     chan struct{} // closed by Close
	cert     tls.Certificate
	listener net.Listener
	http     *http.Server
	served   chan struct{}
	hijacked map[net.Conn]struct{}
}

// serverIDs are the random names that an installation keeps.
type serverIDs struct{ accessAudience, refreshAudience string }

// New returns a server that is not listening yet. It panics when p is no profile.
func New(p Profile, opts ...Option) *Server {
	row := products[p]
	if row == nil {
		panic(fmt.Sprintf("veeamtest: no profile %q", p))
	}
	s := &Server{
		profile:  p,
		product:  row,
		cfg:      defaultConfig(row),
		ids:      serverIDs{"api/default/" + uuid(), "auth/refresh/" + uuid()},
		accounts: map[string]*account{},
		tokens:   map[string]*token{},
		mfa:      map[string]*challenge{},
		count:    Counters{Executed: map[string]int{}},
		hijacked: map[net.Conn]struct{}{},
		done:     make(chan struct{}),
	}
	for _, opt := range opts {
		opt(s)
	}
	for _, a := range append(defaultAccounts(), s.cfg.accounts...) {
		s.addAccount(a)
	}
	s.routes = append(row.routes(), testRoutes(row.base)...)
	return s
}

// Profile returns what the server was made as.
func (s *Server) Profile() Profile { return s.profile }

// TokenPath returns the path of the token endpoint.
func (s *Server) TokenPath() string { return s.product.tokenPath }

// Base returns the path below which resources and test routes live, such as /api/v1.
func (s *Server) Base() string { return concrete(s.product.base) }

// Start listens on 127.0.0.1 at a free port, unless WithAddr says otherwise, and serves HTTPS: HTTP/1.1 and HTTP/2.
// After Close, Start listens again on the same port, with all sessions as they were.
func (s *Server) Start() error {
	addr := s.cfg.addr
	if s.listener != nil {
		addr = s.listener.Addr().String()
	} else if addr == "" {
		addr = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("starting %s emulator: %w", s.profile, err)
	}
	if s.cert.Leaf == nil {
		s.cert = serverCertificate()
	}
	s.mu.Lock()
	s.listener = listener
	s.done = make(chan struct{})
	s.served = make(chan struct{})
	s.http = &http.Server{
		Handler:           s,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{s.cert}, MinVersion: tls.VersionTLS12},
		ReadHeaderTimeout: 30 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	server, served := s.http, s.served
	s.mu.Unlock()
	go func() {
		defer close(served)
		if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			panic(err)
		}
	}()
	return nil
}

// URL returns https://host:port, without a slash at its end. It is empty before Start.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return ""
	}
	host, port, _ := net.SplitHostPort(s.listener.Addr().String())
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "https://" + net.JoinHostPort(host, port)
}

// Certificate returns the certificate that the server shows. It is nil before Start.
func (s *Server) Certificate() *x509.Certificate { return s.cert.Leaf }

// Close stops listening and breaks every connection, upgraded and hanging ones included.
func (s *Server) Close() {
	s.mu.Lock()
	server, served := s.http, s.served
	s.http = nil
	select {
	case <-s.done:
	default:
		close(s.done)
	}
	for conn := range s.hijacked {
		conn.SetDeadline(time.Unix(1, 0)) // wakes its handler, which closes it
	}
	s.mu.Unlock()
	if server != nil {
		server.Close()
		<-served
	}
}

// closed is done when the server closes.
func (s *Server) closed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done
}

// hold makes Close end a connection that was taken out of net/http. The result releases it.
func (s *Server) hold(conn net.Conn) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hijacked[conn] = struct{}{}
	return func() {
		conn.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.hijacked, conn)
	}
}
