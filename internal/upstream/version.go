// Which API version a login names: one that the server serves, whatever the
// client that causes the login names. And how a login's requests travel.

package upstream

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// FindVersionFor is the time limit of the search for an API version. After it the login
// uses the product's default.
const FindVersionFor = 3 * time.Second

// versionCache has the versions that servers were found to speak, by product and
// origin.
type versionCache struct {
	mu    sync.Mutex
	found map[[2]string]*string
}

func (c *versionCache) get(product, origin string) *string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.found[[2]string{product, origin}]
}

// put remembers a version, or forgets it if it is nil.
func (c *versionCache) put(product, origin string, version *string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.found == nil || len(c.found) >= maxOrigins {
		c.found = make(map[[2]string]*string)
	}
	c.found[[2]string{product, origin}] = version
	if version == nil {
		delete(c.found, [2]string{product, origin})
	}
}

// FoundVersion returns the version that logins at an origin have found, empty if none.
func (s *Server) FoundVersion(origin string) string {
	if found := s.State.versions.get(s.Product.Name, origin); found != nil {
		return *found
	}
	return ""
}

// findVersion asks the server once for the newest version that it serves. An
// empty answer stands for the product's default.
func (s *Source) findVersion(ctx context.Context, client *veeam.Client) string {
	found := s.version.Load()
	if found == nil {
		found = s.server.State.versions.get(s.server.Product.Name, s.place.Origin) // another account's
	}
	if found == nil {
		ctx, cancel := context.WithTimeout(ctx, FindVersionFor)
		defer cancel()
		version, err := client.FindVersion(ctx)
		if err != nil {
			return "" // not now; the next login asks again
		}
		s.keepVersion(version)
		return version
	}
	s.version.Store(found)
	return *found
}

// keepVersion remembers a version for all accounts at the server.
func (s *Source) keepVersion(version string) {
	s.version.Store(&version)
	s.server.State.versions.put(s.server.Product.Name, s.place.Origin, &version)
}

// forgetVersion has the next look search again: the server may have been replaced
// by one of another version.
func (s *Source) forgetVersion() {
	s.version.Store(nil)
	s.server.State.versions.put(s.server.Product.Name, s.place.Origin, nil)
}

// FoundVersion returns the version that was found, or "".
func (s *Source) FoundVersion() string {
	if found := s.version.Load(); found != nil {
		return *found
	}
	return ""
}

// versionedClient logs in with a version that the server serves.
type versionedClient struct {
	*veeam.Client
	source *Source
}

// versioned is the client of one grant. It is a copy, because others may use the
// client meanwhile.
func (s *Source) versioned(ctx context.Context, client *veeam.Client) *versionedClient {
	own := *client
	if own.APIVersion == "" {
		own.APIVersion = s.findVersion(ctx, &own)
	}
	return &versionedClient{&own, s}
}

// step runs a step of a grant. A server that does not serve the version has not
// looked at the credential: the step is repeated with what is found then, and with
// all known versions in turn, newest first. Not where the version is configured.
func (c *versionedClient) step(ctx context.Context, run func(*veeam.Client) (*veeam.Token, error)) (*veeam.Token, error) {
	version := c.Product.Version
	tok, err := run(c.Client)
	if !versionRefused(err) || c.source.server.APIVersion != "" {
		if protocolFault(err) {
			c.source.forgetVersion()
		}
		return tok, err
	}
	c.source.forgetVersion()
	refused := []string{cmp.Or(c.APIVersion, version.Default)}
	for _, next := range append([]string{c.source.findVersion(ctx, c.Client)}, version.Known...) {
		if next == "" || slices.Contains(refused, next) {
			continue
		}
		refused = append(refused, next)
		c.APIVersion = next
		if tok, err = run(c.Client); !versionRefused(err) {
			if err == nil {
				c.source.keepVersion(next)
			}
			return tok, err
		}
	}
	c.source.forgetVersion()
	return tok, err
}

func versionRefused(err error) bool {
	failed, ok := errors.AsType[*veeam.Error](err)
	return ok && failed.VersionRefused()
}

func protocolFault(err error) bool {
	failed, ok := errors.AsType[*veeam.Error](err)
	return ok && failed.Kind == veeam.KindProtocol
}
