// What public clients of Backup for Microsoft 365 send, byte for byte.

package clients

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestClientsOfVB365WorkAsTheyAre(t *testing.T) {
	s := siteOf(t, veeamtest.VB365)
	form, object := "Content-Type: application/x-www-form-urlencoded", "Content-Type: application/json"
	for name, client := range map[string]struct {
		token, login, refresh string // of which %s is the refresh token
		kind                  string
		paths                 []string
		keys                  string // of the answer
	}{
		// A collector of dashboards: no flag, no cookie, a quoted blank, one login for each run.
		"script of v7": {
			token: "/v7/token", kind: form, login: "grant_type=password&username=exporter&password=builder&refresh_token=%27%27",
			paths: []string{"/v7/Organizations", "/v7/Jobs", "/v7/RestorePortalSettings", "/v7/serviceinstance"}, keys: "userName",
		},
		"script of v6": {
			token: "/v6/Token", kind: form, login: "grant_type=password&username=exporter&password=builder&refresh_token=%27%27",
			paths: []string{"/v6/organizations"}, keys: "userName",
		},
		// A generated SDK with a client by hand: the flag with login and renewal.
		"SDK": {
			token: "/v8/token", kind: form, login: "grant_type=password&username=exporter&password=builder&disable_antiforgery_token=true",
			refresh: "grant_type=refresh_token&refresh_token=%s&disable_antiforgery_token=true", paths: []string{"/v8/ServiceInstance", "/v8/Organizations"},
		},
		"JSON": {
			token: "/v8/token", kind: object, login: `{"grant_type":"password","username":"exporter","password":"builder","disable_antiforgery_token":true}`,
			refresh: `{"grant_type":"refresh_token","refresh_token":"%s","disable_antiforgery_token":true}`, paths: []string{"/v8/Jobs"},
		},
		"JSON with nulls": {
			token: "/v7/token", kind: object, login: `{"grant_type":"password","username":"exporter","password":"builder","refresh_token":null,"client_id":null,"assertion":null,"disable_antiforgery_token":null}`,
			refresh: `{"grant_type":"refresh_token","username":null,"refresh_token":"%s"}`, paths: []string{"/v7/Jobs"}, keys: "userName",
		},
	} {
		t.Run(name, func(t *testing.T) {
			headers := []string{client.kind, "Accept: application/json"}
			body := s.run(t, call{http.MethodPost, client.token, client.login, headers}, http.StatusOK)
			var answer map[string]any
			if err := json.Unmarshal([]byte(body), &answer); err != nil {
				t.Fatal(err)
			}
			for _, key := range append(strings.Fields(client.keys), "access_token", "refresh_token", "token_type", "expires_in", ".issued", ".expires") {
				if answer[key] == nil {
					t.Errorf("no %s in %s", key, body)
				}
			}
			if client.keys != "" && answer["userName"] != clientName {
				t.Errorf("userName %v", answer["userName"])
			}
			access, _ := answer["access_token"].(string)
			if client.refresh != "" {
				refresh, _ := answer["refresh_token"].(string)
				access = s.tokens(t, call{http.MethodPost, client.token, strings.Replace(client.refresh, "%s", refresh, 1), headers}).Access
			}
			for _, path := range client.paths {
				s.run(t, call{http.MethodGet, path, "", []string{"Authorization: Bearer " + access}}, http.StatusOK)
			}
			// The code for another login is a credential.
			s.run(t, call{http.MethodPost, "/v8/token/AuthCode", "", []string{"Authorization: Bearer " + access}}, http.StatusForbidden)
			if status, _ := s.send(t, call{http.MethodPost, client.token, strings.Replace(client.login, "builder", "wrong", 1), headers}); status != http.StatusUnauthorized {
				t.Errorf("a wrong password: %d", status)
			}
		})
	}
	if received := s.wire.String(); strings.Contains(received, "Set-Cookie") {
		t.Error("a client got a cookie")
	}
}
