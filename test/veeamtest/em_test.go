// Tests of Enterprise Manager: the login by Basic, sessions that end by idleness, two formats, two spellings, links.

package veeamtest

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEMAtItsLogon(t *testing.T) {
	basic := func(user, password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	right := basic(DefaultUser, DefaultPassword)
	const tenant = `<LoginSpec xmlns="http://www.veeam.com/ent/v1.0"><TenantCredentials><Username>tenant</Username><Password>%s</Password></TenantCredentials></LoginSpec>`
	for name, c := range map[string]struct {
		path, authorization, contentType, body string
		options                                []Option
		status                                 int
		user                                   string
	}{
		"latest":                        {"/api/sessionMngr/?v=latest", right, "", "", nil, 201, DefaultUser},
		"without a slash":               {"/api/sessionMngr?v=v1_7", right, "", "", nil, 201, DefaultUser},
		"path in any case":              {"/API/SessionMngr/?v=V1_5", right, "", "", nil, 201, DefaultUser},
		"parameter in another case":     {"/api/sessionMngr/?V=v1_5", right, "", "", nil, 400, ""},
		"an old version":                {"/api/sessionMngr/?v=v1_5", right, "", "", nil, 201, DefaultUser},
		"a version that is gone":        {"/api/sessionMngr/?v=v1_2", right, "", "", nil, 400, ""},
		"a version that is gone, taken": {"/api/sessionMngr/?v=v1_2", right, "", "", []Option{WithAnyLogonVersion()}, 201, DefaultUser},
		"no version":                    {"/api/sessionMngr/", right, "", "", nil, 400, ""},
		"no version, taken":             {"/api/sessionMngr/", right, "", "", []Option{WithAnyLogonVersion()}, 201, DefaultUser},
		"a JSON type and nothing in it": {"/api/sessionMngr/?v=latest", right, "application/json", "", nil, 201, DefaultUser},
		"no password":                   {"/api/sessionMngr/?v=latest", "", "", "", nil, 401, ""},
		"a bearer":                      {"/api/sessionMngr/?v=latest", "Bearer x", "", "", nil, 401, ""},
		"a wrong password":              {"/api/sessionMngr/?v=latest", basic(DefaultUser, "x"), "", "", nil, 401, ""},
		"nobody":                        {"/api/sessionMngr/?v=latest", basic("nobody", "x"), "", "", nil, 401, ""},
		"a user with MFA":               {"/api/sessionMngr/?v=latest", basic(DefaultMFAUser, DefaultMFAPassword), "", "", nil, 401, ""},
		"a tenant":                      {"/api/sessionMngr/?v=latest", right, "application/xml", fmt.Sprintf(tenant, "t"), nil, 201, "tenant"},
		"a tenant's wrong password":     {"/api/sessionMngr/?v=latest", right, "application/xml", fmt.Sprintf(tenant, "x"), nil, 401, ""},
		"a tenant by Basic":             {"/api/sessionMngr/?v=latest", basic("tenant", "t"), "", "", nil, 401, ""},
		"XML that breaks off":           {"/api/sessionMngr/?v=latest", right, "application/xml", "<LoginSpec><Ten", nil, 400, ""},
	} {
		s := New(EM13, append(c.options, WithAccount(Account{Username: "tenant", Password: "t", Tenant: true}))...)
		got := do(s, "POST", c.path, "", c.body, "Authorization", c.authorization, "Content-Type", c.contentType)
		if got.status != c.status {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
		if asks := got.header["WWW-Authenticate"]; (c.status == 401) != slices.Equal(asks, []string{"Basic Realm=RestSvc"}) { //nolint:staticcheck // the raw spelling is what is tested
			t.Errorf("%s: WWW-Authenticate %q", name, asks)
		}
		n := s.Counters()
		if in := c.status == 201; (n.Logins == 1) != in || (n.Refused == 1) == in || n.TokenRequests != 1 || (n.LiveSessions == 1) != in {
			t.Errorf("%s: %+v", name, n)
		}
		if c.user != "" && !strings.Contains(got.body, "<UserName>"+c.user+"</UserName>") {
			t.Errorf("%s: %s", name, got.body)
		}
	}
}

// One id is in the header, the cookie, the address and the body.
func TestEMSessionIDIsTheSameEverywhere(t *testing.T) {
	for name, c := range map[string]struct {
		options []Option
		derived bool
	}{"Base64 of the id": {nil, true}, "random": {[]Option{WithRandomSessionHeader()}, false}} {
		s := New(EM13, append(c.options, WithPublicURL("https://srv12.tech.local:9398"))...)
		got := logon(s, DefaultUser, DefaultPassword)
		var session emLogonSession
		if err := xml.Unmarshal([]byte(got.body), &session); err != nil {
			t.Fatal(err)
		}
		header := got.header[sessionHeader] //nolint:staticcheck // the raw spelling is what is tested
		if len(header) != 1 || got.header.Get("Set-Cookie") != sessionHeader+"="+header[0]+"; Path=/api;" {
			t.Fatalf("%s: %v", name, got.header)
		}
		if derived := header[0] == base64.StdEncoding.EncodeToString([]byte(session.SessionID)); derived != c.derived {
			t.Errorf("%s: %s %s", name, header[0], session.SessionID)
		}
		address := "https://srv12.tech.local:9398/api/logonSessions/" + session.SessionID
		if got.header.Get("Location") != address || session.Href != address || session.Links[len(session.Links)-1].Href != address {
			t.Errorf("%s: %s", name, got.body)
		}
		if !slices.Contains(s.Issued(), header[0]) || !slices.Contains(s.Issued(), session.SessionID) {
			t.Errorf("%s: not among what was issued", name)
		}
	}
}

func TestEMWritesXMLUnlessAskedForJSON(t *testing.T) {
	guid := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`)
	xmlOf := `<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<LogonSession xmlns="http://www.veeam.com/ent/v1.0" Href="https://em01.lab.local:9398/api/logonSessions/G" Type="LogonSession"><Links>` +
		`<Link Rel="Down" Href="https://em01.lab.local:9398/api/jobs" Type="JobReferenceList"></Link>` +
		`<Link Rel="Down" Href="https://em01.lab.local:9398/api/backupServers" Type="BackupServerReferenceList"></Link>` +
		`<Link Rel="Down" Href="https://em01.lab.local:9398/api/reports/summary/overview" Type="OverviewReportFrame"></Link>` +
		`<Link Rel="Delete" Href="https://em01.lab.local:9398/api/logonSessions/G"></Link></Links><UserName>svc-monitor</UserName><SessionId>G</SessionId></LogonSession>`
	pascal := `{"Links":[{"Rel":"Down","Href":"https://em01.lab.local:9398/api/jobs","Name":null,"Type":"JobReferenceList"},` +
		`{"Rel":"Down","Href":"https://em01.lab.local:9398/api/backupServers","Name":null,"Type":"BackupServerReferenceList"},` +
		`{"Rel":"Down","Href":"https://em01.lab.local:9398/api/reports/summary/overview","Name":null,"Type":"OverviewReportFrame"},` +
		`{"Rel":"Delete","Href":"https://em01.lab.local:9398/api/logonSessions/G","Name":null,"Type":null}],` +
		`"UserName":"svc-monitor","SessionId":"G","Href":"https://em01.lab.local:9398/api/logonSessions/G","Type":"LogonSession"}`
	camel := strings.NewReplacer(`"Links"`, `"links"`, `"Rel"`, `"rel"`, `"Href"`, `"href"`, `"Name"`, `"name"`, `"Type"`, `"type"`, `"UserName"`, `"userName"`, `"SessionId"`, `"sessionId"`).Replace(pascal)
	for _, c := range []struct {
		p           Profile
		accept      string
		options     []Option
		contentType string
		want        string
	}{
		{EM12, "", nil, "application/xml; charset=utf-8", xmlOf},
		{EM13, "", nil, "application/xml; charset=utf-8", xmlOf},
		{EM13, "*/*", nil, "application/xml; charset=utf-8", xmlOf},
		{EM13, "application/xml, application/json", nil, "application/xml; charset=utf-8", xmlOf},
		{EM12, "application/json", nil, jsonType, pascal},
		{EM13, "Application/JSON", nil, jsonType, camel},
		{EM13, "application/json;q=0.9, */*", nil, jsonType, camel},
		{EM13, "application/json", []Option{WithBOM()}, jsonType, "\ufeff" + camel},
		{EM13, "", []Option{WithBOM()}, "application/xml; charset=utf-8", xmlOf},
	} {
		got := logon(New(c.p, c.options...), DefaultUser, DefaultPassword, "Accept", c.accept)
		if body := guid.ReplaceAllString(got.body, "G"); body != c.want || got.header.Get("Content-Type") != c.contentType {
			t.Errorf("%s %q: %s\n got %s\nwant %s", c.p, c.accept, got.header.Get("Content-Type"), body, c.want)
		}
	}
}

func TestEMShowsItsVersionToStrangers(t *testing.T) {
	for p, want := range map[Profile]string{EM12: "Href Links SupportedVersions Type", EM13: "href links supportedVersions type"} {
		got := do(New(p), "GET", "/api/", "", "", "Accept", "application/json")
		if got.status != 200 || keys(got.json(t)) != want || !strings.Contains(got.body, "https://em01.lab.local:9398/api/sessionMngr/?v=v1_7") {
			t.Errorf("%s: %d %s", p, got.status, got.body)
		}
	}
	if got := do(New(EM13), "GET", "/api/jobs", "", "", "Accept", "application/json"); got.status != 401 ||
		got.body != `{"firstChanceExceptionMessage":null,"message":"Unauthorized","stackTrace":null,"status":null,"statusCode":401}` {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestEMTakesTheCookieBeforeTheHeader(t *testing.T) {
	const canonical = "X-Restsvcsessionid"
	for name, c := range map[string]struct {
		cookies []string
		headers map[string][]string
		options []Option
		want    int
	}{
		"header":                      {nil, map[string][]string{sessionHeader: {"GOOD"}}, nil, 200},
		"cookie":                      {[]string{sessionHeader + "=GOOD"}, nil, nil, 200},
		"cookie among others":         {[]string{"a=b; " + sessionHeader + "=GOOD; c=d"}, nil, nil, 200},
		"both, the cookie good":       {[]string{sessionHeader + "=GOOD"}, map[string][]string{sessionHeader: {"bad"}}, nil, 200},
		"both, the header good":       {[]string{sessionHeader + "=bad"}, map[string][]string{sessionHeader: {"GOOD"}}, nil, 401},
		"two cookies, the first":      {[]string{sessionHeader + "=GOOD", sessionHeader + "=bad"}, nil, nil, 200},
		"two cookies, the second":     {[]string{sessionHeader + "=bad; " + sessionHeader + "=GOOD"}, nil, nil, 401},
		"a cookie in another case":    {[]string{canonical + "=GOOD"}, nil, nil, 401},
		"a header in another case":    {nil, map[string][]string{canonical: {"GOOD"}}, nil, 401},
		"any case taken":              {nil, map[string][]string{canonical: {"GOOD"}}, []Option{WithAnyHeaderSpelling()}, 200},
		"two headers":                 {nil, map[string][]string{sessionHeader: {"GOOD", "GOOD"}}, nil, 401},
		"the header in two spellings": {nil, map[string][]string{sessionHeader: {"GOOD"}, canonical: {"GOOD"}}, nil, 401},
		"a bearer":                    {nil, map[string][]string{"Authorization": {"Bearer GOOD"}}, nil, 401},
		"the password":                {nil, map[string][]string{"Authorization": {"Basic c3ZjLW1vbml0b3I6bW9uaXRvci1wYXNzLTE="}}, nil, 401},
		"nothing":                     {nil, nil, nil, 401},
	} {
		s := New(EM13, c.options...)
		good, _ := defaultLogin(t, s)
		r := httptest.NewRequest("GET", "/api/jobs", nil)
		for _, cookie := range c.cookies {
			r.Header.Add("Cookie", strings.ReplaceAll(cookie, "GOOD", good))
		}
		for name, values := range c.headers {
			for _, value := range values {
				r.Header[name] = append(r.Header[name], strings.ReplaceAll(value, "GOOD", good))
			}
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
}

// Over a connection net/http forgets how a header was written.
func TestEMSeesTheSpellingOnTheWire(t *testing.T) {
	for name, c := range map[string]struct {
		options []Option
		want    [4]int
	}{"as written": {nil, [4]int{200, 401, 401, 200}}, "in any case": {[]Option{WithAnyHeaderSpelling()}, [4]int{200, 200, 200, 200}}} {
		s := started(t, EM13, c.options...)
		session, _ := defaultLogin(t, s)
		conn, err := tls.Dial("tcp", strings.TrimPrefix(s.URL(), "https://"), &tls.Config{RootCAs: trust().RootCAs, NextProtos: []string{"h2", "http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		if protocol := conn.ConnectionState().NegotiatedProtocol; protocol != "http/1.1" {
			t.Errorf("%s: protocol %q", name, protocol)
		}
		answers := bufio.NewReader(conn)
		for i, header := range []string{sessionHeader, "X-Restsvcsessionid", "x-restsvcsessionid", sessionHeader} {
			// The body looks like a header in another spelling, and is none.
			fmt.Fprintf(conn, "POST /api/echo HTTP/1.1\r\nHost: em\r\n%s: %s\r\nContent-Length: 7\r\n\r\npayload", header, session)
			got, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = bufio.NewReader(got.Body).Discard(1 << 10)
			got.Body.Close()
			if got.StatusCode != c.want[i] {
				t.Errorf("%s: %s: %d", name, header, got.StatusCode)
			}
		}
		conn.Close()
	}
}

func TestEMSpellsItsOwnHeader(t *testing.T) {
	s := started(t, EM12)
	conn, err := tls.Dial("tcp", strings.TrimPrefix(s.URL(), "https://"), trust())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /api/sessionMngr/?v=latest HTTP/1.1\r\nHost: em\r\nAuthorization:Basic %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
		base64.StdEncoding.EncodeToString([]byte(DefaultUser+":"+DefaultPassword)))
	var raw strings.Builder
	if _, err := bufio.NewReader(conn).WriteTo(&raw); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(raw.String(), "HTTP/1.1 201 ") || !strings.Contains(raw.String(), "\r\n"+sessionHeader+": ") || strings.Contains(raw.String(), "Restsvc") {
		t.Error(raw.String())
	}
}

func TestEMSpeaksHTTP11Only(t *testing.T) {
	s := New(EM13)
	r := httptest.NewRequest("GET", "/api/", nil)
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != http.StatusHTTPVersionNotSupported {
		t.Errorf("%d", w.Code)
	}
	got, err := send(client(t, true), started(t, EM13), "GET", "/api/", "", nil)
	if err != nil || got.Proto != "HTTP/1.1" || got.StatusCode != http.StatusOK {
		t.Fatal(got, err)
	}
	got.Body.Close()
}

func TestEMFaultsBreakConnections(t *testing.T) {
	s := started(t, EM13)
	for kind, broken := range map[FaultKind]bool{FaultReset: true, FaultResetAfterHeaders: true, FaultHalfClose: true, FaultHTML: false} {
		s.SetFault(Fault{Kind: kind, On: OnAnonymous})
		got, err := send(client(t, false), s, "GET", "/api/", "", nil)
		if err == nil {
			_, err = bufio.NewReader(got.Body).WriteTo(&strings.Builder{})
			got.Body.Close()
		}
		if (err != nil) != broken {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestEMSessionsEndByIdleness(t *testing.T) {
	const check = "/api/logonSessions/"
	for name, c := range map[string]struct {
		options []Option
		path    string // what is read every 14 minutes
		want    int    // and what reading /api/jobs gives after 42
	}{
		"used":                         {nil, "/api/jobs", 200},
		"looked at":                    {nil, check, 200},
		"looked at, which is no use":   {[]Option{WithQuietLogonChecks()}, check, 401},
		"a path that needs no session": {nil, "/api/", 401},
		"a lifetime of its own":        {[]Option{WithSessionLifetime(40 * time.Minute)}, "/api/jobs", 401},
		"a longer idle time":           {[]Option{WithAccessLifetime(time.Hour)}, "/api/", 200},
	} {
		s := New(EM13, append(c.options, fixed())...)
		session, _ := defaultLogin(t, s)
		path := c.path
		if path == check {
			id, _ := base64.StdEncoding.DecodeString(session)
			path += string(id)
		}
		for range 3 {
			s.Advance(14 * time.Minute)
			do(s, "GET", path, session, "")
		}
		if got := do(s, "GET", "/api/jobs", session, ""); got.status != c.want {
			t.Errorf("%s: %d", name, got.status)
		}
		if live := s.Counters().LiveSessions == 1; live != (c.want == 200) {
			t.Errorf("%s: live %t", name, live)
		}
		s.Advance(time.Hour)
		if got := do(s, "GET", "/api/jobs", session, ""); got.status != 401 {
			t.Errorf("%s: idle for an hour: %d", name, got.status)
		}
	}
}

func TestEMListsAndEndsAnybodysSessions(t *testing.T) {
	s := New(EM13, WithAccount(Account{Username: "other", Password: "x"}))
	mine, _ := defaultLogin(t, s)
	other, _ := login(t, s, "other", "x")
	list := do(s, "GET", "/api/logonSessions", mine, "").body
	for _, session := range []string{mine, other} {
		id, _ := base64.StdEncoding.DecodeString(session)
		if !strings.Contains(list, "<SessionId>"+string(id)+"</SessionId>") {
			t.Errorf("%s is not in %s", id, list)
		}
	}
	id, _ := base64.StdEncoding.DecodeString(other)
	path := "/api/logonSessions/" + string(id)
	for i, c := range []struct {
		method, session string
		want            int
	}{
		{"DELETE", "", 401}, {"DELETE", "nonsense", 401}, {"GET", mine, 200}, {"DELETE", mine, 204}, {"DELETE", mine, 404}, {"GET", mine, 404}, {"DELETE", other, 401},
	} {
		if got := do(s, c.method, path, c.session, ""); got.status != c.want {
			t.Errorf("step %d: %d %s", i, got.status, got.body)
		}
	}
	if c := s.Counters(); c.Logouts != 1 || c.DeadLogouts != 3 || c.LiveSessions != 1 || status(s, mine) != 200 || status(s, other) != 401 {
		t.Errorf("%+v", c)
	}
	s.RevokeAll()
	if status(s, mine) != 401 {
		t.Error("a revoked session lives")
	}
}

func TestEMSessionsCanInterfere(t *testing.T) {
	s := New(EM13, WithSingleSession())
	first, _ := defaultLogin(t, s)
	second, _ := defaultLogin(t, s)
	if status(s, first) != 401 || status(s, second) != 200 {
		t.Error("the earlier session lives")
	}
}

func TestEMOperationsAreChosenByTheQuery(t *testing.T) {
	s := New(EM13)
	session, _ := defaultLogin(t, s)
	for _, c := range []struct {
		method, path, contentType, body string
		want                            int
	}{
		{"POST", "/api/jobs/" + emJobID + "?action=start", "", "", 202},
		{"POST", "/api/jobs/" + emJobID + "?action=STOP", "", "", 202},
		{"PUT", "/api/jobs/" + emJobID + "?action=edit", "application/xml", "<Job/>", 202},
		{"PUT", "/api/jobs/" + emJobID + "?action=edit", "application/json", "{}", 202},
		{"PUT", "/api/jobs/" + emJobID + "?action=edit", "text/plain", "x", 415},
		{"POST", "/api/jobs/" + emJobID + "?action=nothing", "", "", 405},
		{"POST", "/api/jobs/" + emJobID, "", "", 405},
		{"GET", "/api/jobs/" + emJobID + "?format=Entity", "", "", 200},
		{"GET", "/api/tasks/task-1", "", "", 200},
		{"GET", "/api/query?type=Job", "", "", 200},
		{"GET", "/api/jobs/x", "", "", 404},
	} {
		got := do(s, c.method, c.path, session, c.body, "Content-Type", c.contentType)
		if got.status != c.want {
			t.Errorf("%s %s: %d %s", c.method, c.path, got.status, got.body)
		}
		if c.want == 202 && got.header.Get("Location") != "https://em01.lab.local:9398/api/tasks/task-"+emJobID {
			t.Errorf("%s: %v", c.path, got.header)
		}
	}
	if c := s.Counters(); c.Executed["start "+emJobID] != 1 || c.Executed["STOP "+emJobID]+c.Executed["stop "+emJobID] != 1 || c.Executed["edit "+emJobID] != 2 {
		t.Errorf("%+v", c.Executed)
	}
}

func TestEMLocksThrottlesAndFails(t *testing.T) {
	s := New(EM12, fixed(), WithLockout(3, 15*time.Minute))
	for range 3 {
		logon(s, DefaultUser, "wrong")
	}
	if got := logon(s, DefaultUser, DefaultPassword); got.status != 401 || s.Counters().Locked != 1 {
		t.Errorf("a locked user: %d", got.status)
	}
	s.Advance(15 * time.Minute)
	if got := logon(s, DefaultUser, DefaultPassword); got.status != 201 {
		t.Errorf("after the lock: %d", got.status)
	}

	s = New(EM12, fixed(), WithTokenStatus429(1, 25*time.Second))
	defaultLogin(t, s)
	if got := logon(s, DefaultUser, DefaultPassword); got.status != 503 || got.header.Get("Retry-After") != "25" || s.Counters().Throttled != 1 {
		t.Errorf("overloaded: %d %v", got.status, got.header)
	}

	s = New(EM12)
	s.SetFault(Fault{Kind: FaultStatus, Status: 503, Count: 1})
	if got := logon(s, DefaultUser, DefaultPassword); got.status != 503 || !strings.Contains(got.body, `StatusCode="503"`) {
		t.Errorf("a fault: %d %s", got.status, got.body)
	}
	s.SetFault(Fault{Kind: FaultStatus, Status: 502, After: true, Count: 1})
	if got := logon(s, DefaultUser, DefaultPassword); got.status != 502 || s.Counters().LiveSessions != 1 {
		t.Errorf("a lost answer: %d %+v", got.status, s.Counters())
	}
}

// Links have the server's own name, whatever a request calls it.
func TestEMLinksNameTheServer(t *testing.T) {
	s := New(EM13)
	session, _ := defaultLogin(t, s)
	link := regexp.MustCompile(`(?i)"?href"?[=:]"([^"]*)"`)
	for _, accept := range []string{"application/xml", "application/json"} {
		for _, path := range []string{"/api/", "/api/jobs", "/api/backupServers", "/api/logonSessions", "/api/query?type=Job", "/api/tasks/task-x"} {
			got := do(s, "GET", path, session, "", "Accept", accept, "X-Forwarded-Host", "elsewhere")
			links := link.FindAllStringSubmatch(got.body, -1)
			if got.status != 200 || len(links) == 0 {
				t.Errorf("%s as %s: %d %s", path, accept, got.status, got.body)
			}
			for _, l := range links {
				if !strings.HasPrefix(l[1], "https://em01.lab.local:9398/api/") {
					t.Errorf("%s as %s: %s", path, accept, l[1])
				}
			}
		}
	}
	if got := do(s, "GET", "/api/query?type=Job", session, "").body; !strings.Contains(got, "CreationTime%3e%3d%22") {
		t.Errorf("no percent escapes in %s", got)
	}
}

var _ net.Conn = (*spelledConn)(nil)
