// Spellings of a path that is denied: none of them reaches the operation.

package access

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// spellings are ways to write a path that some server, somewhere, takes for the
// path itself.
func spellings(path string) (all []string) {
	segments := strings.Split(path[1:], "/")
	last := segments[len(segments)-1]
	head := strings.TrimSuffix(path, last)
	replace := func(old, with string) {
		for from := 0; ; {
			at := strings.Index(path[from:], old)
			if at < 0 {
				return
			}
			at += from
			all = append(all, path[:at]+with+path[at+len(old):])
			from = at + len(old)
		}
	}
	for _, slash := range []string{"//", "///", "/./", "/x/../", "/%2e/", "/x/%2e%2e/", "/x/.%2E/", "%2f", "%2F", "\\", "%5c", "%5C", "/%2f", "%252f", "/;/", "/;x=y/", "%c0%af", "%e0%80%af", "/%00/", "%ef%bc%8f", "/ /", "/%20"} {
		replace("/", slash)
	}
	for _, letter := range []string{"a", "j", "s", "t", "v"} {
		replace(letter, strings.ToUpper(letter))
		replace(letter, "%"+hex(letter[0]))
		replace(letter, "%25"+hex(letter[0]))
	}
	for _, tail := range []string{"/", "//", "/.", "/x/..", ".", "%2e", "%20", "%00", ";", ";a=b", "%3b", "%3Ba", "?", "?x", "#", "%23", "%3f", "/%2e%2e/" + last, "%0a", "%09", "::$DATA", ".json", "%e2%80%8b", "\\", "%5c"} {
		all = append(all, path+tail)
	}
	all = append(all,
		strings.ToUpper(path), strings.ToLower(path), head+strings.ToUpper(last), "/."+path, "/.."+path, "/../.."+path, "/%2e%2e"+path,
		"/api/v1/echo/../.."+strings.TrimPrefix(path, "/api"), "/api/v1/echo/..;/jobs"+strings.TrimPrefix(path, "/api/v1/jobs"),
		"/api/v1/echo/%2e%2e/jobs"+strings.TrimPrefix(path, "/api/v1/jobs"), "/api/v1/echo%2f..%2fjobs"+strings.TrimPrefix(path, "/api/v1/jobs"),
		"/API/v1/JOBS"+strings.TrimPrefix(path, "/api/v1/jobs"), "/api/v1/\u017fob\u017f"+strings.TrimPrefix(path, "/api/v1/jobs"),
		strings.Replace(path, "s", "%c5%bf", 1), strings.Replace(path, "/jobs/", "/jobs/"+jobID+"/../", 1))
	return all
}

func hex(c byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[c>>4], digits[c&15]})
}

func TestNoSpellingOfAPathReachesADeniedOperation(t *testing.T) {
	w := here(t)
	c := w.client(t, "denials")
	all := spellings(startJob)
	reached, refused := 0, 0
	w.nothingStarted(t, func() {
		for _, path := range all {
			if strings.ContainsAny(path, " ") {
				continue // no request line at all
			}
			switch a := c.line("POST " + path); a.status {
			case http.StatusForbidden, http.StatusBadRequest:
				refused++
			case http.StatusNotFound, http.StatusMethodNotAllowed:
				reached++ // the server, which knows no such operation
			default:
				t.Errorf("%v", a)
			}
		}
	})
	t.Logf("%d spellings: %d refused, %d unknown to the server", len(all), refused, reached)
	if refused < len(all)*9/10 {
		t.Errorf("only %d of %d spellings were refused", refused, len(all))
	}
	// The path itself is right: where it is allowed, the server starts the job.
	w.client(t, "plain").line("POST " + startJob).want(http.StatusCreated)
}

func TestNoSpellingOfAPathReachesAnOperationOfADeniedClass(t *testing.T) {
	w := here(t)
	c := w.client(t, "denials")
	const secret = "/api/v1/security/users/6f87b3b8-95f5-5173-8938-fb3a09e1485d/resetMFA"
	for _, path := range spellings(secret) {
		if strings.ContainsAny(path, " ") {
			continue
		}
		if a := c.line("POST " + path); a.status < 300 {
			t.Errorf("%v", a)
		}
	}
	if a := w.client(t, "plain").line("POST " + secret); a.status >= 300 {
		t.Errorf("%v", a)
	}
}

func TestNoSpellingOfTheTokenEndpointGivesTheServersTokens(t *testing.T) {
	w := here(t)
	c := w.client(t, "plain")
	before := w.servers["vbr"].Counters().PasswordGrants
	body := "grant_type=password&username=" + monitor + "&password=monitor-pass-1"
	for _, path := range spellings("/api/oauth2/token") {
		if strings.ContainsAny(path, " ") {
			continue
		}
		a := c.raw("POST " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: " +
			itoa(len(body)) + "\r\n\r\n" + body)
		for _, secret := range w.servers["vbr"].Issued() {
			if strings.Contains(a.body, secret) {
				t.Fatalf("%s gives a token of the server's: %v", path, a)
			}
		}
	}
	if after := w.servers["vbr"].Counters().PasswordGrants; after > before+1 {
		t.Errorf("%d logins at the server", after-before)
	}
}

func TestNoSpellingOfTheLogonGivesTheServersSessions(t *testing.T) {
	w := here(t)
	c := w.client(t, "plain em")
	before := w.servers["em"].Counters().PasswordGrants
	login := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(monitor+":"+veeamtest.DefaultPassword))
	for _, path := range spellings("/api/sessionMngr") {
		if strings.ContainsAny(path, " ") {
			continue
		}
		for _, query := range []string{"", "?v=latest"} {
			if a := c.line("POST "+path+query, login); c.theirs(a) {
				t.Fatalf("%s gives a session of the server's: %v", path, a)
			}
		}
	}
	if after := w.servers["em"].Counters().PasswordGrants; after > before+1 {
		t.Errorf("%d logins at the server", after-before)
	}
}
