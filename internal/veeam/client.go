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
	"github.com/caddy-veeam/veeam-auth/internal/totp"
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

// Client logs in to one server. Apart from the ledger of verification codes it has no
// state. Its methods are safe for concurrent use.
//
// Each step of a grant is one request, which is sent once. Redirects are not followed,
// so that a credential is sent to the configured address only.
type Client struct {
	// Product is the product of the server. Required.
	Product *Product

	// Transport sends the requests. Default: http.DefaultTransport.
	Transport http.RoundTripper

	// BaseURL is the URL of the server without a path of the API, such as
	// https://vbr01:9419. Required.
	BaseURL string

	// Host is the Host header of requests. Default: the host of BaseURL.
	Host string

	// APIVersion is the value of the product's version header. Default: that of the
	// product.
	APIVersion string

	// Header is added to every request. A version header in it takes precedence over
	// APIVersion. Authorization, Accept, Accept-Encoding and Content-Type are replaced.
	Header http.Header

	// MFATries is the maximum number of verification codes of the account's TOTP that
	// are sent for one login. Default: 2. One may be refused because it was used
	// elsewhere or because the clocks differ; servers lock accounts after a few more.
	MFATries int

	// TOTPLedger records used verification codes. Default: the ledger of the process,
	// which also covers seeds that several clients share.
	TOTPLedger *totp.Ledger

	// TOTPSteps records used verification codes for other processes. Default: none.
	TOTPSteps totp.Steps

	// Pacer limits the rate of token requests. Default: no limit.
	Pacer Pacer

	// Guard decides before each token request with a credential whether it may be sent.
	// Default: all are sent.
	Guard Guard

	// Timeout is the time limit of each request of a login. Default: the deadline of
	// the context.
	Timeout time.Duration

	// Clock is called after each response to a token request with a Date header. offset
	// is the time by which the server's clock is ahead of the local one. Default: not
	// called.
	Clock func(offset time.Duration)

	// Log is called with a sentence about steps of a grant that are not fully
	// documented. The sentence contains no secret. Default: not called.
	Log func(sentence string)

	confirm func(ctx context.Context) error // Account.Confirm, during a login
}

func (c *Client) log(sentence string) {
	if c.Log != nil {
		c.Log(sentence)
	}
}

// answer is a response whose body was read completely.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// ask waits for the rate limit, sends one token request, and reads the session or
// challenge in its answer.
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

// askNow is ask without the wait.
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
	if r.token != nil {
		r.token.offset = offset
	}
	return r, nil
}

// complete adds the product and the step to an error.
func (c *Client) complete(err error, g Grant) error {
	if e, ok := errors.AsType[*Error](err); ok {
		e.Product, e.Grant = c.Product.Name, g
	}
	return err
}

// fail returns an error of a step, without a response.
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
	secrets      []string // texts that errors must not contain, besides the bearer
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
	var buffer bytes.Buffer
	buffer.Grow(int(min(max(res.ContentLength, 0), maxAnswer)) + bytes.MinRead) // which ReadFrom wants to find the end
	_, err = buffer.ReadFrom(io.LimitReader(res.Body, maxAnswer+1))
	if ans.body = buffer.Bytes(); len(ans.body) > maxAnswer {
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

func (c *Client) ledger() *totp.Ledger {
	if c.TOTPLedger != nil {
		return c.TOTPLedger
	}
	return &processLedger
}

// processLedger outlives a reload, because the server refuses a code that was used
// before it.
var processLedger totp.Ledger
