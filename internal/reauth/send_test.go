package reauth

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/metrics"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// carrier notes what is sent, and answers 401 to as many requests as asked for.
type carrier struct {
	refuse  int // requests whose token is said to be unknown
	lost    error
	then    func() // called with each answer
	bearers []string
	bodies  []string
}

func (c *carrier) RoundTrip(req *http.Request) (*http.Response, error) {
	c.bearers = append(c.bearers, req.Header.Get("Authorization"))
	text := ""
	if req.Body != nil {
		read, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		text = string(read)
	}
	c.bodies = append(c.bodies, text)
	if c.then != nil {
		c.then()
	}
	status := http.StatusOK
	switch {
	case c.refuse > 0:
		c.refuse--
		status = http.StatusUnauthorized
	case c.lost != nil:
		return nil, c.lost
	}
	return &http.Response{StatusCode: status, Header: make(http.Header), Body: http.NoBody, Request: req}, nil
}

func TestARequestIsSentAgainWithANewerToken(t *testing.T) {
	t.Parallel()
	const limit = 10
	gone := errors.New("connection reset")
	for name, c := range map[string]struct {
		method, body string
		refuse       int
		revoked      bool // the server has forgotten the token
		password     string
		lost         error
		leaves       bool // the client does, when the answer is there
		breaks       bool // the body of the client does

		status, sent int
		counted      string
	}{
		"accepted":                        {method: http.MethodGet, status: 200, sent: 1},
		"a token that is gone":            {method: http.MethodGet, refuse: 1, revoked: true, status: 200, sent: 2, counted: metrics.ReplayAccepted},
		"with a body":                     {method: http.MethodPost, body: "0123456789", refuse: 1, revoked: true, status: 200, sent: 2, counted: metrics.ReplayAccepted},
		"with a body that was not kept":   {method: http.MethodPost, body: "0123456789x", refuse: 1, revoked: true, status: 401, sent: 1, counted: metrics.ReplayImpossible},
		"a body that may be to blame":     {method: http.MethodPost, body: "{}", refuse: 1, status: 401, sent: 1},
		"a change is sent twice at most":  {method: http.MethodDelete, refuse: 9, revoked: true, status: 401, sent: 2, counted: metrics.ReplayRejected},
		"without a newer token":           {method: http.MethodGet, refuse: 1, revoked: true, password: "changed", sent: 1},
		"a connection that breaks is one": {method: http.MethodGet, lost: gone, sent: 1},
		"no connection after an answer":   {method: http.MethodGet, refuse: 1, revoked: true, lost: gone, sent: 2},
		"a body that breaks off":          {method: http.MethodPost, body: "{", breaks: true, lost: gone, sent: 1},
		"a client that has gone":          {method: http.MethodGet, refuse: 1, leaves: true, status: 401, sent: 1},
		"one with a body":                 {method: http.MethodPost, body: "{}", refuse: 1, leaves: true, status: 401, sent: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := veeamtest.New(veeamtest.VBR13)
				product, _ := veeam.Lookup("vbr")
				own := &account.Account{Name: veeamtest.DefaultUser, Password: veeamtest.DefaultPassword}
				own.Prepare(account.Env{Product: "vbr", Expand: func(text string, _ func(string) (any, bool)) (string, error) { return text, nil }})
				state := upstream.NewState()
				sessions := upstream.NewServer(upstream.ServerOptions{
					Product: product, Transport: server.Transport(), Accounts: []*account.Account{own}, State: state,
					Tries:   sealed.New(sealed.Options{Keys: func() (sealed.Sealer, error) { return nil, gone }}),
					Metrics: metrics.New(func() []metrics.Session { return nil }), Log: zap.NewNop(),
				})
				defer func() {
					sessions.Close()
					state.Settle()
					time.Sleep(time.Minute)
				}()
				at := upstream.Address{Network: "tcp", Address: "vbr01:9419"}
				source, err := sessions.Source(at, "", func() upstream.Place { return upstream.Way{Scheme: "https"}.Place(at) })
				if err != nil {
					t.Fatal(err)
				}
				r := upstream.Request{Values: func(ctx context.Context) context.Context { return ctx }}
				tok, session, err := source.Token(t.Context(), r)
				if err != nil {
					t.Fatal(err)
				}
				tok.MarkAccepted() // by an earlier request
				time.Sleep(time.Minute)
				if c.revoked {
					server.RevokeAll()
				}
				if c.password != "" {
					server.SetPassword(veeamtest.DefaultUser, c.password)
				}

				var counted []string
				base := &carrier{refuse: c.refuse, lost: c.lost}
				sender := &Sender{Base: base, ReplayLimit: limit, Count: func(result string) { counted = append(counted, result) }}
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				if c.leaves {
					base.then = leave
				}
				req := httptest.NewRequestWithContext(ctx, c.method, "https://vbr01:9419/api/v1/jobs", strings.NewReader(c.body))
				if c.body == "" {
					req.Body = http.NoBody
				}
				if c.breaks {
					req.Body = io.NopCloser(io.MultiReader(req.Body, iotest.ErrReader(gone)))
				}
				res, err := sender.Send(req, req.Clone(req.Context()), source, session, tok, r)
				none, isNone := errors.AsType[*NoTokenError](err)
				if broken, ok := errors.AsType[*BodyError](err); ok != c.breaks || ok && broken.Reason() != veeam.ReasonBadRequest {
					t.Errorf("broken %t: %v", ok, err)
				}
				if _, again := errors.AsType[*AgainError](err); again != (c.lost != nil && c.sent > 1) {
					t.Errorf("that the server has answered before is said: %t", again)
				}
				switch {
				case c.lost != nil && !errors.Is(err, c.lost), c.password != "" && !isNone, c.status > 0 && err != nil:
					t.Fatalf("%v, %v", err, none)
				case c.status > 0 && res.StatusCode != c.status:
					t.Errorf("status %d", res.StatusCode)
				}
				if now, _ := session.Current(time.Now()); c.leaves && now != tok {
					t.Error("the token is lost")
				}
				if len(base.bearers) != c.sent || strings.Join(counted, " ") != c.counted {
					t.Errorf("sent %d times, counted %v", len(base.bearers), counted)
				}
				if slices.Sort(base.bearers); len(slices.Compact(base.bearers)) != c.sent {
					t.Error("the same token twice")
				}
				for _, body := range base.bodies {
					if body != c.body {
						t.Errorf("sent %q", body)
					}
				}
			})
		})
	}
}
