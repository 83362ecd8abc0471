// VBR's Svc.ResAPI.log: what the server writes about each request, for comparison with other writers of that form.

package veeamtest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// logged wraps the handling of one request in its log lines.
func (s *Server) logged(w http.ResponseWriter, r *http.Request, handle func(http.ResponseWriter, *http.Request)) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxForm))
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(body), afterwards(r.Body, err)), r.Body}
	user := "Anonymous"
	if bearer, ok := bearerOf(r); ok {
		s.mu.Lock()
		if t := s.tokens[bearer]; t != nil {
			user = `.\` + t.family.account.Username
		}
		s.mu.Unlock()
	}
	isToken := s.Route(r.Method, rawPath(r)) == "POST "+s.product.tokenPath
	if isToken {
		user = "Anonymous"
	}
	s.log("Info", "[User: %s][%s] request to [%s] deserialized. Message: [%s]; Parameters: [%s].",
		user, r.Method, rawPath(r), maskForm(string(body)), parameters(r))

	answer := &logWriter{ResponseWriter: w, status: http.StatusOK}
	handle(answer, r)
	if isToken && strings.EqualFold(parseForm(string(body)).Get("grant_type"), "password") {
		s.logLogin(parseForm(string(body)).Get("username"), answer.status)
	}
	text := answer.body.String()
	if isToken && answer.status == http.StatusOK {
		text = ""
	}
	s.log("Info", "[%s %s]: [%d] %s", r.Method, rawPath(r), answer.status, text)
}

// afterwards continues a body that was read in part, with its error if it had one.
func afterwards(body io.Reader, err error) io.Reader {
	if err != nil {
		return errReader{err}
	}
	return body
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }

func (s *Server) logLogin(user string, status int) {
	s.log("Info", "Current license edition is EnterprisePlus. Checking expiration and type...")
	if status == http.StatusOK {
		s.log("Info", `Authenticated user: [.\%s]`, user)
		return
	}
	// With MFA in the way the password was right, and only the log says so.
	s.mu.Lock()
	a := s.account(user)
	right := a != nil && a.MFA
	s.mu.Unlock()
	if right {
		s.log("Info", `Authenticated user: [.\%s]`, user)
	}
	s.log("Error", "Login failed for user '%s'.", user)
	s.log("Error", "Failed to create access token.")
	s.log("Error", "Authentication failed (System.Security.Authentication.AuthenticationException)")
}

func (s *Server) log(level, format string, args ...any) {
	stamp := s.now().In(s.cfg.zone).Format("02.01.2006 15:04:05.000")
	s.logging.Lock()
	defer s.logging.Unlock()
	for line := range strings.SplitSeq(fmt.Sprintf(format, args...), "\n") {
		fmt.Fprintf(s.cfg.log, "[%s] <%02d> %-13s%s\n", stamp, 36, level, strings.TrimRight(line, "\r"))
	}
}

// maskForm writes a form body with every secret as four stars.
func maskForm(body string) string {
	pairs := strings.Split(body, "&")
	for i, pair := range pairs {
		name, value, found := strings.Cut(pair, "=")
		plain, err := url.QueryUnescape(name)
		if found && value != "" && err == nil && slices.Contains([]string{"password", "refresh_token", "code", "vbr_token"}, strings.ToLower(plain)) {
			pairs[i] = name + "=****"
		}
	}
	return strings.Join(pairs, "&")
}

// knownHeaders are in the order in which Windows numbers them; the log lists them so, after all others.
var knownHeaders = strings.Fields(`Cache-Control Connection Date Keep-Alive Pragma Trailer Transfer-Encoding Upgrade Via Warning Allow
	Content-Length Content-Type Content-Encoding Content-Language Content-Location Content-Md5 Content-Range Expires Last-Modified
	Accept Accept-Charset Accept-Encoding Accept-Language Authorization Cookie Expect From Host If-Match If-Modified-Since If-None-Match
	If-Range If-Unmodified-Since Max-Forwards Proxy-Authorization Referer Range Te Translate User-Agent`)

func parameters(r *http.Request) string {
	all := r.Header.Clone()
	all.Set("Host", r.Host)
	if r.ContentLength > 0 {
		all.Set("Content-Length", fmt.Sprint(r.ContentLength))
	}
	if all.Get("Authorization") != "" {
		all.Set("Authorization", "Bearer ****")
	}
	var names []string
	for name := range all {
		if !slices.Contains(knownHeaders, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names) // net/http does not keep the order of the wire
	var b strings.Builder
	for _, name := range append(names, knownHeaders...) {
		if values := all[name]; values != nil {
			shown := name
			if name == "X-Api-Version" {
				shown = "x-api-version"
			}
			fmt.Fprintf(&b, "%s: %s; ", shown, strings.Join(values, ", "))
		}
	}
	return b.String()
}

// logWriter keeps what is answered, as far as it is text of a reasonable size.
type logWriter struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (l *logWriter) WriteHeader(status int) {
	l.status = status
	l.ResponseWriter.WriteHeader(status)
}

func (l *logWriter) Write(b []byte) (int, error) {
	if strings.Contains(l.Header().Get("Content-Type"), "json") && l.body.Len() < maxForm {
		l.body.Write(b)
	}
	return l.ResponseWriter.Write(b)
}

func (l *logWriter) Unwrap() http.ResponseWriter { return l.ResponseWriter }
