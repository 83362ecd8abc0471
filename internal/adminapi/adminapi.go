// Package adminapi implements the admin endpoints of a running process: the sessions at
// Veeam servers and the tokens of clients, with their operations. It defines the JSON
// that the endpoints and the commands exchange. No response contains a token.
package adminapi

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// Handler answers a request. Its error is always an *Error.
type Handler func(http.ResponseWriter, *http.Request) error

// Error is an error with the HTTP status of the answer.
type Error struct {
	Status int
	Err    error
}

// Error implements error.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the error without the status.
func (e *Error) Unwrap() error { return e.Err }

// Reason implements veeam.Reasoner: that of the error where it has one, or else that of the
// status.
func (e *Error) Reason() veeam.Reason {
	if reason := veeam.ReasonOf(e.Err); reason != veeam.ReasonInternal {
		return reason
	}
	switch {
	case e.Status == http.StatusForbidden:
		return veeam.ReasonDenied
	case e.Status == http.StatusServiceUnavailable:
		return veeam.ReasonStorage
	case e.Status < http.StatusInternalServerError:
		return veeam.ReasonBadRequest
	}
	return veeam.ReasonInternal
}

// listing returns a Handler that answers GET with the result of list, as JSON.
func listing[T any](list func(*http.Request) T) Handler {
	return guarded(func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != http.MethodGet {
			return &Error{http.StatusMethodNotAllowed, errors.New("use GET")}
		}
		return answer(w, list(r))
	})
}

const (
	mostBody      = 4 << 10  // bytes of a request
	mostEntryBody = 64 << 10 // with a secret, such as a SAML response
)

// posting returns a Handler for POST with a JSON body of at most so many bytes, which
// complete must accept.
func posting[T any](most int64, complete func(T) bool, usage string, act func(http.ResponseWriter, *http.Request, T) error) Handler {
	return guarded(func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != http.MethodPost {
			return &Error{http.StatusMethodNotAllowed, errors.New("use POST")}
		}
		var body T
		err := decodeOne(http.MaxBytesReader(w, r.Body, most), &body)
		if tooLong, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return &Error{http.StatusRequestEntityTooLarge, fmt.Errorf("the body exceeds %d bytes", tooLong.Limit)}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return &Error{http.StatusRequestTimeout, errLate}
		}
		if err != nil || !complete(body) {
			return &Error{http.StatusBadRequest, errors.New("write " + usage)}
		}
		takeTime(w)
		return act(w, r, body)
	})
}

// takeTime lifts the limits of a server on the time of a request, which is there as a whole.
// Without that, they would cancel an act that waits for a Veeam server.
func takeTime(w http.ResponseWriter) {
	control := http.NewResponseController(w)
	for _, lift := range []func(time.Time) error{control.SetReadDeadline, control.SetWriteDeadline} {
		_ = lift(time.Time{}) // not every writer has a connection
	}
}

// decodeOne reads a JSON value, which must be all that there is.
func decodeOne(body io.Reader, into any) error {
	decoder := json.NewDecoder(body)
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return cmp.Or(err, errMore)
	}
	return nil
}

var (
	errMore = errors.New("there is more than one value")
	errLate = errors.New("the body did not arrive in time")
)

func answer(w http.ResponseWriter, value any) error {
	w.Header().Set("Content-Type", contentTypeJSON)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false) // people read it, too; no browser takes it for HTML
	if err := encoder.Encode(value); err != nil {
		return &Error{http.StatusInternalServerError, err}
	}
	return nil
}
