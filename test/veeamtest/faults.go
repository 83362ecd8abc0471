// Faults on purpose: what networks, gateways and broken servers do to a client.

package veeamtest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// FaultKind is the kind of a Fault.
type FaultKind string

// The faults that can be injected.
const (
	FaultStatus            FaultKind = "status"              // Status (default 500, at VSPC 520) with Body (default: the product's error document)
	FaultEmpty             FaultKind = "empty"               // 200 without a body
	FaultHTML              FaultKind = "html"                // 200 with a page, as a captive portal gives
	FaultTruncated         FaultKind = "truncated"           // 200 with JSON that breaks off
	FaultHuge              FaultKind = "huge"                // 200 with a JSON string of Size bytes (default 64 MiB)
	FaultWrongTypes        FaultKind = "wrong types"         // 200 with JSON of other types than documented
	FaultReset             FaultKind = "reset"               // connection reset before any answer
	FaultResetAfterHeaders FaultKind = "reset after headers" // connection reset within the body
	FaultHalfClose         FaultKind = "half close"          // answer breaks off, connection closed in one direction
	FaultSlow              FaultKind = "slow"                // a valid-looking answer, one byte per Interval (default 1 s)
	FaultHang              FaultKind = "hang"                // no answer until the client leaves
	FaultHold              FaultKind = "hold"                // no answer until the faults are replaced, then the usual one
	FaultRedirect          FaultKind = "redirect"            // Status (default 307) to Location (default another host)
	FaultUnsolicited       FaultKind = "unsolicited"         // Status (default 204), and Body behind it, which the answer cannot have; over HTTP/1.1 only
)

// Target selects the requests that a fault affects. Targets can be added.
type Target int

// The targets of a fault. Zero means OnToken.
const (
	OnToken Target = 1 << iota
	OnProtected
	OnAnonymous
)

// Fault makes the server fail for some requests.
type Fault struct {
	Kind  FaultKind
	On    Target
	Skip  int    // number of requests without the fault at first
	Count int    // number of requests with the fault; 0: all until ClearFault
	Match string // only operations that contain this text, such as "/jobs"

	// After executes the request first and then loses the response: a session is
	// created, an operation executed.
	After bool

	Status     int
	Body       string
	Header     http.Header
	RetryAfter time.Duration
	Location   string
	Size       int64
	Interval   time.Duration

	replaced chan struct{} // closed when the faults are
}

// SetFault replaces all faults. The first one that applies to a request is used.
func (s *Server) SetFault(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		close(f.replaced)
	}
	s.faults = nil
	for _, f := range faults {
		f.replaced = make(chan struct{})
		if f.On == 0 {
			f.On = OnToken
		}
		if f.Count == 0 {
			f.Count = -1
		}
		s.faults = append(s.faults, &f)
	}
}

// ClearFault removes all faults.
func (s *Server) ClearFault() { s.SetFault() }

// inject lets a fault have the request if one applies, and reports whether that has answered it. work is what the request would do.
func (s *Server) inject(x *exchange, on Target, work func(*exchange)) bool {
	f := s.nextFault(x, on)
	if f == nil {
		return false
	}
	if f.Kind == FaultHold {
		select {
		case <-f.replaced:
		case <-x.s.closed():
		}
		return false
	}
	if f.After && work != nil {
		lost := *x
		lost.w = &lostWriter{header: http.Header{}}
		work(&lost)
	}
	// Without the body read to its end, net/http does not notice that a client leaves.
	x.drain()
	f.play(x)
	return true
}

func (s *Server) nextFault(x *exchange, on Target) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if f.On&on == 0 || f.Count == 0 || !strings.Contains(x.operation, f.Match) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			return nil
		}
		if f.Count > 0 {
			f.Count--
		}
		hit := *f
		return &hit
	}
	return nil
}

const brokenAnswer = `{"access_token":"eyJhbGciOiJSUzUxMiIsImtpZCI6IjUxOUMwRDlF`

func (f *Fault) play(x *exchange) {
	for name, values := range f.Header {
		x.w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	x.retry = int((f.RetryAfter + time.Second - 1) / time.Second)
	switch f.Kind {
	case FaultStatus:
		f.playStatus(x)
	case FaultEmpty:
		x.write(http.StatusOK, jsonType, nil)
	case FaultHTML:
		x.write(http.StatusOK, "text/html; charset=utf-8", []byte("<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body><form method=\"post\"></form></body></html>\n"))
	case FaultTruncated:
		x.write(http.StatusOK, jsonType, []byte(brokenAnswer))
	case FaultHuge:
		f.playHuge(x)
	case FaultWrongTypes:
		x.write(http.StatusOK, jsonType, []byte(`{"access_token":4711,"token_type":["bearer"],"refresh_token":{},"mfa_token":false,"expires_in":"soon",".issued":0,".expires":true}`))
	case FaultReset:
		x.reset()
	case FaultResetAfterHeaders:
		x.breakOff(func(conn net.Conn) { resetConn(conn) })
	case FaultHalfClose:
		x.breakOff(func(conn net.Conn) {
			if c, ok := conn.(interface{ CloseWrite() error }); ok {
				_ = c.CloseWrite()
			}
			_, _ = io.Copy(io.Discard, conn)
		})
	case FaultSlow:
		f.playSlow(x)
	case FaultHang:
		select {
		case <-x.r.Context().Done():
		case <-x.s.closed():
		}
		x.reset()
	case FaultRedirect:
		location := f.Location
		if location == "" {
			location = "https://veeam.invalid" + x.s.TokenPath()
		}
		x.w.Header().Set("Location", location)
		x.write(or(f.Status, http.StatusTemporaryRedirect), "", nil)
	case FaultUnsolicited:
		f.playUnsolicited(x)
	default:
		panic(fmt.Sprintf("veeamtest: no fault %q", f.Kind))
	}
}

func (f *Fault) playStatus(x *exchange) {
	p := lookup(x.s.product.problems, serverFault)
	status := or(f.Status, p.status)
	if f.Body == "" {
		p.status = status
		x.refuseIn(p, x.s.product.problem)
		return
	}
	if x.retry > 0 {
		x.w.Header().Set("Retry-After", fmt.Sprint(x.retry))
	}
	if x.w.Header().Get("Content-Type") == "" {
		x.w.Header().Set("Content-Type", jsonType)
	}
	x.write(status, "", []byte(f.Body))
}

func (f *Fault) playHuge(x *exchange) {
	size := f.Size
	if size == 0 {
		size = 64 << 20
	}
	x.write(http.StatusOK, jsonType, []byte(`{"access_token":"`))
	chunk := []byte(strings.Repeat("A", 64<<10))
	for ; size > 0; size -= int64(len(chunk)) {
		if _, err := x.w.Write(chunk[:min(size, int64(len(chunk)))]); err != nil {
			return
		}
	}
	fmt.Fprint(x.w, `","token_type":"bearer","expires_in":900}`)
}

func (f *Fault) playSlow(x *exchange) {
	interval := f.Interval
	if interval == 0 {
		interval = time.Second
	}
	body := brokenAnswer + `","token_type":"bearer","refresh_token":"slow","expires_in":900}`
	x.w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	x.write(http.StatusOK, jsonType, nil)
	flush := http.NewResponseController(x.w)
	for i := range len(body) {
		fmt.Fprint(x.w, body[i:i+1])
		flush.Flush()
		if !x.sleep(interval) {
			return
		}
	}
}

// reset ends the connection with a TCP reset, or the stream where there is no connection of its own.
func (x *exchange) reset() {
	conn, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	resetConn(conn)
}

func resetConn(conn net.Conn) {
	below := conn
	if c, ok := conn.(interface{ NetConn() net.Conn }); ok {
		below = c.NetConn()
	}
	if c, ok := below.(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
	below.Close()
}

// breakOff sends the begin of an answer and leaves the connection to end.
func (x *exchange) breakOff(end func(net.Conn)) {
	rc := http.NewResponseController(x.w)
	conn, _, err := rc.Hijack()
	if err != nil {
		x.w.Header().Set("Content-Length", "4096")
		x.write(http.StatusOK, jsonType, []byte(brokenAnswer))
		rc.Flush()
		panic(http.ErrAbortHandler)
	}
	defer x.s.hold(conn)()
	fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: 4096\r\n\r\n%s", jsonType, brokenAnswer)
	end(conn)
}

// playUnsolicited answers with bytes behind the answer, and leaves the connection to the client.
func (f *Fault) playUnsolicited(x *exchange) {
	conn, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer x.s.hold(conn)()
	status := or(f.Status, http.StatusNoContent)
	fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\n\r\n%s", status, http.StatusText(status), jsonType, f.Body)
	_, _ = io.Copy(io.Discard, conn)
}

func or(status, otherwise int) int {
	if status == 0 {
		return otherwise
	}
	return status
}

// lostWriter takes the answer that a fault withholds.
type lostWriter struct{ header http.Header }

func (l *lostWriter) Header() http.Header         { return l.header }
func (l *lostWriter) Write(b []byte) (int, error) { return len(b), nil }
func (l *lostWriter) WriteHeader(int)             {}
