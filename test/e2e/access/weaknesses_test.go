// The weaknesses that other credential sidecars had to repair after their
// release: one test for each.

package access

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// nothingReached runs a test during which no request may get to the server.
func (w *world) nothingReached(t *testing.T, product string, during func()) {
	t.Helper()
	before := w.servers[product].Counters()
	during()
	after := w.servers[product].Counters()
	if after.Protected != before.Protected || after.Unauthorized != before.Unauthorized || after.TokenRequests != before.TokenRequests {
		t.Errorf("the server was asked: %+v, before: %+v", after, before)
	}
}

func TestWeaknessCallersOfOtherMachinesAreServed(t *testing.T) {
	w := here(t)
	c := w.client(t, "plain")
	relayed := header("X-Forwarded-For", "192.0.2.7")
	w.nothingReached(t, "vbr", func() {
		c.get("/api/v1/serverInfo", relayed).refused("vbr", http.StatusUnauthorized)
		c.get("/api/v1/serverInfo", relayed, func(r *http.Request) { r.Host = "localhost" }).refused("vbr", http.StatusUnauthorized)
		c.do(http.MethodPost, "/api/oauth2/token", "grant_type=password&username=x&password=y",
			header("Content-Type", "application/x-www-form-urlencoded"), relayed).refused("vbr", http.StatusUnauthorized)
	})
	w.logs(t, "request to [/api/v1/serverInfo]", "[User: Anonymous]")
}

func TestWeaknessTheHostHeaderIsNotChecked(t *testing.T) {
	w := here(t)
	c := w.client(t, "plain")
	w.nothingReached(t, "vbr", func() {
		for _, host := range []string{"evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", "[::ffff:192.0.2.7]", "169.254.169.254"} {
			c.get("/api/v1/serverInfo", func(r *http.Request) { r.Host = host }).refused("vbr", http.StatusUnauthorized)
			c.do(http.MethodPost, "/api/oauth2/token", "grant_type=password&username=x&password=y",
				header("Content-Type", "application/x-www-form-urlencoded"), func(r *http.Request) { r.Host = host }).refused("vbr", http.StatusUnauthorized)
		}
	})
	for _, host := range []string{"localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:80"} {
		c.get("/api/v1/serverInfo", func(r *http.Request) { r.Host = host }).want(http.StatusOK)
	}
}

func TestWeaknessARedirectIsFollowedWithTheToken(t *testing.T) {
	w := here(t)
	asked := 0
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer thief.Close()
	server := w.servers["vbr"]
	defer server.ClearFault()
	c := w.client(t, "plain")
	for location, want := range map[string]string{
		thief.URL + "/x":                     thief.URL + "/x",
		server.URL() + "/api/v1/x?y":         c.base + "/api/v1/x?y",
		server.URL():                         c.base,
		strings.ToUpper(server.URL()) + "/x": c.base + "/x",
		server.URL() + "@evil.example/x":     server.URL() + "@evil.example/x",
		"/api/v1/jobs":                       "/api/v1/jobs",
		"//evil.example/x":                   "//evil.example/x",
	} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultRedirect, On: veeamtest.OnProtected, Status: status, Location: location})
			if a := c.get("/api/v1/serverInfo").want(status); a.header.Get("Location") != want {
				t.Errorf("%d to %q: Location %q, not %q", status, location, a.header.Get("Location"), want)
			}
		}
	}
	if asked != 0 {
		t.Errorf("%d requests followed a redirect", asked)
	}
}

func TestWeaknessOneRequestsOptionsServeTheNext(t *testing.T) {
	w := here(t)
	c := w.client(t, "act_as")
	c.http.Transport = &http.Transport{MaxConnsPerHost: 1} // one connection for all
	for i := range 30 {
		want, edits := monitor, []edit(nil)
		if i%3 == 0 {
			want, edits = operator, []edit{header("X-Team", "green")}
		}
		if e := c.echo(edits...); e.Subject != want {
			t.Fatalf("request %d went as %s", i, e.Subject)
		}
	}
	headers := w.client(t, "headers")
	headers.http.Transport = &http.Transport{MaxConnsPerHost: 1}
	mine := headers.tokens("nightly", password)
	for i := range 10 {
		want, edits := "loopback", []edit(nil)
		if i%2 == 0 {
			want, edits = "nightly", []edit{bearer(mine.Access)}
		}
		if e := headers.echo(edits...); e.Headers.Get("X-Client") != want {
			t.Fatalf("request %d went as %s", i, e.Headers.Get("X-Client"))
		}
	}
}

func TestWeaknessTheCallerChoosesTheServer(t *testing.T) {
	w := here(t)
	asked := 0
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer thief.Close()
	c := w.client(t, "plain")
	target, err := url.Parse(thief.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, attempt := range []*answer{
		c.raw("GET " + thief.URL + "/api/v1/echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
		c.raw("GET http://localhost/api/v1/echo HTTP/1.1\r\nHost: " + target.Host + "\r\nConnection: close\r\n\r\n"),
		c.line("GET /api/v1/echo", "X-Forwarded-Host: "+target.Host, "X-Host: "+target.Host, "X-Original-Host: "+target.Host),
		c.line("GET /api/v1/echo", "X-Original-URL: "+thief.URL+"/x", "X-Rewrite-URL: "+thief.URL+"/x"),
		c.line("GET /api/v1/echo?url="+thief.URL+"&baseUrl="+thief.URL+"&upstream="+target.Host, "Upstream: "+thief.URL),
		c.line("GET /" + thief.URL),
		c.line("GET //" + target.Host + "/api/v1/echo"),
		c.line("GET @" + target.Host + "/api/v1/echo"),
	} {
		switch attempt.status {
		case http.StatusOK:
			var e echoed
			if attempt.into(&e); e.Path != "/api/v1/echo" {
				t.Errorf("%v", attempt)
			}
		case http.StatusBadRequest, http.StatusUnauthorized, http.StatusNotFound:
		default:
			t.Errorf("%v", attempt)
		}
	}
	c.raw("CONNECT " + target.Host + " HTTP/1.1\r\nHost: " + target.Host + "\r\nConnection: close\r\n\r\n")
	if asked != 0 {
		t.Errorf("%d requests went where the caller wanted", asked)
	}
}

func TestWeaknessTheCallerChoosesTheIdentity(t *testing.T) {
	w := here(t)
	c := w.client(t, "plain")
	if e := c.echo(header("X-Team", "green"), header("Act-As", operator), header("X-Veeam-Account", operator), header("X-User", operator),
		func(r *http.Request) {
			r.URL.RawQuery = "act_as=" + operator + "&account=" + operator + "&user_uid=" + operator
		}); e.Subject != monitor {
		t.Errorf("the caller went as %s", e.Subject)
	}
	for _, more := range [][]string{{"username", operator}, {"account", operator}, {"act_as", operator}, {"user_uid", operator}, {"scope", operator}, {"client_id", operator}} {
		form := append([]string{"grant_type", "password", "username", "x", "password", "y"}, more...)
		if e := c.echo(bearer(c.form(form...).tokens().Access)); e.Subject != monitor {
			t.Errorf("%v: the caller went as %s", more, e.Subject)
		}
	}
	// Grants that speak for others are not answered at all.
	for _, grant := range []string{"as", "client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange", "public_key"} {
		if a := c.form("grant_type", grant, "user_uid", operator, "client_id", operator, "username", operator); a.status != http.StatusBadRequest {
			t.Errorf("%v", a)
		}
	}
}

func TestWeaknessTheHostHeaderSteersTheSecret(t *testing.T) {
	w := here(t)
	other := veeamtest.New(veeamtest.VBR13)
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	c := w.client(t, "plain")
	host := strings.TrimPrefix(other.URL(), "https://")
	c.get("/api/v1/echo", func(r *http.Request) { r.Host = "sneaky.example" }).refused("vbr", http.StatusUnauthorized)
	for _, name := range []string{host, "localhost"} { // names of this machine
		var e echoed
		c.get("/api/v1/echo", func(r *http.Request) { r.Host = name }).want(http.StatusOK).into(&e)
		if own := strings.TrimPrefix(w.servers["vbr"].URL(), "https://"); e.Host != own {
			t.Errorf("the server was asked for the host %s, not %s", e.Host, own)
		}
	}
	// A caller whom no host can shut out does not choose the server by it either.
	mine := w.client(t, "clients vbr").tokens("grafana", password)
	a := w.client(t, "clients vbr").get("/api/v1/echo", bearer(mine.Access), func(r *http.Request) { r.Host = "veeam.internal" }).want(http.StatusOK)
	if !strings.Contains(a.body, monitor) {
		t.Errorf("%v", a)
	}
	// Nor does a header that is said to belong to the connection take the token off
	// or put another on.
	e := c.echo(header("Connection", "authorization, x-api-version, x-request-id"), header("Proxy-Authorization", "Bearer x"))
	if e.Subject != monitor || e.Headers.Get("X-Api-Version") == "" {
		t.Errorf("the server saw %+v", e)
	}
	if got := other.Counters(); got.TokenRequests+got.Protected+got.Unauthorized+got.Anonymous != 0 {
		t.Errorf("another server was asked: %+v", got)
	}
}

func TestWeaknessTheCallersOwnTokenIsForwarded(t *testing.T) {
	w := here(t)
	server := w.servers["vbr"]
	c := w.client(t, "wrong") // whose account cannot log in
	before := server.Counters()
	var theirs pair
	direct := server.URL() + "/api/oauth2/token"
	insecure := &http.Client{Transport: insecureTransport(server)}
	res, err := insecure.Do(tokenRequest(t, direct))
	if err != nil {
		t.Fatal(err)
	}
	c.read("direct", res).into(&theirs)
	for range 3 {
		a := c.get("/api/v1/serverInfo")
		if a.status != http.StatusServiceUnavailable {
			t.Errorf("%v", a)
		}
		c.get("/api/v1/serverInfo", bearer(theirs.Access)).refused("vbr", http.StatusUnauthorized)
		c.get("/api/v1/serverInfo", header("Authorization", "Basic eDp5")).refused("vbr", http.StatusServiceUnavailable)
		c.get("/api/v1/serverInfo", header("Cookie", "session=1"), header("X-RestSvcSessionId", "2")).refused("vbr", http.StatusServiceUnavailable)
	}
	after := server.Counters()
	if after.Protected != before.Protected || after.Unauthorized != before.Unauthorized {
		t.Errorf("requests without a session reached the server: %+v, before: %+v", after, before)
	}
	if after.PasswordGrants-before.PasswordGrants > 2 { // one direct, one of the sidecar
		t.Errorf("%d logins", after.PasswordGrants-before.PasswordGrants)
	}
}

func TestWeaknessASessionOfTheServerIsForwarded(t *testing.T) {
	w := here(t)
	server := w.servers["em"]
	c := w.client(t, "wrong em") // whose account cannot log in
	req, err := logon("em").Request(server.URL(), monitor, veeamtest.DefaultPassword)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Transport: insecureTransport(server)}).Do(req.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	theirs := c.read("direct", res).tokens()
	before := server.Counters()
	for range 3 {
		c.get(c.echoPath(), bearer(theirs.Access)).refused("em", http.StatusUnauthorized)
		c.get(c.echoPath(), header("Cookie", "X-RestSvcSessionId="+theirs.Access)).refused("em", http.StatusUnauthorized)
		c.get(c.echoPath(), func(r *http.Request) { r.SetBasicAuth(monitor, veeamtest.DefaultPassword) }).refused("em", http.StatusServiceUnavailable)
	}
	after := server.Counters()
	if after.Protected != before.Protected || after.Unauthorized != before.Unauthorized || after.PasswordGrants-before.PasswordGrants > 1 {
		t.Errorf("requests without a session reached the server: %+v, before: %+v", after, before)
	}
}

// A browser adds the cookie of a login to requests of other sites' pages.
func TestAPageOfAnotherSiteCannotBorrowTheCookieOfASession(t *testing.T) {
	w := here(t)
	c := w.client(t, "clients em").relayed()
	mine := c.tokens("grafana", password)
	cookie := header("Cookie", harness.SessionHeader+"="+mine.Access)
	c.get(c.echoPath(), cookie).want(http.StatusOK) // a script
	c.get(c.echoPath(), cookie, header("Origin", c.base), header("Sec-Fetch-Site", "same-origin")).want(http.StatusOK)
	for _, foreign := range [][]edit{
		{header("Origin", "https://elsewhere.test"), header("Sec-Fetch-Site", "cross-site")},
		{header("Sec-Fetch-Site", "cross-site"), header("Sec-Fetch-Mode", "navigate")},
		{header("Sec-Fetch-Site", "same-site")}, // another port
		{header("Origin", "null")},
		{header("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"), header("Accept-Language", "en")},
	} {
		w.nothingReached(t, "em", func() {
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
				c.do(method, c.echoPath(), "", append(foreign, cookie)...).refused("em", http.StatusUnauthorized)
			}
			c.do(http.MethodDelete, "/api/logonSessions/x", "", append(foreign, cookie)...).refused("em", http.StatusUnauthorized)
		})
		// A page cannot borrow the header.
		c.get(c.echoPath(), append(foreign, cookie, bearer(mine.Access))...).want(http.StatusOK)
	}
}
