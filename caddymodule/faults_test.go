// What servers and networks do to a login, and what comes of it for the client:
// the list of faults at the token endpoint.

package caddymodule

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// fault is something that happens to token requests, with its stated outcome: the
// answer to the client, the token requests that it takes, and what follows.
type fault struct {
	name     string
	set      veeamtest.Fault
	answer   func(*http.Request) (*http.Response, error) // instead of set
	want     string
	follows  string // held, paused, as told (30 s), or nothing
	requests int
}

// status is a fault by its status, with the product's own error document.
func status(code int, want, follows string) fault {
	return fault{
		name: fmt.Sprint("status ", code), want: want, follows: follows, requests: 1,
		set: veeamtest.Fault{Kind: veeamtest.FaultStatus, Status: code},
	}
}

// kind is one of the emulator's faults.
func kind(k veeamtest.FaultKind, want string) fault {
	return fault{name: string(k), set: veeamtest.Fault{Kind: k}, want: want, follows: "paused", requests: 1}
}

// body is an answer of the server's, as it is.
func body(name string, code int, contentType, text string, header ...string) fault {
	return fault{
		name: name, want: unexpected, follows: "paused", requests: 1,
		answer: func(req *http.Request) (*http.Response, error) {
			res := canned(req, code, contentType, text)
			for i := 0; i < len(header); i += 2 {
				res.Header.Set(header[i], header[i+1])
			}
			return res, nil
		},
	}
}

// broken is a connection that fails.
func broken(name string, err error) fault {
	return fault{
		name: name, want: unreachable, follows: "paused", requests: 1,
		answer: func(*http.Request) (*http.Response, error) { return nil, err },
	}
}

func (f fault) becomes(want, follows string) fault {
	f.want, f.follows = want, follows
	return f
}

const (
	unexpected  = "502 unexpected_answer"
	unreachable = "502 unreachable"
	serverFault = "502 server_fault"
	refused     = "503 credential_refused"
)

func faults() []fault {
	return []fault{
		// No answer of the API.
		kind(veeamtest.FaultEmpty, unexpected),
		kind(veeamtest.FaultHTML, unexpected),
		kind(veeamtest.FaultTruncated, unexpected),
		kind(veeamtest.FaultWrongTypes, unexpected),
		kind(veeamtest.FaultHuge, unexpected),
		body("no content", http.StatusNoContent, "", ""),
		body("JSON list", http.StatusOK, contentTypeJSON, `[{"access_token":"a"}]`),
		body("token with a line break", http.StatusOK, contentTypeJSON, `{"access_token":"a\r\nX-Evil: 1","expires_in":900}`),
		body("all keys null", http.StatusOK, contentTypeJSON, `{"access_token":null,"refresh_token":null,"mfa_token":null}`),
		body("page of a web server", http.StatusBadRequest, "text/html", "<h2>Bad Request - Invalid Hostname</h2>").becomes("502 request_not_understood", "paused"),

		// The network.
		kind(veeamtest.FaultReset, unreachable),
		kind(veeamtest.FaultResetAfterHeaders, unreachable),
		kind(veeamtest.FaultHalfClose, unreachable),
		kind(veeamtest.FaultSlow, "504 timeout"),
		kind(veeamtest.FaultHang, "504 timeout"),
		{
			name: "answer lost after the grant", want: unreachable, follows: "paused", requests: 1,
			set: veeamtest.Fault{Kind: veeamtest.FaultReset, After: true},
		},
		broken("broken pipe", &net.OpError{Op: "write", Net: "tcp", Err: errors.New("broken pipe")}),
		broken("GOAWAY", errors.New("http2: server sent GOAWAY and closed the connection; LastStreamID=1, ErrCode=NO_ERROR")),

		// Redirects: a credential goes nowhere else.
		kind(veeamtest.FaultRedirect, unexpected),
		body("301", http.StatusMovedPermanently, "", "", "Location", "https://elsewhere.test/api/oauth2/token"),
		body("302 to plain HTTP", http.StatusFound, "", "", "Location", "http://vbr01.lab.local/api/oauth2/token"),
		body("303", http.StatusSeeOther, "", "", "Location", "/api/oauth2/token"),
		body("308", http.StatusPermanentRedirect, "", "", "Location", "https://elsewhere.test/"),

		// A refusal holds the credential.
		status(http.StatusUnauthorized, refused, "held"),
		status(http.StatusForbidden, refused, "held"),
		body("bare 401", http.StatusUnauthorized, "", "").becomes(refused, "held"),
		body("bare 400", http.StatusBadRequest, "", "").becomes(refused, "held"),
		body("428", http.StatusPreconditionRequired, "", "").becomes("503 code_needed", "held"),

		// So does not what says nothing about it.
		status(http.StatusNotFound, "502 request_not_understood", "paused"),
		status(http.StatusMethodNotAllowed, "502 request_not_understood", "paused"),
		status(http.StatusRequestTimeout, serverFault, "paused"),
		status(http.StatusInternalServerError, serverFault, "paused"),
		status(http.StatusBadGateway, serverFault, "paused"),
		status(http.StatusServiceUnavailable, serverFault, "paused"),
		status(520, serverFault, "paused"),

		// The server says when to come back.
		status(http.StatusTooManyRequests, "429 throttled", "paused"),
		body("429 with Retry-After", 429, "", "", "Retry-After", "30").becomes("429 throttled", "as told"),
		body("429 with a date", 429, "", "", "Retry-After", "Sat, 01 Jan 2000 00:01:00 GMT", "Date", "Sat, 01 Jan 2000 00:00:30 GMT").
			becomes("429 throttled", "as told"),
		body("429 with retryAfter in the body", 429, contentTypeJSON, `{"errors":[{"type":"transport","code":429,"retryAfter":30}]}`).
			becomes("429 throttled", "as told"),
		body("503 with Retry-After", 503, "", "", "Retry-After", "30").becomes(serverFault, "as told"),
	}
}

// at is the fault at a product: where no status of a refusal is documented, each may be
// one, a path that is not there is one of another version, and a 429 means a minute.
func (f fault) at(profile veeamtest.Profile) fault {
	if profile != veeamtest.VB365 {
		return f
	}
	switch f.name {
	case "page of a web server", "status 405":
		return f.becomes(refused, "held")
	case "status 404":
		f.requests = 3
	case "status 429":
		f.follows = "for a minute"
	}
	return f
}

func TestEveryFaultHasItsOutcome(t *testing.T) {
	t.Parallel()
	if n := len(faults()); n < 24 {
		t.Fatalf("%d faults", n)
	}
	for _, profile := range profiles {
		for _, f := range faults() {
			f := f.at(profile)
			t.Run(string(profile)+"/"+strings.ReplaceAll(f.name, " ", "_"), func(t *testing.T) {
				inWorld(t, profile, nil, func(w *world) {
					w.start(&account.Account{Name: veeamtest.DefaultUser, Password: w.secret("secret", veeamtest.DefaultPassword)})
					f.begin(w)
					// A hold ends with a new secret; here a right one that is written
					// differently, as the fault was not the secret's.
					mend := func(w *world) {
						f.end(w)
						if f.follows == "held" {
							w.server.SetPassword(veeamtest.DefaultUser, "changed")
							w.secret("secret", "changed")
						}
					}
					want := fmt.Sprintf("%s, %d, %s", f.want, f.requests, f.follows)
					if got := w.counted(f.follows, mend); got != want {
						t.Errorf("got %s, want %s\n%s", got, want, w.said())
					}
				})
			})
		}
	}
}

// begin lets the fault happen to every token request from now on.
func (f fault) begin(w *world) {
	if f.answer == nil {
		w.server.SetFault(f.set)
		return
	}
	w.wire.intercept(func(req *http.Request) (*http.Response, error) {
		if isGrant(req) {
			return f.answer(req)
		}
		return nil, nil
	})
}

func (f fault) end(w *world) {
	w.server.ClearFault()
	w.wire.intercept(nil)
}

func TestNoFaultOfARenewalReachesAClientWhileTheTokenLives(t *testing.T) {
	t.Parallel()
	for _, profile := range refreshable {
		for _, f := range faults() {
			f := f.at(profile)
			t.Run(string(profile)+"/"+strings.ReplaceAll(f.name, " ", "_"), func(t *testing.T) {
				inWorld(t, profile, []veeamtest.Option{veeamtest.WithAccessLifetime(10 * time.Minute)}, func(w *world) {
					w.start(unwatched())
					w.demand("200")
					f.begin(w)
					for range 30 { // until shortly before the token's end
						w.rest(19700 * time.Millisecond)
						w.demand("200")
					}
					most := 16
					if profile == veeamtest.VB365 && f.name == "status 404" {
						most *= 3 // a path that is not there is looked for in each version
					}
					if n := w.wire.grants() - 1; n == 0 || n > most {
						t.Errorf("%d token requests by renewals that fail", n)
					}
					f.end(w)
					w.rest(2 * time.Minute)
					if f.follows != "held" { // a hold ends in its own time, or with a new secret
						w.demand("200")
					}
				})
			})
		}
	}
}

func TestEveryFormOfALifetimeIsUnderstood(t *testing.T) {
	t.Parallel()
	for _, profile := range refreshable {
		for form, want := range map[string]time.Duration{
			"0": time.Minute, "-1": time.Minute, "1e12": 24 * time.Hour, `"3600"`: time.Hour, "1800.5": 30*time.Minute + 500*time.Millisecond,
			"absent": 20 * time.Minute, "null": 20 * time.Minute, `"soon"`: 20 * time.Minute, "[]": 20 * time.Minute, // by the token's own end
		} {
			t.Run(string(profile)+"/"+form, func(t *testing.T) {
				options := []veeamtest.Option{
					veeamtest.WithExpiresInAs(form), veeamtest.WithAccessLifetime(20 * time.Minute), veeamtest.WithDateStyle(veeamtest.DateAbsent),
				}
				inWorld(t, profile, options, func(w *world) {
					w.start(unwatched())
					w.demand("200")
					if profile == veeamtest.VSPC35 {
						want = 20 * time.Minute // by the date that it has in place of a lifetime
					}
					for _, s := range w.State.Live() {
						if s.ExpiresIn > want || s.ExpiresIn < want-time.Second {
							t.Errorf("good for %v, want %v", s.ExpiresIn, want)
						}
					}
				})
			})
		}
	}
}
