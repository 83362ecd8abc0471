// Veeam Backup for Google Cloud: its row of the product table, and what it has other than AWS.

package veeamtest

import (
	"net/http"
	"time"
)

// gcp is of AWS's family. Its errors, logout and codes are taken from there, as no document shows its own.
func gcp() *product {
	p := aws()
	p.routes = gcpRoutes
	p.versions = []string{"1.0-rev0", "1.1-rev0", "1.2-rev0", "1.3-rev0", "1.4-rev0"}
	p.versionlessToken = true
	p.foldFields = true
	p.build = "7.0.0.508"
	p.access, p.refresh = 15*time.Minute, 14*24*time.Hour
	p.short = func(time.Duration) time.Duration { return 75 * time.Minute } // of a printed token; the text says 60
	p.shortField = "use_short_term_refresh"
	p.dialect.success = gcpSuccess
	p.dialect.challenged = http.StatusAccepted
	p.dialect.challenge = func(_ *exchange, _ *account, mfaToken string) any { return gcpChallenge{mfaToken} }
	return p
}

type gcpChallenge struct {
	MFAToken string `json:"mfa_token"`
}

func gcpSuccess(x *exchange, i issue) any {
	return awsToken{i.access, "bearer", i.refresh, x.expiresIn(i.lifetime), x.s.date(i.issued), x.s.date(i.expires), ""}
}

// WithoutLogout removes the logout of Google Cloud, whose available documents do not
// describe one.
func WithoutLogout() Option { return func(s *Server) { s.cfg.noLogout = true } }

// WithVersionAtToken makes the token endpoint of Google Cloud require x-api-version, as
// in its reference. Default: not required, as a client in the field shows.
func WithVersionAtToken() Option { return func(s *Server) { s.cfg.versionAtToken = true } }

// gcpEnvelope is around answers other than lists.
type gcpEnvelope struct {
	Response any   `json:"response"`
	Issues   []any `json:"issues"`
}

type gcpEnrolment struct {
	QRString     string   `json:"qrString"`
	SecretKey    string   `json:"secretKey"`
	ScratchCodes []string `json:"scratchCodes"`
	Token        string   `json:"token"`
}

func gcpRoutes(s *Server) []route {
	routes := []route{
		{"POST", "/api/v1/token", grants, serveToken},
		{"GET", "/api/v1/version", protected, func(x *exchange) { x.json(http.StatusOK, map[string]string{"version": s.product.build}) }},
		{"GET", "/api/v1/overview", protected, func(x *exchange) {
			x.json(http.StatusOK, map[string]int{"instancesCount": 3, "protectedInstancesCount": 2, "policiesCount": 1})
		}},
		{"GET", "/api/v1/repositories", protected, func(x *exchange) { x.json(http.StatusOK, awsPage()) }},
		{"GET", "/api/v1/sessions", protected, func(x *exchange) { x.json(http.StatusOK, awsPage()) }},
		{"GET", "/api/v1/licensing/license", protected, func(x *exchange) {
			x.json(http.StatusOK, map[string]any{"licenseType": "Free", "totalInstances": 10})
		}},
		{"GET", "/api/v1/vmInstance/policies", protected, func(x *exchange) {
			x.json(http.StatusOK, awsPage(map[string]any{"id": "0d2f86a4-6a38-4b12-9a5e-2f3f14f8b7c1", "name": "Daily", "isEnabled": true}))
		}},
		{"GET", "/api/v1/vmInstances", protected, func(x *exchange) { x.json(http.StatusOK, awsPage()) }},
		{"GET", "/api/v1/vmInstances/{id}/restorePoints", protected, func(x *exchange) { x.json(http.StatusOK, awsPage()) }},
		{"POST", "/api/v1/accounts/users/{id}/mfaEnable", protected, func(x *exchange) {
			if e, ok := x.enrol(); ok {
				x.json(http.StatusOK, gcpEnvelope{gcpEnrolment{x.s.qrString(e, "%40"), e.secret, e.scratch, e.token}, []any{}})
			}
		}},
	}
	if !s.cfg.noLogout {
		routes = append(routes, route{"DELETE", "/api/v1/token", ending, func(x *exchange) {
			x.logout()
			x.write(http.StatusNoContent, "", nil)
		}})
	}
	for _, name := range s.cfg.codePaths {
		routes = append(routes, route{"POST", "/api/v1/token/" + name, protected, serveCode})
	}
	return routes
}
