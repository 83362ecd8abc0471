// Where servers are: their addresses, and the names by which they are spoken to.

package upstream

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// Address is a network address to dial.
type Address struct{ Network, Address string }

// Place is where an account logs in.
type Place struct {
	Address

	Origin  string // identifies the server
	BaseURL string // URL below which the API is
	Host    string // value of the Host header
}

// Way is how the servers of one configuration are reached.
type Way struct {
	Scheme   string // "http" or "https"
	BasePath string // path below which the API is; may be empty, see CheckBasePath
	Host     string // value of the Host header; default: the address
}

// Place returns the place of the server at an address. The host of its URL tells idle
// connections apart, so a unix socket gets a host name of its own.
func (w Way) Place(at Address) Place {
	origin := strings.Join([]string{w.Scheme, at.Network, at.Address}, " ")
	if w.BasePath != "" {
		origin += " " + w.BasePath
	}
	if w.Host != "" {
		origin += " " + w.Host // another server may be behind each name
	}
	p := Place{Address: at, Origin: origin, BaseURL: w.BaseURL(at), Host: w.HostOf(at)}
	if at.unix() {
		p.BaseURL = fmt.Sprintf("%s://%x.localhost%s", w.Scheme, at.Address, w.BasePath)
	}
	return p
}

// BaseURL returns the URL below which the API of the server at an address is, as the
// server's own links have it.
func (w Way) BaseURL(at Address) string { return w.Scheme + "://" + w.authority(at) + w.BasePath }

// HostOf returns the Host header of requests to an address.
func (w Way) HostOf(at Address) string {
	if w.Host != "" {
		return w.Host
	}
	return w.authority(at)
}

// authority is how the URL of a server names it: without the port that the scheme
// implies.
func (w Way) authority(at Address) string {
	switch {
	case at.unix():
		return "localhost"
	case w.Scheme == "https":
		return strings.TrimSuffix(at.Address, ":443")
	}
	return strings.TrimSuffix(at.Address, ":80")
}

func (a Address) unix() bool { return strings.HasPrefix(a.Network, "unix") }

// CheckBasePath returns an error if a base_path is not a path in its normal form. It
// may be empty.
func CheckBasePath(base string) error {
	if base == "" {
		return nil
	}
	plain := strings.Trim(strings.ToLower(base), "abcdefghijklmnopqrstuvwxyz0123456789-._~/") == "" && !strings.ContainsAny(base, "%?#")
	if cleaned, ok := operation.Clean(base); !ok || !plain || cleaned != base || strings.HasSuffix(base, "/") {
		return fmt.Errorf("base_path %s: write a path such as /veeam: letters, digits and -._~ only, no slash at the end", base)
	}
	return nil
}

// Proxy says by which proxy servers are reached, for messages. configured tells that
// the configuration has a proxy, environment that the proxy of the environment is used.
// It returns "" if there is no proxy. It does not show the proxy's URL, which may
// contain a password.
func Proxy(configured, environment bool) string {
	env := httpproxy.FromEnvironment()
	set := env.HTTPSProxy != "" || env.HTTPProxy != "" || os.Getenv("ALL_PROXY") != ""
	switch {
	case configured:
		return "requests and logins go through the configured proxy (network_proxy)"
	case environment && env.HTTPSProxy == "":
		return "proxy_from_environment is set, but HTTPS_PROXY is not: servers are dialed directly"
	case environment:
		return "requests and logins go through the proxy of the environment (HTTPS_PROXY), except to the hosts in NO_PROXY"
	case set:
		return "the proxy variables of the environment are ignored: servers are dialed directly; proxy_from_environment uses them"
	}
	return ""
}
