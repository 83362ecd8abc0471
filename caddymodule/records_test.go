// Records that an earlier version has written, in the hands of today's code.

package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/caddymodule/records"
	"github.com/caddy-veeam/veeam-auth/caddymodule/storages"
	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/clients"
	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/passthrough"
	"github.com/caddy-veeam/veeam-auth/internal/password"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// issuedTokens are an access token and the refresh token that renews it.
type issuedTokens struct{ Access, Refresh string }

// facts is what servers and clients knew when the records were copied.
type facts struct {
	Written     time.Time
	Sessions    map[string]issuedTokens // by product and user
	Code        string                  // verification code that was sent last
	Tries       map[string][]time.Time  // token requests by product and user
	Paced       []time.Time             // token requests to the server with a pace
	Passthrough string                  // login that the token of the user names
	Issued      map[string]issuedTokens // to clients
}

// heir is a process of today's version that continues with the records.
type heir struct {
	*world
	facts

	storage *certmagic.FileStorage
	key     string

	// revoked says that the server knows no token any more that it has issued so far.
	revoked atomic.Bool
	renewed atomic.Int64 // refresh tokens of the records that the server has got
	bodies  chan string  // of token requests
}

// inherit runs a test with a copy of the records, from the moment on at which they were
// copied. The server knows the tokens that it has issued.
func inherit(t *testing.T, keyset string, profile veeamtest.Profile, options []veeamtest.Option, test func(h *heir)) {
	t.Helper()
	const records = "testdata/records"
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(records+"/storage")); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(records + "/facts.json")
	if err != nil {
		t.Fatal(err)
	}
	var known facts
	if err := json.Unmarshal(text, &known); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(records, keyset))
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(known.Written))
		server := veeamtest.New(profile, append([]veeamtest.Option{veeamtest.WithTokenLimits(0, 0, 0)}, options...)...)
		w := &world{T: t, server: server, dir: home, processState: newProcess(), svc: zap.NewNop()}
		w.wire = &wire{to: server.Transport(), base: server.Base()}
		h := &heir{world: w, facts: known, storage: &certmagic.FileStorage{Path: dir}, bodies: make(chan string, 1000)}
		h.key = w.secret("keyset", string(key))
		w.wire.intercept(h.remember)
		test(h)
		if w.tr != nil {
			w.tr.close()
		}
		time.Sleep(time.Minute) // who keeps a lock file fresh looks seldom whether it is still there
		synctest.Wait()
	})
}

// remember answers for the server what it knows from the time of the records.
func (h *heir) remember(req *http.Request) (*http.Response, error) {
	body := bodyOf(req)
	if isGrant(req) {
		h.bodies <- body
	}
	for user, tok := range h.Sessions {
		_, name, _ := strings.Cut(user, " ")
		switch {
		case h.revoked.Load():
		case req.Header.Get("Authorization") == "Bearer "+tok.Access:
			return canned(req, http.StatusOK, contentTypeJSON, fmt.Sprintf(`{"subject": %q}`, name)), nil
		case isGrant(req) && strings.Contains(body, tok.Refresh):
			h.renewed.Add(1)
			return canned(req, http.StatusOK, contentTypeJSON, `{"access_token": "renewed", "refresh_token": "next", "token_type": "bearer", "expires_in": 3600}`), nil
		}
	}
	if req.Header.Get("Authorization") == "Bearer renewed" {
		return canned(req, http.StatusOK, contentTypeJSON, `{"subject": "renewed"}`), nil
	}
	return nil, nil
}

// with provisions a transport with the cache.
func (h *heir) with(accounts ...*account.Account) *Transport {
	h.Helper()
	h.tr = h.transport(&Transport{
		Accounts: accounts, storage: h.storage,
		Cache: &records.Cache{EncryptionKey: h.key, StorageRaw: fileStorage(h.storage.Path)},
	})
	return h.tr
}

func (h *heir) expect(account, want string) received {
	h.Helper()
	got := h.ask(h.tr, http.MethodGet, "/echo", account)
	if got.String() != want {
		h.Fatalf("account %s: got %v, want %s: %s", account, got, want, got.body)
	}
	return got
}

// monitor is the account that has a session at most servers.
func monitor() *account.Account {
	return &account.Account{Name: "monitor", Username: veeamtest.DefaultUser, Password: veeamtest.DefaultPassword}
}

func TestRecordsOfAnEarlierVersionAreTakenOver(t *testing.T) {
	t.Parallel()
	mfa := &account.Account{Name: "mfa", Username: veeamtest.DefaultMFAUser, Password: veeamtest.DefaultMFAPassword, TOTPSecret: veeamtest.DefaultTOTPSecret}
	for _, keyset := range []string{"keyset", "keyset-rotated"} {
		for _, c := range []struct {
			profile veeamtest.Profile
			account *account.Account
			user    string
		}{
			{veeamtest.VBR13, monitor(), veeamtest.DefaultUser},
			{veeamtest.Azure, monitor(), veeamtest.DefaultUser},
			{veeamtest.Azure, mfa, veeamtest.DefaultMFAUser},
			{veeamtest.AWS, monitor(), veeamtest.DefaultUser},
			{veeamtest.VSPC, &account.Account{Name: "user-1", Password: "right"}, "user-1"},
		} {
			t.Run(fmt.Sprint(keyset, " ", c.profile, " ", c.account.Name), func(t *testing.T) {
				t.Parallel()
				inherit(t, keyset, c.profile, nil, func(h *heir) {
					h.with(c.account)
					if got := h.expect(c.account.Name, "200"); got.subject != c.user {
						t.Errorf("the request is sent as %q", got.subject)
					}
					if n := h.wire.grants(); n != 0 {
						t.Errorf("%d token requests for a session that is stored", n)
					}
					for range 100 { // until the access token is about to expire
						if h.renewed.Load() > 0 {
							break
						}
						h.rest(time.Minute)
						h.expect(c.account.Name, "200")
					}
					h.rest(time.Second)
					if got := h.expect(c.account.Name, "200"); got.subject != "renewed" || h.renewed.Load() != 1 || h.wire.grants() != 1 {
						t.Errorf("subject %q, %d renewals, %d token requests", got.subject, h.renewed.Load(), h.wire.grants())
					}
				})
			})
		}
	}
}

func TestHoldsAndTriesOfAnEarlierVersionCount(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, user string
		cached     bool
		held       bool
		left       int // tries in the window that began with the first one
	}{
		{"held", "svc-held", true, true, 1},
		{"tried", "svc-spent", true, false, 1},
		{"plain", "nobody", false, false, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			inherit(t, "keyset", veeamtest.VBR13, nil, func(h *heir) {
				wrong := &account.Account{Name: c.name, Username: c.user, Password: "wrong"}
				if c.cached {
					h.with(wrong)
				}
				if c.held {
					h.expect(c.name, "503 credential_refused")
					if n := h.wire.grants(); n != 0 {
						t.Errorf("%d token requests during the hold", n)
					}
				}
				if !c.cached {
					h.tr = h.transport(&Transport{Accounts: []*account.Account{wrong}, storage: h.storage})
				}
				until := h.Tries["vbr "+c.user][0].Add(15 * time.Minute)
				for time.Now().Before(until.Add(-time.Second)) {
					if got := h.ask(h.tr, http.MethodGet, "/echo", c.name); got.status != http.StatusServiceUnavailable {
						t.Fatalf("got %v", got)
					}
					h.rest(time.Second)
				}
				if n := h.wire.grants(); n != c.left {
					t.Errorf("%d token requests before %v, want %d", n, until, c.left)
				}
			})
		})
	}
}

func TestASpentLockoutBudgetOfAnEarlierVersionKeepsThePasswordBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		user     string
		cached   bool
		password string
		after    string // with a try left
	}{
		{"svc-out", true, "wrong", "503 credential_refused"},
		{"svc-out", true, "right", "200"},
		{"plain-out", false, "wrong", "503 credential_refused"},
		{"plain-out", false, "right", "200"},
	} {
		t.Run(c.user+" "+c.password, func(t *testing.T) {
			t.Parallel()
			option := veeamtest.WithAccount(veeamtest.Account{Username: c.user, Password: "right"})
			inherit(t, "keyset", veeamtest.VBR13, []veeamtest.Option{option}, func(h *heir) {
				tr := &Transport{
					Accounts: []*account.Account{{Name: "out", Username: c.user, Password: c.password}}, storage: h.storage,
					Hold: caddy.Duration(time.Minute), HoldMost: caddy.Duration(time.Minute), // as when the records were written
				}
				if c.cached {
					tr.Cache = &records.Cache{EncryptionKey: h.key, StorageRaw: fileStorage(h.storage.Path)}
				}
				h.tr = h.transport(tr)
				tries, budget := h.Tries["vbr "+c.user], tr.product.Lockout
				if len(tries) != budget.Tries+1 {
					t.Fatalf("%d of %d tries, and the one of a changed secret, are spent", len(tries), budget.Tries)
				}
				until := tries[1].Add(budget.Window) // three tries count, of which two are allowed
				spent := 0
				for time.Now().Before(until.Add(-5 * time.Second)) {
					switch got := h.ask(tr, http.MethodGet, "/echo", "out"); got.String() {
					case "503 locked_out_budget":
						spent++
					case "503 credential_refused": // the hold of the password
					default:
						t.Errorf("%v: got %v: %s", time.Now(), got, got.body)
						return
					}
					h.rest(5 * time.Second)
				}
				if spent == 0 {
					t.Error("no refusal names the budget")
				}
				if n := h.wire.grants(); n != 0 {
					t.Errorf("%d token requests with a spent budget", n)
				}
				h.rest(6 * time.Second)
				if got := h.ask(tr, http.MethodGet, "/echo", "out"); got.String() != c.after {
					t.Errorf("with a try left: %v: %s", got, got.body)
				}
				if n := h.wire.grants(); n != 1 {
					t.Errorf("%d token requests with a try left", n)
				}
			})
		})
	}
}

func TestALoginThatAnEarlierVersionLeftBehindIsTakenOver(t *testing.T) {
	t.Parallel()
	inherit(t, "keyset", veeamtest.VBR13, []veeamtest.Option{veeamtest.WithAccount(veeamtest.Account{Username: "svc-killed", Password: "wrong"})}, func(h *heir) {
		h.with(&account.Account{Name: "killed", Username: "svc-killed", Password: "wrong"})
		for range 20 {
			if h.ask(h.tr, http.MethodGet, "/echo", "killed").status == http.StatusOK {
				break
			}
			h.rest(10 * time.Second)
		}
		h.expect("killed", "200")
		if n := h.wire.grants(); n != 1 {
			t.Errorf("%d token requests", n)
		}
	})
}

func TestACodeThatAnEarlierVersionHasSentIsNotSentAgain(t *testing.T) {
	t.Parallel()
	inherit(t, "keyset", veeamtest.Azure, nil, func(h *heir) {
		h.revoked.Store(true)
		h.with(&account.Account{Name: "mfa", Username: veeamtest.DefaultMFAUser, Password: veeamtest.DefaultMFAPassword, TOTPSecret: veeamtest.DefaultTOTPSecret})
		h.expect("mfa", "200")
		codes := 0
		for len(h.bodies) > 0 {
			_, code, sent := strings.Cut(<-h.bodies, "mfa_code=")
			if !sent {
				continue
			}
			codes++
			if code, _, _ = strings.Cut(code, "&"); code == h.Code {
				t.Error("the code is sent again")
			}
		}
		if codes != 1 {
			t.Errorf("%d codes", codes)
		}
	})
}

func TestThePaceOfAnEarlierVersionCounts(t *testing.T) {
	t.Parallel()
	option := veeamtest.WithAccount(veeamtest.Account{Username: "late", Password: "right"})
	inherit(t, "keyset", veeamtest.VSPC, []veeamtest.Option{option}, func(h *heir) {
		pace := &ratelimit.Pace{PerSecond: 3, PerMinute: 3}
		h.tr = h.transport(&Transport{
			Accounts: []*account.Account{{Name: "late", Password: "right"}}, Pace: pace, storage: h.storage,
			Cache: &records.Cache{EncryptionKey: h.key, StorageRaw: fileStorage(h.storage.Path)},
		})
		h.expect("late", "200")
		if at := time.Now(); at.Before(h.Paced[0].Add(time.Minute)) {
			t.Errorf("a fourth token request at %v, after %v", at, h.Paced)
		}
	})
}

// site is a handler as the one that has issued the tokens.
func (h *heir) site() *Handler {
	h.Helper()
	known, err := clients.New([]*clients.Client{{Name: "grafana", Hash: siteHash}}, password.New(password.Options{Compare: hasHash}))
	if err != nil {
		h.Fatal(err)
	}
	handler := &Handler{clients: known, users: passthrough.New(), stands: new(atomic.Pointer[site]), TokenMaxLifetime: caddy.Duration(30 * 24 * time.Hour)}
	handler.product, _ = veeam.Lookup("vbr")
	handler.stands.Store(&site{audience: handler.audienceOf("records"), upstreams: issuer.Digest("records")})
	return handler
}

func TestTokensIssuedByAnEarlierVersionAreAcceptedAndRevokedOnesRefused(t *testing.T) {
	t.Parallel()
	inherit(t, "keyset", veeamtest.VBR13, nil, func(h *heir) {
		handler := h.site()
		pooled, release := issuer.Acquire(storages.Key(h.storage), h.storage)
		defer release()
		handler.issuer = pooled.Issuer
		end := time.Now().Add(365 * 24 * time.Hour)
		bare, alice := withCertificate("", "", end), withCertificate("alice", "key", end)
		alice.TLS.VerifiedChains[0][0].Subject.CommonName = "alice"
		for name, want := range map[string]string{
			"client": "", "user of Caddy": "", "certificate": "", "passthrough": "", "renewed": "",
			"revoked": issuer.ErrEnded.Error(), "logged out": issuer.ErrEnded.Error(),
		} {
			r := bare
			if name == "certificate" {
				r = alice
			}
			r = r.Clone(h.Context())
			tok, ok := h.Issued[name]
			if !ok {
				t.Fatalf("no token %s", name)
			}
			r.Header = http.Header{"Authorization": {"Bearer " + tok.Access}}
			_, refusal := handler.identify(r, veeam.RouteProtected, tok.Access)
			switch {
			case want == "" && refusal != nil:
				t.Errorf("%s: refused with %+v", name, refusal)
			case want != "" && (refusal == nil || refusal.Detail != want):
				t.Errorf("%s: %+v, want %s", name, refusal, want)
			}
			_, err := pooled.CheckRefresh(h.Context(), tok.Refresh, handler.audience(r))
			if (err == nil) != (want == "") {
				t.Errorf("refresh token of %s: %v", name, err)
			}
		}
		if _, err := pooled.CheckRefresh(h.Context(), h.Issued["used"].Refresh, handler.audience(bare)); err == nil {
			t.Error("a used refresh token is accepted")
		}
		if _, err := pooled.Refresh(h.Context(), h.Issued["client"].Refresh, handler.audience(bare), 0); err != nil {
			t.Errorf("renewing: %v", err)
		}
	})
}

func TestUsersOfPassthroughOfAnEarlierVersionKeepTheirSessionsAndGuesses(t *testing.T) {
	t.Parallel()
	inherit(t, "keyset", veeamtest.VBR13, nil, func(h *heir) {
		tr := &Transport{Passthrough: true, Cache: &records.Cache{EncryptionKey: h.key, StorageRaw: fileStorage(h.storage.Path)}}
		g := &passthroughSite{world: h.world, h: h.site()}
		g.tr = h.transport(tr)
		state := &requestState{
			route: veeam.RouteProtected, user: g.h.users.Of(h.Passthrough, veeamtest.DefaultUser),
			caller: policy.Caller{Via: policy.ViaPassthrough, Login: h.Passthrough},
		}
		req := proxied(h.Context(), state)
		state.decideFor(req)
		res, err := sendDecided(h, g.tr, req)
		if err != nil {
			t.Fatal(err)
		}
		if got := h.read(res, state); got.String() != "200" {
			t.Errorf("got %v: %s", got, got.body)
		}
		if n := h.wire.grants(); n != 0 {
			t.Errorf("%d token requests for a session that is stored", n)
		}
		for n := range 10 {
			if got, _ := g.at(fmt.Sprintf("198.51.100.%d:80", n), g.tr, g.h).login("nobody", fmt.Sprint("another ", n)); got.status == http.StatusOK {
				t.Errorf("%v", got)
			}
		}
		if n := h.wire.grants(); n != 1 {
			t.Errorf("%d guesses were sent beside the three that were sent before", n)
		}
	})
}
