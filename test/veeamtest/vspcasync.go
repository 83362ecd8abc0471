// VSPC's asynchronous actions: a request with X-Request-id is queued, and repeating it within five minutes does nothing.

package veeamtest

import (
	"net/http"
	"regexp"
	"strings"
	"time"
)

const idempotence = 5 * time.Minute

type action struct {
	id      string
	created time.Time
	account *account
	result  any
	polls   int // questions to answer with "running" yet
}

var uuidPattern = regexp.MustCompile(`^(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// queue does work at once and answers with its result, or, for a request with an id, answers 202 and where to ask.
func (x *exchange) queue(work func() any) {
	id := strings.ToLower(x.r.Header.Get("X-Request-id"))
	if id == "" {
		x.data(work())
		return
	}
	if !uuidPattern.MatchString(id) {
		x.refuse(badRequest)
		return
	}
	s := x.s
	s.mu.Lock()
	a := s.actions[id]
	if a == nil || s.now().Sub(a.created) >= idempotence {
		a = nil
		s.actions[id] = &action{id: id, created: s.now(), account: x.account(), polls: s.cfg.actionPolls}
	}
	s.mu.Unlock()
	if a == nil {
		result := work()
		s.mu.Lock()
		s.actions[id].result = result
		s.mu.Unlock()
	}
	x.w.Header().Set("Location", "https://"+x.r.Host+"/api/v3/asyncActions/"+id)
	x.write(http.StatusAccepted, "", nil)
}

// findAction returns a copy of the action that the path names, or answers that there is none.
func (x *exchange) findAction() (found action, ok bool) {
	x.s.mu.Lock()
	a := x.s.actions[strings.ToLower(x.params["actionId"])]
	if a != nil {
		found = *a
	}
	x.s.mu.Unlock()
	if a == nil {
		x.refuse(notFound)
	}
	return found, a != nil
}

func serveAction(x *exchange) {
	if a, ok := x.findAction(); ok {
		status := "succeed"
		x.s.mu.Lock()
		if kept := x.s.actions[a.id]; kept.polls > 0 {
			kept.polls--
			status = "running"
		}
		x.s.mu.Unlock()
		x.data(map[string]any{
			"actionId": a.id, "actionName": "Action", "status": status, "userUid": a.account.UID,
			"creationTime": a.created.UTC().Format(time.RFC3339),
		})
	}
}

func serveActionResult(x *exchange) {
	if a, ok := x.findAction(); ok {
		if a.polls > 0 {
			x.refuse(notFound)
			return
		}
		x.data(a.result)
	}
}

func serveStartRule(x *exchange) {
	if _, _, ok := x.digest(); !ok {
		return
	}
	rule := x.params["ruleUid"]
	x.queue(func() any {
		x.execute("start " + rule)
		return map[string]any{"ruleUid": rule, "state": "Running"}
	})
}
