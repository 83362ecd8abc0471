// What public clients of Veeam ONE and of Backup for Google Cloud send, byte for byte.

package clients

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// siteOf is the site of one product. The others are not asked.
func siteOf(t *testing.T, profile veeamtest.Profile) *site {
	t.Helper()
	all := products
	t.Cleanup(func() { products = all })
	for _, p := range all {
		if p.profile == profile {
			products = []product{p}
			return sites(t, "1h")[0]
		}
	}
	t.Fatalf("no site has the profile %s", profile)
	return nil
}

const (
	formType = "Content-Type: application/x-www-form-urlencoded"
	formData = "Content-Type: multipart/form-data; boundary=----form"
)

// multipartForm is a body of formData.
func multipartForm(pairs ...string) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		b.WriteString("------form\r\nContent-Disposition: form-data; name=\"" + pairs[i] + "\"\r\n\r\n" + pairs[i+1] + "\r\n")
	}
	return b.String() + "------form--\r\n"
}

func TestClientsOfVeeamONEWorkAsTheyAre(t *testing.T) {
	s := siteOf(t, veeamtest.ONE)
	for name, client := range map[string]struct{ kind, login, path string }{
		// A plug-in of a monitoring system: a form, a token that is kept in a file.
		"plug-in": {formType, "grant_type=password&username=exporter&password=builder", "/api/v2.2/about"},
		// A script of dashboards, with fields that mean nothing here.
		"script": {formType, "username=exporter&password=builder&rememberMe=&asCurrentUser=&grant_type=password&refresh_token=", "/api/v2.3/about"},
		// A page that sends what a browser makes of a form.
		"page": {formData, multipartForm("grant_type", "password", "username", "exporter", "password", "builder", "ui_login", "true"), "/api/v2.3/about"},
		// The grant is password unless it is named.
		"no grant": {formType, "username=exporter&password=builder", "/api/v2.1/about"},
	} {
		t.Run(name, func(t *testing.T) {
			login := call{http.MethodPost, "/api/token", client.login, []string{client.kind}}
			body := s.run(t, login, http.StatusOK)
			var answer map[string]any
			if err := json.Unmarshal([]byte(body), &answer); err != nil {
				t.Fatal(err)
			}
			if answer["token_type"] != "Bearer" || answer["user"] == nil || answer["user_role"] == nil || answer["expires_in"] == nil || answer[".issued"] != nil {
				t.Errorf("the answer is %s", body)
			}
			access, _ := answer["access_token"].(string)
			get := call{http.MethodGet, client.path, "", []string{"Authorization: Bearer " + access}}
			s.run(t, get, http.StatusOK)

			// A logout of all sessions of a user ends this login only, and the server
			// hears nothing of it.
			s.run(t, call{http.MethodPost, "/api/revoke", "UserSid=S-1-5-21-1", []string{formType, "Authorization: Bearer " + access}}, http.StatusOK)
			s.run(t, get, http.StatusUnauthorized)

			// The token in the form is enough, in both forms.
			for _, kind := range []string{formType, formData} {
				access = s.tokens(t, login).Access
				get.headers = []string{"Authorization: Bearer " + access}
				form := "token=" + access
				if kind == formData {
					form = multipartForm("token", access)
				}
				s.run(t, call{http.MethodPost, "/api/revoke", form, []string{kind}}, http.StatusOK)
				s.run(t, get, http.StatusUnauthorized)
			}
			s.run(t, call{http.MethodPost, "/api/revoke", "token=" + access, []string{formType}}, http.StatusUnauthorized)
			s.run(t, call{http.MethodPost, "/api/revoke", "token=nonsense", []string{formType}}, http.StatusUnauthorized)
		})
	}
	if c := s.server.Counters(); c.Logins != 1 || c.Logouts != 0 || c.LiveSessions != 1 {
		t.Errorf("%d logins and %d logouts at the server, %d live sessions", c.Logins, c.Logouts, c.LiveSessions)
	}
}

func TestClientsOfGoogleCloudWorkAsTheyAre(t *testing.T) {
	s := siteOf(t, veeamtest.GCP)
	for name, login := range map[string]string{
		"script": "Username=exporter&Password=builder&refresh_token=&grant_type=Password&mfa_token=&mfa_code=",
		"CLI":    "grant_type=password&username=exporter&password=builder&use_short_term_refresh=true",
	} {
		for _, path := range []string{"/api/v1/token", "/api/v1/token/"} {
			t.Run(name+" "+path, func(t *testing.T) {
				tokens := s.tokens(t, call{http.MethodPost, path, login, []string{formType}})
				get := call{http.MethodGet, "/api/v1/overview", "", []string{"Authorization: Bearer " + tokens.Access, "x-api-version: 1.0-rev0"}}
				s.run(t, get, http.StatusOK)
				renewed := s.tokens(t, call{http.MethodPost, path, "grant_type=refresh_token&refresh_token=" + tokens.Refresh, []string{formType}})
				get.headers[0] = "Authorization: Bearer " + renewed.Access
				s.run(t, get, http.StatusOK)
				s.run(t, call{http.MethodDelete, path, "", get.headers[:1]}, http.StatusNoContent)
				s.run(t, get, http.StatusUnauthorized)
			})
		}
	}
	if c := s.server.Counters(); c.Logins != 1 || c.LiveSessions != 1 {
		t.Errorf("%d logins, %d live sessions", c.Logins, c.LiveSessions)
	}
}

func TestPlugInsTakeTheTokenIssuedHere(t *testing.T) {
	s := siteOf(t, veeamtest.VBR13)
	tokens := s.tokens(t, call{http.MethodPost, "/api/oauth2/token", "grant_type=password&username=exporter&password=builder", []string{formType, "x-api-version: 1.3-rev1"}})
	bearer := []string{"Authorization: Bearer " + tokens.Access}
	for _, version := range []string{"v8", "v9", "v10"} {
		s.run(t, call{http.MethodGet, "/extension/" + veeamtest.AHVInstance + "/api/" + version + "/clusters", "", bearer}, http.StatusOK)
	}
	for _, path := range []string{"/private-api/v1/vbrinfo/extensions", "/PRIVATE-API/oauth2/vbr_extension"} {
		s.run(t, call{http.MethodGet, path, "", bearer}, http.StatusForbidden)
	}
	if c := s.server.Counters(); c.Logins != 1 {
		t.Errorf("%d logins", c.Logins)
	}
}
