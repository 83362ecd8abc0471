// Package policy decides who may come in: what a connection, an earlier Caddy
// handler and a token of ours tell about the caller of a request.
package policy

import "net/netip"

// Via is how a caller is known.
type Via string

// The ways to be known. A caller who presents a token of ours is known in the way
// in which it was known when it got the token.
const (
	ViaCaddy    Via = "caddy"    // authenticated by an earlier Caddy handler
	ViaUnix     Via = "unix"     // came over a unix socket
	ViaLoopback Via = "loopback" // came over a loopback address
)

// Caller is who sent a request.
type Caller struct {
	// Name is the name that an earlier handler or a token gives, or the way
	// itself for callers that are known by their address only.
	Name string

	// Via is how the caller is known.
	Via Via

	// Account is the account that the caller's token was issued for, empty for
	// the default.
	Account string

	// Family is the family of the caller's token, empty without one.
	Family string
}

// ByAddress reports whether nothing but the address speaks for the caller.
func (v Via) ByAddress() bool { return v == ViaUnix || v == ViaLoopback }

// Evidence is what is known of a request before anything is decided.
type Evidence struct {
	// RemoteAddr is the peer's address as net/http gives it, host:port.
	RemoteAddr string

	// Unix reports that the request came over a unix socket.
	Unix bool

	// Relayed reports that another proxy has passed the request on, so that the
	// peer's address is not the caller's.
	Relayed bool

	// User is the name that an earlier handler found out.
	User string
}

// Address returns who the caller is if its address suffices: a process on this
// machine, which is what a sidecar is for. The second result is false for all
// others, and for requests that were relayed: behind another proxy on this
// machine everybody comes from a loopback address.
func (e Evidence) Address() (Caller, bool) {
	if e.Relayed {
		return Caller{}, false
	}
	if e.Unix {
		return Caller{Name: string(ViaUnix), Via: ViaUnix}, true
	}
	addr, err := netip.ParseAddrPort(e.RemoteAddr)
	if err != nil || !addr.Addr().Unmap().IsLoopback() {
		return Caller{}, false
	}
	return Caller{Name: string(ViaLoopback), Via: ViaLoopback}, true
}

// Authenticated returns the caller that an earlier handler has authenticated.
func (e Evidence) Authenticated() (Caller, bool) {
	return Caller{Name: e.User, Via: ViaCaddy}, e.User != ""
}

// Hint says what would have let a caller in.
func (e Evidence) Hint() string {
	const hint = "a caller is let in with a token from this site's token endpoint, " +
		"if a Caddy handler before veeam_auth authenticates it (such as basic_auth), " +
		"or if it comes over a loopback address or a unix socket"
	if e.Relayed {
		return hint + "; this request was relayed by another proxy, so the address of its peer does not count"
	}
	return hint
}
