// Accounts that wait for a verification code which a person enters, and one-time secrets
// that are entered for one login.

package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/pquerna/otp/totp"

	"github.com/caddy-veeam/veeam-auth/caddymodule/records"
	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/adminapi"
	"github.com/caddy-veeam/veeam-auth/test/harness/memorystore"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// coded is an account whose server asks for codes, and that has no totp_secret.
func coded() *account.Account {
	return &account.Account{Name: veeamtest.DefaultMFAUser, Password: veeamtest.DefaultMFAPassword}
}

// codeNow is the code that the user's authenticator shows.
func codeNow() string {
	code, err := totp.GenerateCode(veeamtest.DefaultTOTPSecret, time.Now())
	if err != nil {
		panic(err)
	}
	return code
}

// operate does something to sessions of a process by the admin endpoint.
func (w *world) operate(process *processState, act string, body any) (states []adminapi.SessionState, err error) {
	w.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		w.Fatal(err)
	}
	status, answer := askAdmin(w, process, http.MethodPost, adminapi.SessionsPath+"/"+act, string(text))
	if status != http.StatusOK {
		return nil, errors.New(answer)
	}
	if err := json.Unmarshal([]byte(answer), &states); err != nil {
		w.Fatal(err)
	}
	return states, nil
}

// enterIn enters a code for the account of coded in a process.
func (w *world) enterIn(process *processState, code string, force bool) adminapi.SessionState {
	w.Helper()
	states, err := w.operate(process, "code", map[string]any{"account": veeamtest.DefaultMFAUser, "code": code, "force": force})
	if err != nil || len(states) != 1 {
		w.Fatalf("%v %+v", err, states)
	}
	return states[0]
}

func (w *world) enter(code string) adminapi.SessionState {
	w.Helper()
	return w.enterIn(w.processState, code, false)
}

// sent fails the test unless the server got so many passwords and codes so far.
func (w *world) sent(passwords, codes int64) {
	w.Helper()
	if c := w.server.Counters(); c.PasswordGrants != passwords || c.MFAGrants != codes {
		w.Errorf("%d passwords and %d codes were sent, want %d and %d", c.PasswordGrants, c.MFAGrants, passwords, codes)
	}
}

func TestAnAccountWithoutASeedWaitsForACode(t *testing.T) {
	t.Parallel()
	for _, profile := range withCodes {
		for _, after := range []time.Duration{10 * time.Second, 90 * time.Second, 3 * time.Hour} {
			t.Run(fmt.Sprint(profile, " after ", after), func(t *testing.T) {
				t.Parallel()
				inWorld(t, profile, nil, func(w *world) {
					w.start(coded())
					got := w.demand("503 code_needed")
					if got.header.Get("Retry-After") != "30" || !strings.Contains(got.body, "sessions code") {
						w.Errorf("%v %s", got.header, got.body)
					}
					for began := time.Now(); time.Since(began) < after; w.rest(after / 10) {
						w.demand("503 code_needed")
					}
					w.sent(1, 0) // no request sends the password again
					state := w.enter(codeNow())
					if state.Error != "" || state.State != "valid" || state.Reason != "ok" {
						w.Errorf("%+v", state)
					}
					w.demand("200")
					if after < time.Minute {
						w.sent(1, 1) // the code has answered the challenge
					} else {
						w.sent(2, 1) // the challenge had expired
					}
					if said := w.said(); strings.Count(said, "waits for a verification code") != 1 {
						w.Error(said)
					}
				})
			})
		}
	}
}

func TestACodeNeededIsAStateOfTheSession(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.Azure, nil, func(w *world) {
		w.start(coded())
		w.demand("503 code_needed")
		rows := w.State.Rows(w.Context())
		if len(rows) != 1 {
			w.Fatal(rows)
		}
		state := adminapi.Describe(rows[0])
		if state.State != "code_needed" || state.Reason != "code_needed" || state.HeldFor != 0 || !strings.Contains(state.LastError, "caddy veeam-auth sessions code") {
			w.Errorf("%+v", state)
		}
		for _, m := range w.State.Live() {
			if m.Held || m.Reason != "code_needed" || m.Status != "code_needed" {
				w.Errorf("%+v", m)
			}
		}
	})
}

func TestARefusedCodeLeavesTheAccountWaiting(t *testing.T) {
	t.Parallel()
	for _, profile := range withCodes {
		t.Run(string(profile), func(t *testing.T) {
			t.Parallel()
			inWorld(t, profile, nil, func(w *world) {
				w.start(coded())
				w.demand("503 code_needed")
				state := w.enter("000001")
				if !strings.Contains(state.Error, "the server refuses the code") || !strings.Contains(state.Error, "2 of 3 tries left") || state.State != "code_needed" {
					w.Errorf("%+v", state)
				}
				w.rest(time.Hour)
				w.demand("503 code_needed")
				w.sent(1, 1)
				if state := w.enter(codeNow()); state.Error != "" {
					w.Errorf("%+v", state)
				}
				w.demand("200")
				w.sent(2, 2)
			})
		})
	}
}

func TestWrongCodesEndWithinTheBudget(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.Azure, []veeamtest.Option{veeamtest.WithLockout(4, 15*time.Minute)}, func(w *world) {
		w.start(coded())
		w.demand("503 code_needed")
		w.enter("000001")
		w.enter("000002")
		state := w.enter("000003")
		if !strings.Contains(state.Error, "nothing was sent") || !strings.Contains(state.Error, "--force") {
			w.Errorf("the last try: %+v", state)
		}
		w.sent(2, 2)
		state = w.enterIn(w.processState, "000003", true)
		if !strings.Contains(state.Error, "0 of 3 tries left") || !strings.Contains(state.Error, "no other code is accepted before") {
			w.Errorf("the third: %+v", state)
		}
		w.sent(3, 3)
		if state = w.enter(codeNow()); !strings.Contains(state.Error, "nothing was sent") {
			w.Errorf("the fourth: %+v", state)
		}
		w.sent(3, 3)
		w.rest(16 * time.Minute)
		w.demand("503 code_needed")
		if state = w.enter(codeNow()); state.Error != "" {
			w.Errorf("after the window: %+v", state)
		}
		w.demand("200")
		w.sent(4, 4)
		if n := w.server.Counters().Locked; n != 0 {
			w.Errorf("the server has locked the user %d times", n)
		}
	})
}

func TestThreeWrongCodesInARowEndTheEntryForAWhile(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.Azure, nil, func(w *world) {
		w.tr = w.transport(&Transport{Accounts: []*account.Account{coded()}, LockoutBudget: &records.LockoutBudget{Tries: 10, Window: caddy.Duration(time.Hour)}})
		w.demand("503 code_needed")
		for _, code := range []string{"000001", "000002", "000003"} {
			w.enter(code)
		}
		if state := w.enter(codeNow()); !strings.Contains(state.Error, "3 codes in a row were refused") {
			w.Errorf("%+v", state)
		}
		w.sent(3, 3)
		w.rest(5 * time.Minute)
		if state := w.enter(codeNow()); state.Error != "" {
			w.Errorf("%+v", state)
		}
	})
}

func TestACodeThatIsEnteredTwiceIsSentOnce(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.AWS, []veeamtest.Option{veeamtest.WithLatency(time.Second)}, func(w *world) {
		w.start(coded())
		w.demand("503 code_needed")
		code := codeNow()
		for range 2 { // the second time the session is valid
			var operators sync.WaitGroup
			for range 5 {
				operators.Go(func() { w.enter(code) })
			}
			operators.Wait()
		}
		w.demand("200")
		w.sent(1, 1)
		w.server.RevokeAll()
		w.rest(time.Second)
		w.demand("503 code_needed")
		if state := w.enter(code); !strings.Contains(state.Error, "nothing was sent: this code was sent before") {
			w.Errorf("%+v", state)
		}
		w.sent(2, 1)
	})
}

func TestRequestsThatArriveWithACodeSendNothingMore(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.GCP, []veeamtest.Option{veeamtest.WithLatency(100 * time.Millisecond)}, func(w *world) {
		w.start(coded())
		w.demand("503 code_needed")
		for round, code := range []string{"000001", "000002", ""} {
			w.rest(time.Hour)
			if code == "" {
				code = codeNow()
			}
			var all sync.WaitGroup
			for i := range 50 {
				all.Go(func() {
					time.Sleep(time.Duration(i) * 10 * time.Millisecond)
					w.get()
				})
			}
			all.Go(func() {
				time.Sleep(100 * time.Millisecond)
				w.enter(code)
			})
			all.Wait()
			w.sent(int64(round)+2, int64(round)+1)
		}
		w.demand("200")
	})
}

func TestAReloadKeepsAnAccountWaiting(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.Azure, nil, func(w *world) {
		before := w.start(coded())
		w.demand("503 code_needed")
		w.tr = w.transport(&Transport{Accounts: []*account.Account{coded()}})
		_ = before.Cleanup()
		w.demand("503 code_needed")
		w.sent(1, 0)
		if state := w.enter(codeNow()); state.Error != "" {
			w.Errorf("%+v", state)
		}
		w.demand("200")
		w.sent(1, 1) // the challenge has outlived the reload
	})
}

func TestReplicasWaitForOneCode(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.Azure, nil, func(w *world) {
		var storage memorystore.Storage
		_, key := newKeyFile(t)
		replicas := make([]*Transport, 3)
		start := func(i int) {
			w.processState = newProcess()
			name := fmt.Sprintf("%s %p", w.Name(), w.processState)
			memoryStorages.Store(name, storage.Process())
			replicas[i] = w.transport(&Transport{
				Accounts: []*account.Account{coded()},
				Cache:    &records.Cache{EncryptionKey: key, StorageRaw: []byte(`{"module": "veeam_auth_test", "name": "` + name + `"}`)},
			})
		}
		each := func(want string) {
			for _, tr := range replicas {
				for range 3 {
					if got := w.ask(tr, http.MethodGet, "/echo", ""); got.String() != want {
						w.Errorf("%v, want %s: %s", got, want, got.body)
					}
				}
			}
		}
		for i := range replicas {
			start(i)
		}
		each("503 code_needed")
		w.rest(2 * time.Hour)
		each("503 code_needed")
		replicas[2].close()
		start(2) // a restart
		each("503 code_needed")
		w.sent(1, 0)

		// Any of them takes the code, also that which has never logged in.
		if state := w.enterIn(replicas[2].process, "000001", false); !strings.Contains(state.Error, "the server refuses the code") || state.State != "code_needed" {
			w.Errorf("%+v", state)
		}
		w.rest(time.Minute)
		each("503 code_needed")
		w.sent(2, 1)
		code := codeNow()
		var operators sync.WaitGroup
		for _, tr := range replicas {
			operators.Go(func() { w.enterIn(tr.process, code, false) })
		}
		operators.Wait()
		w.rest(2 * time.Second)
		each("200")
		w.sent(3, 2)
		for _, tr := range replicas {
			tr.close()
		}
	})
}

func TestACodeWithoutAnAnswerLeavesTheAccountWaiting(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]string{"the password": "assword", "the code": "mfa_code"} {
		inWorld(t, veeamtest.AWS, nil, func(w *world) {
			w.start(coded())
			w.demand("503 code_needed")
			w.rest(time.Hour)
			w.wire.intercept(func(req *http.Request) (*http.Response, error) {
				if isGrant(req) && strings.Contains(bodyOf(req), lost) {
					return nil, errors.New("connection reset by peer")
				}
				return nil, nil
			})
			if state := w.enter(codeNow()); state.Error == "" || state.State != "code_needed" {
				w.Errorf("%s: %+v", name, state)
			}
			w.wire.intercept(nil)
			grants := w.wire.grants()
			for range 10 {
				w.rest(time.Hour)
				w.demand("503 code_needed")
			}
			if n := w.wire.grants(); n != grants {
				w.Errorf("%s: requests have sent %d token requests", name, n-grants)
			}
			if state := w.enter(codeNow()); state.Error != "" {
				w.Errorf("%s: %+v", name, state)
			}
			w.demand("200")
		})
	}
}

func TestAChangedPasswordWaitsForItsCode(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.Azure, nil, func(w *world) {
		a := coded()
		a.Password, a.NextPassword = w.secret("secret", veeamtest.DefaultMFAPassword), w.secret("next", "never sent")
		w.start(a)
		w.demand("503 code_needed")
		if state := w.enter(codeNow()); state.Error != "" {
			w.Fatal(state.Error)
		}
		w.demand("200")
		w.server.SetPassword(veeamtest.DefaultMFAUser, "another one")
		w.secret("secret", "another one")
		w.rest(5 * time.Second)
		w.demand("200") // the session in use goes on
		w.sent(2, 1)
		w.rest(time.Minute)
		if state := w.enter(codeNow()); state.Error != "" || state.State != "valid" {
			w.Errorf("%+v", state)
		}
		w.rest(5 * time.Second)
		w.demand("200")
		w.sent(3, 2)
		if said := w.said(); strings.Contains(said, "refuses the changed secret") || !strings.Contains(said, "is accepted and in use") {
			w.Error(said)
		}
	})
}

func TestAOneTimeSecretServesOneLogin(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.Azure, nil, func(w *world) {
		w.start(&account.Account{Name: veeamtest.DefaultUser, Grant: "refresh_token", Password: w.secret("secret", "of no use")})
		w.demand("503 credential_refused")
		credential := func(secret string) adminapi.SessionState {
			states, err := w.operate(w.processState, "credential", map[string]any{"account": veeamtest.DefaultUser, "secret": secret, "grant": "refresh_token"})
			if err != nil {
				w.Fatal(err)
			}
			return states[0]
		}
		if state := credential("wrong"); !strings.Contains(state.Error, "credential refused") || state.Reason != "credential_refused" {
			w.Errorf("%+v", state)
		}
		grants := w.wire.grants()
		w.demand("503 credential_refused")
		fresh := w.session().Refresh.Reveal()
		if state := credential(fresh); state.Error != "" || state.State != "valid" || !state.Accepted.IsZero() {
			w.Errorf("%+v", state)
		}
		w.demand("200")
		if n := w.wire.grants() - grants; n != 1 {
			w.Errorf("%d token requests", n)
		}
		w.server.RevokeAll()
		w.rest(time.Second)
		got := w.demand("503 credential_refused")
		if !strings.Contains(got.body, "sessions credential") {
			w.Error(got.body) // the state says what helps
		}
		for _, c := range w.wire.calls() {
			if strings.Contains(c.path, fresh) {
				w.Error("the secret is in a path")
			}
		}
	})
}

func TestACodeIsForASessionThatThereIs(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.Azure, nil, func(w *world) {
		w.start(coded())
		body := map[string]any{"account": veeamtest.DefaultMFAUser, "code": "123456"}
		if _, err := w.operate(w.processState, "code", body); err == nil || !strings.Contains(err.Error(), "no request has required a session") {
			w.Error(err)
		}
		w.demand("503 code_needed")
		body["origin"] = "another server"
		if _, err := w.operate(w.processState, "code", body); err == nil || !strings.Contains(err.Error(), "no session at a matching server") {
			w.Error(err)
		}
		w.sent(1, 0)
	})
}

func TestVBRTakesNoCode(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		w.start(&account.Account{Name: veeamtest.DefaultMFAUser, Password: veeamtest.DefaultMFAPassword})
		w.demand("503 credential_refused")
		if state := w.enter("123456"); !strings.Contains(state.Error, "nothing was sent: the REST API of Veeam Backup & Replication does not support verification codes: mark the user as a service account") {
			w.Errorf("%+v", state)
		}
		if n := w.wire.grants(); n != 1 {
			w.Errorf("%d token requests", n)
		}
	})
}
