// Tests of the classification of requests.

package veeam

import (
	"net/http"
	"path"
	"strings"
	"testing"
)

var classifyTests = []struct {
	product, method, path string
	want                  Route
}{
	{"vbr", "POST", "/api/oauth2/token", RouteToken},
	{"vbr", "POST", "/API/OAuth2/Token", RouteToken},
	{"vbr", "post", "/api/oauth2/token", RouteToken},
	{"vbr", "POST", "/api/oauth2/token/", RouteToken},
	{"vbr", "POST", "//api///oauth2//token", RouteToken},
	{"vbr", "POST", "/api/./oauth2/x/../token", RouteToken},
	{"vbr", "POST", `/api\oauth2\token`, RouteToken},
	{"vbr", "POST", "api/oauth2/token", RouteToken},
	{"vbr", "GET", "/api/oauth2/token", RouteClosed},
	{"vbr", "DELETE", "/api/oauth2/token", RouteClosed},
	{"vbr", "POST", "/api/oauth2/tokens", RouteClosed},
	{"vbr", "POST", "/api/oauth2/token/x", RouteClosed},
	{"vbr", "POST", "/api/oauth2", RouteClosed},
	{"vbr", "POST", "/api/v3/token", RouteClosed},
	{"vbr", "POST", "/api/oauth2/logout", RouteLogout},
	{"vbr", "POST", "/Api/OAUTH2/LogOut/", RouteLogout},
	{"vbr", "POST", "/api/oauth2/authorization_code", RouteAuthorizationCode},
	{"vbr", "POST", "/api/oauth2/Authorization_Code//", RouteAuthorizationCode},
	{"vbr", "GET", "/api/v1/serverTime", RouteAnonymous},
	{"vbr", "GET", "/api/v1/servertime", RouteAnonymous},
	{"vbr", "GET", "/api//v1/serverTime/", RouteAnonymous},
	{"vbr", "GET", "/api/v1/jobs/../serverTime", RouteAnonymous},
	{"vbr", "GET", `/api/v1\serverTime`, RouteProtected},
	{"vbr", "GET", "/api/v1/serverTime;x", RouteProtected},
	{"vbr", "GET", "/api/v1/serverTime%2f", RouteProtected},
	{"vbr", "GET", "/api/v1/ſerverTime", RouteProtected},
	{"vbr", "get", "/api/v1/serverTime", RouteProtected},
	{"vbr", "HEAD", "/api/v1/serverTime", RouteProtected},
	{"vbr", "POST", "/api/v1/serverTime", RouteProtected},
	{"vbr", "GET", "/api/v1/serverCertificate", RouteAnonymous},
	{"vbr", "GET", "/api/v1/serverInfo", RouteProtected},
	{"vbr", "GET", "/swagger/index.html", RouteAnonymous},
	{"vbr", "GET", "/swagger/v1.3-rev2/swagger.json", RouteAnonymous},
	{"vbr", "GET", "/swagger/v1.3-rev2/../../api/v1/jobs", RouteProtected},
	{"vbr", "GET", "/swagger//swagger.json", RouteAnonymous}, // one segment after cleaning
	{"vbr", "GET", "/swagger/", RouteProtected},
	{"vbr", "GET", "/", RouteProtected},
	{"vbr", "GET", "", RouteProtected},
	{"vbr", "OPTIONS", "*", RouteProtected},
	{"vbr", "POST", "/extension/799a5a3e/api/v8/token", RouteClosed},

	{"vspc", "POST", "/api/v3/token", RouteToken},
	{"vspc", "POST", "/API/V3/TOKEN", RouteToken},
	{"vspc", "DELETE", "/api/v3/token", RouteClosed},
	{"vspc", "DELETE", "/api/v3/users/0b1f-4/tokens", RouteLogout},
	{"vspc", "DELETE", "/api/v3/users/{0b1f}/Tokens", RouteLogout},
	{"vspc", "DELETE", "/api/v3/users//tokens", RouteProtected},
	{"vspc", "GET", "/api/v3/users/0b1f-4/tokens", RouteClosed},
	{"vspc", "GET", "/api/v3/about", RouteProtected},
	{"vspc", "GET", "/api/v3/authentication/keys/rsa", RouteProtected},

	{"azure", "POST", "/api/oauth2/token", RouteToken},
	{"azure", "DELETE", "/api/oauth2/token", RouteLogout},
	{"azure", "delete", "/api/OAuth2/token/", RouteLogout},
	{"azure", "GET", "/api/v8.1/system/serviceIsUp", RouteAnonymous},
	{"azure", "GET", "/api/v3/System/ServiceIsUp", RouteAnonymous},
	{"azure", "GET", "/api/v8.1/x/system/serviceIsUp", RouteProtected},
	{"azure", "GET", "/api/v8.1/settings/saml2/idp", RouteProtected},
	{"azure", "DELETE", "/api/v8.1/settings/saml2/sp/certificate", RouteProtected},

	{"aws", "POST", "/api/v1/token", RouteToken},
	{"aws", "DELETE", "/api/v1/token", RouteLogout},
	{"aws", "POST", "/api/v1/token/authorization_code", RouteAuthorizationCode},
	{"aws", "POST", "/api/v1/token/authorizationCode", RouteAuthorizationCode},
	{"aws", "POST", "/api/v1/token/AUTHORIZATIONCODE", RouteAuthorizationCode},
	{"aws", "GET", "/api/v1/users/isFirstLogin", RouteAnonymous},
	{"aws", "POST", "/api/v1/users/createDefaultUser", RouteAnonymous},
	{"aws", "GET", "/api/v1/users/createDefaultUser", RouteProtected},
	{"aws", "GET", "/api/v1/problems/noAccessToken", RouteAnonymous},
	{"aws", "GET", "/api/v1/problems", RouteProtected},
	{"aws", "GET", "/api/v1/licenseAgreement/download", RouteAnonymous},
	{"aws", "GET", "/api/v1/policies", RouteProtected},

	{"one", "POST", "/api/token/", RouteToken},
	{"one", "POST", "/API/Revoke", RouteLogout},
	{"one", "GET", "/api/revoke", RouteClosed},
	{"one", "GET", "/api/v2.3/about", RouteProtected},

	{"em", "POST", "/api/sessionMngr/", RouteToken},
	{"em", "POST", "/api/sessionMngr/x", RouteClosed},
	{"em", "GET", "/API/LogonSessions", RouteSession},
	{"em", "GET", "/api/logonSessions/x/", RouteSession},
	{"em", "DELETE", "/api/logonSessions", RouteClosed},
	{"em", "POST", "/api/logonSessions/x", RouteClosed},
	{"em", "GET", "/api/logonSessions/x/y", RouteClosed},
	{"em", "GET", "/api/LOGONSESSIONS/x/y/z", RouteClosed},
	{"em", "GET", "/api/query", RouteProtected},

	{"vbr", "GET", "/private-api/v1/vbrinfo/extensions", RouteClosed},
	{"vbr", "POST", "/Private-API/oauth2/token", RouteClosed},
	{"vbr", "GET", "/private-api", RouteClosed},
	{"vbr", "GET", "/private-apis/x", RouteProtected},
	{"vbr", "GET", "/extension/799a5a3e-ae1e-4eaf-86eb-8a9acc2670e2/api/v9/clusters", RouteProtected},

	{"gcp", "POST", "/api/v1/token/", RouteToken},
	{"gcp", "DELETE", "/api/v1/Token/", RouteLogout},
	{"gcp", "POST", "/api/v1/token/authorization_code/", RouteAuthorizationCode},
	{"gcp", "GET", "/api/v1/users/isFirstLogin", RouteProtected},
	{"gcp", "GET", "/api/v1/version", RouteProtected},
}

func TestClassify(t *testing.T) {
	for _, tt := range classifyTests {
		if got := lookup(t, tt.product).Classify(tt.method, tt.path); got != tt.want {
			t.Errorf("%s %s %q: got %s, want %s", tt.product, tt.method, tt.path, got, tt.want)
		}
	}
}

func TestClassifyOrdinaryPathsWithoutAllocating(t *testing.T) {
	for _, tt := range classifyTests {
		if cleanPath(tt.path) != tt.path || strings.ContainsAny(tt.path, `\`) {
			continue
		}
		p := lookup(t, tt.product)
		if n := testing.AllocsPerRun(10, func() { p.Classify(tt.method, tt.path) }); n != 0 {
			t.Errorf("%s %q: %v allocations", tt.product, tt.path, n)
		}
	}
}

func TestRouteNames(t *testing.T) {
	for r, want := range map[Route]string{
		RouteProtected: "protected", RouteAuthorizationCode: "authorization_code", -1: "invalid", 99: "invalid",
	} {
		if r.String() != want {
			t.Errorf("%d: got %q, want %q", int(r), r, want)
		}
	}
}

func FuzzClassify(f *testing.F) {
	for _, tt := range classifyTests {
		f.Add(tt.method, tt.path)
	}
	f.Fuzz(func(t *testing.T, method, urlPath string) {
		for _, p := range products {
			got := p.Classify(method, urlPath)
			switch got {
			case RouteAnonymous:
				// Only what is documented, letter for letter but for their case.
				clean := path.Clean("/" + urlPath)
				for _, r := range p.routes {
					if r.kind == RouteAnonymous && r.method == method && r.matches(clean) && plain(urlPath) {
						return
					}
				}
				t.Fatalf("%s: %s %q is not anonymous", p.Name, method, urlPath)
			case RouteProtected:
				// No spelling of a path that a server could read as its token path.
				folded := path.Clean("/" + strings.ReplaceAll(strings.ToLower(urlPath), `\`, "/"))
				if strings.EqualFold(method, http.MethodPost) && folded == p.TokenPath {
					t.Fatalf("%s: %q passed as protected", p.Name, urlPath)
				}
			}
		}
	})
}

func BenchmarkClassify(b *testing.B) {
	for _, bm := range []struct{ product, method, path string }{
		{"vbr", "GET", "/api/v1/backupObjects/4b1ab2cf-1f0f-4c3d-9a39-1c1e9e1f3d5e/restorePoints"},
		{"vspc", "GET", "/api/v3/infrastructure/backupServers/jobs"},
		{"azure", "GET", "/api/v8.1/virtualMachines"},
		{"aws", "GET", "/api/v1/virtualMachines"},
		{"aws", "POST", "/api/v1/token"},
	} {
		p := lookup(b, bm.product)
		b.Run(bm.product+strings.ReplaceAll(bm.path, "/", "_"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Classify(bm.method, bm.path)
			}
		})
	}
}

func TestEveryWayToASessionIsAnsweredHereOrClosed(t *testing.T) {
	for _, p := range products {
		for _, path := range []string{
			"/token", "/api/token", "/api/oauth2/token", "/api/v1/token", "/api/v3/token", "/v8/token", "/V7/Token", "/api/v8/token", "/private-api/oauth2/token", "/extension/x/token",
			"/api/v1/token/authorizationCode", "/api/v1/token/authorization_code", "/v8/token/AuthCode", "/api/v2.3/veeamintelligence/webApiAccessToken", "/v8/token/logout", "/api/oauth2/authorization_code",
			"/api/oauth2/logout", "/api/logout", "/api/login", "/api/sessionMngr/", "/api/v3/authentication/usernamepassword", "/api/v2/authentication/refresh",
			"/api/v3/authentication/asymmetricalgorithm", "/api/oauth2/anything",
		} {
			for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "post"} {
				switch got := p.Classify(method, path); got {
				case RouteToken, RouteLogout, RouteAuthorizationCode, RouteClosed:
				default:
					t.Errorf("%s %s %s: %v", p.Name, method, path, got)
				}
			}
		}
		for _, r := range p.routes {
			if r.kind == RouteAnonymous {
				continue
			}
			for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"} {
				if got := p.Classify(method, strings.ReplaceAll(r.pattern, "{}", "0b1f")); got == RouteProtected || got == RouteAnonymous {
					t.Errorf("%s %s %s: %v", p.Name, method, r.pattern, got)
				}
			}
		}
		for _, path := range []string{"/api/v3/users/0b1f/logins/apikey", "/api/v3/authentication/keys/rsa", "/api/v8/veeamVaults/oauth2/beginSignIn", "/api/v1/cloudCredentials/authenticate", "/api/v3/users/logins"} {
			if got := p.Classify("POST", path); got != RouteProtected {
				t.Errorf("%s %s: %v", p.Name, path, got)
			}
		}
	}
}
