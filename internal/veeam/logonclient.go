// What clients of Enterprise Manager present, and how they log in.

package veeam

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// ErrTenantLogon says that a login names a tenant in its body, which would be another
// identity than that of Basic.
var ErrTenantLogon = errors.New("logins of tenants are not supported")

// LogsOnByBasic reports whether clients log in by Basic and get an id of a session, which
// they present as the product's Carrier says or in a cookie of that name.
func (p *Product) LogsOnByBasic() bool {
	step := p.legacy[GrantPassword]
	return step != nil && step.basic
}

// Presented is the session that a request presents, empty without one; at the token
// endpoint of a product whose clients log in by Basic it is their Authorization. A cookie
// comes before the header, and of several the first.
func (p *Product) Presented(h http.Header, route Route) string {
	if !p.LogsOnByBasic() {
		return bearerOf(h.Get("Authorization"))
	}
	if route == RouteToken {
		return h.Get("Authorization")
	}
	if len(h["Cookie"]) > 0 {
		if cookies := (&http.Request{Header: h}).CookiesNamed(p.carrier.Header); len(cookies) > 0 {
			return cookies[0].Value
		}
	}
	return headerValue(h, p.carrier.Header)
}

// PresentedInBody is the token that a request presents in its body and not in a header,
// empty without one: the one to end, where clients of the product log out by a form.
// The body must be short and can still be read.
func (p *Product) PresentedInBody(r *http.Request) string {
	if r.Body == nil {
		return ""
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxTokenRequest))
	r.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil {
		return ""
	}
	fields, _ := readFields(body, r.Header.Get("Content-Type"))
	for _, f := range fields {
		if strings.EqualFold(f.Name, p.logoutField) {
			return strings.TrimSpace(f.Value.Reveal())
		}
	}
	return ""
}

// LogsOutByForm reports whether a request is a logout with the token in a form.
func (p *Product) LogsOutByForm(route Route) bool { return route == RouteLogout && p.logoutField != "" }

// bearerOf returns the token of an Authorization header, or nothing.
func bearerOf(authorization string) string {
	const scheme = "bearer "
	if len(authorization) < len(scheme) || !strings.EqualFold(authorization[:len(scheme)], scheme) {
		return ""
	}
	return strings.TrimSpace(authorization[len(scheme):])
}

// ReadLogin is ReadTokenRequest for a product whose clients may log in by Basic; then
// presented is what Presented has returned. Of its body it is only read whether it
// names a tenant: ErrTenantLogon.
func (p *Product) ReadLogin(r *http.Request, presented string) (*TokenRequest, error) {
	if !p.LogsOnByBasic() {
		return p.ReadTokenRequest(r)
	}
	if r.Body != nil {
		body, err := io.ReadAll(io.LimitReader(r.Body, MaxTokenRequest+1))
		switch {
		case err != nil:
			return nil, err
		case len(body) > MaxTokenRequest:
			return nil, ErrRequestTooLarge
		case namesTenant(body):
			return nil, ErrTenantLogon
		}
	}
	t := &TokenRequest{Grant: GrantPassword}
	if user, password, ok := readBasic(presented); ok {
		t.Username, t.Password = user, secret.New(password)
	}
	return t, nil
}

// namesTenant reports whether a body has a LoginSpec, in one-byte or two-byte characters.
func namesTenant(body []byte) bool {
	text := bytes.ToLower(bytes.ReplaceAll(body, []byte{0}, nil))
	return bytes.Contains(text, []byte("loginspec")) || bytes.Contains(text, []byte("credentials"))
}

// readBasic reads the header of a login. Some clients leave out the padding.
func readBasic(authorization string) (user, password string, ok bool) {
	const scheme = "basic "
	if len(authorization) < len(scheme) || !strings.EqualFold(authorization[:len(scheme)], scheme) {
		return "", "", false
	}
	text, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(authorization[len(scheme):]), "="))
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(text), ":")
}

// Camel reports whether the server spells names in JSON as Enterprise Manager 13 does:
// the default, if its answer does not say.
func (s *Shape) Camel() bool {
	if s == nil || len(s.Keys) == 0 || s.Keys[0] == "" {
		return true
	}
	c := s.Keys[0][0]
	return c < 'A' || c > 'Z'
}

// SessionNames is what a session of the product is known by to whoever could use it: its
// token, and its id as it is and in Base64. Nil where sessions have no ids.
func (p *Product) SessionNames(access, refresh secret.Value) []string {
	if !p.LogsOnByBasic() {
		return nil
	}
	names := []string{access.Reveal()}
	if id, _, ok := splitIdle(refresh); ok {
		names = append(names, id, base64.StdEncoding.EncodeToString([]byte(id)))
	}
	return names
}

// AsksForSessions reports whether a query of the product selects sessions, as in
// ?type=LogonSession: the answer would have those of all users.
func (p *Product) AsksForSessions(rawQuery string) bool {
	if !p.LogsOnByBasic() || rawQuery == "" {
		return false
	}
	query, err := url.QueryUnescape(rawQuery)
	return err != nil || strings.Contains(strings.ToLower(query), "logonsession")
}

// LinkBase is the part of an absolute link up to /api, empty if the link is another.
func LinkBase(link string) string {
	scheme, rest, ok := strings.Cut(link, "://")
	host, path, more := strings.Cut(rest, "/")
	first, _, _ := strings.Cut(path, "/")
	if !ok || !more || host == "" || !strings.EqualFold(first, "api") || !strings.EqualFold(scheme, "https") && !strings.EqualFold(scheme, "http") {
		return ""
	}
	return scheme + "://" + host + "/" + first
}

// LinksFrom is how the server calls itself in links, as its answer to the login said.
func (s *Shape) LinksFrom() string {
	if s == nil {
		return ""
	}
	return s.Links
}
