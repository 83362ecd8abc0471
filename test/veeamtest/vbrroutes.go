// Veeam Backup & Replication: its resources.

package veeamtest

import (
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

const vbrJobID = "6745a759-2205-4cd2-b172-8ec8f7e60ef8"

// vbrCollections are further lists that public clients read. They have no item, only a page around it.
var vbrCollections = []string{
	"sessions", "taskSessions", "restorePoints", "backupObjects", "backupInfrastructure/managedServers", "backupInfrastructure/proxies",
	"backupInfrastructure/repositories", "backupInfrastructure/repositories/states",
}

func vbrRoutes(s *Server) []route {
	routes := []route{
		{"POST", "/api/oauth2/token", grants, serveToken},
		{"POST", "/api/oauth2/logout", ending, func(x *exchange) {
			x.logout()
			x.json(http.StatusOK, struct{}{})
		}},
		{"GET", "/swagger/index.html", plain, serveSwaggerPage},
		{"GET", "/swagger/{file}/swagger.json", plain, serveSwagger},
		{"GET", "/api/v1/serverTime", anonymous, func(x *exchange) {
			x.json(http.StatusOK, map[string]string{
				"serverTime": x.s.now().In(x.s.cfg.zone).Format("2006-01-02T15:04:05.0000000-07:00"),
				"timeZone":   "(UTC+01:00) Amsterdam, Berlin, Bern, Rome, Stockholm, Vienna",
			})
		}},
		{"GET", "/api/v1/serverCertificate", anonymous, serveVBRCertificate},
		{"GET", "/api/v1/serverInfo", protected, func(x *exchange) {
			x.json(http.StatusOK, map[string]any{
				"vbrId": "d7b0c1b8-6d1e-4a5b-9f4a-0c1a5a6f7e21", "name": "vbr01.lab.local", "buildVersion": s.product.build,
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
			for _, a := range s.listAccounts() {
				users = append(users, vbrUser(a))
			}
			x.json(http.StatusOK, page(users...))
		}},
	}
	for _, name := range vbrCollections {
		routes = append(routes, route{"GET", "/api/v1/" + name, protected, func(x *exchange) { x.json(http.StatusOK, page([]any{}...)) }})
	}
	return routes
}

func vbr13Routes() []route {
	return []route{
		{"GET", "/api/v1/security/settings", protected, func(x *exchange) {
			x.json(http.StatusOK, map[string]bool{"mfaEnabled": true})
		}},
		{"POST", "/api/v1/security/users/{id}/resetMFA", protected, func(x *exchange) {
			x.changeUser(func(*account) {})
		}},
		{"POST", "/api/v1/security/users/{id}/changeServiceAccountMode", protected, func(x *exchange) {
			var body struct{ IsServiceAccount bool }
			if raw, whole := x.readAll(maxForm); !whole || json.Unmarshal(raw, &body) != nil {
				x.refuse(badRequest)
				return
			}
			x.changeUser(func(a *account) { a.MFA = !body.IsServiceAccount })
		}},
	}
}

// changeUser changes the user that the path names.
func (x *exchange) changeUser(change func(*account)) {
	x.s.mu.Lock()
	a := x.s.accountNamed(x.params["id"])
	if a != nil {
		change(a)
	}
	x.s.mu.Unlock()
	if a == nil {
		x.refuse(notFound)
		return
	}
	x.done(http.StatusNoContent)
}

func vbrUser(a Account) map[string]any {
	return map[string]any{
		"id": a.UID, "name": a.Username, "type": "InternalUser", "roles": []any{map[string]string{"name": a.Role}},
		"isServiceAccount": !a.MFA, "mfaEnabled": a.MFA,
	}
}

func serveSwaggerPage(x *exchange) {
	x.write(http.StatusOK, "text/html; charset=utf-8", []byte("<!DOCTYPE html><html><head><title>Swagger UI</title></head></html>"))
}

// serveSwagger is how clients find out which versions a server has: there is no list.
func serveSwagger(x *exchange) {
	version := strings.ToLower(x.params["file"])
	served := func(v string) bool { return "v"+strings.TrimPrefix(v, "v") == version }
	if !slices.ContainsFunc(x.s.cfg.versions, served) {
		x.refuse(notFound)
		return
	}
	x.json(http.StatusOK, map[string]any{
		"openapi": "3.0.1",
		"info":    map[string]string{"title": "Veeam REST API", "version": version[1:]},
		"paths":   map[string]any{},
	})
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
