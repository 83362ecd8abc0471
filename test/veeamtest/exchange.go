// One request on its way through the server: routing, bearer check, writing of answers.

package veeamtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

type exchange struct {
	s         *Server
	w         http.ResponseWriter
	r         *http.Request
	access    access
	operation string
	params    map[string]string
	dialect   *dialect
	body      []byte // at token endpoints
	form      form   // at token endpoints
	grant     string // at token endpoints
	token     *token // on protected routes
	status    int    // what was answered
	spellings []string
	retry     int // seconds, for refusals that say when to come back
}

// ServeHTTP implements http.Handler. A fault that breaks the connection panics with http.ErrAbortHandler
// when the writer has no connection to break.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	if s.cfg.log != nil && s.product.writesLog {
		s.logged(w, r, s.serve)
		return
	}
	s.serve(w, r)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if s.cfg.loose {
		r = overridden(r)
	}
	x := &exchange{s: s, w: w, r: r, dialect: &s.product.dialect, spellings: spellings(r)}
	w.Header().Set("Date", s.now().UTC().Format(http.TimeFormat))
	for name, value := range s.product.headers {
		w.Header().Set(name, value)
	}
	rt, params, known := s.match(r.Method, rawPath(r), r.URL.RawQuery)
	if s.product.http1 && r.ProtoMajor != 1 {
		x.refuse(wrongProtocol)
		return
	}
	if s.cfg.hidden && (rt == nil || rt.access != grants) {
		if _, ok := x.presented(); !ok {
			x.refuse(notFound)
			return
		}
	}
	if rt == nil {
		s.serveUnknown(x, known)
		return
	}
	x.access, x.operation, x.params = rt.access, rt.operation(strings.ToUpper(r.Method)), params
	switch rt.access {
	case grants:
		s.observe(x)
		rt.handle(x)
	case protected, ending, extension, private:
		s.serveProtected(x, rt.handle)
	default:
		s.tally(func(c *Counters) { c.Anonymous++ })
		if s.inject(x, OnAnonymous, nil) || rt.access == anonymous && x.wrongVersion() {
			return
		}
		s.observe(x)
		rt.handle(x)
	}
}

// serveUnknown answers for paths and methods that do not exist. Below the resources a stranger learns nothing but 401.
func (s *Server) serveUnknown(x *exchange, known bool) {
	why := notFound
	if known {
		why = methodNotAllowed
	}
	segments := normalize(rawPath(x.r))
	if s.product.notServed != "" && s.unserved(segments) {
		s.observe(x)
		x.refuse(s.product.notServed)
		return
	}
	if len(segments) > 1 && s.isBase(segments[0]) && !x.isTokenPath() {
		s.serveProtected(x, func(x *exchange) { x.refuse(why) })
		return
	}
	s.observe(x)
	x.refuse(why)
}

// isBase reports whether a path whose first segment is given may lie below the resources.
func (s *Server) isBase(segment string) bool {
	first := normalize(s.product.base)[0]
	return strings.EqualFold(first, segment) || first == "{version}" && s.serves(segment)
}

func (x *exchange) isTokenPath() bool {
	_, ok := x.s.matchPath(x.s.product.tokenPath, normalize(rawPath(x.r)))
	return ok
}

// serveProtected runs handle if the request carries a good bearer.
func (s *Server) serveProtected(x *exchange, handle func(*exchange)) {
	if s.inject(x, OnProtected, func(x *exchange) { s.servePermitted(x, handle) }) {
		return
	}
	s.servePermitted(x, handle)
}

func (s *Server) servePermitted(x *exchange, handle func(*exchange)) {
	if x.wrongVersion() {
		return
	}
	bearer, ok := x.presented()
	s.mu.Lock()
	t := s.tokens[bearer]
	why := reason("")
	switch now := s.now(); {
	case !ok:
		why = noBearer
	case t == nil || t.refresh || t.revoked || t.scope != x.scope() || !x.guarded(t):
		why = badBearer
	case !now.Before(t.expires):
		why = expiredBearer
	default:
		x.token = t
		s.touch(x, t, now)
		if x.access != ending {
			s.count.Protected++
		}
		if s.cfg.revokeOneIn > 0 && s.cfg.random.IntN(s.cfg.revokeOneIn) == 0 {
			t.revoked = true
		}
	}
	s.mu.Unlock()
	if why != "" {
		x.unauthorized(why)
		return
	}
	if t.readOnly && x.access != ending && !reads(x.r.Method) {
		x.refuse(readOnlyToken)
		return
	}
	s.observe(x)
	handle(x)
}

// presented is the session that the request shows.
func (x *exchange) presented() (value string, ok bool) {
	if presented := x.s.product.presented; presented != nil {
		return presented(x)
	}
	return bearerOf(x.r)
}

// bearerOf finds the bearer. Two Authorization headers are as bad as none: a proxy forgot to take the client's away.
func bearerOf(r *http.Request) (string, bool) {
	if len(r.Header.Values("Authorization")) != 1 {
		return "", false
	}
	scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	value = strings.TrimSpace(value)
	return value, strings.EqualFold(scheme, "Bearer") && value != ""
}

func reads(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

func (x *exchange) unauthorized(why reason) {
	x.s.tally(func(c *Counters) {
		if x.access == ending {
			c.DeadLogouts++
		} else {
			c.Unauthorized++
		}
	})
	// What is left of a body is read, as Kestrel and HTTP.sys do. net/http would reset the connection half a second
	// after the response, which a client that is busy sending may not have read by then. One that waits for 100
	// Continue sends nothing.
	if x.r.ProtoMajor == 1 && x.r.Header.Get("Expect") == "" {
		x.drain()
	}
	if x.access == extension {
		x.refusePlugIn()
		return
	}
	x.refuse(why)
}

// wrongVersion answers a request whose x-api-version is missing or not served, and reports that it did.
func (x *exchange) wrongVersion() bool {
	if x.s.product.versions == nil || x.access == extension || x.access == private {
		return false
	}
	version := strings.TrimSpace(x.r.Header.Get("x-api-version"))
	if version == "" {
		if x.access == grants && x.s.product.versionlessToken && !x.s.cfg.versionAtToken {
			return false
		}
		if body := x.s.cfg.versionMissingBody; body != "" {
			x.write(lookup(x.s.product.problems, versionMissing).status, jsonType, []byte(body))
		} else {
			x.refuse(versionMissing)
		}
		return true
	}
	for _, v := range x.s.cfg.versions {
		if strings.EqualFold(v, version) {
			return false
		}
	}
	x.refuse(versionUnknown)
	return true
}

// refuse answers with the product's words for why.
func (x *exchange) refuse(why reason) {
	x.refuseIn(lookup(x.s.product.problems, why), x.s.product.problem)
}

func (x *exchange) refuseIn(p problem, render func(*exchange, problem) (string, any)) {
	if x.retry > 0 {
		x.w.Header().Set("Retry-After", fmt.Sprint(x.retry))
	}
	contentType, body := render(x, p)
	if body == nil {
		x.write(p.status, "", nil)
		return
	}
	encoded, raw := x.encode(body)
	if contentType == "" {
		contentType = encoded
	}
	x.write(p.status, contentType, raw)
}

const jsonType = "application/json; charset=utf-8"

func (x *exchange) json(status int, v any) { x.write(status, jsonType, encode(v)) }

// document answers in the form that the product's documents have.
func (x *exchange) document(status int, v any) {
	contentType, body := x.encode(v)
	x.write(status, contentType, body)
}

func (x *exchange) encode(v any) (contentType string, body []byte) {
	if x.s.product.encode != nil {
		return x.s.product.encode(x, v)
	}
	return jsonType, encode(v)
}

func (x *exchange) write(status int, contentType string, body []byte) {
	x.status = status
	if contentType != "" {
		x.w.Header().Set("Content-Type", contentType)
	}
	x.w.WriteHeader(status)
	if status != http.StatusNoContent && status != http.StatusNotModified {
		x.w.Write(body)
	}
}

// encode writes JSON as .NET does: no escaping of &, < and >.
func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

// readAll reads the body to its end, or reports that it did not get there.
func (x *exchange) readAll(limit int64) ([]byte, bool) {
	body, err := io.ReadAll(io.LimitReader(x.r.Body, limit+1))
	return body, err == nil && int64(len(body)) <= limit
}

// drain reads the body to its end, without a thought for what is in it.
func (x *exchange) drain() { _, _ = io.Copy(io.Discard, x.r.Body) }

func (x *exchange) account() *account { return x.token.family.account }

// subject names the user behind the request's token.
func (x *exchange) subject() string { return x.account().Username }

// user returns a copy of the account behind the request's token.
func (x *exchange) user() Account {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	return x.account().Account
}

func (x *exchange) query(name string) string { return x.r.URL.Query().Get(name) }

// expiresIn writes the lifetime in the form that WithExpiresInAs asks for; nil leaves the field out.
func (x *exchange) expiresIn(d time.Duration) json.RawMessage {
	seconds := int64(d / time.Second)
	switch form := x.s.cfg.expiresInAs; form {
	case "", "number":
		return json.RawMessage(fmt.Sprint(seconds))
	case "string":
		return json.RawMessage(fmt.Sprintf("%q", fmt.Sprint(seconds)))
	case "absent":
		return nil
	default:
		return json.RawMessage(form)
	}
}
