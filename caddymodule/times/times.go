// Package times holds the request matchers for times, in rules and elsewhere.
//
//	http.matchers.veeam_during  times.go  matches at times of the day on days of the week
//	http.matchers.veeam_until   times.go  matches until an end
package times

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-veeam/veeam-auth/policy"
)

func init() {
	caddy.RegisterModule(During{})
	caddy.RegisterModule(Until{})
}

// During matches requests at times of the day on days of the week, by the clock of a time
// zone.
type During struct {
	// The windows, such as `mon-fri 08:00-18:00 Europe/Berlin`; any of them matches. Days
	// are optional, the default of the time zone is UTC. At least one.
	Windows []string `json:"windows,omitempty"`

	windows policy.Windows
}

// CaddyModule returns the Caddy module information.
func (During) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.matchers.veeam_during", New: func() caddy.Module { return new(During) }}
}

// UnmarshalCaddyfile sets up the matcher from Caddyfile tokens. Syntax:
//
//	veeam_during [<days>] <from>-<to> [<time zone>]
func (m *During) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.Next() {
		m.Windows = append(m.Windows, strings.Join(d.RemainingArgs(), " "))
		if d.NextBlock(d.Nesting()) {
			return d.Err("during accepts no block")
		}
	}
	if err := m.read(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// Provision validates the windows.
func (m *During) Provision(caddy.Context) error { return m.read() }

func (m *During) read() error {
	if len(m.Windows) == 0 {
		return errors.New("during requires at least one window")
	}
	m.windows = nil
	for _, text := range m.Windows {
		window, err := policy.ParseWindow(strings.Fields(text))
		if err != nil {
			return fmt.Errorf("during: %w", err)
		}
		m.windows = append(m.windows, window)
	}
	return nil
}

// MatchWithError implements caddyhttp.RequestMatcherWithError.
func (m *During) MatchWithError(r *http.Request) (bool, error) {
	return m.windows.Contain(policy.Now(r.Context())), nil
}

// AnySpelling implements policy.AnySpelling.
func (*During) AnySpelling() {}

// Until matches requests before an end.
type Until struct {
	// The end: a date, which is included, or a time, with an optional time zone:
	// `2027-01-31 Europe/Berlin`. Required.
	Until string `json:"until"`

	end time.Time
}

// CaddyModule returns the Caddy module information.
func (Until) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.matchers.veeam_until", New: func() caddy.Module { return new(Until) }}
}

// UnmarshalCaddyfile sets up the matcher from Caddyfile tokens. Syntax:
//
//	veeam_until <date or time> [<time zone>]
func (m *Until) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.Next() {
		if m.Until != "" {
			return d.Err("until is set twice")
		}
		m.Until = strings.Join(d.RemainingArgs(), " ")
		if d.NextBlock(d.Nesting()) {
			return d.Err("until accepts no block")
		}
	}
	if err := m.Provision(caddy.Context{}); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// Provision validates the end.
func (m *Until) Provision(caddy.Context) (err error) {
	if m.end, err = policy.ParseUntil(strings.Fields(m.Until)); err != nil {
		return fmt.Errorf("until: %w", err)
	}
	return nil
}

// MatchWithError implements caddyhttp.RequestMatcherWithError.
func (m *Until) MatchWithError(r *http.Request) (bool, error) {
	return policy.Now(r.Context()).Before(m.end), nil
}

// Ended reports whether nothing matches any more at a time.
func (m *Until) Ended(now time.Time) bool { return !now.Before(m.end) }

// AnySpelling implements policy.AnySpelling.
func (*Until) AnySpelling() {}

// Interface guards
var (
	_ caddy.Provisioner                 = (*During)(nil)
	_ caddyfile.Unmarshaler             = (*During)(nil)
	_ caddyhttp.RequestMatcherWithError = (*During)(nil)
	_ policy.AnySpelling                = (*During)(nil)
	_ caddy.Provisioner                 = (*Until)(nil)
	_ caddyfile.Unmarshaler             = (*Until)(nil)
	_ caddyhttp.RequestMatcherWithError = (*Until)(nil)
	_ policy.AnySpelling                = (*Until)(nil)
)
