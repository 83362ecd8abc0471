// Tests of the exchange itself: what is read, what is closed, what is left alone.

package veeam

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// endless is a body without an end that counts what is read of it.
type endless struct {
	read   int
	closed bool
}

func (b *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	b.read += len(p)
	return len(p), nil
}

func (b *endless) Close() error {
	b.closed = true
	return nil
}

func TestAnAnswerWithoutAnEndIsGivenUp(t *testing.T) {
	for _, status := range []int{200, 401, 500} {
		body := &endless{}
		c, _ := client(t, "vbr")
		c.Transport = roundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Body: body}, nil
		})
		_, err := c.Login(context.Background(), testAccount())
		if e := fault(t, err, KindMalformed); e.Status != status || !errors.Is(err, errTooLong) {
			t.Errorf("got %v", e)
		}
		if body.read > 2*maxAnswer || !body.closed {
			t.Errorf("%d bytes read, closed: %v", body.read, body.closed)
		}
	}
}

// closing is a body that knows whether it was closed.
type closing struct {
	io.Reader
	closed *int
}

func (b closing) Close() error {
	*b.closed++
	return nil
}

func TestEveryBodyIsClosed(t *testing.T) {
	opened, closed := 0, 0
	answers := map[int]string{
		200: `{"mfa_token":"m"}`, 204: ``, 302: ``, 400: `<html>`, 401: ``, 404: `{}`, 429: `{}`, 503: `{}`,
	}
	for status, text := range answers {
		for _, product := range Names() {
			c, _ := client(t, product)
			c.Transport = roundTrip(func(*http.Request) (*http.Response, error) {
				opened++
				return &http.Response{StatusCode: status, Body: closing{strings.NewReader(text), &closed}}, nil
			})
			token := &Token{Access: secret.New("a"), Refresh: secret.New("r")}
			_, loginErr := c.Login(context.Background(), testAccount())
			_, codeErr := c.CreateCode(context.Background(), token)
			logoutErr := c.Logout(context.Background(), token)
			if loginErr == nil || codeErr == nil || logoutErr == nil && status > 299 && status != 401 {
				t.Errorf("%s %d: %v, %v, %v", product, status, loginErr, codeErr, logoutErr)
			}
		}
	}
	if opened == 0 || opened != closed {
		t.Errorf("%d bodies, %d closed", opened, closed)
	}
}

func TestTheClientsOwnHeaderIsNotTouched(t *testing.T) {
	ok := canned{status: 200, body: `{"access_token":"a","refresh_token":"r"}`}
	c, s := client(t, "vbr", ok, ok, canned{status: 200})
	c.Header = http.Header{"Accept": {"text/plain"}, "authorization": {"Basic x"}, "x-api-version": {"1.3-rev0"}, "X-Trace": {"1", "2"}}
	before := c.Header.Clone()
	token := login(t, c, testAccount())
	if _, err := c.Refresh(context.Background(), testAccount(), token.Refresh); err != nil {
		t.Fatal(err)
	}
	if err := c.Logout(context.Background(), token); err != nil {
		t.Fatal(err)
	}
	for name, values := range before {
		if strings.Join(c.Header[name], ",") != strings.Join(values, ",") {
			t.Errorf("%s became %v", name, c.Header[name])
		}
	}
	if len(c.Header) != len(before) {
		t.Errorf("got %v", c.Header)
	}
	for i, authorization := range []string{"", "", "Bearer a"} {
		got := s.seen[i].header
		if got.Get("Authorization") != authorization || got.Get("Accept") != "application/json" ||
			got.Get("x-api-version") != "1.3-rev0" || len(got.Values("X-Trace")) != 2 {
			t.Errorf("request %d: %v", i, got)
		}
	}
}

func TestOneClientServesManyGoroutines(t *testing.T) {
	c, _ := client(t, "azure")
	answer := golden(t, "azure_password.json")
	c.Transport = roundTrip(func(req *http.Request) (*http.Response, error) {
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return nil, err
		}
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(answer))}, nil
	})
	c.Header = http.Header{"X-Trace": {"1"}}
	a := testAccount()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			token, err := c.Login(context.Background(), a)
			if err != nil {
				t.Error(err)
				return
			}
			c.Product.AppendTokenAnswer(nil, Answer{AccessToken: "a"}, token.Shape)
			if _, err := c.Refresh(context.Background(), a, token.Refresh); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
