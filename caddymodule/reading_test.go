// Secrets on a file system that hangs: who waits for them, and for how long.

package caddymodule

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// hangingFiles stand for a file system that hangs: whoever opens a sealed secret is
// held.
type hangingFiles struct {
	keys sealed.Sealer

	mu   sync.Mutex
	gate chan struct{} // nil: the file system answers
	read int
}

// hang begins to hang, and returns how it ends.
func (h *hangingFiles) hang() (answer func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	gate := make(chan struct{})
	h.gate = gate
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.gate = nil
		close(gate)
	}
}

func (h *hangingFiles) open() (sealed.Sealer, error) {
	h.mu.Lock()
	gate := h.gate
	h.read++
	h.mu.Unlock()
	if gate != nil {
		<-gate
	}
	return h.keys, nil
}

// reads is how often something was read so far.
func (h *hangingFiles) reads() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.read
}

// seal is the text of an option, which hangs when it is read.
func (h *hangingFiles) seal(w *world, name, option, text string) string {
	w.Helper()
	return w.secret(option, sealedText(w, account.Seal{Product: w.server.Profile().Product(), Account: name}, h.keys, option, text))
}

// of has the accounts read by h.
func (h *hangingFiles) of(w *world, accounts ...*account.Account) {
	for _, a := range accounts {
		a.Prepare(account.Env{Product: w.server.Profile().Product(), Expand: expand, Keys: h.open})
	}
}

func TestRequestsWaitForSecretsNoLongerThanForALogin(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		h := &hangingFiles{keys: newKeys(t)}
		own := &account.Account{Name: veeamtest.DefaultUser, Password: h.seal(w, veeamtest.DefaultUser, "password", veeamtest.DefaultPassword)}
		w.start(own)
		h.of(w, own)
		answer := h.hang()
		began := time.Now()
		var clients sync.WaitGroup
		for i := range 20 {
			clients.Go(func() {
				time.Sleep(time.Duration(i) * time.Second / 4)
				if got := w.get(); got.String() != "503 secret_unreadable" || !strings.Contains(got.body, "in time") || got.header.Get("Retry-After") != "1" {
					t.Errorf("%v %s", got, got.body)
				}
				if waited := time.Since(began); waited != account.ReadTimeout {
					t.Errorf("client %d was answered after %v", i, waited)
				}
			})
		}
		clients.Go(func() {
			ctx, cancel := context.WithTimeout(w.Context(), time.Second)
			defer cancel()
			if got := w.askIn(ctx, w.tr, "GET", "/echo", ""); got.String() != "503 secret_unreadable" || time.Since(began) != time.Second {
				t.Errorf("its time was over: %v %s after %v", got, got.body, time.Since(began))
			}
		})
		clients.Go(func() {
			ctx, cancel := context.WithCancel(w.Context())
			time.AfterFunc(time.Second, cancel)
			if got := w.askIn(ctx, w.tr, "GET", "/echo", ""); got.body != context.Canceled.Error() || time.Since(began) != time.Second {
				t.Errorf("it has gone: %v %s after %v", got, got.body, time.Since(began))
			}
		})
		clients.Wait()
		began = time.Now()
		for range 100 {
			w.demand("503 secret_unreadable")
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("later requests have waited for %v", waited)
		}
		if n := h.reads(); n != 1 {
			t.Errorf("%d readers", n)
		}
		if said := w.said(); !strings.Contains(said, "account svc-monitor: option password, it could not be read in time") || strings.Contains(said, veeamtest.DefaultPassword) {
			t.Error(said)
		}
		answer()
		synctest.Wait()
		w.demand("200")
	})
}

func TestRequestsWithATokenNoticeNothingOfSecretsThatHang(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		h := &hangingFiles{keys: newKeys(t)}
		own := &account.Account{Name: veeamtest.DefaultUser, Password: h.seal(w, veeamtest.DefaultUser, "password", veeamtest.DefaultPassword)}
		w.start(own)
		h.of(w, own)
		w.demand("200")
		w.rest(time.Minute)
		answer := h.hang()
		began := time.Now()
		for range 100 {
			w.demand("200")
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("waited for %v", waited)
		}
		// A login is done with what was read before.
		w.server.RevokeAccess()
		for range 20 {
			w.demand("200")
		}
		if waited := time.Since(began); waited != account.ReadTimeout {
			t.Errorf("a login has waited for %v", waited)
		}
		if n := strings.Count(w.said(), "The previous secrets stay in use: account svc-monitor: option password, it could not be read in time"); n != 1 {
			t.Errorf("said %d times: %s", n, w.said())
		}
		answer()
		synctest.Wait()
	})
}

func TestANextPasswordThatHangsRefusesInTime(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		h := &hangingFiles{keys: newKeys(t)}
		own := &account.Account{
			Name: veeamtest.DefaultUser, Password: w.secret("secret", "wrong"),
			NextPassword: h.seal(w, veeamtest.DefaultUser, "next_password", veeamtest.DefaultPassword),
		}
		w.start(own)
		h.of(w, own)
		answer := h.hang()
		began := time.Now()
		for range 20 {
			w.demand("503 credential_refused")
		}
		if waited := time.Since(began); waited != account.ReadTimeout || h.reads() != 1 {
			t.Errorf("waited for %v, %d readers", waited, h.reads())
		}
		if n := strings.Count(w.said(), "option next_password, it could not be read in time"); n != 1 {
			t.Errorf("said %d times: %s", n, w.said())
		}
		answer()
		w.rest(upstream.ResolveHeldEvery)
		w.demand("200")
	})
}

func TestUsersWhoJoinAReadingStayApart(t *testing.T) {
	t.Parallel()
	options, uids := tenants(10)
	inWorld(t, veeamtest.VSPC, options, func(w *world) {
		h := &hangingFiles{keys: newKeys(t)}
		accounts := w.template()
		accounts[0].Username = h.seal(w, "tenants", "username", "tenants")
		w.start(accounts...)
		h.of(w, accounts...)
		answer := h.hang()
		var clients sync.WaitGroup
		for i, uid := range uids {
			clients.Go(func() {
				if got := w.ask(w.tr, "GET", "/echo", uid); got.status != 200 || got.subject != tenant(i) {
					t.Errorf("%v of %q for %s", got, got.subject, tenant(i))
				}
			})
		}
		synctest.Wait()
		answer()
		clients.Wait()
		if n := h.reads(); n != 1 {
			t.Errorf("%d readers", n)
		}
	})
}
