// What operators enter for one login: verification codes and new one-time secrets.

package adminapi

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// WantedCode is the body of a request that enters a verification code.
type WantedCode struct {
	WantedSessions

	// Code has 6 to 10 digits; blanks are ignored.
	Code string `json:"code"`
}

var sixToTenDigits = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9]{6,10}$`) })

func (c WantedCode) digits() string { return strings.Join(strings.Fields(c.Code), "") }

// Complete reports whether there is an account, and a code of the right form.
func (c WantedCode) Complete() bool {
	return c.Account != "" && sixToTenDigits().MatchString(c.digits())
}

// WantedCredential is the body of a request that enters a one-time secret of the account's
// grant: a refresh token, an authorization code, a SAML response, a token or an assertion.
type WantedCredential struct {
	WantedSessions
	Secret string `json:"secret"`

	// Grant is what the secret is for; another grant than the account's is an error.
	// Default: the account's.
	Grant veeam.Grant `json:"grant,omitempty"`
}

func (c WantedCredential) complete() bool {
	return c.Account != "" && strings.TrimSpace(c.Secret) != "" && c.Grant != veeam.GrantMFA
}

func (s Sessions) enterCode(w http.ResponseWriter, r *http.Request, wanted WantedCode) error {
	return s.enter(w, r, "code", wanted.WantedSessions, upstream.Entry{Grant: veeam.GrantMFA, Secret: secret.New(wanted.digits())})
}

func (s Sessions) enterCredential(w http.ResponseWriter, r *http.Request, wanted WantedCredential) error {
	return s.enter(w, r, "credential", wanted.WantedSessions, upstream.Entry{Grant: wanted.Grant, Secret: secret.New(strings.TrimSpace(wanted.Secret))})
}

// enter gives what was entered to one session.
func (s Sessions) enter(w http.ResponseWriter, r *http.Request, name string, wanted WantedSessions, entry upstream.Entry) error {
	session, err := upstream.ForEntry(s.find(wanted))
	switch {
	case err != nil:
		return &Error{http.StatusConflict, fmt.Errorf("nothing was sent: %w", err)}
	case session == nil:
		return s.missing(wanted)
	}
	entry.Force = wanted.Force
	ctx, cancel := context.WithTimeout(r.Context(), upstream.OperateTimeout)
	defer cancel()
	err = session.Enter(ctx, entry)
	return answer(w, []SessionState{s.done(r, name, wanted, session, err)})
}
