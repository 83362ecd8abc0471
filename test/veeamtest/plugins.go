// Plug-ins behind Backup & Replication 13: they live below /extension and take VBR's bearer or, as one client says of
// 13.1, a token of their own.

package veeamtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// AHVInstance is the id of the plug-in for Nutanix AHV, the same on every server. The
// ids of other plug-ins are not public.
const AHVInstance = "799a5a3e-ae1e-4eaf-86eb-8a9acc2670e2"

// privateScope is where tokens of VBR's private API are good.
const privateScope = "private"

// WithPlugInTokens makes plug-ins accept only the token that the private API makes for
// each, in three steps. Default: VBR's own bearer.
func WithPlugInTokens() Option { return func(s *Server) { s.cfg.plugInTokens = true } }

// WithPlugInPage makes plug-ins answer a refused bearer with a page instead of a line
// of text.
func WithPlugInPage() Option { return func(s *Server) { s.cfg.plugInPage = true } }

// refusePlugIn is the 401 of a plug-in.
func (x *exchange) refusePlugIn() {
	if x.s.cfg.plugInPage {
		x.write(http.StatusUnauthorized, "text/html; charset=utf-8", []byte("<!DOCTYPE html><html><head><title>Unauthorized</title></head></html>"))
		return
	}
	x.write(http.StatusUnauthorized, "text/plain; charset=utf-8", []byte("System error."))
}

func plugInRoutes(*Server) []route {
	routes := []route{
		{"POST", "/private-api/oauth2/token", grants, servePrivateToken},
		{"GET", "/private-api/v1/vbrinfo/extensions", private, func(x *exchange) {
			x.json(http.StatusOK, map[string]any{"data": []any{
				map[string]string{"type": "AHV", "instanceId": AHVInstance, "uri": "/extension/" + AHVInstance},
			}})
		}},
		{"POST", "/private-api/oauth2/vbr_extension", private, servePlugInToken},
	}
	for _, version := range []string{"v8", "v9", "v10"} {
		base := "/extension/{instance}/api/" + version
		routes = append(routes, []route{
			{"*", base + "/echo", extension, serveEcho},
			{"POST", base + "/execute", extension, serveExecute},
			{"GET", base + "/clusters", extension, ahv(map[string]any{"id": ahvClusterID, "name": "ahv01", "state": "Connected"})},
			{"GET", base + "/jobs", extension, ahv(map[string]any{"id": ahvJobID, "name": "Nightly", "state": "Idle"})},
			{"GET", base + "/restorePoints", extension, ahv()},
			{"POST", base + "/jobs/{id}/start", extension, func(x *exchange) { x.startPlugIn("start " + x.params["id"]) }},
			{"POST", base + "/restorePoints/restore", extension, func(x *exchange) { x.startPlugIn("restore") }},
			{"GET", base + "/sessions/{id}", extension, func(x *exchange) {
				x.json(http.StatusOK, map[string]string{"id": x.params["id"], "state": "Finished", "result": "Success"})
			}},
		}...)
	}
	for i := range routes {
		if routes[i].access == extension {
			routes[i].handle = ofAHV(routes[i].handle)
		}
	}
	return routes
}

const (
	ahvClusterID = "00061f2b-8f0e-41d6-0000-000000003f5c"
	ahvJobID     = "3a4be1c7-1f2d-4a8a-b5f5-6d7c0f0d9b42"
)

// ofAHV leaves the other instances out: there are no other plug-ins.
func ofAHV(handle func(*exchange)) func(*exchange) {
	return func(x *exchange) {
		if !strings.EqualFold(x.params["instance"], AHVInstance) {
			x.refuse(notFound)
			return
		}
		handle(x)
	}
}

func ahv(items ...any) func(*exchange) {
	return func(x *exchange) {
		x.json(http.StatusOK, map[string]any{"results": append([]any{}, items...), "offset": 0, "limit": -1, "totalCount": len(items)})
	}
}

// startPlugIn begins long work, which is followed at …/sessions/{id}.
func (x *exchange) startPlugIn(op string) {
	if _, _, ok := x.digest(); ok {
		x.execute(op)
		x.json(http.StatusAccepted, map[string]string{"sessionId": uuid()})
	}
}

type plugInToken struct {
	AccessToken string          `json:"access_token"`
	ExpiresIn   json.RawMessage `json:"expires_in"`
}

// servePrivateToken begins a session of the private API, which has no refresh token.
func servePrivateToken(x *exchange) {
	x.access = private // no version header
	known := x.readForm()
	x.grant = x.form.grant()
	x.attempt(func(x *exchange) {
		if !known || x.grant != "password" {
			x.refuseToken(unknownGrant)
			return
		}
		fields, ok := x.require("username", "password")
		if !ok {
			return
		}
		a := x.s.check(fields[0], fields[1], false)
		if a == nil {
			x.refuseToken(badCredentials)
			return
		}
		x.scoped(a, privateScope)
	})
}

// servePlugInToken exchanges a token of the private API for one of a plug-in.
func servePlugInToken(x *exchange) {
	if !x.readForm() || x.form.get("grant_type") != "vbr_common_auth" || x.form.get("type") == "" ||
		!strings.EqualFold(x.form.get("instance_id"), AHVInstance) {
		x.refuse(badRequest)
		return
	}
	x.scoped(x.account(), AHVInstance)
}

// scoped answers with a token that is good in one place only.
func (x *exchange) scoped(a *account, scope string) {
	s := x.s
	value := opaqueToken()
	s.mu.Lock()
	f := &family{id: uuid(), begun: s.now(), account: a, readOnly: a.ReadOnly}
	t := &token{value: value, scope: scope, readOnly: a.ReadOnly, family: f, expires: s.now().Add(s.cfg.access)}
	f.tokens = append(f.tokens, t)
	a.families = append(a.families, f)
	s.tokens[value] = t
	s.issued = append(s.issued, value)
	s.count.Logins++
	s.mu.Unlock()
	x.json(http.StatusOK, plugInToken{value, json.RawMessage(fmt.Sprint(int(s.cfg.access.Seconds())))})
}
