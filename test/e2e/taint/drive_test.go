// Driving the scene: good and failing grants, protected calls, and everything
// that a client may send in the wrong place.

package taint

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/caddy-veeam/veeam-auth/internal/keys"
)

var tokenPath = map[string]string{
	"vbr": "/api/oauth2/token", "refused": "/api/oauth2/token", "azure": "/api/oauth2/token", "aws": "/api/v1/token", "vspc": "/api/v3/token",
	"passthrough": "/api/v1/token", "vb365": "/v7/Token", "gcp": "/api/v1/token/", "one": "/api/token",
}

func base(site string) string {
	return map[string]string{"vbr": "/api/v1", "refused": "/api/v1", "azure": "/api/v8.1", "aws": "/api/v1", "vspc": "/api/v3", "vb365": "/v7", "gcp": "/api/v1", "one": "/api/v2.3"}[site]
}

// do sends a request and returns the body of the answer. What it receives is
// searched later, unless the client may know it.
func (s *scene) do(method, target string, header http.Header, body io.Reader, keep bool) string {
	req, err := http.NewRequest(method, target, body)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header = header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, target, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if keep {
		s.received.Write(text)
		_ = res.Header.Write(&s.received)
	}
	return string(text)
}

func (s *scene) form(site string, form url.Values) string {
	return s.do(http.MethodPost, s.sites[site]+tokenPath[site], http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "X-Account": {"provider"}},
		strings.NewReader(form.Encode()), true)
}

// drive has the sidecar do all that it can do.
func (s *scene) drive() {
	for site := range s.sites {
		s.do(http.MethodGet, s.sites[site]+base(site)+"/echo", http.Header{"X-Account": {"provider"}}, nil, site == "refused")
		var answer struct {
			Access  string `json:"access_token"`
			Refresh string `json:"refresh_token"`
		}
		text := s.form(site, url.Values{"grant_type": {"password"}, "username": {"grafana"}, "password": {s.client.text}})
		if err := json.Unmarshal([]byte(text), &answer); err != nil || site != "refused" && answer.Access == "" {
			s.t.Fatalf("%s: no token: %s", site, text)
		}
		if answer.Access != "" { // the client may know them, no log may
			s.sent = append(s.sent, canary{"our access token", answer.Access}, canary{"our refresh token", answer.Refresh})
		}
		bearer := http.Header{"Authorization": {"Bearer " + answer.Access}, "X-Account": {"provider"}}
		s.do(http.MethodGet, s.sites[site]+base(site)+"/echo", bearer, nil, false)
		s.form(site, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {answer.Refresh}})
		s.failingGrants(site)
		s.misplaced(site, bearer)
		if site == "azure" || site == "aws" {
			s.enrol(site, bearer)
			continue // another login would have to wait for the next verification code
		}
		switch site {
		case "gcp": // whose API gives out no second factor
			continue
		case "one":
			s.revokeAtONE(bearer)
		}
		s.servers[site].RevokeAccess()
		s.do(http.MethodGet, s.sites[site]+base(site)+"/echo", http.Header{"X-Account": {"provider"}}, nil, false)
	}
	for _, account := range []string{"tenant", "by-key", "by-api-key", "nobody"} {
		s.do(http.MethodGet, s.sites["vspc"]+"/api/v3/about", http.Header{"X-Account": {account}}, nil, true)
	}
	s.drivePassthrough()
	s.driveManager()
	s.driveJWTs()
	s.driveApprovals()
	s.driveKeys() // which count as guesses of this address: logins of new users would have to wait
}

// driveKeys has clients send keys that nobody knows, with and without a wrong digit, in
// each place.
func (s *scene) driveKeys() {
	for site := range s.sites {
		for _, key := range []string{keys.Make(), keys.Make()[:39] + "-"} {
			s.sent = append(s.sent, canary{"key of a client", key})
			target := s.sites[site] + base(site) + "/echo"
			s.do(http.MethodGet, target, http.Header{"Authorization": {"Bearer " + key}}, nil, true)
			s.do(http.MethodGet, target+"?a="+key, http.Header{"X-Api-Key": {key}, "X-Other": {key}, "Referer": {target + "?k=" + key}}, nil, true)
			s.form(site, url.Values{"grant_type": {"password"}, "username": {"grafana"}, "password": {key}})
		}
	}
}

// driveManager has clients log in at Enterprise Manager, and look for its sessions.
func (s *scene) driveManager() {
	logon := func(password, body string) string {
		return s.do(http.MethodPost, s.manager+"/api/sessionMngr/?v=latest", http.Header{
			"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("grafana:"+password))}, "Accept": {"application/json"}, "Content-Type": {"application/xml"},
		}, strings.NewReader(body), true)
	}
	var session struct {
		ID string `json:"sessionId"`
	}
	if text := logon(s.client.text, ""); json.Unmarshal([]byte(text), &session) != nil || session.ID == "" {
		s.t.Fatalf("em: no session: %s", text)
	}
	header := base64.StdEncoding.EncodeToString([]byte(session.ID))
	s.sent = append(s.sent, canary{"our session id", session.ID}, canary{"our session header", header})
	logon(s.canary("guessed password"), "")
	logon(s.client.text, "<LoginSpec><TenantCredentials><Username>t</Username><Password>"+s.token("tenant password")+"</Password></TenantCredentials></LoginSpec>")
	s.do(http.MethodGet, s.manager+"/api/logonSessions/"+s.token("foreign session id"), http.Header{"X-RestSvcSessionId": {header}}, nil, true)
	s.do(http.MethodGet, s.manager+"/api/jobs", http.Header{"X-RestSvcSessionId": {s.token("foreign session")}}, nil, true)
	s.do(http.MethodGet, s.manager+"/api/jobs", http.Header{"Cookie": {"X-RestSvcSessionId=" + s.token("foreign session cookie")}}, nil, true)
	for _, path := range []string{"/api/jobs", "/api/undocumented", "/api/query?type=LogonSession", "/api/logonSessions", "/api/logonSessions/" + session.ID} {
		for _, accept := range []string{"application/json", "application/xml"} {
			s.do(http.MethodGet, s.manager+path, http.Header{"X-RestSvcSessionId": {header}, "Accept": {accept}}, nil, true)
		}
	}
	s.servers["em"].RevokeAll()
	s.do(http.MethodGet, s.manager+"/api/undocumented", http.Header{"Cookie": {"X-RestSvcSessionId=" + header}}, nil, true)
	s.do(http.MethodDelete, s.manager+"/api/logonSessions/"+session.ID, http.Header{"X-RestSvcSessionId": {header}}, nil, true)
}

// token is a canary for where special characters may not stand.
func (s *scene) token(kind string) string {
	c := newToken(kind)
	s.sent = append(s.sent, c)
	return c.text
}

// revokeAtONE sends tokens where they are to be ended, and reads a URL with a secret.
func (s *scene) revokeAtONE(bearer http.Header) {
	foreign := url.Values{"token": {s.canary("foreign token to end")}, "UserSid": {"S-1-5-21-1"}}
	for _, header := range []http.Header{bearer, {}} {
		header = header.Clone()
		header.Set("Content-Type", "application/x-www-form-urlencoded")
		s.do(http.MethodPost, s.sites["one"]+"/api/revoke", header, strings.NewReader(foreign.Encode()), true)
	}
	s.do(http.MethodGet, s.sites["one"]+base("one")+"/about/updater", bearer, nil, false)
}

// enrol has a client ask for a new second factor: the answer, which is logged, is full
// of secrets.
func (s *scene) enrol(site string, bearer http.Header) {
	var users struct {
		Results []struct{ ID, Name string }
	}
	var offer struct {
		SecretKey, QRString, Token string
		ScratchCodes               []string
	}
	read := func(method, path, body string, into any) {
		header := bearer.Clone()
		header.Set("Content-Type", "application/json")
		text := s.do(method, s.sites[site]+base(site)+path, header, strings.NewReader(body), false)
		if err := json.Unmarshal([]byte(text), into); err != nil {
			s.t.Fatalf("%s %s: %v: %s", site, path, err, text)
		}
	}
	read(http.MethodGet, "/users", "", &users)
	for _, user := range users.Results {
		if user.Name == "svc-mfa" {
			read(http.MethodPost, "/users/"+user.ID+"/enableMfa", `{"recreate":true}`, &offer)
		}
	}
	if offer.SecretKey == "" || offer.Token == "" || len(offer.ScratchCodes) == 0 {
		s.t.Fatalf("%s: nothing was offered: %+v", site, users)
	}
	s.sent = append(s.sent, canary{"new TOTP seed", offer.SecretKey}, canary{"token of the enrolment", offer.Token}, canary{"QR string", offer.QRString})
	s.scratch = append(s.scratch, offer.ScratchCodes...)
}

// drivePassthrough has clients log in with credentials of their own, good and bad.
func (s *scene) drivePassthrough() {
	s.sent = append(s.sent, s.user[0], s.user[1])
	s.sites["passthrough"] = s.passthrough
	defer delete(s.sites, "passthrough")
	type tokens struct {
		Access   string `json:"access_token"`
		Refresh  string `json:"refresh_token"`
		MFAToken string `json:"mfa_token"`
	}
	login := func(pairs ...string) (answer tokens) {
		form := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			form.Set(pairs[i], pairs[i+1])
		}
		if err := json.Unmarshal([]byte(s.form("passthrough", form)), &answer); err != nil {
			s.t.Fatal(err)
		}
		for kind, text := range map[string]string{"access": answer.Access, "refresh": answer.Refresh, "mfa": answer.MFAToken} {
			if text != "" {
				s.sent = append(s.sent, canary{"user's " + kind + " token issued by the module", text})
			}
		}
		return answer
	}
	mine := login("grant_type", "password", "username", "user", "password", s.user[0].text)
	login("grant_type", "password", "username", "user", "password", s.canary("wrong password of a user"))
	challenge := login("grant_type", "password", "username", "user-mfa", "password", s.user[1].text)
	code, err := totp.GenerateCode(s.userSeed.text, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	done := login("grant_type", "mfa", "mfa_token", challenge.MFAToken, "mfa_code", code)
	if mine.Access == "" || done.Access == "" {
		s.t.Fatalf("the passthrough users got no tokens")
	}
	for _, token := range []string{mine.Access, done.Access} {
		s.do(http.MethodGet, s.passthrough+base("aws")+"/echo", http.Header{"Authorization": {"Bearer " + token}}, nil, true)
	}
	s.servers["aws"].RevokeAccess()
	s.do(http.MethodGet, s.passthrough+base("aws")+"/echo", http.Header{"Authorization": {"Bearer " + mine.Access}}, nil, true)
}

func (s *scene) canary(kind string) string {
	c := newCanary(kind)
	s.sent = append(s.sent, c)
	return c.text
}

func (s *scene) failingGrants(site string) {
	s.form(site, url.Values{"grant_type": {"password"}, "username": {"grafana"}, "password": {s.canary("guessed password")}})
	s.form(site, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {s.canary("foreign refresh token")}})
	s.form(site, url.Values{"grant_type": {"mfa"}, "mfa_token": {s.canary("foreign mfa token")}, "mfa_code": {s.canary("mfa code")}})
	s.form(site, url.Values{"grant_type": {"authorization_code"}, "code": {s.canary("authorization code")}})
	s.form(site, url.Values{"grant_type": {"nonsense"}, "client_secret": {s.canary("client secret")}})
	secret := s.canary("JSON password")
	body, _ := json.Marshal(map[string]any{"grant_type": "password", "username": "x", "password": secret, "nested": map[string]any{"apiKey": s.canary("api key in JSON")}})
	s.do(http.MethodPost, s.sites[site]+tokenPath[site], http.Header{"Content-Type": {"application/json"}}, bytes.NewReader(body), true)
	s.do(http.MethodPost, s.sites[site]+tokenPath[site], http.Header{"Content-Type": {"application/json"}}, strings.NewReader("grant_type=password&password="+url.QueryEscape(s.canary("form sent as JSON"))), true)
	s.do(http.MethodPost, s.sites[site]+tokenPath[site], http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, bytes.NewReader(body[:len(body)-9]), true)
	var parts bytes.Buffer
	w := multipart.NewWriter(&parts)
	_ = w.WriteField("grant_type", "password")
	_ = w.WriteField("password", s.canary("multipart password"))
	_ = w.Close()
	s.do(http.MethodPost, s.sites[site]+tokenPath[site], http.Header{"Content-Type": {w.FormDataContentType()}}, &parts, true)
}

// misplaced sends secrets where they may stand, and where they should not, on
// ordinary calls. The server echoes nothing of them to the client.
func (s *scene) misplaced(site string, bearer http.Header) {
	target := s.sites[site] + base(site) + "/upload"
	send := func(query string, header http.Header, contentType string, body []byte) {
		h := bearer.Clone()
		maps.Copy(h, header)
		if contentType != "" {
			h.Set("Content-Type", contentType)
		}
		s.do(http.MethodPost, target+query, h, bytes.NewReader(body), true)
	}
	for _, name := range []string{"password", "newPassword", "privateKey", "certificateContent", "scratchCodes", "recoveryToken", "client_secret", "mfaToken"} {
		text := s.canary(name + " in JSON")
		body, _ := json.Marshal(map[string]any{"id": 1, "list": []any{map[string]any{name: text}}, "again": map[string]any{name: []any{text}}})
		send("", nil, "application/json", body)
		send("", nil, "text/plain", body)
		query := "?" + name + "=" + url.QueryEscape(s.canary(name+" in the query")) + "&x=1"
		send(query, nil, "application/json", []byte(`{}`))
	}
	plain := s.canary("gzip password")
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte("password=" + url.QueryEscape(plain)))
	_ = z.Close()
	send("", http.Header{"Content-Encoding": {"gzip"}}, "application/x-www-form-urlencoded", zipped.Bytes())
	send("", nil, "application/json", []byte(`{"note":"otpauth://totp/x?secret=`+s.canary("seed in a note")+`"}`))
	send("", nil, "application/json", []byte(`{"password":"`+hex.EncodeToString([]byte(s.canary("hex password")))+`"}`))
	for _, header := range []http.Header{
		{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("user:"+s.canary("basic password")))}},
		{"Cookie": {"X-RestSvcSessionId=" + url.QueryEscape(s.canary("session cookie"))}},
		{"X-Otp-Token": {url.QueryEscape(s.canary("one-time code"))}},
		{"X-Restsvcsessionid": {url.QueryEscape(s.canary("session id"))}},
		{"Authorization": {"Bearer " + url.QueryEscape(s.canary("foreign bearer"))}},
		{"X-Api-Key": {url.QueryEscape(s.canary("api key in a header"))}},
		{"X-Auth-Token": {url.QueryEscape(s.canary("token in a header"))}},
		{"X-Amz-Security-Token": {url.QueryEscape(s.canary("cloud token in a header"))}},
		{"Referer": {"https://vbr01/x?access_token=" + url.QueryEscape(s.canary("token in a Referer"))}},
		{"X-Note": {"password=" + url.QueryEscape(s.canary("password in a header"))}},
	} {
		send("", header, "application/json", []byte(`{}`))
	}
}
