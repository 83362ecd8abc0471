// Reading the keys of a provider: from a file, or over HTTPS.

package jwtcaller

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/internal/stdlog"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// file is a file that is read in one call at a time: one that hangs holds one goroutine.
type file struct{ flight bounded.Flight[[]byte] }

var errTooLong = errors.New("the file is too long")

// readFile reads the file that an option names and that is not longer than most, in bytes.
func (s *source) readFile(ctx context.Context, option, name string, most int64) ([]byte, error) {
	read := s.files[name].flight.Join(ctx, fetchTimeout, func(*bounded.LateError) ([]byte, error) {
		opened, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer opened.Close()
		content, err := io.ReadAll(io.LimitReader(opened, most+1))
		if err == nil && int64(len(content)) > most {
			err = errTooLong
		}
		return content, err
	})
	if read.Err != nil {
		return nil, &readError{veeam.ReasonSecretUnreadable, fmt.Errorf("%s %s: %w", option, name, withoutPath(read.Err))}
	}
	return read.Value, nil
}

// withoutPath is the cause of an error of a file, whose name the message has.
func withoutPath(err error) error {
	if wrapped, ok := errors.AsType[*fs.PathError](err); ok {
		return wrapped.Err
	}
	return err
}

// fetchURL gets the keys from their address. Redirects are not followed, and no proxy of
// the environment is used.
func (s *source) fetchURL(ctx context.Context) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.place.url, http.NoBody)
	if err != nil {
		return nil, &readError{veeam.ReasonInternal, errors.New("the address is not valid")}
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	if s.place.tokenFile != "" {
		token, err := s.readFile(ctx, "jwks_token_file", s.place.tokenFile, maxToken)
		if err != nil {
			return nil, err
		}
		request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	// Over HTTP/1.1: over HTTP/2 net/http sends a request again by itself as often as the
	// server says GOAWAY.
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
	}
	if s.place.ca != "" {
		authorities, err := s.readFile(ctx, "jwks_ca", s.place.ca, maxDocument)
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(authorities) {
			return nil, &readError{veeam.ReasonSecretUnreadable, fmt.Errorf("jwks_ca %s: the file contains no PEM certificate", s.place.ca)}
		}
		transport.TLSClientConfig.RootCAs = roots
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return nil, unanswered(ctx, err)
	}
	defer response.Body.Close()
	if err := refusedStatus(response.StatusCode); err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(response.Body, maxDocument+1))
	if err != nil {
		return nil, unanswered(ctx, err)
	}
	return content, nil
}

func unanswered(ctx context.Context, err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	return &readError{veeam.TransportReason(ctx, err), stdlog.WithoutAnswer(err)}
}

// refusedStatus returns the error of an answer other than 200.
func refusedStatus(status int) error {
	reason, text := veeam.ReasonUnexpectedAnswer, ""
	switch {
	case status == http.StatusOK:
		return nil
	case status == http.StatusTooManyRequests:
		reason = veeam.ReasonThrottled
	case status >= 500 || status == http.StatusRequestTimeout:
		reason = veeam.ReasonServerFault
	case status >= 300 && status < 400:
		text = ": it redirects, which is not followed; write the address of the keys"
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		text = ": it requires a credential; see jwks_token_file"
	}
	return &readError{reason, fmt.Errorf("the answer has status %d%s", status, text)}
}
