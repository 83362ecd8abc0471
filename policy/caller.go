// Package policy decides who is admitted, by the evidence of a connection, an earlier
// Caddy handler and an issued token, and which requests are allowed, by rules.
package policy

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Via is the means by which a caller is authenticated.
type Via string

// Means of authentication. For a caller with a token that was issued here it is the one by
// which it got the token.
const (
	ViaCaddy       Via = "caddy"       // authenticated by an earlier Caddy handler
	ViaClient      Via = "client"      // logged in with its name and password
	ViaPassthrough Via = "passthrough" // logged in as a user of the server
	ViaCertificate Via = "certificate" // presented a verified client certificate
	ViaJWT         Via = "jwt"         // presented a token of an identity provider
	ViaUnix        Via = "unix"        // connected over a unix socket
	ViaLoopback    Via = "loopback"    // connected over a loopback address
)

// Caller is the sender of a request.
type Caller struct {
	// Name is the name given by an earlier handler or a token; for callers known only
	// by their address, it is Via.
	Name string

	// Via is the means of authentication.
	Via Via

	// Account is the account of the caller's token, empty for the default.
	Account string

	// Login is the caller's own login at the server, as which it acts; empty unless Via
	// is ViaPassthrough.
	Login string

	// Family is the family of the caller's token, empty without one.
	Family string

	// Until is the expiry of all tokens of the family, zero without one.
	Until time.Time

	// Made is when the token was made, in milliseconds since 1970; 0 without one.
	Made int64

	// Key is the key of the caller, or of its token, nil without one.
	Key *Key

	// Provider is the name of the identity provider whose token the caller has
	// presented, empty without one.
	Provider string

	identity string // of Remembered
}

// Remembered returns the caller with its identity, so that Identity makes no text for each
// request. Name and Via must not change afterwards.
func (c Caller) Remembered() Caller {
	c.identity = c.Identity()
	return c
}

// TokenIssuer is the claim iss of the tokens that veeam-auth issues. No identity provider
// may have it.
const TokenIssuer = "veeam-auth"

// Identity is the text that identifies the caller in rules, configuration, revocations,
// limits and the log: the name alone for a configured client, loopback or unix for
// callers known only by their address, otherwise the means of authentication and the
// name, such as certificate:CN=alice. Callers authenticated by different means never
// share an identity. It is empty for an unknown caller. Names of server users are in
// lower case, because the servers ignore case.
func (c Caller) Identity() string {
	if c.identity != "" {
		return c.identity
	}
	switch c.Via {
	case ViaClient, ViaUnix, ViaLoopback, "":
		return c.Name
	case ViaPassthrough:
		return string(c.Via) + ":" + strings.ToLower(c.Name)
	}
	return string(c.Via) + ":" + c.Name
}

// Client returns the name of a caller that is a client of the configuration, empty for
// any other caller.
func (c Caller) Client() string {
	if c.Via != ViaClient {
		return ""
	}
	return c.Name
}

// ParseIdentity parses an Identity; client: before the name of a client is accepted
// too. A name without a kind is that of a client. It returns an error if the kind or
// name is missing.
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
var named = []Via{ViaCaddy, ViaClient, ViaPassthrough, ViaCertificate, ViaJWT}

// CheckClientName returns an error for names that are identities of other kinds of
// callers, and for placeholders, which would not be filled in.
func CheckClientName(name string) error {
	if strings.ContainsAny(name, "{}") {
		return fmt.Errorf("the name %q is not allowed: it takes no placeholder", name)
	}
	kind, _, ok := strings.Cut(name, ":")
	if Via(name).ByAddress() || ok && slices.Contains(named, Via(kind)) {
		return fmt.Errorf("the name %q is not allowed: it is reserved for another kind of caller", name)
	}
	return nil
}

// ByAddress reports whether the caller is known only by its address.
func (v Via) ByAddress() bool { return v == ViaUnix || v == ViaLoopback }

// Evidence is what is known about a request before a decision.
type Evidence struct {
	// RemoteAddr is the peer's address from net/http, host:port.
	RemoteAddr string

	// Unix reports that the request was received over a unix socket.
	Unix bool

	// Relayed reports that another proxy forwarded the request, so that the peer's
	// address is not the caller's.
	Relayed bool

	// User is the name from an earlier authentication handler.
	User string

	// Certificate is the subject of a verified client certificate. CertificateErr is why a
	// certificate identifies nobody.
	Certificate    string
	CertificateErr error

	// Host is the host of the request, with or without a port. Hosts are additional
	// names of this machine besides localhost and its addresses.
	Host  string
	Hosts []string

	// CrossSite reports that a browser sent the request and does not indicate that a
	// page of this site caused it. Then nothing counts that browsers add automatically:
	// the address, the certificate, the password that the user typed.
	CrossSite bool

	// AuthenticationRequired reports that an address is never sufficient.
	AuthenticationRequired bool
}

// Address returns the caller if its address is sufficient: a process on this machine,
// the client of a sidecar. The second result is false for all others, for relayed
// requests, because behind another proxy on this machine all callers have a loopback
// address, and for requests that a web page may have caused in a browser on this
// machine: requests from pages of other sites, and requests to a foreign name that
// resolves to this machine.
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

// LocalHost reports whether the host of a request, with or without a port, is this
// machine: localhost, a loopback address or one of names.
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

// CheckHosts returns an error if one of the names is none that LocalHost compares with: a name
// has neither scheme nor port nor path, stands for no other names, and is no address.
func CheckHosts(names []string) error {
	for _, name := range names {
		if _, err := netip.ParseAddr(name); err == nil {
			return fmt.Errorf("hosts: %s is an address: loopback addresses count without being listed, others never count", name)
		}
		if name == "" || strings.ContainsAny(name, ":/*?#@ []{}") || strings.HasSuffix(name, ".") {
			return fmt.Errorf("hosts: %q is not the name of a host: write it without scheme, port and wildcards, such as vbr-sidecar.lab.local", name)
		}
	}
	return nil
}

// Authenticated returns the caller that an earlier handler authenticated, and false for
// cross-site requests of browsers.
func (e Evidence) Authenticated() (Caller, bool) {
	return Caller{Name: e.User, Via: ViaCaddy}, e.User != "" && !e.CrossSite
}

// Certified returns the caller of a verified client certificate, and false for
// cross-site requests of browsers.
func (e Evidence) Certified() (Caller, bool) {
	return Caller{Name: e.Certificate, Via: ViaCertificate}, e.Certificate != "" && !e.CrossSite
}

// Hint says which credentials would have admitted the caller.
func (e Evidence) Hint() string {
	const hint = "a caller requires a token from this site's token endpoint, a key, a token of an identity provider (trust_jwt), a client certificate, " +
		"a Caddy handler before veeam_auth that authenticates it (such as basic_auth), " +
		"or a connection over a loopback address or a unix socket"
	if e.CertificateErr != nil {
		return hint + "; the client certificate is ignored: " + e.CertificateErr.Error()
	}
	if e.CrossSite {
		return hint + "; this browser request does not come from a known page of this site, " +
			"so it requires a token: list the page's origin under allowed_origins"
	}
	switch _, loopback := (Evidence{RemoteAddr: e.RemoteAddr, Unix: e.Unix, Host: "localhost"}).Address(); {
	case !loopback:
		return hint + "; for this address, either run the client in the same network namespace (such as the same pod, or network_mode service:), " +
			"or name it: client <name> <password-hash>, a key of a client, or a client certificate"
	case e.Relayed:
		return hint + "; the address is ignored, because another proxy relayed the request: a header or the address (127.0.0.6, the sidecar of Istio) says so, or it came over HTTP/1.0, as from older versions of nginx"
	case e.AuthenticationRequired:
		return hint + "; the address is ignored, because this site has require_authentication"
	}
	return hint + "; the address is ignored, because the request names a host other than localhost: list the name under hosts"
}
