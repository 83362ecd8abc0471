// Calls of the API with a session: one request and its answer, repeated where
// that does no harm, awaited where the server queues it.

package veeam

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
)

// call is a request for a resource or a service of the API.
type call struct {
	name         string // for errors
	method, path string
	query        url.Values
	contentType  string // of the body
	body         string
	secrets      []string // in query and body

	// requestID gives the call an X-Request-id. VSPC does a request with the same
	// id once in five minutes, so that it can be repeated whatever it does.
	requestID bool
}

const (
	callTries = 3

	// callPause is the pause before the first repetition. It doubles.
	callPause = time.Second

	// longestPause is the longest that the server can make us wait for a
	// repetition. It stays far below the time for which VSPC remembers ids.
	longestPause = 30 * time.Second
)

// do sends a call and returns the object in its answer, empty for an empty answer.
func (c *Client) do(ctx context.Context, t *Token, k call) (object, error) {
	out := outgoing{
		method: k.method, path: k.path, bearer: t.Access,
		contentType: k.contentType, body: k.body, secrets: k.secrets,
	}
	for _, values := range k.query {
		for _, value := range values {
			out.secrets = append(out.secrets, value, url.QueryEscape(value))
		}
	}
	if len(k.query) > 0 {
		out.path += "?" + k.query.Encode()
	}
	if k.requestID {
		out.header = http.Header{"X-Request-Id": {uuid.NewString()}}
	}
	ans, err := c.repeat(ctx, out, k.requestID || k.method == http.MethodGet)
	if err == nil && ans.status == http.StatusAccepted {
		ans, err = c.await(ctx, t, ans.header.Get("Location"))
	}
	var o object
	if err == nil {
		o, err = c.Product.readCall(ans, out.secrets)
	}
	if e, ok := errors.AsType[*Error](err); ok {
		e.Product, e.Call = c.Product.Name, k.name
	}
	return o, err
}

// repeat sends a request until it is answered, a few times if it may be repeated.
func (c *Client) repeat(ctx context.Context, out outgoing, repeatable bool) (*answer, error) {
	pause := callPause
	for try := 1; ; try++ {
		ans, err := c.send(ctx, out)
		if try == callTries || !repeatable || !transient(ans, err) {
			return ans, err
		}
		wait := pause
		if ans != nil {
			o, _ := readObject(ans.body)
			wait = min(max(wait, retryAfter(ans.header, o)), longestPause)
		}
		if bounded.Sleep(ctx, wait) != nil {
			return ans, err
		}
		pause *= 2
	}
}

// transient reports whether the same request may succeed a little later.
func transient(ans *answer, err error) bool {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind == KindUnavailable || e.Kind == KindTimeout
	}
	return err == nil && (ans.status == http.StatusTooManyRequests || ans.status >= 500)
}

// What the errors of VSPC mean where that is known.
var codeHints = map[string]string{
	"1210": "the container has no private key: choose the file with the private key",
}

// readCall reads the answer to a call.
func (p *Product) readCall(ans *answer, secrets []string) (object, error) {
	switch {
	case ans.status >= 200 && ans.status <= 299:
		if len(strings.TrimSpace(string(ans.body))) == 0 {
			return object{}, nil
		}
		o, err := readObject(ans.body)
		if err != nil {
			return nil, &Error{Kind: KindMalformed, Status: ans.status, Err: errNotJSON}
		}
		return o, nil
	case ans.status >= 300 && ans.status <= 399:
		return nil, &Error{Kind: KindMalformed, Status: ans.status, Err: errRedirect}
	}
	return nil, p.readCallRefusal(ans, secrets)
}

func (p *Product) readCallRefusal(ans *answer, secrets []string) *Error {
	e := p.readRefusal(ans, "", secrets)
	e.Hint = ""
	switch {
	case ans.status == http.StatusUnauthorized:
		e.Kind, e.Hint = KindRefused, "the server does not accept the new session; another login of the same user may have ended it"
	case ans.status == http.StatusForbidden:
		e.Kind, e.Hint = KindForbidden, "the role of the user does not allow this, or the session is read-only"
	case ans.status == http.StatusNotFound, ans.status == http.StatusMethodNotAllowed:
		e.Kind, e.Hint = KindProtocol, "this version of the server does not support the request"
	case ans.status == http.StatusConflict:
		e.Kind, e.Hint = KindProtocol, "the request conflicts with existing data"
	case e.Kind == KindServerFault:
		e.Hint = "the server failed; see its log"
	case e.Kind == KindRefused:
		e.Kind = KindProtocol
	}
	if _, code, ok := strings.Cut(e.Code, ":"); ok && codeHints[code] != "" {
		e.Kind, e.Hint = KindProtocol, codeHints[code]
	}
	return e
}
