// The admin endpoint that cuts clients off.

package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
)

// AdminTokens is the part of the admin API that is about the tokens of clients.
//
//	POST /veeam_auth/tokens/revoke {"client": "<name>"}
//
// makes all tokens void that the client has got so far, at this process at once
// and at others with the same storage within a second.
type AdminTokens struct{}

// CaddyModule returns the Caddy module information.
func (AdminTokens) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.veeam_auth_tokens",
		New: func() caddy.Module { return new(AdminTokens) },
	}
}

const revokePath = "/veeam_auth/tokens/revoke"

// Routes returns the route of the endpoint.
func (a AdminTokens) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: revokePath, Handler: caddy.AdminHandlerFunc(a.revoke)}}
}

// revocation is the body of a request.
type revocation struct {
	Client string `json:"client"`
}

func (AdminTokens) revoke(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("use POST")}
	}
	var body revocation
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&body); err != nil || body.Client == "" {
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: errors.New(`write {"client": "<name>"}`)}
	}
	issuers := liveIssuers()
	if len(issuers) == 0 {
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("no veeam_auth is configured")}
	}
	for _, i := range issuers {
		if err := i.Revoke(r.Context(), body.Client); err != nil {
			return caddy.APIError{HTTPStatus: http.StatusInternalServerError, Err: fmt.Errorf("revoking: %w", err)}
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// Interface guards
var (
	_ caddy.AdminRouter = (*AdminTokens)(nil)
)
