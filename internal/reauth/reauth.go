// Package reauth sends a request with a token, and after a 401 once more with a newer
// one: an oauth2.Transport with a retry.
package reauth

import (
	"hash/maphash"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/stdlog"
	"github.com/caddy-veeam/veeam-auth/internal/tracing"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/metrics"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// maxSafeReplays is how often a request that changes nothing is sent again. Each
// time takes new evidence against the token, see tokencache.Session.Unauthorized.
const maxSafeReplays = 10

// Sender sends requests with the tokens of sources.
type Sender struct {
	// Base carries them. Required.
	Base http.RoundTripper

	// ReplayLimit is how many bytes of a body are kept so that it can be sent again.
	ReplayLimit int64

	// Count is told what became of requests that were sent again, or could not be: a
	// result of metrics.Replays. Required.
	Count func(result string)
}

// NoTokenError says that there is no newer token in the place of one that the server
// does not accept.
type NoTokenError struct{ Err error }

func (e *NoTokenError) Error() string { return e.Err.Error() }

// Unwrap returns the error of the source.
func (e *NoTokenError) Unwrap() error { return e.Err }

// AgainError says that a request could not be sent again: the server has answered it before.
type AgainError struct{ Err error }

func (e *AgainError) Error() string { return e.Err.Error() }

// Unwrap returns the error of the Base.
func (e *AgainError) Unwrap() error { return e.Err }

// Send sends out, which is made of req, with a token of a session, and again with a newer
// one of the source as long as there is reason to believe that the token is to blame for
// a 401. The error is that of Base, after an answer an *AgainError or a *NoTokenError, or a
// *BodyError.
func (s *Sender) Send(req, out *http.Request, source *upstream.Source, session *tokencache.Session, tok *tokencache.Token, r upstream.Request) (*http.Response, error) {
	var body *replayBody
	if req.Body != nil && req.Body != http.NoBody {
		body = newReplayBody(req.Body, s.ReplayLimit)
		if req.ContentLength > s.ReplayLimit {
			out.Header["Expect"] = expectContinue
		}
	}
	var route uint64           // known from the first 401 on
	var lost *tokencache.Token // that the last 401 was blamed on
	for replays := 0; ; replays++ {
		tok.Present(out.Header)
		if body != nil {
			out.Body = body.attempt()
		}
		res, err := s.send(out, r, replays)
		if err != nil {
			if body != nil && body.broken.Load() != nil {
				return nil, body.broken.Load()
			}
			source.Missed(req.Context(), err, time.Now())
			if replays > 0 {
				err = &AgainError{err}
			}
			return nil, err
		}
		source.Reached(res.TLS, time.Now())
		if res.StatusCode != http.StatusUnauthorized {
			if res.StatusCode < http.StatusInternalServerError {
				tok.MarkAccepted()
			}
			if replays > 0 {
				source.Replayed(session, lost, route, r.Journal)
				s.Count(metrics.ReplayAccepted)
			}
			return res, nil
		}

		if ownCredentials(req) {
			return res, nil // it says nothing of the token
		}
		bears := (mayBeAboutBody(req) || source.PlugIn(req.URL.Path)) && source.Accepts(req.Context(), tok)
		if replays == 0 {
			route = routeHash(req)
		}
		// A client that has gone may have ended the question to the server: that says nothing
		// of the token.
		blamed := !bears && req.Context().Err() == nil && session.Unauthorized(req.Context(), tok, route)
		switch {
		case !blamed || req.Context().Err() != nil:
			if replays > 0 {
				s.Count(metrics.ReplayRejected)
			}
			return res, nil
		case replays >= maxReplays(req.Method):
			session.TrustRoute(route)
			s.Count(metrics.ReplayRejected)
			return res, nil
		case body != nil && !body.replayable():
			s.Count(metrics.ReplayImpossible)
			return res, nil
		}
		discard(res)
		r.Journal.Replayed(req)
		lost = tok
		if tok, session, err = source.Token(req.Context(), r); err != nil {
			return nil, &NoTokenError{err}
		}
	}
}

// send sends the request once. A replay has a span of its own.
func (s *Sender) send(out *http.Request, r upstream.Request, replays int) (*http.Response, error) {
	if replays == 0 {
		return stdlog.Send(s.Base, out)
	}
	_, end := tracing.Start(out.Context(), tracing.Replay, tracing.About{Operation: r.Operation.Template()})
	res, err := stdlog.Send(s.Base, out)
	if err != nil {
		end(string(veeam.TransportReason(out.Context(), err)))
		return nil, err
	}
	end("")
	return res, nil
}

var expectContinue = []string{"100-continue"}

// ownCredentials reports whether the client's own credentials may be what a server
// answers 401 to, beyond doubt: forms are what logins are sent in.
func ownCredentials(req *http.Request) bool {
	kind, _, _ := strings.Cut(req.Header.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(kind), "application/x-www-form-urlencoded")
}

// maxReplays is one for requests that may change something: after a 401 the
// server has not carried them out, but a second surprise is the client's to
// handle.
func maxReplays(method string) int {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return maxSafeReplays
	}
	return 1
}

// routeSeed is the same for the life of the process: sessions, which outlive a reload, keep
// hashes made with it.
var routeSeed = maphash.MakeSeed()

func routeHash(req *http.Request) uint64 {
	return maphash.String(routeSeed, req.Method+" "+req.URL.Path)
}

// discard makes the connection of an answer that nobody reads free again, if
// little is left of it.
func discard(res *http.Response) {
	_, _ = io.CopyN(io.Discard, res.Body, 16<<10)
	_ = res.Body.Close()
}

// mayBeAboutBody reports whether the 401 to a request may be about what its body says,
// such as a password that the server is to test or to store.
func mayBeAboutBody(req *http.Request) bool {
	switch req.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false
	}
	return req.Body != nil && req.Body != http.NoBody
}
