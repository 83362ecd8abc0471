// Tests of the classification of answers.

package veeam

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestAnswersThatAreASession(t *testing.T) {
	for name, body := range map[string]string{
		"only what is needed": `{"access_token":"a"}`,
		"camel case":          `{"accessToken":"a","refreshToken":"r","expiresIn":60}`,
		"capitals":            `{"Access_Token":"a"}`,
		"byte order mark":     "\xef\xbb\xbf" + `{"access_token":"a"}`,
		"white space":         " \r\n" + `{"access_token":"a"}` + "\n",
		"bad dates":           `{"access_token":"a",".issued":"yesterday",".expires":12}`,
		"dates of no zone":    `{"access_token":"a",".issued":"2020-06-10T10:29:39",".expires":null}`,
		"mfa_enabled":         `{"access_token":"a","mfa_enabled":true,"mfa_token":null}`,
		"an mfa_token too":    `{"access_token":"a","mfa_token":"m"}`,
		"unknown fields":      `{"new":{"x":[1]},"access_token":"a"}`,
		"odd types":           `{"access_token":"a","refresh_token":5,"token_type":[],"expires_in":{}}`,
	} {
		for _, status := range []int{200, 201, 202} {
			c, _ := client(t, "azure", canned{status: status, body: body, header: http.Header{"Content-Type": {"text/html"}}})
			token, err := c.Login(context.Background(), testAccount())
			if err != nil || token.Access.Reveal() != "a" {
				t.Errorf("%s, %d: got %v, %v", name, status, token, err)
			}
		}
	}
}

func TestAnswersThatAreNoSession(t *testing.T) {
	long := strings.Repeat("x", maxAnswer)
	for _, tt := range []struct {
		product string
		status  int
		body    string
		want    Kind
		code    string
	}{
		{"vbr", 200, ``, KindMalformed, ""},
		{"vbr", 204, ``, KindMalformed, ""},
		{"vbr", 200, `{}`, KindMalformed, ""},
		{"vbr", 200, `null`, KindMalformed, ""},
		{"vbr", 200, `"a token"`, KindMalformed, ""},
		{"vbr", 200, `[{"access_token":"a"}]`, KindMalformed, ""},
		{"vbr", 200, `<html>Sign in</html>`, KindMalformed, ""},
		{"vbr", 200, `{"access_token":"a"`, KindMalformed, ""},
		{"vbr", 200, `{"access_token":""}`, KindMalformed, ""},
		{"vbr", 200, `{"access_token":null}`, KindMalformed, ""},
		{"vbr", 200, `{"access_token":7}`, KindMalformed, ""},
		{"vbr", 200, `{"access_token":"a\r\nX-Evil: 1"}`, KindMalformed, ""},
		{"vbr", 200, `{"access_token":"a b"}`, KindMalformed, ""},
		{"vbr", 200, `{"access_token":"ä"}`, KindMalformed, ""},
		{"vbr", 200, `{"access_token":"` + long + `"}`, KindMalformed, ""},
		{"vbr", 200, `{"errorCode":"AccessDenied"}`, KindMalformed, ""},
		{"vbr", 301, ``, KindMalformed, ""},
		{"vbr", 307, `{"access_token":"a"}`, KindMalformed, ""},
		{"vbr", 101, ``, KindMalformed, ""},
		{"vbr", 999, ``, KindMalformed, ""},

		{"vbr", 401, golden(t, "vbr_refused.json"), KindRefused, "AccessDenied"},
		{"vbr", 401, ``, KindRefused, ""},
		{"vbr", 403, `not json`, KindRefused, ""},
		{"vbr", 400, ``, KindRefused, ""},
		{"vbr", 400, `{"errorCode":"UnknownError","message":"…"}`, KindRefused, "UnknownError"},
		{"vspc", 400, `{"error":"invalid_request","error_description":"Cannot complete login …","error_uri":null}`, KindRefused, "invalid_request"},
		{"vspc", 400, `{"error":"invalid_grant"}`, KindRefused, "invalid_grant"},
		{"vspc", 400, `{"error":"unsupported_grant_type"}`, KindRefused, "unsupported_grant_type"},
		{"vspc", 401, `{"errors":[{"message":"m","type":"security","code":401}]}`, KindRefused, "security:401"},
		{"azure", 401, `{"detail":"d","status":401,"title":"Unauthorized","type":"https://tools.ietf.org/html/rfc7235"}`, KindRefused, "Unauthorized"},
		{"azure", 401, `{"title":"Wrong name or password!"}`, KindRefused, "Wrong_name_or_password"},
		{"aws", 401, `{"type":"https://h:11005/api/v1/problems/accessDenied","errorCode":"AccessDenied"}`, KindRefused, "accessDenied"},

		{"vbr", 400, `{"errorCode":"NotImplemented","message":"The specified API version is not supported."}`, KindProtocol, "NotImplemented"},
		{"vbr", 400, `{"errorCode":"InvalidURI"}`, KindProtocol, "InvalidURI"},
		{"vbr", 400, `{"errorCode":"UnexpectedContent"}`, KindProtocol, "UnexpectedContent"},
		{"aws", 400, `{"type":"/api/v1/problems/apiVersionUnspecified","errorCode":"UnexpectedContent"}`, KindProtocol, "apiVersionUnspecified"},
		{"aws", 400, `{"type":"/api/v1/Problems/unsupportedApiVersion"}`, KindProtocol, "unsupportedApiVersion"},
		{"aws", 400, `{"type":"/api/v1/problems/invalidApiVersion"}`, KindProtocol, "invalidApiVersion"},
		{"aws", 403, `{"type":"/api/v1/problems/licenseAgreementsIsNotAccepted"}`, KindProtocol, "licenseAgreementsIsNotAccepted"},
		{"vbr", 400, `<html>Bad Request - Invalid Hostname</html>`, KindProtocol, ""},
		{"vbr", 404, `{"errorCode":"NotFound"}`, KindProtocol, "NotFound"},
		{"vbr", 405, ``, KindProtocol, ""},
		{"vbr", 415, ``, KindProtocol, ""},

		{"vbr", 428, ``, KindMFARequired, ""},
		{"vbr", 429, ``, KindThrottled, ""},
		{"vbr", 408, ``, KindServerFault, ""},
		{"vbr", 500, `{"errorCode":"ServiceUnavailable"}`, KindServerFault, "ServiceUnavailable"},
		{"vspc", 520, `{"errors":[]}`, KindServerFault, ""},
		{"vspc", 520, `{"errors":["x"]}`, KindServerFault, ""},
		{"aws", 503, `<html>`, KindServerFault, ""},

		{"azure", 200, `{"redirectTo":"https://idp/"}`, KindSSORequired, ""},
		{"azure", 200, golden(t, "azure_mfa_wanted.json"), KindMFARequired, ""},
		{"aws", 200, golden(t, "aws_mfa_wanted.json"), KindMFARequired, ""},
		{"aws", 202, golden(t, "aws_mfa_wanted.json"), KindMFARequired, ""},
		{"gcp", 202, golden(t, "gcp_mfa_wanted.json"), KindMFARequired, ""},
		{"gcp", 200, golden(t, "gcp_mfa_wanted.json"), KindMFARequired, ""},
		{"vspc", 200, `{"access_token":null,"mfa_token":"m","encrypted_code":null}`, KindMFARequired, ""},
		{"vbr", 200, `{"mfa_token":"m"}`, KindMFARequired, ""},
		{"vspc", 200, `{"encrypted_code":"x"}`, KindMalformed, ""},
	} {
		name := fmt.Sprintf("%s %d %.60s", tt.product, tt.status, tt.body)
		c, s := client(t, tt.product, canned{status: tt.status, body: tt.body})
		_, err := c.Login(context.Background(), testAccount())
		var e *Error
		if !errors.As(err, &e) || e.Kind != tt.want || e.Code != tt.code {
			t.Errorf("%s: got %v, want %s %q", name, err, tt.want, tt.code)
			continue
		}
		if len(s.seen) != 1 {
			t.Errorf("%s: %d requests", name, len(s.seen))
		}
		if e.Product != tt.product || e.Grant == "" {
			t.Errorf("%s: got %v", name, e)
		}
		refused := tt.want == KindRefused || tt.want == KindMFARequired || tt.want == KindSSORequired
		if e.CredentialRefused() != refused {
			t.Errorf("%s: CredentialRefused is %v", name, e.CredentialRefused())
		}
	}
}

func TestHintsSayWhatHelps(t *testing.T) {
	for _, tt := range []struct {
		product string
		answer  canned
		want    string
	}{
		{"vbr", canned{status: 401, body: golden(t, "vbr_refused.json")}, "service account"},
		{"vbr", canned{status: 400, body: `{"errorCode":"NotImplemented"}`}, "api_version"},
		{"aws", canned{status: 400, body: `{"type":"/api/v1/problems/apiVersionUnspecified"}`}, "api_version"},
		{"aws", canned{status: 200, body: golden(t, "aws_mfa_wanted.json")}, "totp_secret"},
		{"vspc", canned{status: 200, body: `{"mfa_token":"m"}`}, "api_key"},
		{"vbr", canned{status: 302}, "redirect"},
		{"vbr", canned{status: 404}, "check product"},
		{"azure", canned{status: 200, body: `{"redirectTo":"x"}`}, "identity provider"},
	} {
		c, _ := client(t, tt.product, tt.answer)
		_, err := c.Login(context.Background(), testAccount())
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %d: %v does not say %q", tt.product, tt.answer.status, err, tt.want)
		}
	}
}

func TestDelayOfAThrottledAnswer(t *testing.T) {
	date := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		header http.Header
		body   string
		want   time.Duration
	}{
		{nil, ``, 0},
		{http.Header{"Retry-After": {"25"}}, ``, 25 * time.Second},
		{http.Header{"Retry-After": {" 7 "}}, `{"retryAfter":99}`, 7 * time.Second},
		{http.Header{"Retry-After": {"-5"}}, ``, 0},
		{http.Header{"Retry-After": {"soon"}}, ``, 0},
		{http.Header{"Retry-After": {"1e300"}}, ``, time.Hour},
		{http.Header{"Retry-After": {date.Add(90 * time.Second).Format(http.TimeFormat)}, "Date": {date.Format(http.TimeFormat)}}, ``, 90 * time.Second},
		{http.Header{"Retry-After": {date.Add(-time.Minute).Format(http.TimeFormat)}, "Date": {date.Format(http.TimeFormat)}}, ``, 0},
		{http.Header{"Retry-After": {"Fri, 31 Dec 9999 23:59:59 GMT"}}, ``, time.Hour},
		{nil, `{"errors":[{"type":"transport","code":429,"retryAfter":25}]}`, 25 * time.Second},
		{nil, `{"retryAfter":"12.5"}`, 12500 * time.Millisecond},
		{nil, `{"errors":{"retryAfter":25}}`, 0},
	} {
		for _, status := range []int{429, 503} {
			c, _ := client(t, "vspc", canned{status: status, header: tt.header, body: tt.body})
			_, err := c.Login(context.Background(), testAccount())
			var e *Error
			if !errors.As(err, &e) || e.Delay() != tt.want {
				t.Errorf("%d %v %s: got %v, want %v", status, tt.header, tt.body, e.Delay(), tt.want)
			}
		}
	}
}

// timeoutError is what net reports when a deadline of the connection passes.
type timeoutError struct{}

func (timeoutError) Error() string   { return "i/o timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

// opaque is an error that cannot be unwrapped.
type opaque struct{ error }

func TestFaultsOfTheConnection(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want Kind
	}{
		{errors.New("connection refused"), KindUnavailable},
		{io.ErrUnexpectedEOF, KindUnavailable},
		{&net.OpError{Op: "dial", Err: timeoutError{}}, KindTimeout},
		{context.DeadlineExceeded, KindTimeout},
		{fmt.Errorf("dial: %w", context.Canceled), KindCanceled},
		{opaque{context.DeadlineExceeded}, KindUnavailable}, // the context knows nothing of it
		{opaque{&net.OpError{Op: "dial", Err: timeoutError{}}}, KindTimeout},
		{errors.New("x509: certificate has expired"), KindTLS},
		{errors.New("tls: handshake failure"), KindTLS},
		{errors.New("http: server gave HTTP response to HTTPS client"), KindTLS},
	} {
		c, _ := client(t, "vbr", canned{err: tt.err})
		_, err := c.Login(context.Background(), testAccount())
		e := fault(t, err, tt.want)
		if !strings.Contains(err.Error(), tt.err.Error()) || e.Status != 0 || e.CredentialRefused() {
			t.Errorf("%v: got %v", tt.err, err)
		}
	}
}

func TestEndOfTheContextIsSeenWhateverTheErrorSays(t *testing.T) {
	for cause, want := range map[error]Kind{context.Canceled: KindCanceled, context.DeadlineExceeded: KindTimeout} {
		ctx, cancel := context.WithCancel(context.Background())
		if want == KindTimeout {
			ctx, cancel = context.WithTimeout(context.Background(), 0)
		}
		cancel()
		c, _ := client(t, "vbr")
		c.Transport = roundTrip(func(*http.Request) (*http.Response, error) { return nil, opaque{cause} })
		_, err := c.Login(ctx, testAccount())
		fault(t, err, want)
	}
}

func TestCertificateThatIsNotTrusted(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains of what is meant to fail
	s.StartTLS()
	defer s.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	c := &Client{Product: lookup(t, "vbr"), Transport: transport, BaseURL: s.URL}
	_, err := c.Login(context.Background(), testAccount())
	fault(t, err, KindTLS)

	c.BaseURL = strings.Replace(s.URL, "https:", "http:", 1)
	_, err = c.Login(context.Background(), testAccount())
	fault(t, err, KindProtocol) // 400, Client sent an HTTP request to an HTTPS server

	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	c.BaseURL = strings.Replace(plain.URL, "http:", "https:", 1)
	_, err = c.Login(context.Background(), testAccount())
	fault(t, err, KindTLS)
}

func TestAnswerOverARealConnection(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.FormValue("username") {
		case "truncated":
			w.Header().Set("Content-Length", "100")
			w.Write([]byte(`{"access_token":`))
		case "slow":
			w.Write([]byte(`{`))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		case "redirect":
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		default:
			if r.FormValue("password") != testPassword {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			w.Write([]byte(`{"access_token":"a","expires_in":60}`))
		}
	}))
	defer s.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	c := &Client{Product: lookup(t, "vbr"), Transport: transport, BaseURL: s.URL + "/"}
	login(t, c, testAccount())

	for user, want := range map[string]Kind{
		"truncated": KindUnavailable, "redirect": KindMalformed, "slow": KindTimeout,
	} {
		limit := time.Minute // only a hang exceeds it
		if want == KindTimeout {
			limit = 100 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		a := testAccount()
		a.Username = user
		_, err := c.Login(ctx, a)
		cancel()
		fault(t, err, want)
	}
}

func TestBadAddressIsTheConfigurationsFault(t *testing.T) {
	c, _ := client(t, "vbr")
	c.BaseURL = "http://%zz"
	_, err := c.Login(context.Background(), testAccount())
	fault(t, err, KindAccount)
}

func FuzzTokenAnswer(f *testing.F) {
	for _, name := range []string{
		"aws_password.json", "aws_mfa_wanted.json", "aws_mfa.json", "azure_password.json",
		"azure_mfa_wanted.json", "vspc_password.json", "vbr_password.json", "vbr_refused.json",
	} {
		for _, status := range []int{200, 202, 400, 401, 429, 520} {
			f.Add(status, []byte(golden(f, name)))
		}
	}
	f.Add(200, []byte(`{"access_token":"a","expires_in":1e400,".issued":"2020-06-10T10:29:39.123456789Z"}`))
	f.Add(400, []byte(`{"errors":[{"type":"transport","code":429,"retryAfter":25}],"type":"/problems/"}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		for _, p := range products {
			r, err := p.readReply(&answer{status: status, header: http.Header{}, body: body}, GrantPassword, time.Now(), []string{"s3cret"})
			if err != nil {
				var e *Error
				if !errors.As(err, &e) || e.Kind == 0 || len(e.Code) > 64 || e.RetryAfter < 0 || e.RetryAfter > time.Hour ||
					strings.Contains(e.Error(), "s3cret") {
					t.Fatalf("%v", err)
				}
				continue
			}
			if status < 200 || status > 299 {
				t.Fatalf("%d became %+v", status, r)
			}
			if r.token == nil {
				if r.mfaToken.IsZero() == r.challenge.IsZero() {
					t.Fatalf("neither session nor challenge: %+v", r)
				}
				continue
			}
			if r.token.Access.IsZero() || r.token.Lifetime < time.Second || r.token.Lifetime > MaxLifetime {
				t.Fatalf("got %+v", r.token)
			}
			own := p.AppendTokenAnswer(nil, Answer{AccessToken: "x", RefreshToken: "y", Lifetime: time.Minute}, r.token.Shape)
			again, err := p.readReply(&answer{status: 200, body: own}, GrantPassword, time.Now(), nil)
			if err != nil || again.token == nil || again.token.Access.Reveal() != "x" {
				t.Fatalf("our own answer cannot be read: %s: %v", own, err)
			}
			if left := time.Minute - again.token.Lifetime; left < 0 || left > 2*time.Second || left != 0 && p.legacy == nil {
				t.Fatalf("our own answer is good for %v: %s", again.token.Lifetime, own)
			}
		}
	})
}
