// Renewals and lifted holds that an operator asks for.

package caddymodule

import (
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestAnOperatorRenewsASession(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		w.start(unwatched())
		wanted := map[string]any{"account": veeamtest.DefaultUser}
		if _, err := w.operate(w.processState, "renew", wanted); err == nil || !strings.Contains(err.Error(), "no request has required a session") {
			w.Errorf("before any request: %v", err)
		}
		w.demand("200")
		states, err := w.operate(w.processState, "renew", wanted)
		if err != nil || len(states) != 1 || states[0].Error != "" || states[0].State != "valid" || states[0].Age != 0 {
			w.Errorf("%v %+v", err, states)
		}
		w.demand("200")
		bearers := make(map[string]bool)
		for _, c := range w.wire.seen {
			if strings.HasSuffix(c.path, "/echo") {
				bearers[c.bearer] = true
			}
		}
		if c := w.server.Counters(); c.PasswordGrants != 1 || c.RefreshGrants != 1 || len(bearers) != 2 {
			w.Errorf("%+v, %d tokens were in use", c, len(bearers))
		}

		// The server refuses the refresh token and the password: there are answers, the
		// last try is kept, and a failed renewal is not repeated by requests.
		w.server.SetPassword(veeamtest.DefaultUser, "changed at the server")
		w.server.RevokeAll()
		for _, want := range []string{"the login was sent: ", "nothing was sent: 1 of 2 tries left until "} {
			states, err = w.operate(w.processState, "renew", wanted)
			if err != nil || len(states) != 1 || !strings.Contains(states[0].Error, want) || states[0].Budget == nil || states[0].Budget.Left != 1 {
				w.Errorf("want %q: %v %+v", want, err, states)
			}
			w.demandAny()
		}
		if c := w.server.Counters(); c.PasswordGrants != 2 {
			w.Errorf("%+v", c)
		}
	})
}

// demandAny sends a request, whatever its answer is.
func (w *world) demandAny() {
	w.Helper()
	_ = w.get()
	w.rest(time.Second)
}

func TestAnOperatorLiftsAHold(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		w.start(unwatched())
		w.server.SetPassword(veeamtest.DefaultUser, "another one")
		w.demand("503 credential_refused")
		w.demand("503 credential_refused")
		for _, force := range []bool{false, true} {
			states, err := w.operate(w.processState, "lift", map[string]any{"account": veeamtest.DefaultUser, "force": force})
			if err != nil || len(states) != 1 || states[0].Budget == nil || states[0].Budget.Left != 1 || states[0].Budget.Of != 2 {
				w.Fatalf("%v %+v", err, states)
			}
			lifted := states[0].Error == "" && states[0].State != "held" && states[0].HeldFor == 0
			kept := strings.Contains(states[0].Error, "nothing was sent: 1 of 2 tries left until ") && states[0].State == "held"
			if lifted != force || kept == force {
				w.Errorf("force %v: %+v", force, states[0])
			}
		}
		if c := w.server.Counters(); c.PasswordGrants != 1 {
			w.Errorf("a lift sends something: %+v", c)
		}
		w.server.SetPassword(veeamtest.DefaultUser, veeamtest.DefaultPassword)
		w.demand("200")
	})
}
