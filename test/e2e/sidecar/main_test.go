// Package sidecar shows the module at its job: real clients, a real Caddy in a
// process of its own, emulated servers, and sockets between all of them. This
// file holds the table of products that the tests run over.
package sidecar

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestMain(m *testing.M) {
	os.Exit(harness.Run(m.Run))
}

// product is what clients know of one of the products.
type product struct {
	name      string
	profile   veeamtest.Profile
	protected string   // GET, needs a token
	anonymous string   // GET, needs none
	tokens    []string // the token endpoint, as clients spell it
	password  []string // the grant types, likewise
	refresh   []string
	logout    string   // method and path
	loggedOut int      // its status
	goodbye   string   // its body
	refused   int      // status of a refused login
	version   string   // value of x-api-version where the product wants one
	errors    []string // keys of its error documents
	problem   bool     // which are application/problem+json
	grantless bool     // a token request without a grant is one by password
	basic     bool     // clients log in with Basic and get a session

	options []veeamtest.Option // of the emulated server
	setup   string             // lines of the Caddyfile
}

// awsErrors are the keys of the error documents of AWS and its relatives.
var awsErrors = []string{"type", "title", "status", "errorCode", "details", "instance", "data"}

var (
	vbr = &product{
		name: "vbr", profile: veeamtest.VBR13,
		protected: "/api/v1/serverInfo", anonymous: "/api/v1/serverTime",
		tokens:   []string{"/api/oauth2/token", "/API/OAuth2/Token", "/api/oauth2/token/"},
		password: []string{"password", "Password", "PASSWORD"},
		refresh:  []string{"refresh_token", "Refresh_token", "REFRESH_TOKEN"},
		logout:   "POST /api/oauth2/logout", loggedOut: http.StatusOK, goodbye: "{}",
		refused: http.StatusUnauthorized, version: "1.1-rev0",
		errors: []string{"errorCode", "message", "resourceId"},
	}
	vspc = &product{
		name: "vspc", profile: veeamtest.VSPC,
		protected: "/api/v3/about",
		tokens:    []string{"/api/v3/token", "/api/v3/Token", "/API/V3/TOKEN/"},
		password:  []string{"password", "Password"},
		refresh:   []string{"refresh_token", "Refresh_Token"},
		logout:    "DELETE /api/v3/users/4d3a1f0e-9c3b-4a52-8d0a-6f1f8d2b1c55/tokens", loggedOut: http.StatusOK, goodbye: "{}",
		refused: http.StatusBadRequest,
		errors:  []string{"errors"},
	}
	azure = &product{
		name: "azure", profile: veeamtest.Azure,
		protected: "/api/v8.1/system/about", anonymous: "/api/v8.1/system/serviceIsUp",
		tokens:   []string{"/api/oauth2/token", "/api/OAuth2/token"},
		password: []string{"Password", "password"},
		refresh:  []string{"Refresh_token", "refresh_token", "RefreshToken"},
		logout:   "DELETE /api/oauth2/token", loggedOut: http.StatusNoContent,
		refused: http.StatusUnauthorized,
		errors:  []string{"type", "title", "status", "detail", "instance", "traceId"}, problem: true,
	}
	aws = &product{
		name: "aws", profile: veeamtest.AWS,
		protected: "/api/v1/about", anonymous: "/api/v1/users/isFirstLogin",
		tokens:   []string{"/api/v1/token", "/api/v1/Token", "/Api/v1/token/"},
		password: []string{"password", "Password"},
		refresh:  []string{"refresh_token", "Refresh_token"},
		logout:   "DELETE /api/v1/token", loggedOut: http.StatusNoContent,
		refused: http.StatusUnauthorized, version: "1.4-rev0",
		errors: awsErrors, problem: true,
	}

	gcp = &product{
		name: "gcp", profile: veeamtest.GCP,
		protected: "/api/v1/version",
		tokens:    []string{"/api/v1/token/", "/api/v1/token", "/api/v1/Token"},
		password:  []string{"Password", "password"},
		refresh:   []string{"refresh_token", "Refresh_token"},
		logout:    "DELETE /api/v1/token", loggedOut: http.StatusNoContent,
		refused: http.StatusUnauthorized, version: "1.4-rev0",
		errors: awsErrors, problem: true,
	}

	// Its quota would make the tests wait: it has tests of its own.
	vb365 = &product{
		name: "vb365", profile: veeamtest.VB365,
		protected: "/v8/Organizations",
		tokens:    []string{"/v8/token", "/v8/Token", "/V8/TOKEN/"},
		password:  []string{"password"},
		refresh:   []string{"refresh_token", "Refresh_token"},
		logout:    "POST /v8/token/logout", loggedOut: http.StatusNoContent,
		refused: http.StatusUnauthorized, errors: []string{"message", "errorCode", "stackTrace"},
		options: []veeamtest.Option{veeamtest.WithTokenLimits(0, 0, 0)}, setup: "\n\t\tpace off",
	}

	one = &product{
		name: "one", profile: veeamtest.ONE,
		protected: "/api/v2.3/about", anonymous: "/swagger/index.html",
		tokens:   []string{"/api/token", "/api/Token", "/API/TOKEN/"},
		password: []string{"password", "Password"},
		refresh:  []string{"refresh_token", "Refresh_Token"},
		logout:   "POST /api/revoke", loggedOut: http.StatusOK,
		refused: http.StatusBadRequest, errors: []string{"type", "title", "status", "detail", "instance"}, problem: true, grantless: true,
		// The tests log in at the server, too, as no other program should.
		options: []veeamtest.Option{veeamtest.WithParallelSessions()},
	}

	em = &product{
		name: "em", profile: veeamtest.EM13,
		protected: "/api/jobs", anonymous: "/api/",
		tokens: []string{"/api/sessionMngr/?v=latest"}, basic: true,
		logout:  "DELETE /api/logonSessions/44cfbdbe-5a95-4465-a7b4-520eea4fc219",
		refused: http.StatusUnauthorized,
		errors:  []string{"firstChanceExceptionMessage", "message", "stackTrace", "status", "statusCode"},
	}

	products = []*product{vbr, vspc, azure, aws, gcp, vb365, one, em}

	// formed are those whose clients log in with a form, and renew what they get.
	formed = which(func(p *product) bool { return !p.basic })
)

// logon is how clients of the product log in.
func (p *product) logon() harness.Logon {
	l := harness.Logon{Path: p.tokens[0], Basic: p.basic}
	if !p.basic {
		l.Grant = p.password[0]
	}
	return l
}

// which are those of the products for which has is true.
func which(has func(p *product) bool) (some []*product) {
	for _, p := range products {
		if has(p) {
			some = append(some, p)
		}
	}
	return some
}

// carrier is the header that carries a token or a session.
func (p *product) carrier() string {
	if p.basic {
		return harness.SessionHeader
	}
	return "Authorization"
}

// withCodes reports whether users of the product may be asked for verification codes.
func withCodes(p *product) bool {
	row, ok := veeam.Lookup(p.name)
	return ok && row.Values[veeam.GrantMFA] != ""
}

func TestTheTableHasEveryProduct(t *testing.T) {
	t.Parallel()
	names := make([]string, len(products))
	for i, p := range products {
		names[i] = p.name
	}
	harness.HasEveryProduct(t, names, "vspc35") // which is a version
}

// split cuts "POST /path" in two.
func split(operation string) (method, path string) {
	method, path, _ = strings.Cut(operation, " ")
	return method, path
}
