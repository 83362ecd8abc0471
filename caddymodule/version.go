// Which API version a server speaks, where neither the configuration nor the
// client says it.

package caddymodule

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/caddy-veeam/veeam-auth/veeam"
)

// findVersionFor bounds the search. A server may take its time with the
// documents that tell; a login with the product's default is better than none.
const findVersionFor = 15 * time.Second

// foundVersions are the versions that servers were found to speak, by product
// and origin: they outlive reloads as the sessions do.
var foundVersions versionCache

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

// findVersion asks the server once for the newest version that it serves. An
// empty answer stands for the product's default.
func (s *slot) findVersion(ctx context.Context, client *veeam.Client) string {
	found := s.version.Load()
	if found == nil {
		found = foundVersions.get(s.transport.product.Name, s.target.origin) // another account's
	}
	if found == nil {
		ctx, cancel := context.WithTimeout(ctx, findVersionFor)
		defer cancel()
		version, err := client.FindVersion(ctx)
		if err != nil {
			return "" // not now; the next login asks again
		}
		found = &version
		foundVersions.put(s.transport.product.Name, s.target.origin, found)
	}
	s.version.Store(found)
	return *found
}

// forgetVersion has the next login search again if the server did not understand
// this one: it may have been replaced by one of another version.
func (s *slot) forgetVersion(err error) {
	var failed *veeam.Error
	if errors.As(err, &failed) && failed.Kind == veeam.KindProtocol && s.version.Swap(nil) != nil {
		foundVersions.put(s.transport.product.Name, s.target.origin, nil)
	}
}

// foundVersion is the version that was found, or empty.
func (s *slot) foundVersion() string {
	if found := s.version.Load(); found != nil {
		return *found
	}
	return ""
}
