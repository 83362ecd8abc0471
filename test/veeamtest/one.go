// Veeam ONE: its row of the product table, its documents and its resources.

package veeamtest

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const oneBase = "/api/{version}"

func one() *product {
	return &product{
		base:         oneBase,
		tokenPath:    "/api/token",
		routes:       oneRoutes,
		pathVersions: []string{"v2.1", "v2.2", "v2.3"},
		notServed:    versionUnknown,
		multipart:    true,
		oneSession:   true,
		build:        "13.1.0.1035",
		defaultRole:  "Admin",
		access:       899 * time.Second,
		refresh:      24 * time.Hour,
		mint:         oneTokens,
		grants: map[string]func(*exchange){
			"password":      passwordGrant,
			"refresh_token": refreshGrant,
		},
		dialect: dialect{
			success:  oneSuccess,
			refusals: merge(oneProblems, oneRefusals),
			refusal:  oneProblem,
		},
		problems: oneProblems,
		problem:  oneProblem,
	}
}

// oneTokens are a JWT with a shared secret, which nobody but the server can check, and a refresh token of hex digits.
func oneTokens(c claimSet) (access, refresh string) {
	t := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"unique_name": c.account.Username, "sid": c.account.UID, "role": c.account.Role, "jti": c.id,
		"nbf": c.now.Unix(), "exp": c.access.Unix(), "iat": c.now.Unix(),
	})
	t.Header["kid"] = "WebApiSecurityKey"
	access, err := t.SignedString(oneSecret)
	if err != nil {
		panic(err)
	}
	return access, hex.EncodeToString(randomBytes(32))
}

var oneSecret = randomBytes(32)

type oneToken struct {
	AccessToken  string          `json:"access_token"`
	RefreshToken string          `json:"refresh_token"`
	TokenType    string          `json:"token_type"`
	ExpiresIn    json.RawMessage `json:"expires_in,omitempty"`
	User         string          `json:"user"`
	UserRole     string          `json:"user_role"`
}

func oneSuccess(x *exchange, i issue) any {
	return oneToken{i.access, i.refresh, "Bearer", x.expiresIn(i.lifetime), i.account.Username, i.account.Role}
}

type oneProblemDetails struct {
	Type     string `json:"type"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail"`
	Instance string `json:"instance"`
}

func oneProblem(x *exchange, p problem) (string, any) {
	detail := strings.Replace(p.message, "{field}", p.field, 1)
	return problemType, oneProblemDetails{"https://tools.ietf.org/html/" + p.kind, http.StatusText(p.status), p.status, detail, x.r.URL.Path}
}

var oneProblems = map[reason]problem{
	badRequest:       {status: 400, kind: "rfc7231#section-6.5.1", message: "The request is not valid."},
	versionUnknown:   {status: 400, kind: "rfc7231#section-6.5.1", message: "The API version is not supported."},
	noBearer:         {status: 401, kind: "rfc7235#section-3.1", message: "Authorization is required."},
	badBearer:        {status: 401, kind: "rfc7235#section-3.1", message: "The access token is not valid."},
	expiredBearer:    {status: 401, kind: "rfc7235#section-3.1", message: "The access token has expired."},
	forbidden:        {status: 403, kind: "rfc7231#section-6.5.3", message: "Access is denied."},
	readOnlyToken:    {status: 403, kind: "rfc7231#section-6.5.3", message: "Access is denied."},
	notFound:         {status: 404, kind: "rfc7231#section-6.5.4", message: "The resource does not exist."},
	methodNotAllowed: {status: 405, kind: "rfc7231#section-6.5.5", message: "The method is not allowed."},
	unsupportedMedia: {status: 415, kind: "rfc7231#section-6.5.13", message: "The media type is not supported."},
	throttled:        {status: 429, kind: "rfc6585#section-4", message: "Too many requests."},
	serverFault:      {status: 500, kind: "rfc7231#section-6.6.1", message: "An internal error occurred."},
}

// oneRefusals: every failure at the token endpoint is 400.
var oneRefusals = map[reason]problem{
	missingField:   {status: 400, kind: "rfc7231#section-6.5.1", message: "The field {field} is required."},
	unknownGrant:   {status: 400, kind: "rfc7231#section-6.5.1", message: "The grant type is not supported."},
	badCredentials: {status: 400, kind: "rfc7231#section-6.5.1", message: "The user name or password is incorrect."},
	badRefresh:     {status: 400, kind: "rfc7231#section-6.5.1", message: "The refresh token is not valid."},
	expiredRefresh: {status: 400, kind: "rfc7231#section-6.5.1", message: "The refresh token has expired."},
}

// WithParallelSessions allows several sessions of one user at the same time. It is the
// default except at Veeam ONE.
func WithParallelSessions() Option { return func(s *Server) { s.cfg.singleSession = false } }

// WithReusableRefresh accepts refresh tokens more than once. The documents of VB365 and
// Veeam ONE do not say whether they may be reused. Default: once.
func WithReusableRefresh() Option { return func(s *Server) { s.cfg.reusableRefresh = true } }

// WithRevokeBearer makes Veeam ONE require a bearer at /api/revoke, in addition to the
// token in the body. Undocumented; default: not required.
func WithRevokeBearer() Option { return func(s *Server) { s.cfg.revokeBearer = true } }

// WithRevokeKeepsRefresh makes Veeam ONE revoke only the token in the request.
// Undocumented; default: it ends the session of the token.
func WithRevokeKeepsRefresh() Option { return func(s *Server) { s.cfg.revokeKeepsRefresh = true } }

// serveRevoke ends the session of a token, or all sessions of a user. It is told by the body which.
func serveRevoke(x *exchange) {
	revoke := func(x *exchange) {
		known := x.readForm()
		switch {
		case !known:
			x.refuseToken(unsupportedMedia)
		case x.body == nil || !x.s.revoke(x.form.get("token"), x.form.get("UserSid")):
			x.s.tally(func(c *Counters) { c.DeadLogouts++ })
			x.refuse(badRequest)
		default:
			x.write(http.StatusOK, "", nil)
		}
	}
	if x.s.cfg.revokeBearer {
		x.access = ending
		x.s.serveProtected(x, revoke)
		return
	}
	if !x.s.inject(x, OnProtected, revoke) {
		revoke(x)
	}
}

func (s *Server) revoke(value, user string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, a := s.tokens[value], s.accountByUID(user)
	switch {
	case t != nil && t.good(s.now()) && s.cfg.revokeKeepsRefresh:
		t.revoked = true
	case t != nil && t.good(s.now()):
		t.family.end()
	case value == "" && a != nil:
		a.endAll()
	default:
		return false
	}
	s.count.Logouts++
	return true
}

func oneRoutes(s *Server) []route {
	return []route{
		{"POST", "/api/token", grants, serveToken},
		{"POST", "/api/revoke", grants, serveRevoke},
		{"GET", "/swagger/index.html", plain, serveSwaggerPage},
		{"GET", "/swagger/{file}/swagger.json", plain, serveSwagger},
		{"GET", oneBase + "/about", protected, func(x *exchange) {
			x.json(http.StatusOK, map[string]string{"name": "one01", "version": s.product.build, "machine": "one01.lab.local"})
		}},
		// Its answer has a token of its own in a query.
		{"GET", oneBase + "/about/updater", protected, func(x *exchange) {
			secret := opaqueToken()
			s.mu.Lock()
			s.issued = append(s.issued, secret)
			s.mu.Unlock()
			x.json(http.StatusOK, map[string]string{"url": "https://one01.lab.local:1340/updater?access_token=" + secret})
		}},
		{"GET", oneBase + "/alarms/triggeredAlarmsHistory", protected, func(x *exchange) { x.json(http.StatusOK, onePage()) }},
		{"GET", oneBase + "/alarms/templates", protected, func(x *exchange) {
			x.json(http.StatusOK, onePage(map[string]any{"alarmTemplateId": 1, "name": "Host connection failure", "isEnabled": true}))
		}},
		{"GET", oneBase + "/vbrJobs/vmBackupJobs", protected, func(x *exchange) {
			x.json(http.StatusOK, onePage(map[string]any{"vmBackupJobId": 1, "name": "Nightly", "status": "Success", "platform": "VMware"}))
		}},
		{"GET", oneBase + "/vbr/repositories", protected, func(x *exchange) {
			x.json(http.StatusOK, onePage(map[string]any{"repositoryId": 1, "name": "Main", "state": "Healthy"}))
		}},
		{"POST", oneBase + "/alarms/triggeredChildAlarms/resolve", protected, func(x *exchange) {
			if _, _, ok := x.digest(); ok {
				x.execute("resolve alarms")
				x.write(http.StatusNoContent, "", nil)
			}
		}},
	}
}

func onePage(items ...any) map[string]any {
	if items == nil {
		items = []any{}
	}
	return map[string]any{"items": items, "totalCount": len(items)}
}
