// Events: what is raised by what, once for each change, and with which fields.

package caddymodule

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/events"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// raised are the events of a process since the last call, each with its name and those
// of its fields that are asked for.
type raised struct {
	mu     sync.Mutex
	events []events.Event
}

// listen takes down the events of a process until the end of the test.
func listen(t testing.TB, emitter *events.Emitter) *raised {
	t.Helper()
	r := new(raised)
	q := events.NewQueue(func(e events.Event) { t.Errorf("dropped: %s", e.Name()) })
	q.Open(func(e events.Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.events = append(r.events, e)
	})
	emitter.Use(q)
	t.Cleanup(func() { emitter.Leave(q) })
	return r
}

// take returns the events so far, without the prefix of their names and without when and
// where they have happened, and forgets them.
func (r *raised) take(t testing.TB) (said []string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		data := e.Data()
		for _, row := range events.Rows() {
			if fields := slices.Sorted(slices.Values(row.Fields)); row.Name == e.Name() && !slices.Equal(slices.Sorted(maps.Keys(data)), fields) {
				t.Errorf("%s has the fields %v, documented are %v", e.Name(), data, fields)
			}
		}
		for _, field := range []string{"product", "account", "origin", "until", "source"} {
			if data[field] == "" {
				t.Errorf("%s: %s is empty", e.Name(), field)
			}
			delete(data, field)
		}
		text, err := json.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		said = append(said, strings.TrimSuffix(strings.TrimPrefix(string(e.Name()), "veeam_auth_")+" "+string(text), " {}"))
	}
	r.events = nil
	return said
}

// raises fails the test unless these are the events since the last time, in any order:
// what one login causes is told by several goroutines.
func (w *world) raises(r *raised, want ...string) {
	w.Helper()
	w.rest(time.Second)
	got := r.take(w)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestEvents_ARefusedCredentialIsToldOnceUntilItIsAccepted(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		told := listen(t, &w.Events)
		w.start(&account.Account{Name: veeamtest.DefaultUser, Password: w.secret("secret", "wrong")})
		for range 10 {
			w.get()
			w.rest(time.Minute) // some of them are refused again
		}
		w.raises(told, `credential_held {"reason":"credential_refused","tries_left":1}`)
		w.secret("secret", "wrong, too")
		w.rest(time.Hour)
		w.get()
		w.raises(told, `credential_held {"reason":"credential_refused","tries_left":1}`)
		w.password()
		w.rest(time.Hour)
		w.demand("200")
		w.raises(told, `credential_lifted {"cause":"accepted"}`)
		w.rest(time.Hour)
		w.demand("200")
		w.raises(told)
	})
}

// The login of a key sends nothing: the first request that the server answers accepts it.
func TestEvents_AKeyIsAcceptedByARequest(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VSPC, []veeamtest.Option{veeamtest.WithAPIKey(veeamtest.DefaultUser, apiKey, false)}, func(w *world) {
		told := listen(t, &w.Events)
		w.start(&account.Account{Name: "svc", Grant: "api_key", Password: w.secret("key", "wrong")})
		w.demand("503 credential_refused")
		w.raises(told, `credential_held {"reason":"credential_refused","tries_left":3}`)
		w.rest(time.Hour)
		w.demand("503 credential_refused")
		w.raises(told)
		w.secret("key", apiKey)
		w.rest(time.Hour)
		w.demand("200")
		w.raises(told, "secret_rotated", `credential_lifted {"cause":"accepted"}`)
		w.server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultStatus, Status: http.StatusUnauthorized, On: veeamtest.OnProtected})
		for range 3 {
			w.get()
		}
		w.raises(told, `credential_held {"reason":"credential_refused","tries_left":3}`)
		w.server.ClearFault()
		w.rest(2 * time.Hour)
		for range 3 {
			w.demand("200")
		}
		w.raises(told, `credential_lifted {"cause":"accepted"}`)
	})
}

func TestEvents_AnOperatorLiftsAHold(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		told := listen(t, &w.Events)
		w.start(&account.Account{Name: veeamtest.DefaultUser, Password: w.secret("secret", "wrong")})
		w.get()
		w.raises(told, `credential_held {"reason":"credential_refused","tries_left":1}`)
		for range 2 {
			if _, err := w.operate(w.processState, "forget", map[string]string{"account": veeamtest.DefaultUser}); err != nil {
				t.Fatal(err)
			}
		}
		w.raises(told, `credential_lifted {"cause":"operator"}`)
	})
}

func TestEvents_ARotationIsToldOnce(t *testing.T) {
	t.Parallel()
	rotating(t, veeamtest.DefaultPassword, "the next one", func(w *world) {
		told := listen(t, &w.Events)
		w.demand("200")
		w.raises(told)
		w.server.SetPassword(veeamtest.DefaultUser, "the next one")
		w.server.RevokeAll()
		w.demand("200")
		w.raises(told, `credential_held {"reason":"credential_refused","tries_left":1}`, "next_password")
		w.serves(time.Hour, time.Minute)
		w.secret("secret", "the next one")
		w.serves(time.Hour, time.Minute)
		w.raises(told, "secret_rotated", `credential_lifted {"cause":"accepted"}`)
		w.reload(w.transport(&Transport{Accounts: []*account.Account{w.rotated(w.secret("secret", "the next one"), w.secret("next", "a later one"))}}))
		w.serves(time.Hour, time.Minute)
		w.raises(told)
	})
}

func TestEvents_AChangedSecretWithoutASessionIsToldOnce(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		told := listen(t, &w.Events)
		w.start(&account.Account{Name: veeamtest.DefaultUser, Password: w.password()})
		w.demand("200")
		w.server.SetPassword(veeamtest.DefaultUser, "another")
		w.server.RevokeAll()
		w.get()
		w.raises(told, `credential_held {"reason":"credential_refused","tries_left":1}`)
		w.secret("secret", "another")
		w.rest(time.Hour)
		w.demand("200")
		w.raises(told, `credential_lifted {"cause":"accepted"}`, "secret_rotated")
	})
}

func TestEvents_AnAccountThatWaitsForACodeIsToldOnce(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.Azure, nil, func(w *world) {
		told := listen(t, &w.Events)
		w.start(coded())
		for range 5 {
			w.get()
			w.rest(time.Hour)
		}
		w.raises(told, "code_needed")
		w.enter(codeNow())
		w.demand("200")
		w.raises(told)
	})
}

func TestEvents_InterferenceIsToldWhenItBegins(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VSPC, []veeamtest.Option{veeamtest.WithSingleSession()}, func(w *world) {
		told := listen(t, &w.Events)
		w.start(&account.Account{Name: veeamtest.DefaultUser, Password: w.password()})
		other := w.program()
		w.demand("200")
		for range 6 {
			w.rest(20 * time.Second)
			other.ask()
			w.rest(time.Second)
			w.demand("200")
		}
		w.raises(told, `interference {"after_seconds":21,"times":3}`)
	})
}

func TestEvents_ARequestThatDiffersIsToldOnceAMinute(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		told := listen(t, &w.Events)
		w.start(&account.Account{Name: veeamtest.DefaultUser, Password: w.password()})
		send := func() {
			state := &requestState{
				caller: policy.Caller{Name: "grafana"}, operation: operation.Operation{Method: "GET", Path: "/{version}/jobs/{id}"},
			}
			req := proxied(t.Context(), state)
			req.URL.Path = "/api/v1/jobs/secret-number"
			res, err := w.tr.RoundTrip(req)
			if err != nil || res.StatusCode != http.StatusBadGateway {
				t.Errorf("%v %v", res, err)
			}
			_ = res.Body.Close()
		}
		for range 10 {
			send()
			time.Sleep(20 * time.Second)
		}
		want := `decision_mismatch {"client":"grafana","difference":"path","operation":"GET /{version}/jobs/{id}"}`
		w.raises(told, want)
		time.Sleep(time.Minute)
		send()
		w.raises(told, want)
	})
}

func TestEvents_AUserOfARequestIsNoMatterOfTheOperator(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VSPC, nil, func(w *world) {
		told := listen(t, &w.Events)
		w.start(w.template()...)
		for i := range 3 {
			w.ask(w.tr, http.MethodGet, "/echo", fmt.Sprintf("00000000-0000-0000-0000-00000000000%d", i))
		}
		w.raises(told)
	})
}
