// Veeam Backup Enterprise Manager: its row of the product table, how it logs in, and its sessions.

package veeamtest

import (
	"encoding/base64"
	"encoding/xml"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
)

func em(names jsonNames, build string) *product {
	return &product{
		base:        "/api",
		tokenPath:   "/api/sessionMngr",
		routes:      emRoutes,
		build:       build,
		defaultRole: "Portal Administrator",
		access:      15 * time.Minute,
		sliding:     true,
		http1:       true,
		mint:        emSessionID,
		presented:   emPresented,
		carriers:    []string{sessionHeader, http.CanonicalHeaderKey(sessionHeader), "Cookie"},
		encode:      emEncode(names),
		dialect: dialect{
			granted:  http.StatusCreated,
			success:  emSuccess,
			refusals: emProblems,
			refusal:  emError,
		},
		problems: emProblems,
		problem:  emError,
	}
}

// emVersions are what ?v= may ask for.
var emVersions = []string{"v1_5", "v1_6", "v1_7"}

// emSessionID is what the header and the cookie carry: the Base64 of the session's GUID, unless WithRandomSessionHeader.
func emSessionID(c claimSet) (access, refresh string) {
	if c.server.cfg.randomHeader {
		return base64.StdEncoding.EncodeToString(randomBytes(16)), ""
	}
	return base64.StdEncoding.EncodeToString([]byte(c.session)), ""
}

// emPresented finds the session of a request. The cookie comes before the header.
func emPresented(x *exchange) (value string, ok bool) {
	if cookies := x.r.CookiesNamed(sessionHeader); len(cookies) > 0 {
		return cookies[0].Value, cookies[0].Value != ""
	}
	values, right := x.sessionHeaders()
	if len(values) != 1 || !right {
		return "", false
	}
	return values[0], values[0] != ""
}

// WithRandomSessionHeader makes the header and cookie of Enterprise Manager contain 16
// random bytes, as on the logon page of its manual. Default: the Base64 of the
// session's id, as on its other pages.
func WithRandomSessionHeader() Option { return func(s *Server) { s.cfg.randomHeader = true } }

// WithAnyLogonVersion accepts a login at Enterprise Manager with any version or none.
// Undocumented; default: 400.
func WithAnyLogonVersion() Option { return func(s *Server) { s.cfg.anyLogonVersion = true } }

// WithAnyHeaderSpelling accepts the session header of Enterprise Manager in any case.
// Default: only as in its manual.
func WithAnyHeaderSpelling() Option { return func(s *Server) { s.cfg.anySpelling = true } }

// WithBOM makes Enterprise Manager begin JSON with a byte order mark.
func WithBOM() Option { return func(s *Server) { s.cfg.bom = true } }

// WithPublicURL sets the URL of Enterprise Manager in its links, regardless of the Host
// of the request. Default: https://em01.lab.local:9398.
func WithPublicURL(url string) Option { return func(s *Server) { s.cfg.publicURL = url } }

// WithSessionLifetime ends sessions of Enterprise Manager after d, even if they are
// used. Undocumented; default: never.
func WithSessionLifetime(d time.Duration) Option {
	return func(s *Server) { s.cfg.sessionLifetime = d }
}

// WithQuietLogonChecks makes Enterprise Manager's GET /api/logonSessions/{id} not count as use of the session.
// Undocumented; default: it counts.
func WithQuietLogonChecks() Option { return func(s *Server) { s.cfg.quietLogonChecks = true } }

// serveLogon is the login: Basic, and in the body perhaps the tenant for whom it is.
func serveLogon(x *exchange) {
	x.readBody()
	user, password, ok := x.r.BasicAuth()
	if ok {
		x.grant = "password"
	}
	x.attempt(func(x *exchange) {
		version := strings.ToLower(x.query("v"))
		switch {
		case !x.s.cfg.anyLogonVersion && version != "latest" && !slices.Contains(emVersions, version):
			x.refuseToken(badRequest)
		case !ok:
			x.refuseToken(noBearer)
		default:
			x.logon(user, password)
		}
	})
}

type emLoginSpec struct {
	Tenant *struct{ Username, Password string } `xml:"TenantCredentials"`
}

func (x *exchange) logon(user, password string) {
	var spec emLoginSpec
	if len(x.body) > 0 && isXML(x.r) && xml.Unmarshal(x.body, &spec) != nil {
		x.refuseToken(badRequest)
		return
	}
	a := x.s.check(user, password, false)
	if a != nil && spec.Tenant != nil {
		a = x.s.check(spec.Tenant.Username, spec.Tenant.Password, true)
	}
	if a == nil {
		x.refuseToken(badCredentials)
		return
	}
	x.begin(a, x.wish())
}

// check returns the user whose password is right.
func (s *Server) check(user, password string, tenant bool) *account {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.account(user)
	switch {
	case a == nil || a.MFA || a.Tenant != tenant:
		return nil
	case s.locked(a):
		s.count.Locked++
		return nil
	case a.Password != password:
		s.failed(a)
		return nil
	}
	return a
}

func isXML(r *http.Request) bool {
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return mediaType == "application/xml" || mediaType == "text/xml"
}

func emSuccess(x *exchange, i issue) any {
	spell(x.w.Header(), sessionHeader, i.access)
	x.w.Header().Set("Set-Cookie", sessionHeader+"="+i.access+"; Path=/api;")
	x.w.Header().Set("Location", x.link("/logonSessions/"+i.session))
	x.s.mu.Lock()
	x.s.issued = append(x.s.issued, i.session)
	x.s.mu.Unlock()
	return x.logonSession(i.session, i.account.Username)
}

// emLogonCheck is the operation that looks at a session.
const emLogonCheck = "GET /api/logonSessions/{id}"

func serveLogonSessions(x *exchange) {
	list := emLogonSessions{Xmlns: emNamespace}
	for _, f := range x.s.liveFamilies() {
		session := x.logonSession(f.id, f.account.Username)
		session.Xmlns = ""
		list.LogonSessions = append(list.LogonSessions, session)
	}
	x.document(http.StatusOK, list)
}

func serveLogonSession(x *exchange) {
	for _, f := range x.s.liveFamilies() {
		if strings.EqualFold(f.id, x.params["id"]) {
			x.document(http.StatusOK, x.logonSession(f.id, f.account.Username))
			return
		}
	}
	x.refuse(notFound)
}

// serveLogoff ends whatever session the path names, of whichever user.
func serveLogoff(x *exchange) {
	for _, f := range x.s.liveFamilies() {
		if strings.EqualFold(f.id, x.params["id"]) {
			x.s.mu.Lock()
			f.end()
			x.s.count.Logouts++
			x.s.mu.Unlock()
			x.write(http.StatusNoContent, "", nil)
			return
		}
	}
	x.refuse(notFound)
}

// liveFamilies are the sessions of all users, oldest first.
func (s *Server) liveFamilies() []*family {
	s.mu.Lock()
	defer s.mu.Unlock()
	var live []*family
	for _, a := range s.accounts {
		for _, f := range a.families {
			if f.alive(s.now()) {
				live = append(live, f)
			}
		}
	}
	slices.SortFunc(live, func(a, b *family) int { return a.begun.Compare(b.begun) })
	return live
}
