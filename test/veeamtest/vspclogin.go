// VSPC's logins: the keys and second factors that a user has beside the password.

package veeamtest

import (
	"bytes"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// userLogin is one way in. Its JSON is what the API shows; the API key itself is shown once, on creation.
type userLogin struct {
	ID           int      `json:"id"`
	UserUID      string   `json:"userUid"`
	Provider     string   `json:"identityProviderName"`
	Description  string   `json:"description"`
	ReadOnly     bool     `json:"isReadAccessOnly"`
	Status       string   `json:"status"`
	Identifier   string   `json:"identifierInProvider"`
	UserName     string   `json:"userName"`
	Scopes       []string `json:"scopes"`
	CreationDate string   `json:"creationDate"`
	Key          string   `json:"key,omitempty"`

	account  *account
	assigned []byte // the public key as it came
	public   *rsa.PublicKey
	apiKey   string
}

// assignedKey is a key that an option gives to a user.
type assignedKey struct {
	user     string
	public   []byte
	apiKey   string
	readOnly bool
}

// assign adds a key when the server is made.
func (s *Server) assign(k assignedKey) {
	a := s.account(k.user)
	if a == nil {
		panic("veeamtest: no account " + k.user)
	}
	l := &userLogin{Description: "Assigned by an option", ReadOnly: k.readOnly, Scopes: []string{"rest"}, apiKey: k.apiKey, assigned: k.public, Provider: "ApiKey"}
	if k.apiKey == "" {
		var err error
		if l.public, _, err = parsePublicKey(k.public); err != nil {
			panic("veeamtest: " + err.Error())
		}
		l.Provider = "AsymmetricAlgorithm"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addLogin(a, l)
}

// farFuture is when API keys expire.
var farFuture = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// addLogin completes l and keeps it. The caller holds s.mu.
func (s *Server) addLogin(a *account, l *userLogin) {
	s.lastLogin++
	l.ID, l.account, l.UserUID, l.UserName = s.lastLogin, a, a.UID, a.Username
	l.Status, l.Identifier = "enabled", fmt.Sprint(1000+l.ID)
	l.CreationDate = s.now().UTC().Format(time.RFC3339)
	s.logins = append(s.logins, l)
	if l.apiKey != "" {
		s.issued = append(s.issued, l.apiKey)
		s.tokens[l.apiKey] = &token{
			value: l.apiKey, readOnly: l.ReadOnly || a.ReadOnly, expires: farFuture, family: &family{account: a},
		}
	}
}

// newLogin reads what all kinds of logins have in their query. It answers itself and returns nil when that is wrong.
func (x *exchange) newLogin(provider string) *userLogin {
	q := x.r.URL.Query()
	l := &userLogin{
		Provider: provider, Description: q.Get("description"), Scopes: q["scopes"],
		ReadOnly: strings.EqualFold(q.Get("isReadAccessOnly"), "true"),
	}
	for _, scope := range l.Scopes {
		if !slices.Contains([]string{"integration", "rest", "ui"}, strings.ToLower(scope)) {
			l.Scopes = nil
			break
		}
	}
	if l.Description == "" || len(l.Scopes) == 0 {
		x.refuse(badRequest)
		return nil
	}
	return l
}

// finishLogin keeps l for the user of the path and answers with it.
func (x *exchange) finishLogin(l *userLogin, change func(a *account)) {
	s := x.s
	s.mu.Lock()
	a := s.accountByUID(x.params["userUid"])
	s.mu.Unlock()
	if a == nil {
		x.refuse(notFound)
		return
	}
	x.queue(func() any {
		s.mu.Lock()
		defer s.mu.Unlock()
		if change != nil {
			change(a)
		}
		s.addLogin(a, l)
		shown := *l
		shown.Key = l.apiKey
		return shown
	})
}

func serveAddPublicKey(x *exchange) {
	l := x.newLogin("AsymmetricAlgorithm")
	if l == nil {
		return
	}
	key, whole := x.readAll(maxForm)
	public, _, err := parsePublicKey(key)
	if !whole || err != nil {
		x.refuse(badRequest)
		return
	}
	l.assigned, l.public = key, public
	x.finishLogin(l, nil)
}

func serveAddAPIKey(x *exchange) {
	l := x.newLogin("ApiKey")
	if l == nil {
		return
	}
	l.apiKey = base64.RawURLEncoding.EncodeToString(randomBytes(96))
	x.finishLogin(l, nil)
}

// serveAddTOTP turns MFA on for a user who proves the new secret with a code.
func serveAddTOTP(x *exchange) {
	l := x.newLogin("Totp")
	if l == nil {
		return
	}
	secretURL, err := url.Parse(x.query("secretUrl"))
	if err != nil || secretURL.Scheme != "otpauth" {
		x.refuse(badRequest)
		return
	}
	secret := secretURL.Query().Get("secret")
	step, ok := x.s.totpStep(secret, x.query("code"))
	if !ok {
		x.refuse(badRequest)
		return
	}
	x.finishLogin(l, func(a *account) { a.TOTPSecret, a.lastStep = secret, step })
}

func serveLogins(x *exchange) {
	x.s.mu.Lock()
	var shown []any
	for _, l := range x.s.logins {
		if strings.EqualFold(l.UserUID, x.params["userUid"]) {
			shown = append(shown, *l)
		}
	}
	x.s.mu.Unlock()
	x.list(shown...)
}

// serveDeleteLogin ends a login and, for an API key, its use as a bearer.
func serveDeleteLogin(x *exchange) {
	s := x.s
	s.mu.Lock()
	i := slices.IndexFunc(s.logins, func(l *userLogin) bool {
		return strings.EqualFold(l.UserUID, x.params["userUid"]) && fmt.Sprint(l.ID) == x.params["loginId"]
	})
	if i >= 0 {
		l := s.logins[i]
		if t := s.tokens[l.apiKey]; t != nil {
			t.revoked = true
		}
		if l.Provider == "Totp" {
			l.account.TOTPSecret = ""
		}
		s.logins = slices.Delete(s.logins, i, i+1)
	}
	s.mu.Unlock()
	if i < 0 {
		x.refuse(notFound)
		return
	}
	x.drain()
	x.json(http.StatusOK, map[string]any{"data": nil})
}

// loginByKey finds whose public key was presented. The caller holds s.mu.
func (s *Server) loginByKey(presented []byte) *userLogin {
	public, form, err := parsePublicKey(presented)
	for _, l := range s.logins {
		if l.public == nil {
			continue
		}
		exact := bytes.Equal(l.assigned, presented)
		if s.cfg.keyForm == KeyExact && exact ||
			s.cfg.keyForm != KeyExact && err == nil && public.Equal(l.public) && (s.cfg.keyForm == KeyAny || s.cfg.keyForm == form) {
			return l
		}
	}
	return nil
}
