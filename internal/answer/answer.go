// Package answer makes the responses for clients: responses of the server, with session
// data, tokens and, if the site filters them, secrets removed, and responses of
// veeam-auth itself, such as refusals.
package answer

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// Terms determine how the server's response to a request is changed before the client
// gets it.
type Terms struct {
	// Filter reports whether secrets are removed.
	Filter bool

	// Tokens reports whether the response may contain a session, so that it is searched
	// for one. It is false for operations that are documented and not of class secret.
	Tokens bool

	// Linked reports whether the product's documents contain absolute links, which are
	// replaced by links to this site.
	Linked bool
}

// Exchange is a request and what is needed to change the server's response to it.
type Exchange struct {
	Terms

	Product *veeam.Product
	Request *http.Request

	// Method and Path are those of the decision, for the log.
	Method, Path string

	// Links is the prefix of the server's absolute links, empty if it is not known.
	// Site is the scheme and host by which the client addresses this site, empty for
	// products without links.
	Links, Site string

	// Sessions are the strings that identify the session with which the request was
	// sent, for products whose sessions have an id besides the token. Empty for other
	// products.
	Sessions []string

	// Spelling is how the server spells JSON names.
	Spelling *veeam.Spelling

	// Websocket reports whether the request asks for a websocket.
	Websocket bool

	Journal journal.Journal
	Log     *zap.Logger
}

// Plain returns the response for the client if the terms are zero, and reports whether there
// is one. websocket reports whether the request asks for a websocket.
func Plain(res *http.Response, websocket bool) (*http.Response, bool) {
	if unfit(res, websocket) != "" {
		return res, false
	}
	withoutSession(res.Header)
	return withoutTrailers(res), true
}

// unfit says why a response of the server cannot be one for a client, empty if it can.
func unfit(res *http.Response, websocket bool) (fault string) {
	switch {
	case res.StatusCode == http.StatusSwitchingProtocols && !websocket:
		return "it switches to another protocol, which was not requested"
	case res.StatusCode == http.StatusSwitchingProtocols, res.StatusCode >= http.StatusOK && res.StatusCode <= 999:
		return ""
	}
	return "its status is not one of HTTP" // net/http would panic
}

// Pass returns the response for the client to a response of the server. If the server's
// response must not be passed on, it is a refusal, which is also returned.
func (x *Exchange) Pass(res *http.Response) (*http.Response, *veeam.Refusal) {
	if fault := unfit(res, x.Websocket); fault != "" {
		x.Log.Error("answer not forwarded: "+fault, zap.String("method", x.Method), zap.String("path", x.Path), zap.Int("status", res.StatusCode))
		return x.refuse(res, veeam.Refusal{Reason: veeam.ReasonUnexpectedAnswer, Message: "The server's answer is not forwarded. See the log of veeam-auth."})
	}
	withoutSession(res.Header)
	res = x.unpacked(withoutTrailers(res))
	res, unsearchable := x.withoutSessions(res)
	if unsearchable != "" {
		return x.refuseToken(res, unsearchable+", so it cannot be searched for sessions")
	}
	res, refused := x.withoutToken(res)
	if refused != nil {
		return res, refused
	}
	res, refused = x.withoutSecrets(res)
	return x.withLinks(res), refused
}

// refuse answers with a refusal in the place of an answer.
func (x *Exchange) refuse(res *http.Response, r veeam.Refusal) (*http.Response, *veeam.Refusal) {
	_ = res.Body.Close()
	return Refuse(x.Product, x.Request, r, x.Spelling), &r
}

// sessionHeaders are headers of answers that carry a session at one product or
// another.
var sessionHeaders = [...]string{"Set-Cookie", "Set-Cookie2", "X-Restsvcsessionid", "X-Csrf-Token"}

// withoutSession removes the headers that carry a session.
func withoutSession(header http.Header) {
	for _, name := range sessionHeaders {
		delete(header, name)
	}
}

// withoutTrailers is the response without what follows its body: nothing looks at it. The
// transport sets trailers in the response that it has made, so that this has to be another
// one, unless no trailers can come.
func withoutTrailers(res *http.Response) *http.Response {
	if res.Body == http.NoBody || res.ProtoMajor == 1 && res.ContentLength >= 0 {
		return res
	}
	clean := *res
	clean.Trailer = nil
	delete(clean.Header, "Trailer")
	return &clean
}

// TakeSession removes the headers that carry a session from a response of veeam-auth and
// returns them, nil if there are none.
func TakeSession(header http.Header) (taken http.Header) {
	for _, name := range [...]string{"X-RestSvcSessionId", "Set-Cookie", "Location"} {
		if values, ok := header[name]; ok {
			if taken == nil {
				taken = make(http.Header, 3)
			}
			taken[name] = values
			delete(header, name)
		}
	}
	return taken
}

// Refuse returns a refusal as a response. An error from RoundTrip would count as a
// failure of the upstream and be retried. spelling is that of the server.
func Refuse(p *veeam.Product, req *http.Request, r veeam.Refusal, spelling *veeam.Spelling) *http.Response {
	r.Path = req.URL.Path
	if r.Format == veeam.FormatXML {
		r.Format = veeam.FormatOf(req.Header, spelling.Camel())
	}
	body, contentType := p.AppendError(nil, r)
	res := New(req, p.Status(r), contentType, body)
	if res.StatusCode == http.StatusUnauthorized {
		res.Header.Set("Www-Authenticate", p.Challenge())
	}
	if res.StatusCode == http.StatusMethodNotAllowed {
		res.Header.Set("Allow", operation.AllowedMethods)
	}
	if r.RetryAfter > 0 {
		res.Header.Set("Retry-After", retryAfter(r.RetryAfter))
	}
	return res
}

// New returns a response made by veeam-auth. It has the header Cache-Control: no-store.
func New(req *http.Request, status int, contentType string, body []byte) *http.Response {
	res := &http.Response{
		Status:        strconv.Itoa(status) + " " + http.StatusText(status),
		StatusCode:    status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        make(http.Header, 4),
		Body:          http.NoBody,
		ContentLength: int64(len(body)),
		Request:       req,
	}
	res.Header.Set("Cache-Control", "no-store")
	if len(body) > 0 {
		res.Header.Set("Content-Type", contentType)
		res.Header.Set("Content-Length", strconv.Itoa(len(body)))
		res.Body = io.NopCloser(bytes.NewReader(body))
	}
	return res
}

// Write sends a response of veeam-auth, and closes it.
func Write(w http.ResponseWriter, res *http.Response) error {
	defer res.Body.Close()
	maps.Copy(w.Header(), res.Header)
	w.WriteHeader(res.StatusCode)
	_, err := io.Copy(w, res.Body)
	return err
}

// retryAfter is a header value in whole seconds, rounded up.
func retryAfter(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}
