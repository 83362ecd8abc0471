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
)

// AdminSessions is the part of the admin API that is about the sessions at Veeam
// servers which this process has needed so far. No answer holds a token.
//
//	GET  /veeam_auth/sessions
//
// lists them.
//
//	POST /veeam_auth/sessions/forget {"account": "<name>"}
//	POST /veeam_auth/sessions/login  {"account": "<name>"}
//	POST /veeam_auth/sessions/logout {"account": "<name>"}
//
// throw a session away, replace it by a new one, and end it at the server. All
// three lift the hold of a refused credential, in the shared cache too. The
// body may also have `product` and `origin`, where an account has sessions at
// several servers. The answer lists what became of them.
type AdminSessions struct{}

// CaddyModule returns the Caddy module information.
func (AdminSessions) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.veeam_auth_sessions",
		New: func() caddy.Module { return new(AdminSessions) },
	}
}

const sessionsPath = "/veeam_auth/sessions"

// operateFor bounds what is done to one session.
const operateFor = 2 * time.Minute

// sessionActions is what can be done to a session.
var sessionActions = map[string]func(context.Context, *pooledSession) error{
	"forget": forgetSession,
	"login":  renewSession,
	"logout": logoutSession,
}

// Routes returns the routes of the endpoints.
func (a AdminSessions) Routes() []caddy.AdminRoute {
	routes := []caddy.AdminRoute{{Pattern: sessionsPath, Handler: caddy.AdminHandlerFunc(a.list)}}
	for name, action := range sessionActions {
		routes = append(routes, caddy.AdminRoute{
			Pattern: sessionsPath + "/" + name,
			Handler: caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error { return a.act(w, r, action) }),
		})
	}
	return routes
}

// sessionState is a session as it is told.
type sessionState struct {
	Account string `json:"account"`
	Product string `json:"product"`
	Origin  string `json:"origin"`

	// Purpose is parent for the session with which an account serves others, or
	// the user that it acts as.
	Purpose string `json:"purpose,omitempty"`

	State     string `json:"state"`
	Age       int64  `json:"age_seconds,omitempty"`
	ExpiresIn int64  `json:"expires_in_seconds,omitempty"`
	HeldFor   int64  `json:"held_for_seconds,omitempty"`
	LastError string `json:"last_error,omitempty"`

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

func (s *pooledSession) describe() sessionState {
	state := s.State()
	purpose := s.key.user
	if s.key.parent {
		purpose = "parent"
	}
	return sessionState{
		Account: s.key.account, Product: s.key.product, Origin: s.key.origin, Purpose: purpose,
		State:     string(state.Status),
		Age:       seconds(state.Age),
		ExpiresIn: seconds(state.ExpiresIn),
		HeldFor:   seconds(state.HeldFor),
		LastError: state.LastError,
		LostEarly: state.LostEarly,
		Shared:    state.Shared, Loaded: state.Loaded, Holder: state.Holder,
	}
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// wantedSessions are those that a request is about. Its fields are empty for any.
type wantedSessions struct {
	Account string `json:"account"`
	Product string `json:"product,omitempty"`
	Origin  string `json:"origin,omitempty"`
}

func (w wantedSessions) find() (found []*pooledSession) {
	sessionPool.Range(func(key, value any) bool {
		k := key.(sessionKey)
		if cmp.Or(w.Account, k.account) == k.account && cmp.Or(w.Product, k.product) == k.product && strings.Contains(k.origin, w.Origin) {
			found = append(found, value.(*pooledSession))
		}
		return true
	})
	slices.SortFunc(found, func(a, b *pooledSession) int {
		return cmp.Or(cmp.Compare(a.key.account, b.key.account), cmp.Compare(a.key.origin, b.key.origin), cmp.Compare(a.key.user, b.key.user))
	})
	return found
}

func (AdminSessions) list(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("use GET")}
	}
	states := []sessionState{}
	for _, s := range (wantedSessions{}).find() {
		states = append(states, s.describe())
	}
	return answerJSON(w, states)
}

func (AdminSessions) act(w http.ResponseWriter, r *http.Request, action func(context.Context, *pooledSession) error) error {
	if r.Method != http.MethodPost {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("use POST")}
	}
	var wanted wantedSessions
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&wanted); err != nil || wanted.Account == "" {
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: errors.New(`write {"account": "<name>"}`)}
	}
	found := wanted.find()
	if len(found) == 0 {
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: fmt.Errorf("no request has needed a session of %s yet", wanted.Account)}
	}
	for _, s := range found {
		s.liftOther(r.Context()) // of all, before one of them is tried
	}
	states := []sessionState{}
	for _, s := range found {
		ctx, cancel := context.WithTimeout(r.Context(), operateFor)
		err := action(ctx, s)
		cancel()
		state := s.describe()
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

func forgetSession(ctx context.Context, s *pooledSession) error {
	_, err := s.Forget(ctx)
	return err
}

// renewSession logs in anew; the session so far is logged out.
func renewSession(ctx context.Context, s *pooledSession) error {
	grant := s.grant.Load()
	if grant == nil {
		return errors.New("no request has needed a token of it yet")
	}
	if err := s.Lift(ctx); err != nil {
		return err
	}
	if tok, _ := s.Current(time.Now()); tok != nil {
		tok.Exhaust()
		s.Reject(tok)
	}
	_, err := s.Get(waitContext{ctx, grant.ender.values}, grant.get)
	return err
}

func logoutSession(ctx context.Context, s *pooledSession) error {
	tok, err := s.Forget(ctx)
	e := s.ender.Load()
	if grant := s.grant.Load(); e == nil && grant != nil {
		e = grant.ender // the token came from the cache
	}
	if e != nil && tok != nil {
		within, cancel := context.WithTimeout(e.values, logoutFor)
		defer cancel()
		e.logout(within, tok)
	}
	return err
}

// Interface guards
var (
	_ caddy.AdminRouter = (*AdminSessions)(nil)
)
