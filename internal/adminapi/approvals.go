// Approvals of requests: list, approve and deny.

package adminapi

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/caddy-veeam/veeam-auth/internal/approval"
)

// Approvals implements the endpoints for approvals.
type Approvals struct {
	// Tell is told what operators do. Default: nobody is told.
	Tell func(Act)
}

// Paths of the admin endpoints for approvals.
const (
	ApprovalsPath = "/veeam_auth/approvals"
	ApprovePath   = ApprovalsPath + "/approve"
	DenyPath      = ApprovalsPath + "/deny"
)

// Routes returns the handlers by their paths.
func (a Approvals) Routes() map[string]Handler {
	decide := func(approve bool) Handler {
		return posting(mostBody, func(body WantedApproval) bool { return body.ID != "" }, `{"id": "<approval>"}`,
			func(w http.ResponseWriter, r *http.Request, body WantedApproval) error {
				return a.decide(w, r, body.ID, approve)
			})
	}
	return map[string]Handler{ApprovalsPath: guarded(a.list), ApprovePath: decide(true), DenyPath: decide(false)}
}

// WantedApproval is the body of a request to ApprovePath and DenyPath.
type WantedApproval struct {
	ID string `json:"id"`
}

func (a Approvals) list(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return &Error{http.StatusMethodNotAllowed, errors.New("use GET")}
	}
	states, err := a.List(r.Context())
	if err != nil {
		return &Error{http.StatusServiceUnavailable, err}
	}
	return answer(w, states)
}

// List describes the approvals of the storages of the running configuration, those that wait
// first, then the newest first. The error is that of a storage that cannot be read.
func (Approvals) List(ctx context.Context) ([]approval.State, error) {
	states := []approval.State{}
	for _, stored := range approval.Live() {
		listed, err := stored.List(ctx)
		if err != nil {
			return nil, err
		}
		states = append(states, listed...)
	}
	rank := map[approval.Status]int{approval.Waiting: 0, approval.Approved: 1}
	slices.SortStableFunc(states, func(x, y approval.State) int {
		of := func(s approval.State) int {
			if r, ok := rank[s.Status]; ok {
				return r
			}
			return len(rank)
		}
		if of(x) != of(y) {
			return of(x) - of(y)
		}
		return y.Asked.Compare(x.Asked)
	})
	return states, nil
}

func (a Approvals) decide(w http.ResponseWriter, r *http.Request, id string, approve bool) error {
	live := approval.Live()
	if len(live) == 0 {
		return &Error{http.StatusNotFound, errors.New("no rule with approve is configured")}
	}
	act, state := Act{Name: "approval deny", Client: id}, approval.State{}
	if approve {
		act.Name = "approval approve"
	}
	for _, stored := range live { // two while a configuration with another storage is loaded
		if state, act.Err = stored.Decide(r.Context(), id, approve, Operator(r)); !missing(act.Err) {
			break
		}
	}
	_, ended := errors.AsType[*approval.EndedError](act.Err)
	switch {
	case act.Err == nil:
		act.Client = state.Client + "/" + state.ID
	case missing(act.Err):
		act.Err = &Error{http.StatusNotFound, act.Err}
	case ended:
		act.Err = &Error{http.StatusConflict, act.Err}
	default:
		act.Err = &Error{http.StatusServiceUnavailable, act.Err}
	}
	tell(a.Tell, r, act)
	if act.Err != nil {
		return act.Err
	}
	return answer(w, state)
}

func missing(err error) bool {
	_, ok := errors.AsType[*approval.NotFoundError](err)
	return ok
}
