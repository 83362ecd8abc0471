// Veeam Backup for Microsoft Azure: its resources.

package veeamtest

import "net/http"

type azureEnrolment struct {
	UserID       string   `json:"userId"`
	QRString     string   `json:"qrString"`
	SecretKey    string   `json:"secretKey"`
	ScratchCodes []string `json:"scratchCodes"`
	Token        string   `json:"token"`
}

func azureRoutes(s *Server) []route {
	return []route{
		{"POST", "/api/oauth2/token", grants, serveToken},
		{"DELETE", "/api/oauth2/token", ending, func(x *exchange) {
			x.logout()
			x.write(http.StatusNoContent, "", nil)
		}},
		{"GET", "/swagger/index.html", plain, serveSwaggerPage},
		{"GET", azureBase + "/system/serviceIsUp", anonymous, func(x *exchange) { x.json(http.StatusOK, true) }},
		{"GET", azureBase + "/settings/saml2/sp", anonymous, func(x *exchange) {
			x.json(http.StatusOK, map[string]any{"entityId": "https://azure.lab.local", "assertionConsumerUrl": "https://azure.lab.local/saml2/acs"})
		}},
		{"GET", azureBase + "/settings/saml2/idp", anonymous, func(x *exchange) { x.json(http.StatusOK, map[string]any{"isConfigured": false}) }},
		{"GET", azureBase + "/settings/saml2/sp/metadata", anonymous, func(x *exchange) {
			x.write(http.StatusOK, "application/octet-stream", []byte(`<?xml version="1.0"?><EntityDescriptor entityID="https://azure.lab.local"/>`))
		}},
		{"GET", azureBase + "/settings/saml2/sp/certificate", anonymous, func(x *exchange) {
			x.write(http.StatusOK, "application/octet-stream", CA().Raw)
		}},
		{"GET", azureBase + "/system/about", protected, func(x *exchange) {
			x.json(http.StatusOK, map[string]any{"serverVersion": s.product.build, "workerVersion": s.product.build, "fileLevelRestoreVersion": s.product.build})
		}},
		{"GET", azureBase + "/system/serverInfo", protected, func(x *exchange) {
			x.json(http.StatusOK, map[string]any{"serverName": "azure01", "azureRegion": "westeurope", "subscriptionId": "3d1d1c35-3a67-4a8f-9e7f-52c6b1b6c4c7"})
		}},
		{"GET", azureBase + "/policies/virtualMachines", protected, func(x *exchange) {
			x.json(http.StatusOK, map[string]any{"offset": 0, "limit": 100, "totalCount": 1, "results": []any{
				map[string]any{"id": "4c62c4c1-35aa-4f94-9c8c-b4e0a6c5f6e8", "name": "Daily", "isEnabled": true, "priority": 1},
			}})
		}},
		{"GET", azureBase + "/users", protected, func(x *exchange) {
			var users []any
			for _, a := range x.s.listAccounts() {
				users = append(users, map[string]any{"id": a.UID, "name": a.Username, "roleName": a.Role, "mfaEnabled": a.TOTPSecret != ""})
			}
			x.json(http.StatusOK, map[string]any{"offset": 0, "limit": 100, "totalCount": len(users), "results": users})
		}},
		{"POST", azureBase + "/users/{id}/enableMfa", protected, func(x *exchange) {
			if e, ok := x.enrol(); ok {
				x.json(http.StatusOK, azureEnrolment{e.account.UID, x.s.qrString(e, "&40"), e.secret, e.scratch, e.token})
			}
		}},
		{"POST", azureBase + "/users/{id}/acceptMfa", protected, acceptMFA(http.StatusNoContent)},
		{"POST", azureBase + "/users/{id}/disableMfa", protected, disableMFA(http.StatusNoContent)},
	}
}
