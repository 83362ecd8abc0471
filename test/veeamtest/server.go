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
	media   atomic.Pointer[Media]

	logging sync.Mutex // keeps log lines apart

	mu       sync.Mutex // guards everything below
	accounts map[string]*account
	tokens   map[string]*token
	mfa      map[string]*challenge
	codes    map[string]*code
	issued   []string
	seen     []*Recorded
	count    Counters
	faults   []*Fault
	throttle throttle
	passed   []time.Time // token requests that the limits let through

	enrolments map[string]*enrolment
	logins     []*userLogin
	lastLogin  int
	encrypted  map[string]*challengeCode
	actions    map[string]*action

	done      chan struct{} // closed by Close
	cert      tls.Certificate
	listeners []net.Listener
	http      *http.Server
	served    sync.WaitGroup
	hijacked  map[net.Conn]struct{}
}

// serverIDs are the random names that an installation keeps.
type serverIDs struct{ accessAudience, refreshAudience string }

// New returns a server that does not listen yet. It panics if p is not a profile.
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
		codes:    map[string]*code{},
		count:    Counters{Executed: map[string]int{}},
		hijacked: map[net.Conn]struct{}{},
		done:     make(chan struct{}),

		enrolments: map[string]*enrolment{},
		encrypted:  map[string]*challengeCode{},
		actions:    map[string]*action{},
	}
	for _, opt := range opts {
		opt(s)
	}
	for _, a := range append(defaultAccounts(), s.cfg.accounts...) {
		s.addAccount(a)
	}
	s.routes = append(row.routes(s), testRoutes(row.base)...)
	for _, k := range s.cfg.keys {
		s.assign(k)
	}
	return s
}

// Profile returns the profile of the server.
func (s *Server) Profile() Profile { return s.profile }

// TokenPath returns the path of the token endpoint.
func (s *Server) TokenPath() string { return s.concrete(s.product.tokenPath) }

// Base returns the path of resources and test routes, such as /api/v1.
func (s *Server) Base() string { return s.concrete(s.product.base) }

// Start listens on a free port of 127.0.0.1, or on the addresses of WithAddr, and
// serves HTTPS: HTTP/1.1 and HTTP/2, Enterprise Manager HTTP/1.1 only. After Close,
// Start listens on the same port again, with all sessions unchanged.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http != nil {
		return fmt.Errorf("starting %s emulator: it is running", s.profile)
	}
	addrs := s.cfg.addrs
	if s.listeners != nil {
		addrs = nil
		for _, l := range s.listeners {
			addrs = append(addrs, l.Addr().String())
		}
	} else if addrs == nil {
		addrs = []string{"127.0.0.1:0"}
	}
	var listeners []net.Listener
	for _, addr := range addrs {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			for _, l := range listeners {
				l.Close()
			}
			return fmt.Errorf("starting %s emulator: %w", s.profile, err)
		}
		listeners = append(listeners, l)
	}
	if s.cert.Leaf == nil {
		s.cert = serverCertificate(s.cfg.names, time.Time{})
	}
	s.listeners = listeners
	s.done = make(chan struct{})
	s.http = &http.Server{
		Handler:           s,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{s.cert}, MinVersion: tls.VersionTLS12},
		ConnContext:       withSpelling,
		ReadHeaderTimeout: 30 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	server := s.http
	for _, l := range listeners {
		s.served.Go(func() {
			serve := func() error { return server.ServeTLS(l, "", "") }
			if s.product.http1 {
				serve = func() error { return server.Serve(spelledListener{l, server.TLSConfig}) }
			}
			if err := serve(); !errors.Is(err, http.ErrServerClosed) {
				panic(err)
			}
		})
	}
	return nil
}

// URL returns https://host:port of the first listener, without a trailing slash. It is
// empty before Start.
func (s *Server) URL() string {
	if urls := s.URLs(); urls != nil {
		return urls[0]
	}
	return ""
}

// URLs returns the URL of every listener.
func (s *Server) URLs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var urls []string
	for _, l := range s.listeners {
		host, port, err := net.SplitHostPort(l.Addr().String())
		if ip := net.ParseIP(host); err != nil || ip == nil || ip.IsUnspecified() {
			host = "127.0.0.1"
		}
		urls = append(urls, "https://"+net.JoinHostPort(host, port))
	}
	return urls
}

// Certificate returns the certificate of the server. It is nil before Start.
func (s *Server) Certificate() *x509.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cert.Leaf
}

// Close stops listening and closes all connections, including upgraded and hanging
// ones.
func (s *Server) Close() {
	s.mu.Lock()
	server := s.http
	s.http = nil
	select {
	case <-s.done:
	default:
		close(s.done)
	}
	for conn := range s.hijacked {
		_ = conn.SetDeadline(time.Unix(1, 0)) // wakes its handler, which closes it
	}
	s.mu.Unlock()
	if server != nil {
		server.Close()
		s.served.Wait()
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
