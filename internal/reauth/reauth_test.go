package reauth

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestWhatA401MayBeAbout(t *testing.T) {
	t.Parallel()
	const form = "application/x-www-form-urlencoded"
	for _, c := range []struct {
		method, kind, body string
		own, aboutBody     bool
		replays            int
	}{
		{http.MethodGet, "", "", false, false, maxSafeReplays},
		{http.MethodHead, "", "", false, false, maxSafeReplays},
		{http.MethodOptions, "", "", false, false, maxSafeReplays},
		{http.MethodGet, "application/json", "{}", false, false, maxSafeReplays},
		{http.MethodPost, "", "", false, false, 1},
		{http.MethodPost, "application/json", "{}", false, true, 1},
		{http.MethodPut, "application/json", "{}", false, true, 1},
		{http.MethodDelete, "", "", false, false, 1},
		{"PURGE", "", "", false, false, 1},
		{http.MethodPost, form, "a=b", true, true, 1},
		{http.MethodPost, " Application/X-WWW-Form-Urlencoded ; charset=utf-8", "a=b", true, true, 1},
		{http.MethodPost, form + "2", "a=b", false, true, 1},
	} {
		req := httptest.NewRequest(c.method, "https://vbr01.lab.local/api/v1/jobs", http.NoBody)
		if c.body != "" {
			req = httptest.NewRequest(c.method, "https://vbr01.lab.local/api/v1/jobs", strings.NewReader(c.body))
		}
		req.Header.Set("Content-Type", c.kind)
		if got := ownCredentials(req); got != c.own {
			t.Errorf("%+v: credentials of the client: %t", c, got)
		}
		if got := mayBeAboutBody(req); got != c.aboutBody {
			t.Errorf("%+v: about the body: %t", c, got)
		}
		if got := maxReplays(req.Method); got != c.replays {
			t.Errorf("%+v: %d replays", c, got)
		}
	}
}
