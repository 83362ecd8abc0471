// The logins of VSPC before API 3.6: one path for each, a multipart form or bare
// bytes, and answers in the envelope that resources have.

package veeam

import (
	"encoding/base64"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// legacyStep is how a grant is sent where there is a path for each.
type legacyStep struct {
	Operation

	// fields are the names of the form fields, by the names that they have at the
	// token endpoint. Others are left out.
	fields map[string]string

	// bytes is the one field, by its name at the token endpoint, whose value is the
	// body: a key, of which the form has the Base64, or a code.
	bytes string

	// basic means that user and password are sent by Basic, without a body, and that the
	// session is in a header of the answer.
	basic bool
}

var vspc35Steps = map[Grant]*legacyStep{
	GrantPassword: {
		Operation: Operation{http.MethodPost, "/api/v3/authentication/usernamepassword"},
		fields:    map[string]string{"username": "username", "password": "password"},
	},
	GrantRefreshToken: {
		Operation: Operation{http.MethodPost, "/api/v3/authentication/refresh"},
		fields:    map[string]string{"refresh_token": "refreshToken"},
	},
	GrantPublicKey: {
		Operation: Operation{http.MethodPost, "/api/v3/authentication/asymmetricalgorithm"},
		bytes:     "public_key",
	},
	GrantAuthorizationCode: {
		Operation: Operation{http.MethodPatch, "/api/v3/authentication/asymmetricalgorithm"},
		bytes:     "code",
	},
}

// operation is where a grant is sent.
func (c *Client) operation(f *form) Operation {
	if f.step != nil {
		return f.step.Operation
	}
	return Operation{http.MethodPost, c.path(c.Product.TokenPath)}
}

// content is the body of a token request.
func (f *form) content() (contentType, body string) {
	switch {
	case f.step == nil:
		return "application/x-www-form-urlencoded", f.body.String()
	case f.step.bytes != "":
		return "application/octet-stream", f.bytes()
	case f.step.basic:
		return "", ""
	}
	var b strings.Builder
	w := multipart.NewWriter(&b)
	for _, part := range f.parts {
		if name := f.step.fields[part.name]; name != "" {
			_ = w.WriteField(name, part.value) // writing to memory
		}
	}
	_ = w.Close()
	return w.FormDataContentType(), b.String()
}

// bytes is the body of a step that takes bytes.
func (f *form) bytes() string {
	for _, part := range f.parts {
		if part.name != f.step.bytes {
			continue
		}
		if part.name == "public_key" {
			key, _ := base64.StdEncoding.DecodeString(part.value) // see Key.public
			return string(key)
		}
		return part.value
	}
	return ""
}

// unwrap removes the envelope of an answer, if it has one.
func (p *Product) unwrap(o object) object {
	if p.legacy == nil {
		return o
	}
	if data, err := readObject(o.get("data")); err == nil {
		return data
	}
	return o
}

// pathGrant is the grant that a path stands for, where there is a path for each.
func (p *Product) pathGrant(urlPath string) Grant {
	for g, step := range p.legacy {
		if strings.EqualFold(step.Path, cleanPath(urlPath)) {
			if step.bytes != "" {
				return GrantPublicKey
			}
			return g
		}
	}
	return ""
}

// legacyLifetime is expirationTime as expires_in, nil without one.
func legacyLifetime(o object, now time.Time) []byte {
	at, err := time.Parse(time.RFC3339, o.text("expirationtime"))
	if err != nil || !at.After(now) {
		return nil
	}
	return strconv.AppendInt(nil, int64(at.Sub(now)/time.Second), 10)
}

// appendVSPC35Error has one form for all errors.
func appendVSPC35Error(dst []byte, r Refusal, form *refusalForm) ([]byte, string) {
	r.AtTokenEndpoint = false
	return appendVSPCError(dst, r, form)
}
