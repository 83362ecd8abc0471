// Whether a 401 to a request with a body is about the token or about the body.

package upstream

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

const (
	// How long an answer to the question whether the server accepts a token is
	// relied on, so that clients with wrong credentials of their own cause few
	// requests.
	bearingFor = 2 * time.Second

	// How long the server has to answer it.
	bearingTimeout = 3 * time.Second
)

// bearing is the latest answer to the question whether the server accepts a token.
type bearing struct {
	mu       sync.Mutex
	token    *tokencache.Token
	at       time.Time
	accepted bool
}

// PlugIn reports whether a path leads to another service behind the server, whose 401 may
// be about its own tokens.
func (s *Source) PlugIn(path string) bool { return s.server.Product.PlugIn(path) }

// Accepts reports whether the server accepts a token, by reading a resource that every
// role may read. It returns false if the server does not tell.
func (s *Source) Accepts(ctx context.Context, tok *tokencache.Token) bool {
	b := &s.bearing
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.token == tok && time.Since(b.at) < bearingFor {
		return b.accepted
	}
	asked, cancel := context.WithTimeout(ctx, bearingTimeout)
	defer cancel()
	client := s.server.Client(s.place, nil)
	client.APIVersion = cmp.Or(client.APIVersion, s.FoundVersion())
	err := client.MayRead(asked, &veeam.Token{Access: tok.Access})
	if ctx.Err() != nil {
		return false
	}
	failed, _ := errors.AsType[*veeam.Error](err)
	b.token, b.at = tok, time.Now()
	b.accepted = err == nil || failed != nil && failed.Status == http.StatusForbidden
	if b.accepted {
		tok.MarkAccepted()
	}
	return b.accepted
}
