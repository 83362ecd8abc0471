// Veeam Backup & Replication: its row of the product table, its documents and its resources.

package veeamtest

import (
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// What 12.3.1 and 13.1 serve.
var (
	vbr12Versions = []string{"1.0-rev1", "1.0-rev2", "1.1-rev0", "1.1-rev1", "1.1-rev2", "1.2-rev0", "1.2-rev1"}
	vbr13Versions = []string{"1.1-rev0", "1.1-rev1", "1.1-rev2", "1.2-rev0", "1.2-rev1", "1.3-rev0", "1.3-rev1", "1.3-rev2"}
)

func vbr(versions []string, dates DateStyle) *product {
	return &product{
		base:      "/api/v1",
		tokenPath: "/api/oauth2/token",
		routes:    vbrRoutes,
		headers: map[string]string{
			"Cache-Control":             "private",
			"X-Frame-Options":           "SAMEORIGIN",
			"X-XSS-Protection":          "1; mode=block",
			"X-Content-Type-Options":    "nosniff",
			"Strict-Transport-Security": "max-age=31536000",
		},
		versions:    versions,
		defaultRole: "Backup Administrator",
		access:      15 * time.Minute,
		refresh:     14 * 24 * time.Hour,
		short:       func(access time.Duration) time.Duration { return access + 15*time.Minute },
		shortField:  "use_short_term_refresh",
		dates:       dates,
		method:      jwt.SigningMethodRS512,
		claims:      vbrClaims,
		grants: map[string]func(*exchange){
			"password":      passwordGrant,
			"refresh_token": refreshGrant,
		},
		success:  vbrSuccess,
		refusals: merge(vbrProblems, vbrRefusals),
		problems: vbrProblems,
		refusal:  vbrError,
		problem:  vbrError,
	}
}

func vbrClaims(c claimSet) (access, refresh jwt.MapClaims) {
	short := "False"
	if c.short {
		short = "True"
	}
	// Real access tokens have no jti; without it two logins within a second would get the same token.
	return jwt.MapClaims{
			"unique_name": c.account.Username, "jti": c.id, "aud": "access",
			"nbf": c.now.Unix(), "exp": c.access.Unix(), "iat": c.now.Unix(),
		}, jwt.MapClaims{
			"unique_name": c.account.Username, "token_id": c.id, "short_term_expiration": short, "aud": "refresh",
			"nbf": c.now.Unix(), "exp": c.refresh.Unix(), "iat": c.now.Unix(),
		}
}

type vbrToken struct {
	AccessToken  string          `json:"access_token"`
	TokenType    string          `json:"token_type"`
	RefreshToken string          `json:"refresh_token"`
	ExpiresIn    json.RawMessage `json:"expires_in,omitempty"`
	Issued       string          `json:".issued,omitempty"`
	Expires      string          `json:".expires,omitempty"`
	Username     string          `json:"username,omitempty"`
}

func vbrSuccess(x *exchange, i issue) any {
	t := vbrToken{i.access, "bearer", i.refresh, x.expiresIn(i.lifetime), x.s.date(i.issued), x.s.date(i.expires), ""}
	if x.s.cfg.username {
		t.Username = i.account.Username
	}
	return t
}

type vbrErrorDocument struct {
	ErrorCode  string  `json:"errorCode"`
	Message    string  `json:"message"`
	ResourceID *string `json:"resourceId"`
}

func vbrError(x *exchange, p problem) (string, any) {
	if p.status == http.StatusUnauthorized && x.access != grants && !x.s.cfg.bearerDocument {
		return "", nil
	}
	doc := vbrErrorDocument{ErrorCode: p.code, Message: p.message}
	if id, ok := x.params["id"]; ok && p.status == http.StatusNotFound {
		doc.ResourceID = &id
	}
	return jsonType, doc
}

var vbrProblems = map[reason]problem{
	badRequest:       {status: 400, code: "UnexpectedContent", message: "One or more request parameters are not valid."},
	unsupportedMedia: {status: 400, code: "UnexpectedContent", message: "One or more request parameters are not valid."},
	versionMissing:   {status: 400, code: "UnexpectedContent", message: "The x-api-version header is required."},
	versionUnknown:   {status: 400, code: "NotImplemented", message: "The specified API version is not supported."},
	noBearer:         {status: 401, code: "AccessDenied", message: "Unauthorized. Get bearer JWT token at /api/login"},
	badBearer:        {status: 401, code: "InvalidToken", message: "Unauthorized. Get bearer JWT token at /api/login"},
	expiredBearer:    {status: 401, code: "ExpiredToken", message: "Unauthorized. Get bearer JWT token at /api/login"},
	forbidden:        {status: 403, code: "AccessDenied", message: "Forbidden"},
	readOnlyToken:    {status: 403, code: "AccessDenied", message: "Forbidden"},
	notFound:         {status: 404, code: "NotFound", message: "Resource does not exist"},
	methodNotAllowed: {status: 405, code: "MethodNotAllowed", message: "HTTP Method not allowed"},
	throttled:        {status: 429, code: "ServiceUnavailable", message: "Too many requests."},
	serverFault: {status: 500, code: "ServiceUnavailable",
		message: "The request has been received but could not be completed because of an internal error at the server side."},
}

var vbrRefusals = map[reason]problem{
	badCredentials: {status: 401, code: "AccessDenied", message: "Authentication failed"},
	badRefresh:     {status: 401, code: "InvalidToken", message: "The refresh token is not valid."},
	expiredRefresh: {status: 401, code: "ExpiredToken", message: "The refresh token has expired."},
}

const vbrJobID = "6745a759-2205-4cd2-b172-8ec8f7e60ef8"

func vbrRoutes() []route {
	return []route{
		{"POST", "/api/oauth2/token", grants, nil},
		{"POST", "/api/oauth2/logout", ending, func(x *exchange) {
			x.logout()
			x.json(http.StatusOK, struct{}{})
		}},
		{"GET", "/api/v1/serverTime", anonymous, func(x *exchange) {
			x.json(http.StatusOK, map[string]string{
				"serverTime": x.s.now().In(x.s.cfg.zone).Format("2006-01-02T15:04:05.0000000-07:00"),
				"timeZone":   "(UTC+01:00) Amsterdam, Berlin, Bern, Rome, Stockholm, Vienna",
			})
		}},
		{"GET", "/api/v1/serverCertificate", anonymous, serveVBRCertificate},
		{"GET", "/api/v1/serverInfo", protected, func(x *exchange) {
			x.json(http.StatusOK, map[string]any{
				"vbrId": "d7b0c1b8-6d1e-4a5b-9f4a-0c1a5a6f7e21", "name": "vbr01.lab.local", "buildVersion": x.s.build(),
				"patches": []string{}, "databaseVendor": "PostgreSql", "sqlServerEdition": "", "sqlServerVersion": "15",
			})
		}},
		{"GET", "/api/v1/jobs", protected, func(x *exchange) { x.json(http.StatusOK, page(vbrJob(vbrJobID))) }},
		{"GET", "/api/v1/jobs/states", protected, func(x *exchange) {
			x.json(http.StatusOK, page(map[string]any{"id": vbrJobID, "name": "Nightly", "type": "Backup", "status": "inactive", "lastResult": "Success"}))
		}},
		{"GET", "/api/v1/jobs/{id}", protected, func(x *exchange) {
			if x.params["id"] != vbrJobID {
				x.refuse(notFound)
				return
			}
			x.json(http.StatusOK, vbrJob(vbrJobID))
		}},
		{"DELETE", "/api/v1/jobs/{id}", protected, func(x *exchange) {
			if x.s.cfg.fourEyes {
				x.refuse(forbidden)
				return
			}
			x.write(http.StatusNoContent, "", nil)
		}},
		{"POST", "/api/v1/jobs/{id}/start", protected, func(x *exchange) {
			if _, _, ok := x.digest(); !ok {
				return
			}
			x.execute("start " + x.params["id"])
			x.json(http.StatusCreated, map[string]any{
				"id": uuid(), "name": "Nightly", "jobId": x.params["id"], "sessionType": "Job", "state": "Starting",
				"creationTime": x.s.now().UTC().Format(time.RFC3339), "progressPercent": 0,
				"result": map[string]any{"result": "None", "message": "", "isCanceled": false},
			})
		}},
		{"GET", "/api/v1/security/users", protected, func(x *exchange) {
			var users []any
			for _, a := range x.s.listAccounts() {
				users = append(users, map[string]any{
					"id": a.UID, "name": a.Username, "type": "InternalUser", "roles": []any{map[string]string{"name": a.Role}},
					"isServiceAccount": !a.MFA && a.TOTPSecret == "",
				})
			}
			x.json(http.StatusOK, page(users...))
		}},
		{"POST", "/api/v1/security/users/{id}/resetMFA", protected, func(x *exchange) { x.write(http.StatusNoContent, "", nil) }},
	}
}

func vbrJob(id string) map[string]any {
	return map[string]any{"id": id, "name": "Nightly", "type": "Backup", "isDisabled": false, "description": "Created by an administrator", "isHighPriority": false}
}

// page is VBR's envelope for collections.
func page(items ...any) map[string]any {
	return map[string]any{
		"data":       items,
		"pagination": map[string]int{"total": len(items), "count": len(items), "skip": 0, "limit": 200},
	}
}

func serveVBRCertificate(x *exchange) {
	cert := x.s.Certificate()
	if cert == nil {
		cert = CA()
	}
	x.json(http.StatusOK, map[string]any{
		"thumbprint": fmt.Sprintf("%X", sha1.Sum(cert.Raw)), "serialNumber": fmt.Sprintf("%X", cert.SerialNumber),
		"keyAlgorithm": "ECDSA", "keySize": "256", "subject": cert.Subject.String(),
		"issuedTo": cert.Subject.CommonName, "issuedBy": cert.Issuer.CommonName,
		"validFrom": cert.NotBefore.Format(time.RFC3339), "validBy": cert.NotAfter.Format(time.RFC3339),
	})
}

// build is the build number that belongs to the newest API version served.
func (s *Server) build() string {
	if s.profile == VBR12 {
		return "12.3.1.1139"
	}
	return "13.1.0.411"
}
