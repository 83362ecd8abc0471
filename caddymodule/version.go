// Which API version a login names: one that the server serves, whatever the
// client that causes the login names. And how a login's requests travel.

package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// findVersionFor bounds the search. A server may take its time with the
// documents that tell; a login with the product's default is better than none.
const findVersionFor = 3 * time.Second

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
		s.keepVersion(version)
		return version
	}
	s.version.Store(found)
	return *found
}

// keepVersion remembers a version for all accounts at the server.
func (s *slot) keepVersion(version string) {
	s.version.Store(&version)
	foundVersions.put(s.transport.product.Name, s.target.origin, &version)
}

// forgetVersion has the next look search again: the server may have been replaced
// by one of another version.
func (s *slot) forgetVersion() {
	s.version.Store(nil)
	foundVersions.put(s.transport.product.Name, s.target.origin, nil)
}

// foundVersion is the version that was found, or empty.
func (s *slot) foundVersion() string {
	if found := s.version.Load(); found != nil {
		return *found
	}
	return ""
}

// anonymousVersion is the version for a request that needs no session: as
// configured, or as logins have found it.
func (t *Transport) anonymousVersion(req *http.Request, e *exchange) string {
	if t.APIVersion != "" || e == nil || t.product.Version.Known == nil {
		return t.APIVersion
	}
	if found := foundVersions.get(t.product.Name, t.target(req, t.place(req, "", "")).origin); found != nil {
		return *found
	}
	return ""
}

// versionedClient logs in with a version that the server serves.
type versionedClient struct {
	*veeam.Client
	slot *slot
}

// versioned is the client of one grant. It is a copy, because others may use the
// client meanwhile.
func (s *slot) versioned(ctx context.Context, client *veeam.Client) *versionedClient {
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
	if !versionRefused(err) || c.slot.transport.APIVersion != "" {
		if protocolFault(err) {
			c.slot.forgetVersion()
		}
		return tok, err
	}
	c.slot.forgetVersion()
	refused := []string{cmp.Or(c.APIVersion, version.Default)}
	for _, next := range append([]string{c.slot.findVersion(ctx, c.Client)}, version.Known...) {
		if next == "" || slices.Contains(refused, next) {
			continue
		}
		refused = append(refused, next)
		c.APIVersion = next
		if tok, err = run(c.Client); !versionRefused(err) {
			if err == nil {
				c.slot.keepVersion(next)
			}
			return tok, err
		}
	}
	c.slot.forgetVersion()
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

// loginTransport carries the requests of logins. Each has variables of its own:
// those of a request of a client, its address among them, say nothing about a
// session that all share, and the transport writes into them.
type loginTransport struct{ *reverseproxy.HTTPTransport }

// proxyProtocolVar is the variable in which reverse_proxy keeps whose address a
// connection is for. It has no exported name.
const proxyProtocolVar = "reverse_proxy.proxy_protocol_info"

// RoundTrip implements http.RoundTripper.
func (t loginTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	vars := map[string]any{}
	if t.ProxyProtocolEnabled() {
		vars[proxyProtocolVar] = reverseproxy.ProxyProtocolInfo{AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)}
	}
	return t.HTTPTransport.RoundTrip(req.WithContext(context.WithValue(req.Context(), caddyhttp.VarsCtxKey, vars)))
}

// Interface guard
var _ http.RoundTripper = loginTransport{}
