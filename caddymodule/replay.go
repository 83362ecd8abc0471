// Sending a request with a token, and again with a newer one after a 401.

package caddymodule

import (
	"cmp"
	"hash/maphash"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/metrics"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// maxSafeReplays is how often a request that changes nothing is sent again. Each
// time takes new evidence against the token, see tokencache.Session.Blame.
const maxSafeReplays = 10

// inject sends the request with the token, and again with a newer one as long as
// there is reason to believe that the token is to blame for a 401.
func (t *Transport) inject(req *http.Request, e *exchange, slot *upstream.Source, session *tokencache.Session, tok *tokencache.Token) (*http.Response, error) {
	out := t.outgoing(req, e, cmp.Or(t.APIVersion, slot.FoundVersion()))
	var body *replayBody
	if req.Body != nil && req.Body != http.NoBody {
		body = newReplayBody(req.Body, t.ReplayLimit)
		if req.ContentLength > t.ReplayLimit {
			out.Header["Expect"] = expectContinue
		}
	}
	var route uint64           // known from the first 401 on
	var lost *tokencache.Token // that the last 401 was blamed on
	for replays := 0; ; replays++ {
		out.Header["Authorization"] = tok.Authorization()
		if body != nil {
			out.Body = body.attempt()
		}
		res, err := t.HTTPTransport.RoundTrip(out)
		if err != nil {
			slot.Missed(req.Context(), err, time.Now())
			return nil, err
		}
		slot.Reached(time.Now())
		if res.StatusCode != http.StatusUnauthorized {
			if res.StatusCode < http.StatusInternalServerError {
				tok.Prove()
			}
			if replays > 0 {
				slot.Recovered(session, lost, route, e.journal)
				t.replayed(metrics.ReplayAccepted)
			}
			return res, nil
		}

		if ownCredentials(req) {
			return res, nil // it says nothing of the token
		}
		if mayBeAboutBody(req) && slot.Accepts(req.Context(), tok) {
			if replays > 0 {
				t.replayed(metrics.ReplayRejected)
			}
			return res, nil
		}
		if replays == 0 {
			route = routeHash(req)
		}
		blamed := session.Blame(req.Context(), tok, route)
		switch {
		case !blamed || req.Context().Err() != nil:
			if replays > 0 {
				t.replayed(metrics.ReplayRejected)
			}
			return res, nil
		case replays >= maxReplays(req.Method):
			session.Believe(route)
			t.replayed(metrics.ReplayRejected)
			return res, nil
		case body != nil && !body.replayable():
			t.replayed(metrics.ReplayImpossible)
			return res, nil
		}
		discard(res)
		e.journal.Replayed(req)
		lost = tok
		if tok, session, err = slot.Token(req.Context(), e.request()); err != nil {
			return t.refuse(req, e, err)
		}
	}
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
