// Package answer makes the responses for clients: those of the server, without its
// session data, without tokens and, where filtered, without secrets; and responses made
// here, such as refusals.
package answer

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// Terms are on what terms a client gets the answer to a request.
type Terms struct {
	// Filter says that secrets are taken out.
	Filter bool

	// Tokens says that the server may give out a session: of an operation that is
	// documented, and is none about secrets, it is known that it does not.
	Tokens bool

	// Linked says that documents have links, which are to lead here.
	Linked bool
}

// Exchange is a request whose answer comes from a server.
type Exchange struct {
	Terms

	Product *veeam.Product
	Request *http.Request

	// Method and Path are those that were decided about, for the log.
	Method, Path string

	// Links is what absolute links of the server begin with, empty if that is not known.
	// Site is what the client calls this site, scheme and host; empty where documents
	// have no links.
	Links, Site string

	// Sessions is what the session is known by that the request was sent with, empty
	// where the product's are no secrets but the token itself.
	Sessions []string

	Journal journal.Journal
	Log     *zap.Logger
}

// Pass returns what the client gets of an answer of the server, and the refusal if that
// is one.
func (x *Exchange) Pass(res *http.Response) (*http.Response, *veeam.Refusal) {
	for _, name := range sessionHeaders {
		delete(res.Header, name)
	}
	res = x.unpacked(res)
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
	return Refuse(x.Product, x.Request, r), &r
}

// sessionHeaders are headers of answers that carry a session at one product or
// another.
var sessionHeaders = [...]string{"Set-Cookie", "Set-Cookie2", "X-Restsvcsessionid", "X-Csrf-Token"}

// LeadHere leads a client that is referred to the server to this site instead.
// References to elsewhere stay as they are. server is the URL at which the API begins,
// base the path of it; site is what the client calls this site: scheme and host.
func LeadHere(header http.Header, server, base, site string) {
	location := header["Location"][0]
	if rest, ok := below(location, server); ok {
		header.Set("Location", site+rest)
	} else if rest, ok := below(location, base); ok && base != "" {
		header.Set("Location", "/"+strings.TrimPrefix(rest, "/"))
	}
}

// below returns what follows a prefix in a reference, if it is that of a path.
func below(location, prefix string) (rest string, ok bool) {
	if len(location) < len(prefix) || !strings.EqualFold(location[:len(prefix)], prefix) {
		return "", false
	}
	rest = location[len(prefix):]
	return rest, rest == "" || rest[0] == '/' || rest[0] == '?' || rest[0] == '#'
}

// TakeSession removes the headers of an answer made here that carry a session, and
// returns them; nil if there are none.
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

// Refuse is a refusal as the upstream's response: an error from RoundTrip would count
// as a failure of the upstream and be retried.
func Refuse(p *veeam.Product, req *http.Request, r veeam.Refusal) *http.Response {
	r.Path = req.URL.Path
	if r.Format == veeam.FormatXML {
		r.Format = veeam.FormatOf(req.Header, true)
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

// New is a response that is made here. It is not to be cached.
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

// retryAfter is a header value in whole seconds, rounded up.
func retryAfter(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}
