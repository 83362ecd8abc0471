// Verification codes of several processes that share what they have used, whoever
// of them is killed.

package veeam_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/store"
	"github.com/caddy-veeam/veeam-auth/internal/totp"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/test/harness/memorystore"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// When a process is killed during a login.
const (
	survives     = iota
	beforeUnlock // the step is recorded, the storage's lock is left behind
	beforePOST   // the step is recorded, its code was not sent
	beforeAnswer // the server has taken the code
	moments
)

var errKilled = errors.New("killed")

// mfaProcess is a process that logs in once with a code. What it remembers itself
// goes with it.
type mfaProcess struct {
	*veeam.Client
	to    http.RoundTripper
	store *memorystore.Process
	dies  int
	kill  context.CancelFunc
	dead  bool
}

func newMFAProcess(server *veeamtest.Server, storage *memorystore.Storage, keys *sealed.Keyset, dies int) *mfaProcess {
	p := &mfaProcess{to: server.Transport(), store: storage.Process(), dies: dies}
	shared := sealed.New(sealed.Options{Keys: func() (sealed.Sealer, error) { return keys, nil }})
	shared.Attach(p.store)
	if dies == beforeUnlock {
		p.store.Written = func(key string) {
			if !strings.HasPrefix(key, store.HoldersFolder) {
				p.die()
			}
		}
	}
	product, _ := veeam.Lookup("vspc")
	p.Client = &veeam.Client{
		Product: product, Transport: p, BaseURL: "https://veeam.test",
		TOTPLedger: &totp.Ledger{}, TOTPSteps: shared,
	}
	return p
}

func (p *mfaProcess) die() {
	p.dead = true
	p.store.Kill()
	p.kill()
}

// RoundTrip implements http.RoundTripper. A process that was killed sends nothing.
func (p *mfaProcess) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := req.GetBody()
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	code := strings.Contains(string(text), "mfa_code=")
	if code && p.dies == beforePOST {
		p.die()
	}
	if p.dead {
		return nil, errKilled
	}
	res, err := p.to.RoundTrip(req)
	if code && p.dies == beforeAnswer {
		p.die()
		if err == nil {
			res.Body.Close()
		}
		return nil, errKilled
	}
	return res, err
}

// login reports whether it has come to its end.
func (p *mfaProcess) login(t *testing.T) bool {
	seed, err := totp.Parse(secret.New(veeamtest.DefaultTOTPSecret))
	if err != nil {
		t.Error(err)
	}
	var ctx context.Context
	ctx, p.kill = context.WithTimeout(context.Background(), time.Hour) // chance may pass one over for many steps
	defer p.kill()
	_, err = p.Login(ctx, &veeam.Account{
		Username: veeamtest.DefaultMFAUser, Password: secret.New(veeamtest.DefaultMFAPassword), TOTP: seed,
	})
	if err != nil && !p.dead {
		t.Error(err)
	}
	return !p.dead
}

func TestThreeReplicasNeverSendACodeTwiceHoweverTheClocksDifferAndWhoeverIsKilled(t *testing.T) {
	keys, err := sealed.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	var logins [moments]int
	var mu sync.Mutex
	for _, skew := range []time.Duration{-65, -60, -45, -31, -30, -29, -10, -1, 0, 1, 10, 29, 30, 31, 45, 60, 65} {
		skew *= time.Second
		synctest.Test(t, func(t *testing.T) {
			server := veeamtest.New(veeamtest.VSPC, veeamtest.WithMFALifetime(time.Hour),
				veeamtest.WithClock(func() time.Time { return time.Now().Add(skew) }))
			storage := new(memorystore.Storage)
			var ended [moments]int
			var wg sync.WaitGroup
			for replica := range 3 {
				wg.Go(func() {
					random := rand.New(rand.NewPCG(uint64(skew), uint64(replica)))
					for survived := 0; survived < 20; {
						dies := survives
						if random.IntN(3) == 0 {
							dies = 1 + random.IntN(moments-1)
						}
						p := newMFAProcess(server, storage, keys, dies)
						if p.login(t) {
							survived++
						}
						mu.Lock()
						ended[dies]++
						logins[dies]++
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			time.Sleep(time.Minute) // what the killed ones were waiting for ends
			c := server.Counters()
			if c.DuplicateTOTP != 0 || c.Refused != 0 || c.MFAGrants != int64(ended[survives]+ended[beforeAnswer]) {
				t.Errorf("skew %v: %d duplicates, %d refused of %d codes; killed %v", skew, c.DuplicateTOTP, c.Refused, c.MFAGrants, ended)
			}
		})
	}
	t.Logf("%d logins; killed before the lock was given back %d, before the code was sent %d, before the answer %d",
		logins[survives], logins[beforeUnlock], logins[beforePOST], logins[beforeAnswer])
}
