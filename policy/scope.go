// Scopes: what narrows a client or a key beyond the rules.

package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Scope narrows what a caller may do. It is asked before the rules and never allows
// anything: the rules decide about what it does not deny. The zero value denies nothing.
type Scope struct {
	// Preset names the only operations, as in a rule; Classes are its classes. Default:
	// all operations.
	Preset  string
	Classes []string

	// Account is the only account to act as. Default: the one that the configuration
	// gives to the caller.
	Account string

	// From are the only addresses. Default: any.
	From Sources

	// Until is the time from which everything is denied. Default: never.
	Until time.Time

	// Hours are the only times. Default: any.
	Hours Windows
}

// DeniesAt returns why a caller may do nothing at a time, empty if that is not so.
func (s *Scope) DeniesAt(now time.Time) string {
	switch {
	case !s.Until.IsZero() && !now.Before(s.Until):
		return "ended at " + s.Until.UTC().Format(time.RFC3339)
	case len(s.Hours) > 0 && !s.Hours.Contain(now):
		return "is limited to " + s.Hours.String()
	}
	return ""
}

// DeniesClass returns why an operation of a class is denied, empty if it is not.
func (s *Scope) DeniesClass(class string) string {
	if s.Preset == "" || slices.Contains(s.Classes, class) {
		return ""
	}
	return "is limited to preset " + s.Preset + ", which does not contain class " + class
}

// DeniesAccount returns why an account is denied, empty if it is not.
func (s *Scope) DeniesAccount(account string) string {
	if s.Account == "" || s.Account == account {
		return ""
	}
	return "is limited to account " + s.Account + ", which is not the account of this request"
}

// String describes the scope in one line, empty if it denies nothing.
func (s *Scope) String() string {
	var parts []string
	add := func(what, value string) {
		if value != "" {
			parts = append(parts, what+" "+value)
		}
	}
	add("preset", s.Preset)
	add("account", s.Account)
	add("from", s.From.String())
	if !s.Until.IsZero() {
		add("until", s.Until.UTC().Format(time.RFC3339))
	}
	add("hours", s.Hours.String())
	return strings.Join(parts, ", ")
}

// Key is a key that a caller has presented, or by which it got its token.
type Key struct {
	// ID identifies the key. It tells nothing of the key.
	ID string

	// Name is for people, Client the client that the key identifies.
	Name, Client string

	// Scope narrows what callers with the key may do.
	Scope
}

// Outside returns why the key denies an account, empty if it does not. The key may be nil.
func (k *Key) Outside(account string) string {
	if k == nil {
		return ""
	}
	if denied := k.DeniesAccount(account); denied != "" {
		return "key " + k.Name + " " + denied
	}
	return ""
}

// Sources are addresses of peers: networks, and the unix sockets of this machine. The
// zero value contains every peer.
type Sources struct {
	networks []netip.Prefix
	unix     bool
}

// ParseSources parses networks such as 10.0.0.0/8, addresses, and the word unix.
func ParseSources(words []string) (s Sources, err error) {
	for _, word := range words {
		if word == string(ViaUnix) {
			s.unix = true
			continue
		}
		network, err := netip.ParsePrefix(word)
		if err != nil {
			addr, addrErr := netip.ParseAddr(word)
			if addrErr != nil || addr.Zone() != "" {
				return Sources{}, fmt.Errorf("from: %q is neither a network such as 10.0.0.0/8, nor an address, nor unix", word)
			}
			network = netip.PrefixFrom(addr, addr.BitLen())
		}
		if network != network.Masked() {
			return Sources{}, fmt.Errorf("from: %s has bits behind its length: write %s", word, network.Masked())
		}
		if network.Addr().Is4In6() {
			return Sources{}, errors.New("from: write an IPv4 address without the prefix ::ffff")
		}
		s.networks = append(s.networks, network)
	}
	return s, nil
}

// Peer is where a caller is. The zero value is nowhere that is known.
type Peer struct {
	Address string // without a port
	Unix    bool   // at a unix socket of this machine; then the address does not count
}

// String names the peer in a sentence.
func (p Peer) String() string {
	switch {
	case p.Unix:
		return "a unix socket"
	case p.Address == "":
		return "an unknown address"
	}
	return p.Address
}

// Contain reports whether a peer is one of the sources.
func (s Sources) Contain(peer Peer) bool {
	switch {
	case len(s.networks) == 0 && !s.unix:
		return true
	case peer.Unix:
		return s.unix
	}
	addr, err := netip.ParseAddr(peer.Address)
	if err != nil {
		return false
	}
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(s.networks, func(network netip.Prefix) bool { return network.Contains(addr) })
}

// Words returns what ParseSources accepts, nil for the zero value.
func (s Sources) Words() (words []string) {
	for _, network := range s.networks {
		words = append(words, network.String())
	}
	if s.unix {
		words = append(words, string(ViaUnix))
	}
	return words
}

// String returns the words, joined by blanks.
func (s Sources) String() string { return strings.Join(s.Words(), " ") }
