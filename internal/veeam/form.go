// The body of a token request as we send it.

package veeam

import (
	"net/url"
	"strings"

	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
)

// form is a URL-encoded body whose fields keep their order, or what a step of an
// older API takes in its place.
type form struct {
	body    strings.Builder
	step    *legacyStep // nil at the token endpoint
	parts   []field     // of the step
	basic   string      // Authorization of such a step
	secrets []string
	pace    ratelimit.Step
	paced   bool // the request has waited
	guarded bool // contains a credential whose refusal may lock the user, see Guard
}

type field struct{ name, value string }

// newForm starts a token request. Errors contain none of its fields, not even the user
// name: clients confuse it with the password.
func (p *Product) newForm(g Grant) *form {
	f := &form{step: p.legacy[g]}
	f.write("grant_type", p.Values[g])
	for _, constant := range p.constants {
		f.write(constant.name, constant.value)
	}
	return f
}

// add appends a field. One without a name - the product does not have it - or
// without a value is left out.
func (f *form) add(name, value string) {
	if name == "" || value == "" {
		return
	}
	f.write(name, value)
	f.secrets = append(f.secrets, value, url.QueryEscape(value))
}

// flag appends a boolean field if it is set.
func (f *form) flag(name string, set bool) {
	if name != "" && set {
		f.write(name, "true")
	}
}

func (f *form) write(name, value string) {
	if f.step != nil {
		f.parts = append(f.parts, field{name, value})
		return
	}
	if f.body.Len() > 0 {
		f.body.WriteByte('&')
	}
	f.body.WriteString(url.QueryEscape(name))
	f.body.WriteByte('=')
	f.body.WriteString(url.QueryEscape(value))
}
