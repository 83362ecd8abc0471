// Logins with secrets that neither files nor variables hold.

package caddymodule

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// kept is a source of one secret. Sources are those of the process: the tests are not
// parallel.
type kept struct {
	value atomic.Pointer[string] // nil: it is not available
	reads atomic.Int64
}

func (k *kept) set(value string) { k.value.Store(&value) }

func keepSecrets(t *testing.T) *kept {
	k := new(kept)
	sources := &secret.Sources{Read: map[string]func(string) (string, error){
		secret.SourceVault: func(name string) (string, error) {
			k.reads.Add(1)
			value := k.value.Load()
			if value == nil || name != "secret/data/veeam#password" {
				return "", fmt.Errorf("vault cannot be reached: %w", secret.ErrUnavailable)
			}
			return *value, nil
		},
	}}
	sources.Use()
	t.Cleanup(sources.Withdraw)
	return k
}

// Reads says that the configuration has a vault.
func (*kept) Reads(source string) bool { return source == secret.SourceVault }

const inVault = "{vault.secret/data/veeam#password}"

// As with a file: a refused password is sent once, and its replacement is used without a
// reload; while a session lives, nothing is read. Not parallel: sources are those of the
// process.
func TestAPasswordInAVaultIsReadAtLoginsAndAfterARefusal(t *testing.T) {
	k := keepSecrets(t)
	k.set("wrong")
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		w.tr = w.transport(&Transport{Accounts: []*account.Account{{Name: veeamtest.DefaultUser, Password: inVault}}, secrets: k})
		refusals := secret.Refusals()
		w.demand("503 credential_refused")
		w.demand("503 credential_refused")
		if sent := w.wire.grants(); sent != 1 || secret.Refusals() == refusals {
			t.Errorf("logins: %d, refusals told: %d", sent, secret.Refusals()-refusals)
		}
		k.set(veeamtest.DefaultPassword)
		time.Sleep(upstream.ResolveEvery)
		w.demand("200")
		reads := k.reads.Load()
		for range 5 {
			time.Sleep(time.Second)
			w.demand("200")
		}
		if k.reads.Load() != reads || w.wire.grants() != 2 {
			t.Errorf("reads with a session: %d, logins: %d", k.reads.Load()-reads, w.wire.grants())
		}
	})
}

// A vault that does not answer refuses requests without a session with a reason, and stops
// none that has one. Not parallel: sources are those of the process.
func TestAVaultThatDoesNotAnswerStopsNoSession(t *testing.T) {
	k := keepSecrets(t)
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		w.tr = w.transport(&Transport{Accounts: []*account.Account{{Name: veeamtest.DefaultUser, Password: inVault}}, secrets: k})
		w.demand("503 secret_unreadable")
		if w.wire.grants() != 0 {
			t.Error("a login without a password")
		}
		k.set(veeamtest.DefaultPassword)
		time.Sleep(upstream.ResolveEvery)
		w.demand("200")
		k.value.Store(nil)
		time.Sleep(24 * time.Hour) // the session has ended: the password from before logs in
		w.demand("200")
	})
}
