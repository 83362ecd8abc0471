// The admin endpoint that cuts clients off.

package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/policy"
)

// AdminTokens is the part of the admin API that is about the tokens of clients. No
// answer holds a token.
//
//	GET /veeam_auth/tokens
//
// lists the clients, and who else has got tokens since Caddy has started.
//
//	POST /veeam_auth/tokens/revoke {"client": "<name>"}
//
// revokes all tokens that the client has got so far, at this process at once and
// at others with the same storage within a second. A name that is not in the list
// is refused, unless the body has "force": true.
type AdminTokens struct{}

// CaddyModule returns the Caddy module information.
func (AdminTokens) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.veeam_auth_tokens",
		New: func() caddy.Module { return new(AdminTokens) },
	}
}

// The paths of the admin endpoints.
const (
	TokensPath = "/veeam_auth/tokens"
	RevokePath = TokensPath + "/revoke"
)

// Routes returns the routes of the endpoints.
func (a AdminTokens) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: TokensPath, Handler: caddy.AdminHandlerFunc(a.list)},
		{Pattern: RevokePath, Handler: caddy.AdminHandlerFunc(a.revoke)},
	}
}

func (AdminTokens) list(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("use GET")}
	}
	return answerJSON(w, tokenHolders.List(time.Now()))
}

// tokenHolders is who has got tokens from this process. It outlives configurations: the
// tokens do.
var tokenHolders = issuer.NewHolders()

// Revocation is the body of a request to RevokePath.
type Revocation struct {
	Client string `json:"client"`
	Force  bool   `json:"force,omitempty"`
}

func (AdminTokens) revoke(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("use POST")}
	}
	var body Revocation
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&body); err != nil || body.Client == "" {
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: errors.New(`write {"client": "<name>"}`)}
	}
	caller, err := policy.ParseIdentity(body.Client)
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
	}
	issuers := issuer.Live()
	if len(issuers) == 0 {
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("no veeam_auth is configured")}
	}
	if !body.Force && !tokenHolders.Knows(caller.Identity()) {
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: unknownHolder(body.Client)}
	}
	for _, i := range issuers {
		if err := i.Revoke(r.Context(), caller.Identity()); err != nil {
			return caddy.APIError{HTTPStatus: http.StatusInternalServerError, Err: fmt.Errorf("revoking: %w", err)}
		}
	}
	tokenHolders.Revoke(caller.Identity(), time.Now())
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// unknownHolder says that nobody of this name is known, and who is.
func unknownHolder(name string) error {
	var names []string
	for _, s := range tokenHolders.List(time.Now()) {
		if names = append(names, strconv.Quote(s.Client)); len(names) == 20 {
			names = append(names, "...")
			break
		}
	}
	known := "nobody has tokens"
	if len(names) > 0 {
		known = "known are " + strings.Join(names, ", ")
	}
	return fmt.Errorf("no client is named %q, and no caller of this name has got a token since the start of Caddy; %s. --force revokes older tokens", name, known)
}

// Interface guards
var (
	_ caddy.AdminRouter = (*AdminTokens)(nil)
)
