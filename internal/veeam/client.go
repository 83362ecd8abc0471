// The exchange with a server: one request, one answer read to its end.

package veeam

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// maxAnswer is the most that is read of an answer. Token answers have a few
// kilobytes.
const maxAnswer = 1 << 20

var (
	errNoURL     = errors.New("the server's address is not a URL")
	errTooLong   = errors.New("the answer exceeds 1 MiB")
	errTruncated = errors.New("the answer is truncated")
	errRedirect  = errors.New("the answer is a redirect, which logins do not follow")
)

// Client logs in at one server. It has no state of its own beside the ledger, and
// all its methods may be called from any goroutine.
//
// Each step of a grant is one request, sent once. Redirects are not followed: a
// credential goes to the configured address and to no other.
type Client struct {
	// Product is the server's row of the table. Required.
	Product *Product

	// Transport carries the requests. Default: http.DefaultTransport.
	Transport http.RoundTripper

	// BaseURL is scheme, host and port, such as https://vbr01:9419. Required.
	BaseURL string

	// Host is sent in the header Host. Default: that of BaseURL.
	Host string

	// APIVersion is sent in the product's version header. Default: the
	// product's.
	APIVersion string

	// Header is added to every request. A version header in it wins over
	// APIVersion; Authorization, Accept, Accept-Encoding and Content-Type are the
	// client's own.
	Header http.Header

	// MFATries is how many verification codes of the account's TOTP are sent at
	// most for one login. Default: 2. One may be refused because somebody else used
	// it or because the clocks differ; servers lock accounts after a few more.
	MFATries int

	// TOTPLedger is where used verification codes are recorded. Default: one for
	// the whole process, which is what protects a seed that several clients use.
	TOTPLedger *TOTPLedger

	// TOTPSteps is where used verification codes are recorded for other processes
	// too. Default: nowhere.
	TOTPSteps StepStore

	// Pacer is asked before each token request. Default: none waits.
	Pacer Pacer

	// Guard is asked before each token request that carries a credential. Default:
	// none is held back.
	Guard Guard

	// Timeout is the time limit of each request of a login. Default: only that of the
	// context.
	Timeout time.Duration

	// Clock is called with how far the server's clock is ahead of the local one, after each
	// answer to a token request with a Date. Default: not called.
	Clock func(offset time.Duration)

	// Log is called with sentences, without a secret, about the steps of a grant that are not
	// fully documented. Default: not called.
	Log func(sentence string)

	confirm func(ctx context.Context) error // Account.Confirm, during a login
}

func (c *Client) log(sentence string) {
	if c.Log != nil {
		c.Log(sentence)
	}
}

// answer is what came back, read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// ask sends one token request, when its turn has come, and reads the session or challenge in its answer.
func (c *Client) ask(ctx context.Context, g Grant, f *form) (*reply, error) {
	if !f.paced {
		if err := c.pace(ctx, g, f.pace); err != nil {
			return nil, err
		}
	}
	if c.confirm != nil && g != GrantMFA {
		if err := c.confirm(ctx); err != nil {
			return nil, err
		}
	}
	return c.guarded(ctx, g, f)
}

// askNow is ask when the request may be sent.
func (c *Client) askNow(ctx context.Context, g Grant, f *form) (*reply, error) {
	requested := time.Now()
	to := c.operation(f)
	ans, err := c.exchange(ctx, to.Method, to.Path, secret.Value{}, f)
	if err != nil {
		return nil, c.complete(err, g)
	}
	offset, known := readOffset(ans.header, requested, time.Now())
	if known && c.Clock != nil {
		c.Clock(offset)
	}
	r, err := c.Product.readReply(ans, g, requested, f.secrets)
	if err != nil {
		c.throttled(ctx, err)
		return nil, c.complete(err, g)
	}
	r.offset = offset
	return r, nil
}

// complete adds to an error which product and which step it belongs to.
func (c *Client) complete(err error, g Grant) error {
	if e, ok := errors.AsType[*Error](err); ok {
		e.Product, e.Grant = c.Product.Name, g
	}
	return err
}

// fail makes an error of our own.
func (c *Client) fail(k Kind, g Grant, hint string) *Error {
	return &Error{Kind: k, Product: c.Product.Name, Grant: g, Hint: hint}
}

// outgoing is a request to send.
type outgoing struct {
	method, path string       // the path with its query
	bearer       secret.Value // the session
	basic        string       // Authorization of a login by Basic
	header       http.Header
	contentType  string // empty for a request without a body
	body         string
	secrets      []string // what no error may repeat, beside the bearer
}

// exchange sends one token request, or one without a body if f is nil.
func (c *Client) exchange(ctx context.Context, method, path string, bearer secret.Value, f *form) (*answer, error) {
	out := outgoing{method: method, path: path, bearer: bearer}
	if f != nil {
		out.contentType, out.body = f.content()
		out.basic, out.secrets = f.basic, f.secrets
	}
	return c.send(ctx, out)
}

// send sends one request.
func (c *Client) send(ctx context.Context, out outgoing) (*answer, error) {
	if c.Timeout > 0 {
		bound, cancel := context.WithTimeout(ctx, c.Timeout)
		defer cancel()
		ctx = bound
	}
	secrets := append([]string{out.bearer.Reveal()}, out.secrets...)
	var body io.Reader
	if out.contentType != "" {
		body = strings.NewReader(out.body)
	}
	req, err := http.NewRequestWithContext(ctx, out.method, strings.TrimSuffix(c.BaseURL, "/")+out.path, body)
	if err != nil {
		return nil, &Error{Kind: KindAccount, Err: errNoURL}
	}
	if c.Host != "" {
		req.Host = c.Host
	}
	for _, header := range []http.Header{c.Header, out.header} {
		for name, values := range header {
			req.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	// Asking for identity keeps the transport from decompressing into our limit.
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set("Accept", "application/json")
	if out.contentType != "" {
		req.Header.Set("Content-Type", out.contentType)
	}
	req.Header.Del("Authorization")
	c.Product.present(req.Header, out.bearer)
	if out.basic != "" {
		req.Header.Set("Authorization", out.basic)
	}
	c.Product.SetVersion(req.Header, c.APIVersion)

	shaking := new(handshake)
	res, err := c.transport().RoundTrip(req.WithContext(shaking.trace(ctx)))
	if err != nil {
		return nil, connectionError(ctx, err, shaking.failed(), secrets)
	}
	defer res.Body.Close()
	ans := &answer{status: res.StatusCode, header: res.Header}
	ans.body, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if len(ans.body) > maxAnswer {
		return nil, &Error{Kind: KindMalformed, Status: ans.status, Err: errTooLong}
	}
	if err != nil {
		e := transportError(ctx, err, secrets)
		if e.Kind == KindUnavailable {
			e.Err = errTruncated
		}
		e.Status = ans.status
		return nil, e
	}
	ans.body = bytes.TrimPrefix(ans.body, byteOrderMark)
	return ans, nil
}

func (c *Client) transport() http.RoundTripper {
	if c.Transport != nil {
		return c.Transport
	}
	return http.DefaultTransport
}

func (c *Client) ledger() *TOTPLedger {
	if c.TOTPLedger != nil {
		return c.TOTPLedger
	}
	return &processLedger
}
