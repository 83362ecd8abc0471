// The request matcher for operations in Veeam's words.

package caddymodule

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// MatchOperation matches requests by the class of the operation that they ask
// for: `read`, `run`, `change`, `destroy`, `secret`, or `unknown` for what is
// in no description of the product's API.
type MatchOperation struct {
	// The classes, any of which matches. At least one.
	Classes []string `json:"classes,omitempty"`

	// The product whose operations are meant, for use outside of `veeam_auth`.
	// Default: that of the handler `veeam_auth`; without one nothing matches.
	Product string `json:"product,omitempty"`

	set   operation.Set
	index *operation.Index
}

// CaddyModule returns the Caddy module information.
func (MatchOperation) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.matchers.veeam_operation",
		New: func() caddy.Module { return new(MatchOperation) },
	}
}

// UnmarshalCaddyfile sets up the matcher from Caddyfile tokens. Syntax:
//
//	veeam_operation <class...> {
//		product <product>
//	}
func (m *MatchOperation) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.Next() {
		m.Classes = append(m.Classes, d.RemainingArgs()...)
		for nesting := d.Nesting(); d.NextBlock(nesting); {
			if d.Val() != "product" {
				return d.Errf("unrecognized option %s; veeam_operation takes product", d.Val())
			}
			if err := oneArg(d, &m.Product); err != nil {
				return err
			}
		}
	}
	if err := m.read(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// Provision reads the classes.
func (m *MatchOperation) Provision(caddy.Context) error { return m.read() }

func (m *MatchOperation) read() error {
	if len(m.Classes) == 0 {
		return errors.New("veeam_operation needs at least one class")
	}
	classes := make([]operation.Class, len(m.Classes))
	for i, name := range m.Classes {
		class, ok := operation.ParseClass(name)
		if !ok {
			return fmt.Errorf("veeam_operation: unknown class %q; write one of %v", name, operation.Classes())
		}
		classes[i] = class
	}
	m.set = operation.SetOf(classes...)
	if m.Product != "" {
		var ok bool
		if m.index, ok = operation.For(m.Product); !ok {
			return fmt.Errorf("veeam_operation: no operations of %q are known; write one of %v", m.Product, operation.Products())
		}
	}
	return nil
}

// MatchWithError implements caddyhttp.RequestMatcherWithError.
func (m *MatchOperation) MatchWithError(r *http.Request) (bool, error) {
	if m.index != nil {
		path, ok := operation.Clean(r.URL.EscapedPath())
		if !ok {
			return false, nil
		}
		op, _ := m.index.Lookup(r.Method, path)
		return m.set.Has(op.Class), nil
	}
	e := exchangeOf(r.Context())
	return e != nil && m.set.Has(e.operation.Class), nil
}

// Match implements caddyhttp.RequestMatcher.
func (m *MatchOperation) Match(r *http.Request) bool {
	ok, _ := m.MatchWithError(r)
	return ok
}

// Interface guards
var (
	_ caddy.Provisioner                 = (*MatchOperation)(nil)
	_ caddyfile.Unmarshaler             = (*MatchOperation)(nil)
	_ caddyhttp.RequestMatcherWithError = (*MatchOperation)(nil)
)
