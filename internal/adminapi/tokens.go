// The tokens of clients: list and revocation.

package adminapi

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/policy"
)

// Tokens implements the endpoints for the tokens of clients.
type Tokens struct {
	// Holders has the clients that got tokens from this process. Required.
	Holders *issuer.Holders

	// Tell is told what operators do. Default: nobody is told.
	Tell func(Act)
}

// Paths of the admin endpoints for tokens.
const (
	TokensPath = "/veeam_auth/tokens"
	RevokePath = TokensPath + "/revoke"
)

// Routes returns the handlers by their paths.
func (t Tokens) Routes() map[string]Handler {
	return map[string]Handler{
		TokensPath: listing(func(*http.Request) []issuer.HolderState { return t.Holders.List(time.Now()) }),
		RevokePath: posting(mostBody, func(body Revocation) bool { return body.Client != "" }, `{"client": "<name>"}`, t.revoke),
	}
}

// Revocation is the body of a request to RevokePath.
type Revocation struct {
	Client string `json:"client"`
	Force  bool   `json:"force,omitempty"`
}

var errNotIssued = errors.New("tokens of identity providers are not issued here and cannot be revoked: deny the caller by a rule, or end its tokens at the provider")

func (t Tokens) revoke(w http.ResponseWriter, r *http.Request, body Revocation) error {
	caller, err := policy.ParseIdentity(body.Client)
	if err != nil {
		return &Error{http.StatusBadRequest, err}
	}
	if caller.Via == policy.ViaJWT {
		return &Error{http.StatusBadRequest, errNotIssued}
	}
	issuers := issuer.Live()
	if len(issuers) == 0 {
		return &Error{http.StatusNotFound, errors.New("no veeam_auth is configured")}
	}
	if !body.Force && !t.Holders.Knows(caller.Identity()) {
		return &Error{http.StatusNotFound, t.unknown(body.Client)}
	}
	for _, i := range issuers {
		if err := i.Revoke(r.Context(), caller.Identity()); err != nil {
			tell(t.Tell, r, Act{Name: "revoke", Client: caller.Identity(), Forced: body.Force, Err: err})
			return &Error{http.StatusInternalServerError, fmt.Errorf("revoking: %w", err)}
		}
	}
	t.Holders.Revoke(caller.Identity(), time.Now())
	tell(t.Tell, r, Act{Name: "revoke", Client: caller.Identity(), Forced: body.Force})
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// unknown returns the error for a name that no caller has. It lists the known names.
func (t Tokens) unknown(name string) error {
	var names []string
	for _, s := range t.Holders.List(time.Now()) {
		if names = append(names, strconv.Quote(s.Client)); len(names) == 20 {
			names = append(names, "...")
			break
		}
	}
	known := "no caller has tokens"
	if len(names) > 0 {
		known = "callers with tokens: " + strings.Join(names, ", ")
	}
	return fmt.Errorf("unknown client %q, and no caller of this name got a token since Caddy started; %s. Use --force to revoke older tokens", name, known)
}
