// Clients of Enterprise Manager: their sessions and logins.

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

// ErrTenantLogon is the error of a login by Basic whose body names a tenant, which
// would be another identity than that of Basic.
var ErrTenantLogon = errors.New("logins of tenants are not supported")

// LogsOnByBasic reports whether clients log in by Basic and get a session id, which
// they send in the header of Presents or in a cookie of the same name.
func (p *Product) LogsOnByBasic() bool {
	step := p.legacy[GrantPassword]
	return step != nil && step.basic
}

// Presented returns the token or session of a request, empty without one. At the token
// endpoint of a product whose clients log in by Basic, it is the Authorization header.
// A cookie takes precedence over the header, and the first of several cookies is used.
// crossSite reports that a page of another site may have caused the request: browsers add
// cookies to it, so they do not count.
func (p *Product) Presented(h http.Header, route Route, crossSite bool) string {
	if !p.LogsOnByBasic() {
		return bearerOf(h.Get("Authorization"))
	}
	if route == RouteToken {
		return h.Get("Authorization")
	}
	if !crossSite && len(h["Cookie"]) > 0 {
		if cookies := (&http.Request{Header: h}).CookiesNamed(p.carrier.Header); len(cookies) > 0 {
			return cookies[0].Value
		}
	}
	return headerValue(h, p.carrier.Header)
}

// PresentedInBody returns the token in the body of a logout by form, empty without one.
// It reads at most MaxTokenRequest bytes and replaces the body, so that it can be read
// again.
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

// bearerOf returns the token of an Authorization header, empty without one.
func bearerOf(authorization string) string {
	const scheme = "bearer "
	if len(authorization) < len(scheme) || !strings.EqualFold(authorization[:len(scheme)], scheme) {
		return ""
	}
	return strings.TrimSpace(authorization[len(scheme):])
}

// ReadLogin is like ReadTokenRequest, but also reads logins by Basic. presented is the
// result of Presented. The body of a login by Basic is only checked for a tenant; the
// error is ErrTenantLogon then.
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

// Camel reports whether the server uses the JSON names of FormatCamel. This is the
// default if its response does not show it.
func (s *Shape) Camel() bool {
	if !s.spells() {
		return true
	}
	c := s.Keys[0][0]
	return c < 'A' || c > 'Z'
}

// spells reports whether a response shows how its server spells names.
func (s *Shape) spells() bool { return s != nil && len(s.Keys) > 0 && s.Keys[0] != "" }

// SessionNames returns the strings that identify a session of the product and with
// which it can be used: the token, and the id, plain and in Base64. Nil for products
// whose sessions have no ids.
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

// AsksForSessions reports whether a query of the product selects sessions, such as
// ?type=LogonSession. The response would contain the sessions of all users.
func (p *Product) AsksForSessions(rawQuery string) bool {
	if !p.LogsOnByBasic() || rawQuery == "" {
		return false
	}
	query, err := url.QueryUnescape(rawQuery)
	return err != nil || strings.Contains(strings.ToLower(query), "logonsession")
}

// LinkBase returns the part of an absolute link up to and including /api, empty if it
// is not a link of the API.
func LinkBase(link string) string {
	scheme, rest, ok := strings.Cut(link, "://")
	host, path, more := strings.Cut(rest, "/")
	first, _, _ := strings.Cut(path, "/")
	if !ok || !more || host == "" || !strings.EqualFold(first, "api") || !strings.EqualFold(scheme, "https") && !strings.EqualFold(scheme, "http") {
		return ""
	}
	return scheme + "://" + host + "/" + first
}

// LinksFrom returns the prefix of the server's absolute links, as in its response to
// the login. It is empty if that is not known; s may be nil.
func (s *Shape) LinksFrom() string {
	if s == nil {
		return ""
	}
	return s.Links
}
