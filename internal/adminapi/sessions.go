// The sessions at Veeam servers: list, forget, login and logout.

package adminapi

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/lockout"
	"github.com/caddy-veeam/veeam-auth/internal/tlspin"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// Sessions implements the endpoints for the sessions at Veeam servers that this process
// has needed so far.
type Sessions struct {
	// State holds the sessions. Required.
	State *upstream.State

	// Tell is told what operators do. Default: nobody is told.
	Tell func(Act)
}

// SessionsPath is the path of the admin endpoint; /forget, /login, /renew, /lift, /logout,
// /code and /credential are below it.
const SessionsPath = "/veeam_auth/sessions"

// sessionAction is an action on one session, and the check whether it is allowed.
type sessionAction struct {
	allowed func(context.Context, *upstream.Session, WantedSessions) error // nil: always
	do      func(context.Context, *upstream.Session, WantedSessions) error
}

// sessionActions are the actions on sessions by the last element of their path.
var sessionActions = map[string]sessionAction{
	"forget": {do: func(ctx context.Context, s *upstream.Session, _ WantedSessions) error {
		_, err := s.Forget(ctx)
		return err
	}},
	"login": {
		allowed: func(ctx context.Context, s *upstream.Session, wanted WantedSessions) error {
			return s.MayLogin(ctx, wanted.Force)
		},
		do: func(ctx context.Context, s *upstream.Session, wanted WantedSessions) error {
			return s.Login(ctx, wanted.Force)
		},
	},
	"renew": {
		allowed: func(ctx context.Context, s *upstream.Session, wanted WantedSessions) error {
			return s.MayRenewNow(ctx, wanted.Force)
		},
		do: func(ctx context.Context, s *upstream.Session, wanted WantedSessions) error {
			return s.RenewNow(ctx, wanted.Force)
		},
	},
	"lift": {
		allowed: func(ctx context.Context, s *upstream.Session, wanted WantedSessions) error {
			return s.MayLogin(ctx, wanted.Force)
		},
		do: func(ctx context.Context, s *upstream.Session, _ WantedSessions) error { return s.Lift(ctx) },
	},
	"logout": {do: func(ctx context.Context, s *upstream.Session, _ WantedSessions) error { return s.Logout(ctx) }},
}

// Routes returns the handlers by their paths.
func (s Sessions) Routes() map[string]Handler {
	routes := map[string]Handler{SessionsPath: listing(func(r *http.Request) []SessionState { return s.List(r.Context()) })}
	for name, action := range sessionActions {
		routes[SessionsPath+"/"+name] = posting(mostBody, func(wanted WantedSessions) bool { return wanted.Account != "" }, `{"account": "<name>"}`,
			func(w http.ResponseWriter, r *http.Request, wanted WantedSessions) error {
				return s.act(w, r, wanted, name, action)
			})
	}
	routes[SessionsPath+"/code"] = posting(mostBody, WantedCode.Complete, `{"account": "<name>", "code": "<6 to 10 digits>"}`, s.enterCode)
	routes[SessionsPath+"/credential"] = posting(mostEntryBody, WantedCredential.complete, `{"account": "<name>", "secret": "<secret>"}`, s.enterCredential)
	return routes
}

// SessionState is the session of an account at a server as the admin endpoint describes it.
type SessionState struct {
	Account string `json:"account"`
	Product string `json:"product"`
	Origin  string `json:"origin"` // origin of the server; empty if no request has needed the account yet

	// Purpose is "parent" for the session through which other accounts log in, the
	// user's name for a session that acts as a user, and empty otherwise.
	Purpose string `json:"purpose,omitempty"`

	State string `json:"state"`

	// Reason is the state of the account at the server. docs/behaviour.md lists all
	// values.
	Reason veeam.Reason `json:"reason"`

	Age       int64  `json:"age_seconds,omitempty"`
	ExpiresIn int64  `json:"expires_in_seconds,omitempty"`
	HeldFor   int64  `json:"held_for_seconds,omitempty"`
	LastError string `json:"last_error,omitempty"`

	// Budget is the lock-out budget of the session's user.
	Budget *BudgetState `json:"lockout_budget,omitempty"`

	// Accepted is the last time that the server accepted the secret. LastSuccess is
	// that of the last login, renewal or request that the server answered, LastFailure
	// that of the last one that failed, or of the last failure to read a secret.
	Accepted    time.Time `json:"secret_accepted,omitzero"`
	LastSuccess time.Time `json:"last_success,omitzero"`
	LastFailure time.Time `json:"last_failure,omitzero"`

	// LostEarly is the number of tokens in a row that the server has ended soon after
	// it issued them, which is a sign of interference. It is 0 without interference.
	LostEarly int `json:"lost_early,omitempty"`

	// Next tells that next_password is in use.
	Next bool `json:"next_password,omitempty"`

	// Shared tells that the session is kept in the cache, Loaded that its token was
	// read from there. Holder is the process that is getting a token.
	Shared bool   `json:"shared,omitempty"`
	Loaded bool   `json:"loaded,omitempty"`
	Holder string `json:"lease_holder,omitempty"`

	// Certificate is what the server has shown last, nil if that is not known.
	Certificate *CertificateState `json:"certificate,omitempty"`

	// TakesCode and TakesSecret report whether an operator may enter a verification code
	// or a one-time secret.
	TakesCode   bool `json:"takes_code,omitempty"`
	TakesSecret bool `json:"takes_secret,omitempty"`

	// Error is the error of the requested action.
	Error string `json:"error,omitempty"`
}

// BudgetState is a lock-out budget in answers of the admin endpoint.
type BudgetState struct {
	Left  int       `json:"left"`
	Of    int       `json:"of"`
	Until time.Time `json:"until,omitzero"` // when the next try is available
}

// CertificateState is the certificate of a server as the admin endpoint describes it.
type CertificateState struct {
	Subject  string    `json:"subject"`
	SHA1     string    `json:"sha1"` // as Veeam's consoles show it
	SHA256   string    `json:"sha256"`
	NotAfter time.Time `json:"not_after"`

	// Pinned is match or mismatch where certificates are pinned, and empty otherwise. Pins
	// are the pinned fingerprints.
	Pinned string   `json:"pinned,omitempty"`
	Pins   []string `json:"pins,omitempty"`
}

func describeCertificate(leaf *x509.Certificate, pins []tlspin.Fingerprint) *CertificateState {
	if leaf == nil {
		return nil
	}
	state := &CertificateState{Subject: tlspin.Subject(leaf), SHA1: tlspin.SHA1(leaf).String(), SHA256: tlspin.SHA256(leaf).String(), NotAfter: leaf.NotAfter.UTC()}
	if len(pins) > 0 {
		state.Pinned = "mismatch"
	}
	for _, pin := range pins {
		state.Pins = append(state.Pins, pin.String())
		if pin.Matches(leaf) {
			state.Pinned = "match"
		}
	}
	return state
}

func describeBudget(b lockout.Budget) *BudgetState {
	if b.Of == 0 {
		return nil
	}
	return &BudgetState{b.Left, b.Of, b.Until}
}

// Describe returns the JSON form of a session.
func Describe(r upstream.Row) SessionState {
	state := r.State
	if state.Suspended {
		state.HeldFor = 0 // no time ends it
	}
	return SessionState{
		Account: r.Account, Product: r.Product, Origin: r.Origin, Purpose: r.Purpose,
		Reason: r.Reason, LastSuccess: r.Success, LastFailure: r.Failure,
		State:       string(state.Status),
		Age:         seconds(state.Age),
		ExpiresIn:   seconds(state.ExpiresIn),
		HeldFor:     seconds(state.HeldFor),
		LastError:   r.Detail,
		Budget:      describeBudget(state.Budget),
		Accepted:    state.Accepted,
		Certificate: describeCertificate(r.Certificate, r.Pins), TakesCode: r.TakesCode, TakesSecret: r.TakesSecret,
		LostEarly: state.LostEarly, Next: r.Next,
		Shared: state.Shared, Loaded: state.Loaded, Holder: state.Holder,
	}
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// WantedSessions is the body of a request: it selects sessions. An empty field matches
// any value. The account is required.
type WantedSessions struct {
	Account string `json:"account"`
	Product string `json:"product,omitempty"`
	Origin  string `json:"origin,omitempty"`

	// Purpose is the purpose of a SessionState: empty for the account's own session.
	// Default: all.
	Purpose *string `json:"purpose,omitempty"`

	// Force allows an action to use the last try of a lock-out budget.
	Force bool `json:"force,omitempty"`
}

// find returns the selected sessions.
func (s Sessions) find(wanted WantedSessions) []*upstream.Session {
	return slices.DeleteFunc(s.State.Find(wanted.Account, wanted.Product, wanted.Origin), func(session *upstream.Session) bool {
		return wanted.Purpose != nil && session.Row().Purpose != *wanted.Purpose
	})
}

// missing returns the error for a selection that matches no session.
func (s Sessions) missing(wanted WantedSessions) error {
	names := s.State.Names()
	switch {
	case !slices.Contains(names, wanted.Account):
		return &Error{http.StatusNotFound, fmt.Errorf("unknown account %q (configured: %s)", wanted.Account, strings.Join(names, ", "))}
	case wanted.Product != "" || wanted.Origin != "" || wanted.Purpose != nil:
		return &Error{http.StatusNotFound, fmt.Errorf("%s has no session at a matching server", wanted.Account)}
	}
	return &Error{http.StatusConflict, fmt.Errorf("no request has required a session of %s yet", wanted.Account)}
}

// List describes all sessions, and the accounts without one.
func (s Sessions) List(ctx context.Context) []SessionState {
	states := []SessionState{}
	for _, row := range s.State.Rows(ctx) {
		states = append(states, Describe(row))
	}
	slices.SortStableFunc(states, func(a, b SessionState) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Origin, b.Origin), cmp.Compare(a.Purpose, b.Purpose))
	})
	return states
}

func (s Sessions) act(w http.ResponseWriter, r *http.Request, wanted WantedSessions, name string, action sessionAction) error {
	found := s.find(wanted)
	if len(found) == 0 {
		return s.missing(wanted)
	}
	refused := make([]error, len(found))
	for i, session := range found {
		if action.allowed != nil {
			refused[i] = action.allowed(r.Context(), session, wanted)
		}
		if refused[i] == nil {
			session.LiftSibling(r.Context()) // of all sessions, before one of them is tried
		}
	}
	states := []SessionState{}
	for i, session := range found {
		err := refused[i]
		if err == nil {
			ctx, cancel := context.WithTimeout(r.Context(), upstream.OperateTimeout)
			err = action.do(ctx, session, wanted)
			cancel()
		}
		states = append(states, s.done(r, name, wanted, session, err))
	}
	return answer(w, states)
}

// done describes a session after an act, and has the act logged.
func (s Sessions) done(r *http.Request, name string, wanted WantedSessions, session *upstream.Session, err error) SessionState {
	state := Describe(session.Row())
	if err != nil {
		state.Error = err.Error()
	}
	tell(s.Tell, r, Act{Name: name, Account: state.Account, Server: state.Origin, Forced: wanted.Force, Err: err})
	return state
}
