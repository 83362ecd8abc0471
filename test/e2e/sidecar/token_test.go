// The token endpoint: every spelling that clients in the field send gets a token.

package sidecar

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestEverySpellingOfATokenRequestGetsAToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Global = "debug"
	for _, p := range formed {
		s := w.add(p)
		s.Before = "log"
	}
	w.start()
	for _, s := range w.sites {
		t.Run(s.Product, func(t *testing.T) {
			t.Parallel()
			for _, path := range s.tokens {
				a := s.client.do(t, http.MethodPost, path, strings.NewReader(passwordForm(s.password[0])), header("Content-Type", formType))
				s.client.tokensOf(t, a)
			}
			for _, grant := range s.password {
				s.client.tokensOf(t, s.client.post(t, formType, passwordForm(grant)))
			}
			for _, value := range s.refresh {
				form := url.Values{"grant_type": {value}, "refresh_token": {s.client.login(t).Refresh}}
				s.client.tokensOf(t, s.client.post(t, formType, form.Encode()))
			}
			for _, spelling := range passwordSpellings(s.password[0]) {
				t.Log(spelling.name)
				w.leaks.keepFromLogs(spelling.password)
				p := s.client.tokensOf(t, s.client.post(t, spelling.contentType, spelling.body, spelling.edits...))
				s.client.ok(t, s.protected, bearer(p.Access))
			}
			if c := s.Server.Counters(); c.Logins != 1 || c.TokenRequests != 1 || c.Refused != 0 {
				t.Errorf("logins at the server: %+v", c)
			}
		})
	}
}

func passwordForm(grant string) string {
	return url.Values{"grant_type": {grant}, "username": {`LAB\anybody`}, "password": {"made-up"}}.Encode()
}

type spelling struct {
	name, contentType, body string
	password                string // as it may not show in a log
	edits                   []edit
}

func passwordSpellings(grant string) []spelling {
	const boundary = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
	part := func(name, value string) string {
		return fmt.Sprintf("--%s\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", boundary, name, value)
	}
	multipart := part("grant_type", grant) + part("username", "u") + part("password", "multi-part-pass") + "--" + boundary + "--\r\n"
	json := fmt.Sprintf(`{"grant_type":%q,"username":"u","password":"json-pass-word","refresh_token":null}`, grant)
	return []spelling{
		{"field names in any case", formType, "Grant_Type=" + grant + "&UserName=u&PASSWORD=case-pass-word", "case-pass-word", nil},
		{"blank fields", formType, "grant_type=" + grant + "&username=u&password=blank-pass-word&refresh_token=&code=&vbr_token=&mfa_code=", "blank-pass-word", nil},
		{"empty pairs", formType, "&&grant_type=" + grant + "&username=u&password=pair-pass-word&&&&&&&", "pair-pass-word", nil},
		{"a blank password", formType, "grant_type=" + grant + "&username=u&password=", "", nil},
		{"JSON", "application/json", json, "json-pass-word", nil},
		{"JSON with charset", "application/json; charset=utf-8", json, "json-pass-word", nil},
		{"JSON under the type of a form", formType, json, "json-pass-word", nil},
		{"multipart", "multipart/form-data; boundary=" + boundary, multipart, "multi-part-pass", nil},
		{"a form with charset", formType + "; charset=UTF-8", "grant_type=" + grant + "&username=u&password=char-set-pass", "char-set-pass", nil},
		{"a password that is not escaped", formType, "grant_type=" + grant + `&username=LAB\u&password=100%-p@ss:w/rd$ü%zz`, `100%-p@ss:w/rd$ü%zz`, nil},
		{"a password with an & that is not escaped", formType, "grant_type=" + grant + "&username=u&password=amp&er-sand-tail", "er-sand-tail", nil},
		{"a line end after the form", formType, "grant_type=" + grant + "&username=u&password=line-end-pass\r\n", "line-end-pass", nil},
		{"a stale bearer", formType, passwordForm(grant), "", []edit{bearer("eyJhbGciOiJSUzUxMiJ9.stale.stale")}},
		{"an empty bearer", formType, passwordForm(grant), "", []edit{header("Authorization", "Bearer ")}},
		{"basic credentials", formType, passwordForm(grant), "", []edit{header("Authorization", "Basic dTpw")}},
		{"a blank version", formType, passwordForm(grant), "", []edit{header("x-api-version", "")}},
		{"a version that only the client knows", formType, passwordForm(grant), "", []edit{header("x-api-version", "9.9-rev9")}},
	}
}

func TestAStaleBearerIsNoHarmToARefresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range formed {
		w.add(p)
	}
	w.start()
	for _, s := range w.sites {
		stale := s.client.login(t)
		form := url.Values{"grant_type": {s.refresh[0]}, "refresh_token": {stale.Refresh}, "username": {""}, "password": {""}}
		for range 2 { // the first use, and the same again within the grace window
			s.client.tokensOf(t, s.client.post(t, formType, form.Encode(), bearer("eyJhbGciOiJSUzUxMiJ9.stale.stale")))
		}
	}
}

func TestTheFormOfARefusedTokenRequestIsTheProducts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range formed {
		w.add(p)
	}
	w.start()
	large := "grant_type=password&username=u&password=" + strings.Repeat("x", 70<<10)
	for _, s := range w.sites {
		t.Run(s.Product, func(t *testing.T) {
			t.Parallel()
			withoutGrant, logins := http.StatusBadRequest, int64(0)
			if s.grantless {
				withoutGrant, logins = http.StatusOK, 1
			}
			for _, c := range []struct {
				what, contentType, body string
				status                  int
			}{
				{"an unknown grant", formType, "grant_type=client_credentials&client_id=x", http.StatusBadRequest},
				{"no grant", formType, "username=u&password=p", withoutGrant},
				{"a blank grant", formType, "grant_type=&username=u&password=p", withoutGrant},
				{"no body", formType, "", http.StatusBadRequest},
				{"JSON that breaks off", "application/json", `{"grant_type":"pass`, http.StatusBadRequest},
				{"multipart without boundary", "multipart/form-data", "--x\r\n", http.StatusBadRequest},
				{"a body of 70 KiB", formType, large, http.StatusRequestEntityTooLarge},
				{"a refresh token that is none", formType, "grant_type=refresh_token&refresh_token=none", s.refused},
				{"a code that is none", formType, "grant_type=authorization_code&code=none", s.refused},
			} {
				t.Log(c.what)
				if a := s.client.post(t, c.contentType, c.body); c.status == http.StatusOK {
					s.client.tokensOf(t, a)
				} else {
					a.refusedAs(t, s.product, true, c.status)
				}
			}
			if c := s.Server.Counters(); c.TokenRequests != logins {
				t.Errorf("refused token requests made %d at the server", c.TokenRequests)
			}
		})
	}
}
