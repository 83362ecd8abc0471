// Package operations holds the request matcher for classes of operations, in rules and
// elsewhere.
//
//	http.matchers.veeam_operation  operations.go  matches operations by class
package operations

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

func init() { caddy.RegisterModule(MatchOperation{}) }

// Var is the request variable in which the handler veeam_auth puts a Classified request.
const Var = "veeam_auth"

// Classified is a request whose operation is known.
type Classified interface {
	// Class returns the class of the operation.
	Class() operation.Class

	// SetClass sets it, while a rule asks what its conditions say of another class.
	SetClass(operation.Class)
}

// Of returns what the handler veeam_auth knows of a request. ok is false if there is no such
// handler.
func Of(r *http.Request) (decided Classified, ok bool) {
	vars, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	decided, ok = vars[Var].(Classified)
	return decided, ok
}

// MatchOperation matches requests by the class of their operation: `read`, `run`,
// `change`, `destroy`, `secret`, or `unknown` for operations that no description of the
// product's API contains.
type MatchOperation struct {
	// The classes; any of them matches. At least one.
	Classes []string `json:"classes,omitempty"`

	// The product of the operations, for use outside of `veeam_auth`. Default: that of
	// the handler `veeam_auth`; without such a handler nothing matches.
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
				return d.Errf("unrecognized option %s; allowed: product", d.Val())
			}
			if !d.AllArgs(&m.Product) || m.Product == "" {
				return d.Err("product requires one value")
			}
		}
	}
	if err := m.read(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// Provision validates the classes and the product.
func (m *MatchOperation) Provision(caddy.Context) error { return m.read() }

func (m *MatchOperation) read() error {
	if len(m.Classes) == 0 {
		return errors.New("veeam_operation requires a class, such as read")
	}
	classes := make([]operation.Class, len(m.Classes))
	for i, name := range m.Classes {
		class, ok := operation.ParseClass(name)
		if !ok {
			return fmt.Errorf("veeam_operation: %w", operation.UnknownClass(name))
		}
		classes[i] = class
	}
	m.set = operation.SetOf(classes...)
	if m.Product != "" {
		var ok bool
		if m.index, ok = operation.For(m.Product); !ok {
			return fmt.Errorf("veeam_operation: no operations of %q are known; write one of %s", m.Product, strings.Join(operation.Products(), ", "))
		}
	}
	return nil
}

// MatchWithError implements caddyhttp.RequestMatcherWithError.
func (m *MatchOperation) MatchWithError(r *http.Request) (bool, error) {
	if m.index != nil {
		op, ok := m.index.LookupRaw(r.Method, r.URL.EscapedPath(), r.URL.RawQuery)
		return ok && m.set.Has(op.Class), nil
	}
	decided, ok := Of(r)
	return ok && m.set.Has(decided.Class()), nil
}

// AnySpelling implements policy.AnySpelling.
func (*MatchOperation) AnySpelling() {}

// Interface guards
var (
	_ policy.AnySpelling                = (*MatchOperation)(nil)
	_ caddy.Provisioner                 = (*MatchOperation)(nil)
	_ caddyfile.Unmarshaler             = (*MatchOperation)(nil)
	_ caddyhttp.RequestMatcherWithError = (*MatchOperation)(nil)
)
