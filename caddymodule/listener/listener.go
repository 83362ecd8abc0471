// Package listener tells what Caddy knows of its listeners: from where a request has come,
// and which names and protocols a server has without a site that serves them. Package
// caddymodule imports it.
package listener

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-veeam/veeam-auth/internal/headers"
	"github.com/caddy-veeam/veeam-auth/internal/process"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/policy"
)

// meshAddress begins the address from which the sidecar of Istio connects to the program in its
// pod, for whoever has called it. Connections that are no HTTP to it, such as TLS, have no header.
const meshAddress = "127.0.0.6:"

// relayedVar is the request variable that is set once a request is known to be relayed: later
// the headers that say so may have been removed.
const relayedVar = "veeam_auth.relayed"

// Relayed reports whether another proxy relayed the request. Behind a proxy on this
// machine, every caller has a loopback address.
func Relayed(r *http.Request) bool {
	if known, _ := caddyhttp.GetVar(r.Context(), relayedVar).(bool); known {
		return true
	}
	relayed := relayed(r)
	if relayed {
		caddyhttp.SetVar(r.Context(), relayedVar, true)
	}
	return relayed
}

func relayed(r *http.Request) bool {
	if c := process.ConnectionOf(r.Context()); c != nil && !c.Direct() {
		return true
	}
	for name := range r.Header {
		if headers.IsRelay(name) {
			return true
		}
	}
	if strings.HasPrefix(r.RemoteAddr, meshAddress) {
		return true
	}
	if r.ProtoMajor == 1 && r.ProtoMinor == 0 { // nginx before 1.29.7, which adds no header unless it is told to
		return true
	}
	// Proxies that Caddy trusts may have headers of their own, which an earlier handler may
	// have removed.
	for _, name := range clientHeaders(r) {
		if _, ok := r.Header[http.CanonicalHeaderKey(name)]; ok {
			return true
		}
	}
	return trusted(r) && clientFor(r) != ""
}

// trusted reports whether Caddy trusts the peer as a proxy.
func trusted(r *http.Request) bool {
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return trusted
}

// clientFor returns the address that Caddy has taken from the headers of a trusted proxy.
// It is empty if they name nobody else than the proxy: then Caddy takes the proxy for the
// client.
func clientFor(r *http.Request) string {
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	client, err := netip.ParseAddr(text)
	proxy, _ := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || client.Unmap() == proxy.Addr().Unmap().WithZone("") {
		return ""
	}
	return text
}

// serverOf returns the server of a request, nil if it is not known.
func serverOf(r *http.Request) *caddyhttp.Server {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return server
}

// clientHeaders are the headers by which trusted proxies name their client.
func clientHeaders(r *http.Request) []string {
	if server := serverOf(r); server != nil {
		return server.ClientIPHeaders
	}
	return nil
}

// strict reports whether Caddy reads the headers of trusted proxies from the end. At the
// beginning they have what the client has sent.
func strict(r *http.Request) bool {
	server := serverOf(r)
	return server != nil && server.TrustedProxiesStrict > 0
}

// Early reports whether a request may have been sent by somebody else before: it is early
// data of a connection whose handshake is not complete, of HTTP/3 here or of an earlier proxy
// (RFC 8470). Whoever has recorded it can send it again, from any address.
func Early(r *http.Request) bool {
	return r.TLS != nil && !r.TLS.HandshakeComplete || len(r.Header["Early-Data"]) > 0
}

// Target returns the target of a request as Caddy has received it, before its other handlers.
func Target(r *http.Request) string {
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		return original.RequestURI
	}
	return r.RequestURI
}

// Watch makes a server put its connections into the context of their
// requests.
func Watch(server *caddyhttp.Server) {
	server.RegisterConnContext(process.WithConnection)
}

// OverUnix reports whether a request has come over a unix socket.
func OverUnix(r *http.Request) bool {
	return process.OverUnix(r.Context())
}

// PeerOf returns where the caller is, as far as it cannot choose that itself: of a request
// that a proxy has relayed only if Caddy trusts the proxy and reads its headers strictly, and
// if they name somebody else than the proxy.
// With the PROXY protocol it is not known: whoever connects writes the address by which
// Caddy would trust it.
func PeerOf(r *http.Request) (peer policy.Peer) {
	if c := process.ConnectionOf(r.Context()); c != nil && !c.Direct() {
		return policy.Peer{}
	}
	if !Relayed(r) {
		peer.Address, _, _ = net.SplitHostPort(r.RemoteAddr)
		peer.Unix = OverUnix(r)
		return peer
	}
	if strict(r) && trusted(r) {
		peer.Address = clientFor(r)
	}
	return peer
}

// SourceOf returns the source of a request: a user at a unix socket, or an address. Behind a
// proxy that Caddy trusts, it is the address in the proxy's headers.
func SourceOf(r *http.Request) string {
	if client := behindProxy(r); client != "" {
		return ratelimit.Source(client)
	}
	if found, ok := process.PeerOfRequest(r.Context()); ok {
		return "uid " + strconv.Itoa(found.UID)
	}
	if OverUnix(r) {
		return string(policy.ViaUnix) // the peer chooses the name of its own end
	}
	return ratelimit.Source(r.RemoteAddr)
}

// behindProxy returns the address that a trusted proxy names, empty if there is none. Where
// Caddy does not read the headers strictly it takes the first one, which the client may have
// written; the last one is what the proxy has added.
func behindProxy(r *http.Request) string {
	switch {
	case !trusted(r):
		return ""
	case strict(r):
		return clientFor(r)
	}
	for _, name := range clientHeaders(r) {
		values := r.Header.Values(name)
		if len(values) == 0 {
			continue
		}
		all := values[len(values)-1]
		last := strings.TrimSpace(all[strings.LastIndexByte(all, ',')+1:])
		if host, _, err := net.SplitHostPort(last); err == nil {
			last = host
		}
		if _, err := netip.ParseAddr(last); err == nil {
			return last
		}
	}
	return ""
}

// ConnectionOf tells the connections of one source apart. At a unix socket it is that of a
// process, because all its connections have the same address.
func ConnectionOf(r *http.Request) string {
	if found, ok := process.PeerOfRequest(r.Context()); ok {
		return fmt.Sprintf("uid %d pid %d", found.UID, found.PID)
	}
	return r.RemoteAddr
}

// LaterProtocols returns the protocols of a server besides HTTP/1.
func LaterProtocols(server *caddyhttp.Server) (later []string) {
	spoken := server.Protocols
	for _, protocols := range server.ListenProtocols {
		spoken = append(slices.Clip(spoken), protocols...)
	}
	for _, protocol := range spoken {
		if protocol == "h2c" || protocol != "h1" && protocol != "" && len(server.TLSConnPolicies) > 0 {
			later = append(later, protocol)
		}
	}
	slices.Sort(later)
	return slices.Compact(later)
}

// UnservedNames returns the names of this machine that lead to a listener of the server
// but to none of its routes. A server with TLS has none, because it has no certificate
// for other names.
func UnservedNames(server *caddyhttp.Server) (names []string) {
	if len(server.TLSConnPolicies) > 0 {
		return nil
	}
	served := map[string]bool{}
	for _, route := range server.Routes {
		if len(route.MatcherSets) == 0 {
			return nil
		}
		for _, set := range route.MatcherSets {
			hosts, ok := hostsOf(set)
			if !ok {
				return nil
			}
			for _, host := range hosts {
				served[strings.Trim(strings.ToLower(host), "[]")] = true
			}
		}
	}
	for _, address := range server.Listen {
		a, err := caddy.ParseNetworkAddress(address)
		if err != nil || a.IsUnixNetwork() || a.IsFdNetwork() {
			continue
		}
		reached := []string{a.Host}
		switch ip := net.ParseIP(a.Host); {
		case a.Host == "" || ip.IsUnspecified():
			reached = []string{"localhost", "127.0.0.1", "::1"}
		case ip.IsLoopback():
			reached = append(reached, "localhost")
		}
		for _, name := range reached {
			if !served[strings.ToLower(name)] {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// hostsOf returns the hosts that a set of matchers accepts, and false if it accepts
// every host.
func hostsOf(set caddyhttp.MatcherSet) ([]string, bool) {
	for _, m := range set {
		switch hosts := m.(type) {
		case caddyhttp.MatchHost:
			return hosts, true
		case *caddyhttp.MatchHost:
			return *hosts, true
		}
	}
	return nil, false
}
