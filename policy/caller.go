// Package policy decides who may come in: what a connection, an earlier Caddy
// handler and a token of ours tell about the caller of a request.
package policy

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Via is how a caller is known.
type Via string

// The ways to be known. A caller who presents a token of ours is known in the way
// in which it was known when it got the token.
const (
	ViaCaddy       Via = "caddy"       // authenticated by an earlier Caddy handler
	ViaClient      Via = "client"      // logged in with a name and password of its own
	ViaPassthrough Via = "passthrough" // logged in as a user of the server
	ViaCertificate Via = "certificate" // presented a client certificate that was verified
	ViaUnix        Via = "unix"        // came over a unix socket
	ViaLoopback    Via = "loopback"    // came over a loopback address
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

	// Login is the caller's own login at the server, as which it acts; empty
	// unless Via is ViaPassthrough.
	Login string

	// Family is the family of the caller's token, empty without one.
	Family string

	// Until is the end of all tokens of the family, zero without one.
	Until time.Time
}

// Identity is the one text that stands for the caller in rules, configuration,
// revocations, limits and the log: the name alone for a client of the configuration,
// loopback or unix for callers who are known by their address only, and otherwise
// the way in which the caller is known and its name, such as certificate:CN=alice.
// Callers that were authenticated in different ways never have the same one. It is
// empty for a caller who is not known. Names of users of the server are in lower
// case, because the servers make no difference.
func (c Caller) Identity() string {
	switch c.Via {
	case ViaClient, ViaUnix, ViaLoopback, "":
		return c.Name
	case ViaPassthrough:
		return string(c.Via) + ":" + strings.ToLower(c.Name)
	}
	return string(c.Via) + ":" + c.Name
}

// ParseIdentity reads an Identity, and also client: before the name of a client. A
// name without a kind is that of a client. The error says what is missing.
func ParseIdentity(text string) (Caller, error) {
	if via := Via(text); via.ByAddress() {
		return Caller{Name: text, Via: via}, nil
	}
	caller := Caller{Name: text, Via: ViaClient}
	if kind, name, ok := strings.Cut(text, ":"); ok && slices.Contains(named, Via(kind)) {
		caller = Caller{Name: name, Via: Via(kind)}
	}
	if caller.Name == "" {
		return Caller{}, fmt.Errorf("%q has no caller name", text)
	}
	if caller.Via == ViaClient {
		return caller, CheckClientName(caller.Name)
	}
	return caller, nil
}

// named are the ways to be known that come with a name.
var named = []Via{ViaCaddy, ViaClient, ViaPassthrough, ViaCertificate}

// CheckClientName refuses names of clients that would be taken for other callers.
func CheckClientName(name string) error {
	kind, _, ok := strings.Cut(name, ":")
	if Via(name).ByAddress() || ok && slices.Contains(named, Via(kind)) {
		return fmt.Errorf("the name %q is not allowed: it is reserved for another kind of caller", name)
	}
	return nil
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

	// Certificate is the subject of a client certificate that was verified.
	Certificate string

	// Host is the host that the request names, perhaps with a port. Hosts are
	// further names for this machine, beside localhost and its addresses.
	Host  string
	Hosts []string

	// CrossSite reports that a browser sends the request and does not say that a
	// page of this site asked for it. Then nothing counts that the browser adds to
	// every request by itself: its address, its certificate, the password that its
	// user has typed.
	CrossSite bool

	// AuthenticationRequired reports that an address never suffices.
	AuthenticationRequired bool
}

// Address returns who the caller is if its address suffices: a process on this
// machine, which is what a sidecar is for. The second result is false for all
// others; for requests that were relayed, because behind another proxy on this
// machine everybody comes from a loopback address; and for what a browser on this
// machine may have been talked into: requests for pages of other sites, and
// requests to a foreign name that leads here.
func (e Evidence) Address() (Caller, bool) {
	if e.Relayed || e.CrossSite || e.AuthenticationRequired {
		return Caller{}, false
	}
	if e.Unix {
		return Caller{Name: string(ViaUnix), Via: ViaUnix}, true
	}
	addr, err := netip.ParseAddrPort(e.RemoteAddr)
	if err != nil || !addr.Addr().Unmap().IsLoopback() || !LocalHost(e.Host, e.Hosts) {
		return Caller{}, false
	}
	return Caller{Name: string(ViaLoopback), Via: ViaLoopback}, true
}

// LocalHost reports whether the host that a request names, perhaps with a port, is
// this machine: localhost, a loopback address or one of names.
func LocalHost(host string, names []string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.Trim(host, "[]"), ".")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().IsLoopback()
	}
	return slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, host) })
}

// Authenticated returns the caller that an earlier handler has authenticated, and
// false for what a browser may have been talked into.
func (e Evidence) Authenticated() (Caller, bool) {
	return Caller{Name: e.User, Via: ViaCaddy}, e.User != "" && !e.CrossSite
}

// Certified returns the caller that a verified client certificate names, and false
// for what a browser may have been talked into.
func (e Evidence) Certified() (Caller, bool) {
	return Caller{Name: e.Certificate, Via: ViaCertificate}, e.Certificate != "" && !e.CrossSite
}

// Hint says what would have let a caller in.
func (e Evidence) Hint() string {
	const hint = "a caller requires a token from this site's token endpoint, a client certificate, " +
		"a Caddy handler before veeam_auth that authenticates it (such as basic_auth), " +
		"or a connection over a loopback address or a unix socket"
	if e.CrossSite {
		return hint + "; this browser request does not come from a known page of this site, " +
			"so it requires a token: list the page's origin under allowed_origins"
	}
	switch _, loopback := (Evidence{RemoteAddr: e.RemoteAddr, Unix: e.Unix, Host: "localhost"}).Address(); {
	case !loopback:
		return hint
	case e.Relayed:
		return hint + "; the address does not count, because another proxy relayed the request"
	case e.AuthenticationRequired:
		return hint + "; the address does not count, because this site has require_authentication"
	}
	return hint + "; the address does not count, because the request names a host other than localhost: list the name under hosts"
}
