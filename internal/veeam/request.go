// Token requests of clients, in every form that clients send:
// forms with blank fields and empty pairs, passwords that a shell script did not
// escape, JSON and multipart bodies, names and values in any case.

package veeam

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// MaxTokenRequest is the maximum size of a token request in bytes.
const MaxTokenRequest = 64 << 10

// The errors of ReadTokenRequest, besides errors of reading the body.
var (
	ErrRequestTooLarge   = errors.New("the token request exceeds 64 KiB")
	ErrRequestUnreadable = errors.New("the token request is neither a form nor JSON nor multipart")
)

// TokenRequest is a token request of a client. Fields that are absent, blank or null
// are empty.
type TokenRequest struct {
	// Grant is one of the Grant constants, whatever the spelling in the request.
	// Another value is in lower case. Empty if there is none.
	Grant Grant

	Username string
	Password secret.Value

	RefreshToken secret.Value
	Code         secret.Value
	MFAToken     secret.Value
	MFACode      secret.Value

	// Credential is the SAML response, SSO token or updater token of Azure, the
	// assertion of VB365, or the platform token of VBR.
	Credential secret.Value

	// ClientID is the application to which an assertion was issued.
	ClientID string

	PublicKey string
	UserUID   string
	ReadOnly  bool

	// ShortLived reports whether the client requests a short-lived refresh token.
	ShortLived bool

	// Fields are all fields as received, in order, for the log.
	Fields []Field
}

// Field is a decoded name and value of a token request.
type Field struct {
	Name  string
	Value secret.Value
}

// ReadTokenRequest reads the body of a token request and replaces it, so that the
// request can be forwarded. It returns ErrRequestTooLarge, ErrRequestUnreadable or an
// error of reading the body. A form is never unreadable.
func (p *Product) ReadTokenRequest(r *http.Request) (*TokenRequest, error) {
	var body []byte
	if r.Body != nil {
		var err error
		body, err = io.ReadAll(io.LimitReader(r.Body, MaxTokenRequest+1))
		if err != nil {
			return nil, err
		}
		if len(body) > MaxTokenRequest {
			return nil, ErrRequestTooLarge
		}
		_ = r.Body.Close()
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	fields, err := readFields(body, r.Header.Get("Content-Type"))
	if err != nil {
		return nil, err
	}
	t := &TokenRequest{Fields: fields}
	for _, f := range fields {
		t.set(fold(f.Name), f.Value)
	}
	t.Grant = cmp.Or(p.pathGrant(r.URL.Path), t.Grant)
	if t.Grant == "" && t.Username != "" { // an empty form is no login
		t.Grant = p.defaultGrant
	}
	return t, nil
}

// set stores a field. The first of several with the same name that is not blank counts.
func (t *TokenRequest) set(name string, value secret.Value) {
	text := strings.TrimSpace(value.Reveal())
	if text == "" {
		return
	}
	switch name {
	case "granttype":
		if t.Grant == "" {
			t.Grant = readGrant(text)
		}
	case "password":
		if t.Password.IsZero() {
			t.Password = value // blanks at its ends belong to it
		}
	case "readonly":
		t.ReadOnly = t.ReadOnly || isTrue(text)
	case "useshorttermrefresh", "shortlivedrefreshtoken":
		t.ShortLived = t.ShortLived || isTrue(text)
	default:
		if at := t.secretField(name); at != nil && at.IsZero() {
			*at = secret.New(text)
		}
		if at := t.textField(name); at != nil && *at == "" {
			*at = text
		}
	}
}

func (t *TokenRequest) secretField(name string) *secret.Value {
	switch name {
	case "refreshtoken":
		return &t.RefreshToken
	case "code", "authorizationcode":
		return &t.Code
	case "mfatoken":
		return &t.MFAToken
	case "mfacode":
		return &t.MFACode
	case "samlresponse", "ssotoken", "updatertoken", "vbrtoken", "assertion":
		return &t.Credential
	}
	return nil
}

func (t *TokenRequest) textField(name string) *string {
	switch name {
	case "username":
		return &t.Username
	case "publickey":
		return &t.PublicKey
	case "useruid":
		return &t.UserUID
	case "clientid":
		return &t.ClientID
	}
	return nil
}

func isTrue(text string) bool {
	set, err := strconv.ParseBool(strings.ToLower(text))
	return err == nil && set
}

// readFields splits a body by its content type, or by what it looks like: curl
// sends JSON under the type of a form if it is not told otherwise.
func readFields(body []byte, contentType string) ([]Field, error) {
	mediaType, params, _ := mime.ParseMediaType(contentType)
	if mediaType == "multipart/form-data" {
		return readMultipart(body, params["boundary"])
	}
	trimmed := bytes.TrimSpace(bytes.TrimPrefix(body, byteOrderMark))
	if o, err := readObject(trimmed); err == nil {
		return readJSON(o), nil
	}
	if mediaType == "application/json" || strings.HasSuffix(mediaType, "+json") {
		if len(trimmed) == 0 {
			return nil, nil
		}
		return nil, ErrRequestUnreadable
	}
	return readForm(strings.Trim(string(bytes.TrimPrefix(body, byteOrderMark)), "\r\n")), nil
}

func readJSON(o object) []Field {
	var fields []Field
	for _, m := range o {
		value := object{m}.text(fold(m.Key))
		if value == "" && scalar(m.Value) && m.Value[0] != '"' && string(m.Value) != "null" {
			value = string(m.Value) // a number or a boolean
		}
		fields = append(fields, Field{m.Key, secret.New(value)})
	}
	return fields
}

func readMultipart(body []byte, boundary string) ([]Field, error) {
	if boundary == "" {
		return nil, ErrRequestUnreadable
	}
	var fields []Field
	for reader := multipart.NewReader(bytes.NewReader(body), boundary); ; {
		part, err := reader.NextRawPart()
		if err == io.EOF { //nolint:errorlint // a wrapped EOF is a body without its last boundary
			return fields, nil
		}
		if err != nil {
			return nil, ErrRequestUnreadable
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return nil, ErrRequestUnreadable
		}
		fields = append(fields, Field{part.FormName(), secret.New(string(value))})
	}
}

// readForm splits a URL-encoded body. Nothing is an error: invalid escapes are kept as
// they are, and only & separates.
func readForm(body string) []Field {
	var fields []Field
	for pair := range strings.SplitSeq(body, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name = strings.TrimSpace(unescape(name, ' '))
		// Base64 that nobody escaped: there is no blank in it.
		plus := byte(' ')
		switch fold(name) {
		case "code", "authorizationcode", "mfatoken", "publickey", "samlresponse":
			plus = '+'
		}
		fields = append(fields, Field{name, secret.New(unescape(value, plus))})
	}
	return fields
}

// unescape resolves %XX and replaces + by plus.
func unescape(s string, plus byte) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+':
			out = append(out, plus)
		case s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			n, _ := strconv.ParseUint(s[i+1:i+3], 16, 8)
			out = append(out, byte(n))
			i += 2
		default:
			out = append(out, s[i])
		}
	}
	return string(out)
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
