// The key services of VSPC: the server makes keys and secrets for its clients.

package veeam

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

const (
	vspcKeys = "/api/v3/authentication/keys/"
	vspcMe   = "/api/v3/users/me"
)

// KeyPair is a key pair made by the server. A part that was not selected is empty.
type KeyPair struct {
	// Private and Public are .NET XML (RSAKeys) or decoded PKCS#12 containers.
	Private secret.Value
	Public  []byte
}

// Select contains the names of the requested properties. Default: all.
type Select []string

// query is the parameter as VSPC takes it.
func (s Select) query() url.Values {
	q := url.Values{}
	if len(s) > 0 {
		type property struct {
			Path string `json:"propertyPath"`
		}
		paths := make([]property, len(s))
		for i, name := range s {
			paths[i].Path = name
		}
		raw, err := json.Marshal(paths)
		if err != nil {
			panic(err) // strings always encode
		}
		q.Set("select", string(raw))
	}
	return q
}

// service calls a key service and returns what is under data.
func (c *Client) service(ctx context.Context, t *Token, k call) (object, error) {
	if c.Product.enrolling == nil || c.Product.whoAmI != vspcMe {
		return nil, c.noService(k.name)
	}
	o, err := c.do(ctx, t, k)
	if err != nil {
		return nil, err
	}
	data := o.object("data")
	if data == nil {
		return nil, &Error{Kind: KindMalformed, Product: c.Product.Name, Call: k.name, Err: errNoData}
	}
	return data, nil
}

var (
	errNoService = errors.New("key services require VSPC")
	errNoData    = errors.New("the answer has no data")
	errNotBase64 = errors.New("the answer is not Base64")
	errNothing   = errors.New("the answer has none of the requested properties")
)

func (c *Client) noService(name string) error {
	return &Error{Kind: KindAccount, Product: c.Product.Name, Call: name, Err: errNoService}
}

// RSAKeys makes VSPC generate an RSA key pair in .NET XML. bits is the size of the key;
// 0 is the server's default.
func (c *Client) RSAKeys(ctx context.Context, t *Token, bits int, s Select) (*KeyPair, error) {
	const name = "keys/rsa"
	q := s.query()
	if bits > 0 {
		q.Set("keySize", strconv.Itoa(bits))
	}
	o, err := c.service(ctx, t, call{name: name, method: http.MethodGet, path: vspcKeys + "rsa", query: q})
	if err != nil {
		return nil, err
	}
	pair := &KeyPair{Private: secret.New(o.text("privatekey")), Public: []byte(o.text("publickey"))}
	return pair, c.checkPair(name, pair)
}

// PKCS12 makes VSPC generate a key with a certificate for subject, in PKCS#12
// containers encrypted with password. bits is the size of the key; 0 is the server's
// default. The API requires the password in the query of the request, so the server may
// log it.
func (c *Client) PKCS12(ctx context.Context, t *Token, subject string, bits int, password secret.Value, s Select) (*KeyPair, error) {
	const name = "keys/rsa-pkcs12"
	q := s.query()
	q.Set("subject", subject)
	if bits > 0 {
		q.Set("keySize", strconv.Itoa(bits))
	}
	if !password.IsZero() {
		q.Set("password", password.Reveal())
	}
	return c.containers(ctx, t, call{name: name, method: http.MethodGet, path: vspcKeys + "rsa-pkcs12", query: q, requestID: true})
}

// DecryptPKCS12 makes VSPC decrypt a PKCS#12 container with its password. The
// containers of the result have no password.
func (c *Client) DecryptPKCS12(ctx context.Context, t *Token, container []byte, password secret.Value, s Select) (*KeyPair, error) {
	body := map[string]string{"certificateContent": base64.StdEncoding.EncodeToString(container)}
	if !password.IsZero() {
		body["password"] = password.Reveal()
	}
	raw, err := json.Marshal(body)
	if err != nil {
		panic(err) // strings always encode
	}
	return c.containers(ctx, t, call{
		name: "keys/rsa-pkcs12/decrypt", method: http.MethodPost, path: vspcKeys + "rsa-pkcs12/decrypt", query: s.query(),
		contentType: "application/json", body: string(raw), secrets: []string{password.Reveal(), body["certificateContent"]},
		requestID: true,
	})
}

func (c *Client) containers(ctx context.Context, t *Token, k call) (*KeyPair, error) {
	o, err := c.service(ctx, t, k)
	if err != nil {
		return nil, err
	}
	private, errPrivate := readBase64(o.text("privatekey"))
	public, errPublic := readBase64(o.text("publickey"))
	if errPrivate != nil || errPublic != nil {
		return nil, &Error{Kind: KindMalformed, Product: c.Product.Name, Call: k.name, Err: errNotBase64}
	}
	pair := &KeyPair{Private: secret.New(string(private)), Public: public}
	return pair, c.checkPair(k.name, pair)
}

func (c *Client) checkPair(name string, pair *KeyPair) error {
	if pair.Private.IsZero() && len(pair.Public) == 0 {
		return &Error{Kind: KindMalformed, Product: c.Product.Name, Call: name, Err: errNothing}
	}
	return nil
}

// TOTPSecret makes VSPC generate a secret for verification codes. It is not activated
// for any user; see Enroll.
func (c *Client) TOTPSecret(ctx context.Context, t *Token, s Select) (*Enrollment, error) {
	const name = "keys/totp-secret"
	o, err := c.service(ctx, t, call{
		name: name, method: http.MethodGet, path: vspcKeys + "totp-secret", query: s.query(), requestID: true,
	})
	if err != nil {
		return nil, err
	}
	e, err := newEnrollment(c.Product, "", o.text("secret"), o.text("secreturl"))
	if malformed, ok := errors.AsType[*Error](err); ok {
		malformed.Product, malformed.Call = c.Product.Name, name
	}
	return e, err
}

// KeyAssignment assigns a public key to a user of VSPC.
type KeyAssignment struct {
	// UserUID is the UUID of the user. Default: the user of the session.
	UserUID string

	// Public is the key, in the same bytes in which it will be sent at logins.
	Public []byte

	// Description is the text shown in the console. Required.
	Description string

	// ReadOnly restricts sessions with the key to requests that change nothing.
	ReadOnly bool
}

// AssignKey registers a public key with which a user can log in, and returns the id of
// the login that the server created for it.
func (c *Client) AssignKey(ctx context.Context, t *Token, k KeyAssignment) (login string, err error) {
	if k.UserUID == "" {
		if k.UserUID, err = c.vspcUser(ctx, t); err != nil {
			return "", err
		}
	}
	q := url.Values{"description": {k.Description}, "scopes": {"rest"}}
	if k.ReadOnly {
		q.Set("isReadAccessOnly", "true")
	}
	o, err := c.service(ctx, t, call{
		name: "asymmetricalgorithm", method: http.MethodPost, path: vspcLogins(k.UserUID) + "/asymmetricalgorithm", query: q,
		contentType: "application/octet-stream", body: string(k.Public), requestID: true,
	})
	return o.id(), err
}

// vspcUser is the UID of the session's user.
func (c *Client) vspcUser(ctx context.Context, t *Token) (string, error) {
	o, err := c.service(ctx, t, call{name: "users/me", method: http.MethodGet, path: vspcMe})
	if err != nil {
		return "", err
	}
	if uid := o.text("instanceuid"); uid != "" {
		return uid, nil
	}
	return "", &Error{Kind: KindMalformed, Product: c.Product.Name, Call: "users/me", Err: errNoUser}
}

func vspcLogins(uid string) string { return "/api/v3/users/" + url.PathEscape(uid) + "/logins" }

// vspcTOTPLogins are the logins by verification code that a user has. How the API
// calls their provider is not documented.
func (c *Client) vspcTOTPLogins(ctx context.Context, t *Token, uid string) (ids []string, err error) {
	o, err := c.do(ctx, t, call{name: "logins", method: http.MethodGet, path: vspcLogins(uid)})
	if err != nil {
		return nil, err
	}
	for _, login := range o.objects("data") {
		if strings.Contains(fold(login.text("identityprovidername")), "totp") && login.id() != "" {
			ids = append(ids, login.id())
		}
	}
	return ids, nil
}

// offerVSPC makes the server generate a secret. No call replaces an existing one.
func offerVSPC(ctx context.Context, c *Client, _ *Account, t *Token, recreate bool) (*Enrollment, error) {
	uid, err := c.vspcUser(ctx, t)
	if err != nil {
		return nil, err
	}
	logins, err := c.vspcTOTPLogins(ctx, t, uid)
	if err != nil {
		return nil, err
	}
	switch {
	case recreate:
		return nil, &Error{Kind: KindAccount, Product: c.Product.Name, Call: "totp", Hint: "VSPC cannot replace a second factor: disable it, then enroll again"}
	case len(logins) > 0:
		return nil, &Error{Kind: KindAccount, Product: c.Product.Name, Call: "totp", Hint: "the user already has a second factor: disable it first"}
	}
	e, err := c.TOTPSecret(ctx, t, nil)
	if err == nil {
		e.user = uid
	}
	return e, err
}

func acceptVSPC(ctx context.Context, c *Client, t *Token, e *Enrollment, code string) error {
	_, err := c.do(ctx, t, call{
		name: "totp", method: http.MethodPost, path: vspcLogins(e.user) + "/totp",
		query: url.Values{
			"secretUrl": {e.URI.Reveal()}, "code": {code}, "description": {"veeam-auth"}, "scopes": {"rest"},
		},
		requestID: true,
	})
	var refused *Error
	if errors.As(err, &refused) && refused.Status == http.StatusBadRequest {
		refused.Hint = "the server does not accept the code: check the clocks of both machines"
	}
	return err
}

func disableVSPC(ctx context.Context, c *Client, _ *Account, t *Token) error {
	uid, err := c.vspcUser(ctx, t)
	if err != nil {
		return err
	}
	logins, err := c.vspcTOTPLogins(ctx, t, uid)
	if err != nil {
		return err
	}
	if len(logins) == 0 {
		return &Error{Kind: KindAccount, Product: c.Product.Name, Call: "logins", Hint: "the API shows no login with verification codes for the user: an administrator can turn it off in the console"}
	}
	for _, id := range logins {
		if _, err := c.do(ctx, t, call{name: "logins", method: http.MethodDelete, path: vspcLogins(uid) + "/" + url.PathEscape(id)}); err != nil {
			return err
		}
	}
	return nil
}
