// Tests of what errors say, and above all of what they do not.

package veeam

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

func TestErrorText(t *testing.T) {
	for _, tt := range []struct {
		err  *Error
		want string
	}{
		{
			&Error{Kind: KindRefused, Product: "vbr", Grant: GrantPassword, Status: 401, Code: "AccessDenied", Hint: "try this"},
			"vbr password failed: credential refused (401 AccessDenied); try this",
		},
		{
			&Error{Kind: KindUnavailable, Product: "aws", Grant: GrantMFA, Err: errTruncated},
			"aws mfa failed: server unavailable: the answer is truncated",
		},
		{&Error{Kind: KindServerFault, Product: "azure", Status: 503}, "azure logout failed: server fault (503)"},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestSanitisedWords(t *testing.T) {
	for word, want := range map[string]string{
		"AccessDenied": "AccessDenied", "Wrong name!": "Wrong_name", "a\nb\x1b[31m": "ab31m", "\u2028ü": "",
		strings.Repeat("x", 100): strings.Repeat("x", 64), "security:401": "security:401",
	} {
		if got := sanitise(word); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
}

// No error may repeat a secret that the step knows, whatever the server or the
// transport says.
func TestNoErrorRepeatsASecret(t *testing.T) {
	synctest.Test(t, noErrorRepeatsASecret)
}

func noErrorRepeatsASecret(t *testing.T) {
	const password, refresh, mfaToken, bearer = "canary+pass/word", "refresh-canary", "mfa-canary", "bearer-canary"
	a := testAccount()
	a.Password, a.TOTP = secret.New(password), newTOTP(t, "JBSWY3DPEHPK3PXP")
	challenge := canned{status: 200, body: `{"mfa_token":"` + mfaToken + `"}`}
	steps := []struct {
		name    string
		secrets []string
		first   []canned
		run     func(*Client) error
	}{
		{"password", []string{password}, nil, func(c *Client) error {
			_, err := c.Login(context.Background(), a)
			return err
		}},
		{"mfa", []string{password, mfaToken}, []canned{challenge}, func(c *Client) error {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			_, err := c.Login(ctx, a)
			return err
		}},
		{"refresh_token", []string{password, refresh}, nil, func(c *Client) error {
			_, err := c.Refresh(context.Background(), a, secret.New(refresh))
			return err
		}},
		{"logout", []string{bearer}, nil, func(c *Client) error {
			return c.Logout(context.Background(), &Token{Access: secret.New(bearer)})
		}},
	}
	for _, step := range steps {
		var words []string
		for _, s := range step.secrets {
			words = append(words, s, url.QueryEscape(s))
		}
		for _, word := range words {
			echoes := []canned{
				{err: fmt.Errorf("malformed HTTP response %q", "password="+word)},
				{status: 302, header: http.Header{"Location": {"/?" + word}}},
				{status: 200, body: `{"access_token":"` + word + `\n"}`},
			}
			for _, status := range []int{400, 401, 404, 429, 500} {
				for _, key := range []string{"errorCode", "error", "title", "message", "type"} {
					echoes = append(echoes, canned{status: status, body: fmt.Sprintf(`{%q:"/problems/%s"}`, key, word)})
				}
			}
			for _, echo := range echoes {
				if step.name == "logout" && (echo.status == 200 || echo.status == 401) {
					continue // the session is over
				}
				for _, product := range []string{"vspc", "aws"} {
					if step.name == "logout" && product == "vspc" {
						continue
					}
					c, _ := client(t, product, append(slices.Clip(step.first), echo)...)
					err := step.run(c)
					if err == nil {
						t.Fatalf("%s %+v: no error", step.name, echo)
					}
					for ; err != nil; err = errors.Unwrap(err) {
						text := fmt.Sprintf("%v %+v %#v", err, err, err)
						for _, w := range words {
							if strings.Contains(text, w) || strings.Contains(text, squeeze(w)) {
								t.Errorf("%s: %q is in %q", step.name, w, text)
							}
						}
					}
				}
			}
		}
	}
}

// dialError hides what it wraps, as the one of Caddy's transport does.
type dialError struct{ error }

func TestALoginWithoutAConnectionIsNoTry(t *testing.T) {
	_, refused := net.DialTimeout("tcp", "127.0.0.1:1", time.Minute)
	if refused == nil {
		t.Fatal("something listens at port 1")
	}
	for name, c := range map[string]struct {
		err  error
		want Verdict
	}{
		"refused":             {refused, VerdictNone},
		"refused, hidden":     {dialError{refused}, VerdictNone},
		"no such name":        {dialError{&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "veeam.test"}}}, VerdictNone},
		"no answer":           {&net.OpError{Op: "read", Net: "tcp", Err: errors.New("connection reset by peer")}, VerdictUnknown},
		"no answer, hidden":   {dialError{errors.New("read tcp 127.0.0.1:2: connection reset by peer")}, VerdictUnknown},
		"the end of a dialog": {errors.New("server closed the dialog"), VerdictUnknown},
	} {
		if got := verdict(nil, transportError(t.Context(), c.err, nil)); got != c.want {
			t.Errorf("%s: verdict %d, not %d", name, got, c.want)
		}
	}
}
