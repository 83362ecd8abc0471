// The admin endpoints about upstream sessions.

package caddymodule

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// AdminSessions is the part of the admin API that is about the sessions at Veeam
// servers which this process has needed so far. No answer holds a token.
//
//	GET  /veeam_auth/sessions
//
// lists them.
//
//	POST /veeam_auth/sessions/forget {"account": "<name>"}
//	POST /veeam_auth/sessions/login  {"account": "<name>", "force": <bool>}
//	POST /veeam_auth/sessions/logout {"account": "<name>"}
//
// throw a session away, replace it by a new one, and end it at the server. All
// three lift the hold of a refused credential, in the shared cache too. The
// body may also have `product` and `origin`, where an account has sessions at
// several servers. The answer lists what became of them. A login spends from the
// lock-out budget of the user, and its last try only with `force`, which also
// logs in where none is left.
type AdminSessions struct{}

// CaddyModule returns the Caddy module information.
func (AdminSessions) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.veeam_auth_sessions",
		New: func() caddy.Module { return new(AdminSessions) },
	}
}

// SessionsPath is the path of the admin endpoint; /forget, /login and /logout are below it.
const SessionsPath = "/veeam_auth/sessions"

// sessionAction does what a request wants to one session, if that is allowed.
type sessionAction struct {
	allowed func(*upstream.Session, WantedSessions) error // nil: always
	do      func(context.Context, *upstream.Session, WantedSessions) error
}

// sessionActions is what can be done to a session.
var sessionActions = map[string]sessionAction{
	"forget": {do: func(ctx context.Context, s *upstream.Session, _ WantedSessions) error {
		_, err := s.Forget(ctx)
		return err
	}},
	"login": {
		allowed: func(s *upstream.Session, wanted WantedSessions) error { return s.MayLogin(wanted.Force) },
		do: func(ctx context.Context, s *upstream.Session, wanted WantedSessions) error {
			return s.Login(ctx, wanted.Force)
		},
	},
	"logout": {do: func(ctx context.Context, s *upstream.Session, _ WantedSessions) error { return s.Logout(ctx) }},
}

// Routes returns the routes of the endpoints.
func (a AdminSessions) Routes() []caddy.AdminRoute {
	routes := []caddy.AdminRoute{{Pattern: SessionsPath, Handler: caddy.AdminHandlerFunc(a.list)}}
	for name, action := range sessionActions {
		routes = append(routes, caddy.AdminRoute{
			Pattern: SessionsPath + "/" + name,
			Handler: caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error { return a.act(w, r, action) }),
		})
	}
	return routes
}

// SessionState is the session of an account at a server as the admin endpoint describes it.
type SessionState struct {
	Account string `json:"account"`
	Product string `json:"product"`
	Origin  string `json:"origin"` // empty if no request has needed the account yet

	// Purpose is parent for the session with which an account serves others, or
	// the user that it acts as.
	Purpose string `json:"purpose,omitempty"`

	State string `json:"state"`

	// Reason is how the account is doing there, see docs/behaviour.md.
	Reason veeam.Reason `json:"reason"`

	Age       int64  `json:"age_seconds,omitempty"`
	ExpiresIn int64  `json:"expires_in_seconds,omitempty"`
	HeldFor   int64  `json:"held_for_seconds,omitempty"`
	LastError string `json:"last_error,omitempty"`

	// Budget is what is left of the tries of the session's user.
	Budget *BudgetState `json:"lockout_budget,omitempty"`

	// Accepted is when the server has accepted the secret last, LastSuccess when it
	// has answered a login, a renewal or a request last, LastFailure when one of them
	// or reading a secret has failed last.
	Accepted    time.Time `json:"secret_accepted,omitzero"`
	LastSuccess time.Time `json:"last_success,omitzero"`
	LastFailure time.Time `json:"last_failure,omitzero"`

	// LostEarly tells of interference: how many tokens in a row the server has ended
	// soon after they were issued.
	LostEarly int `json:"lost_early,omitempty"`

	// Shared tells that the session is kept in the cache, Loaded that its token
	// came from there, Holder which process is getting a token.
	Shared bool   `json:"shared,omitempty"`
	Loaded bool   `json:"loaded,omitempty"`
	Holder string `json:"lease_holder,omitempty"`

	// Error is what went wrong with what was asked for.
	Error string `json:"error,omitempty"`
}

// BudgetState is a lock-out budget as the admin endpoint describes it.
type BudgetState struct {
	Left  int       `json:"left"`
	Of    int       `json:"of"`
	Until time.Time `json:"until,omitzero"` // when there is one more
}

func describeBudget(b tokencache.Budget) *BudgetState {
	if b.Of == 0 {
		return nil
	}
	return &BudgetState{b.Left, b.Of, b.Until}
}

// describe tells a row.
func describe(r upstream.Row) SessionState {
	state := r.State
	return SessionState{
		Account: r.Account, Product: r.Product, Origin: r.Origin, Purpose: r.Purpose,
		Reason: r.Reason, LastSuccess: r.Success, LastFailure: r.Failure,
		State:     string(state.Status),
		Age:       seconds(state.Age),
		ExpiresIn: seconds(state.ExpiresIn),
		HeldFor:   seconds(state.HeldFor),
		LastError: r.Detail,
		Budget:    describeBudget(state.Budget),
		Accepted:  state.Accepted,
		LostEarly: state.LostEarly,
		Shared:    state.Shared, Loaded: state.Loaded, Holder: state.Holder,
	}
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// WantedSessions is the body of a request: which sessions it is about. Fields other
// than the account are empty for any.
type WantedSessions struct {
	Account string `json:"account"`
	Product string `json:"product,omitempty"`
	Origin  string `json:"origin,omitempty"`

	// Force spends the last try of a lock-out budget.
	Force bool `json:"force,omitempty"`
}

// missing says why there is no such session.
func (w WantedSessions) missing() error {
	names := upstreams.Names()
	switch {
	case !slices.Contains(names, w.Account):
		return fmt.Errorf("no account is named %q; the accounts are: %s", w.Account, strings.Join(names, ", "))
	case w.Product != "" || w.Origin != "":
		return fmt.Errorf("%s has no session at such a server", w.Account)
	}
	return fmt.Errorf("no request has required a session of %s yet", w.Account)
}

func (AdminSessions) list(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("use GET")}
	}
	states := []SessionState{}
	for _, row := range upstreams.Rows(r.Context()) {
		states = append(states, describe(row))
	}
	slices.SortStableFunc(states, func(a, b SessionState) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Origin, b.Origin), cmp.Compare(a.Purpose, b.Purpose))
	})
	return answerJSON(w, states)
}

func (AdminSessions) act(w http.ResponseWriter, r *http.Request, action sessionAction) error {
	if r.Method != http.MethodPost {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("use POST")}
	}
	var wanted WantedSessions
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&wanted); err != nil || wanted.Account == "" {
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: errors.New(`write {"account": "<name>"}`)}
	}
	found := upstreams.Find(wanted.Account, wanted.Product, wanted.Origin)
	if len(found) == 0 {
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: wanted.missing()}
	}
	refused := make([]error, len(found))
	for i, s := range found {
		if action.allowed != nil {
			refused[i] = action.allowed(s, wanted)
		}
		if refused[i] == nil {
			s.LiftSibling(r.Context()) // of all, before one of them is tried
		}
	}
	states := []SessionState{}
	for i, s := range found {
		err := refused[i]
		if err == nil {
			ctx, cancel := context.WithTimeout(r.Context(), upstream.OperateTimeout)
			err = action.do(ctx, s, wanted)
			cancel()
		}
		state := describe(s.Row())
		if err != nil {
			state.Error = err.Error()
		}
		states = append(states, state)
	}
	return answerJSON(w, states)
}

func answerJSON(w http.ResponseWriter, value any) error {
	w.Header().Set("Content-Type", contentTypeJSON)
	if err := json.NewEncoder(w).Encode(value); err != nil {
		return caddy.APIError{HTTPStatus: http.StatusInternalServerError, Err: err}
	}
	return nil
}

// Interface guards
var (
	_ caddy.AdminRouter = (*AdminSessions)(nil)
)
