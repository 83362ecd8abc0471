// Guests over time: when their sessions end, what the server's changes do to them.

package caddymodule

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/pquerna/otp/totp"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/answer"
	"github.com/caddy-veeam/veeam-auth/internal/clients"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/passthrough"
	"github.com/caddy-veeam/veeam-auth/internal/password"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// guests is a site with passthrough, seen from behind its token endpoint.
type guests struct {
	*world
	h *Handler

	meanwhile func() // between handler and transport, or nil
	from      string // the address of the client, or empty
}

func withGuests(t *testing.T, profile veeamtest.Profile, options []veeamtest.Option, test func(g *guests)) {
	t.Helper()
	inWorld(t, profile, options, func(w *world) {
		known, err := clients.New(nil, password.New(password.Options{Compare: hasHash}))
		if err != nil {
			t.Fatal(err)
		}
		product, _ := veeam.Lookup(productOf(profile))
		g := &guests{world: w, h: &Handler{product: product, clients: known, users: passthrough.New(), stands: new(atomic.Pointer[site])}}
		g.h.stands.Store(new(site))
		w.tr = w.transport(&Transport{Passthrough: true})
		test(g)
	})
}

// ask sends a token request. The second result is the login that came of it, or the
// mfa_token.
func (g *guests) ask(request *veeam.TokenRequest) (got received, login string) {
	g.Helper()
	state := &requestState{route: veeam.RouteToken}
	req := proxied(g.Context(), state)
	req.Method, req.URL.Path = http.MethodPost, g.h.product.TokenPath
	state.decideFor(req)
	state.journal = journal.New(g.svc, req)
	from := httptest.NewRequestWithContext(req.Context(), http.MethodPost, "/", http.NoBody)
	if g.from != "" {
		from.RemoteAddr = g.from
		address, _, _ := net.SplitHostPort(g.from)
		caddyhttp.SetVar(from.Context(), caddyhttp.ClientIPVarKey, address) // as Caddy does
	}
	var refusal *veeam.Refusal
	if state.login, refusal = g.h.readLogin(from, state, request); refusal != nil {
		return received{status: g.h.product.Status(*refusal), reason: refusal.Reason}, ""
	}
	if state.login == nil {
		return received{status: http.StatusUnauthorized, reason: "no guest"}, ""
	}
	if g.meanwhile != nil {
		g.meanwhile()
	}
	state.answer = func(_ *tokencache.Token, ofUser string) (*http.Response, *veeam.Refusal) {
		login = ofUser
		return answer.New(req, http.StatusOK, contentTypeJSON, []byte(`{}`)), nil
	}
	res, err := sendDecided(g, g.tr, req)
	if err != nil {
		g.Fatal(err)
	}
	got = g.read(res, state)
	if _, after, ok := strings.Cut(strings.ToLower(got.body), `token":"`); ok && login == "" && got.reason == "" {
		text, _, _ := strings.Cut(got.body[len(got.body)-len(after):], `"`)
		return got, text
	}
	return got, login
}

func (g *guests) login(username, password string) (received, string) {
	g.Helper()
	return g.ask(&veeam.TokenRequest{Grant: veeam.GrantPassword, Username: username, Password: secret.New(password)})
}

// welcome logs the default user in.
func (g *guests) welcome() (login string) {
	g.Helper()
	got, login := g.login(veeamtest.DefaultUser, veeamtest.DefaultPassword)
	if got.status != http.StatusOK || login == "" {
		g.Fatalf("no login: %v %s", got, got.body)
	}
	return login
}

// call asks for a protected resource as a guest.
func (g *guests) call(login, want string) {
	g.Helper()
	state := &requestState{
		route: veeam.RouteProtected, user: g.h.users.Of(login, "guest"),
		caller: policy.Caller{Via: policy.ViaPassthrough, Login: login},
	}
	req := proxied(g.Context(), state)
	req.Method, req.URL.Path, req.URL.RawQuery = http.MethodGet, g.server.Base()+"/echo", ""
	state.decideFor(req)
	state.journal = journal.New(g.svc, req)
	res, err := sendDecided(g, g.tr, req)
	if err != nil {
		g.Fatal(err)
	}
	if got := g.read(res, state); got.String() != want {
		g.Fatalf("got %v, want %s: %s", got, want, got.body)
	}
}

func TestTheSessionOfAGuestEnds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(g *guests){
		"when nobody uses it": func(g *guests) {
			login := g.welcome()
			g.call(login, "200")
			g.rest(passthrough.Idle - time.Minute)
			g.call(login, "200")
			g.rest(passthrough.Idle - time.Minute)
			g.over(0, 1)
			g.rest(2 * time.Minute)
			g.over(1, 0)
			g.call(login, "200") // the guest notices nothing
			g.over(1, 1)
		},
		"with its login, after a day": func(g *guests) {
			login := g.welcome()
			for range 47 {
				g.rest(30 * time.Minute)
				g.call(login, "200")
			}
			g.rest(31 * time.Minute)
			g.call(login, "401 expired_token")
			g.rest(passthrough.Idle)
			if live := g.server.Counters().LiveSessions; live != 0 {
				g.Errorf("%d sessions live", live)
			}
			g.call(g.welcome(), "200")
			g.call(login, "401 expired_token") // who has the old tokens has to log in too
		},
		"at shutdown": func(g *guests) {
			g.welcome()
			g.tr.close()
			g.over(1, 0)
		},
		"not by a reload": func(g *guests) {
			login := g.welcome()
			for range 5 {
				g.reload(&Transport{Passthrough: true})
				g.call(login, "200")
			}
			g.over(0, 1)
			if g.wire.grants() != 1 {
				g.Errorf("%d token requests", g.wire.grants())
			}
		},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			for _, profile := range []veeamtest.Profile{veeamtest.VBR13, veeamtest.Azure, veeamtest.AWS} {
				withGuests(t, profile, []veeamtest.Option{veeamtest.WithAccessLifetime(2 * time.Hour)}, test)
			}
		})
	}
}

func TestAGuestWhosePasswordWasChangedHasToLogInAgain(t *testing.T) {
	t.Parallel()
	withGuests(t, veeamtest.VBR13, nil, func(g *guests) {
		login := g.welcome()
		g.call(login, "200")
		g.rest(time.Minute)
		g.server.SetPassword(veeamtest.DefaultUser, "changed")
		g.server.RevokeAll()
		g.call(login, "401 expired_token")
		before := g.wire.grants()
		for range 5 {
			g.call(login, "401 expired_token")
			if got, _ := g.login(veeamtest.DefaultUser, veeamtest.DefaultPassword); got.String() != "401 bad_credential" {
				g.Errorf("the old password: %v", got)
			}
		}
		if after := g.wire.grants(); after != before {
			g.Errorf("the refused password was sent %d times more", after-before)
		}
		if got, next := g.login(veeamtest.DefaultUser, "changed"); got.status != http.StatusOK {
			g.Errorf("the new password: %v", got)
		} else {
			g.call(next, "200")
		}
	})
}

func TestARefusedGuestLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	withGuests(t, veeamtest.VBR13, nil, func(g *guests) {
		for i := range 3 {
			if got, _ := g.login("nobody", "wrong "+string(rune('a'+i))); got.String() != "401 bad_credential" {
				g.Errorf("%v", got)
			}
		}
		live := len(g.State.Find(passthrough.Account.Name, "", ""))
		if live != 0 || g.tr.server.Inspect().Users != 0 || g.h.users.Len() != 0 {
			g.Errorf("%d sessions, %d places, %d guests", live, g.tr.server.Inspect().Users, g.h.users.Len())
		}
		// Four guesses are free, then the user is left in peace for a while.
		for i := range 5 {
			g.login("nobody", "again "+string(rune('a'+i)))
		}
		if n := g.wire.grants(); n != passthrough.GuessBurst {
			g.Errorf("%d guesses were sent", n)
		}
		if got, _ := g.login("nobody", "yet another"); got.reason != veeam.ReasonThrottled {
			g.Errorf("the fifth guess: %v", got)
		}
		g.welcome()
	})
}

func TestGuessesAtOnceAndInOtherSpellingsAreCountedToo(t *testing.T) {
	t.Parallel()
	withGuests(t, veeamtest.VBR13, nil, func(g *guests) {
		g.wire.intercept(func(req *http.Request) (*http.Response, error) {
			if isGrant(req) {
				time.Sleep(time.Second) // the server takes its time
			}
			return nil, nil
		})
		var wg sync.WaitGroup
		for i := range 40 {
			name := []string{"nobody", `LAB\Nobody`, "nobody@lab.local", `.\NOBODY`}[i%4]
			wg.Go(func() {
				got, _ := g.login(name, "guess "+strconv.Itoa(i))
				if got.reason != veeam.ReasonBadCredential && got.reason != veeam.ReasonThrottled {
					g.Errorf("%v %s", got, got.body)
				}
			})
		}
		wg.Wait()
		if n := g.wire.grants(); n != passthrough.GuessBurst {
			g.Errorf("%d guesses were sent", n)
		}
		// Those who send the same at once are one guess.
		before := g.wire.grants()
		for range 40 {
			wg.Go(func() {
				if got, _ := g.login(veeamtest.DefaultUser, veeamtest.DefaultPassword); got.status != http.StatusOK {
					g.Errorf("no login: %v", got)
				}
			})
		}
		wg.Wait()
		if n := g.wire.grants() - before; n != 1 {
			g.Errorf("%d logins of one guest", n)
		}
	})
}

// at is the same site as another client sees it, at another process or here.
func (g *guests) at(from string, tr *Transport, h *Handler) *guests {
	w := *g.world
	w.tr = tr
	return &guests{world: &w, h: h, from: from}
}

func TestGuessesForManyUsersAtOnceAreCountedByAddress(t *testing.T) {
	t.Parallel()
	for name, most := range map[string]int{
		"192.0.2.7:%d":          password.SourceRate.Burst,
		"[2001:db8:1:2::%x]:80": password.SourceRate.Burst, // one network of 64 bits
	} {
		withGuests(t, veeamtest.VBR13, []veeamtest.Option{veeamtest.WithLatency(time.Second)}, func(g *guests) {
			g.reload(&Transport{Passthrough: true, Pace: &ratelimit.Pace{Off: true}})
			var wg sync.WaitGroup
			for i := range 520 {
				wg.Go(func() {
					from := g.at(fmt.Sprintf(name, 1+i), g.tr, g.h)
					got, _ := from.login(fmt.Sprint("user ", i), "guess")
					if got.reason != veeam.ReasonBadCredential && got.reason != veeam.ReasonThrottled {
						g.Errorf("%v %s", got, got.body)
					}
				})
			}
			wg.Wait()
			if n := g.wire.grants(); n != most {
				g.Errorf("%d guesses were sent, want %d", n, most)
			}
		})
	}
}

func TestGuestsDelayNoLoginOfAnAccount(t *testing.T) {
	t.Parallel()
	const seconds = 25
	var options []veeamtest.Option
	for i := range seconds {
		options = append(options, veeamtest.WithAccount(veeamtest.Account{Username: fmt.Sprint("account ", i), Password: "right"}))
	}
	withGuests(t, veeamtest.VBR13, options, func(g *guests) {
		next := &Transport{Passthrough: true, Pace: &ratelimit.Pace{PerSecond: 10}}
		for i := range seconds {
			next.Accounts = append(next.Accounts, &account.Account{Name: fmt.Sprint("account ", i), Password: g.secret("password", "right")})
		}
		g.reload(next)
		var wg sync.WaitGroup
		for i := range 520 { // each from an address of its own
			wg.Go(func() {
				from := g.at(fmt.Sprintf("10.0.%d.%d:80", i/256, i%256), g.tr, g.h)
				from.login(fmt.Sprint("user ", i), "guess")
			})
		}
		for _, a := range next.Accounts {
			g.rest(time.Second)
			began := time.Now()
			if got := g.world.ask(g.tr, http.MethodGet, "/echo", a.Name); got.status != http.StatusOK || time.Since(began) != 0 {
				g.Errorf("the account was answered %v after %v", got, time.Since(began))
			}
		}
		wg.Wait()
		// Guests get the rest of their half, within the 30 s that they wait at most.
		if n := g.wire.grants() - seconds; n < 50 || n > 150 {
			g.Errorf("%d token requests of guests", n)
		}
	})
}

func TestProcessesWithOneCacheGuessNoMoreThanOne(t *testing.T) {
	t.Parallel()
	withGuests(t, veeamtest.VBR13, []veeamtest.Option{veeamtest.WithLatency(time.Second)}, func(g *guests) {
		path, one := newKeyFile(t)
		key, err := os.ReadFile(path)
		if err != nil {
			g.Fatal(err)
		}
		dir := t.TempDir()
		var processes []*guests
		for i := range 3 {
			key := map[int]string{0: one, 1: g.secret("key-1", string(key)), 2: g.secret("key-2", string(key))}[i]
			tr := g.transport(&Transport{Passthrough: true, Cache: &Cache{EncryptionKey: key, StorageRaw: fileStorage(dir)}})
			known, err := clients.New(nil, password.New(password.Options{Compare: hasHash}))
			if err != nil {
				g.Fatal(err)
			}
			processes = append(processes, g.at("", tr, &Handler{product: g.h.product, clients: known, users: passthrough.New(), stands: g.h.stands}))
		}
		var wg sync.WaitGroup
		for i := range 30 {
			p := processes[i%3]
			wg.Go(func() {
				got, _ := p.at(fmt.Sprintf("192.0.2.%d:80", i), p.tr, p.h).login("nobody", fmt.Sprint("guess ", i))
				if got.reason != veeam.ReasonBadCredential && got.reason != veeam.ReasonThrottled {
					g.Errorf("%v %s", got, got.body)
				}
			})
		}
		wg.Wait()
		if n := g.wire.grants(); n != passthrough.GuessBurst {
			g.Errorf("%d guesses were sent", n)
		}
		// The right credential of another user counts nowhere.
		for i, p := range processes {
			for range 3 {
				if got, _ := p.login(veeamtest.DefaultUser, veeamtest.DefaultPassword); got.status != http.StatusOK {
					g.Errorf("process %d: %v %s", i, got, got.body)
				}
			}
		}
		for _, p := range processes {
			p.tr.close()
		}
		g.rest(10 * time.Second) // the storage's locks end by themselves
	})
}

func TestAGuestWhoIsForgottenMeanwhileIsAskedAsAnyOther(t *testing.T) {
	t.Parallel()
	withGuests(t, veeamtest.VBR13, nil, func(g *guests) {
		g.welcome()
		g.server.SetPassword(veeamtest.DefaultUser, "changed")
		g.meanwhile = g.h.users.Forget
		if got, _ := g.login(veeamtest.DefaultUser, veeamtest.DefaultPassword); got.String() != "401 bad_credential" {
			g.Errorf("the old password: %v %s", got, got.body)
		}
	})
}

func TestTheServersFaultsAreNotTheGuests(t *testing.T) {
	t.Parallel()
	withGuests(t, veeamtest.VBR13, nil, func(g *guests) {
		g.wire.intercept(func(req *http.Request) (*http.Response, error) {
			return canned(req, http.StatusServiceUnavailable, "text/html", "down"), nil
		})
		if got, _ := g.login(veeamtest.DefaultUser, veeamtest.DefaultPassword); got.String() != "502 server_fault" {
			g.Errorf("%v %s", got, got.body)
		}
		g.wire.intercept(nil)
		g.rest(time.Minute)
		g.call(g.welcome(), "200")
	})
}

// profilesWithCodes are the servers that ask for verification codes.
var profilesWithCodes = []veeamtest.Profile{veeamtest.VSPC, veeamtest.VSPC35, veeamtest.Azure, veeamtest.AWS, veeamtest.GCP}

func TestTheDemandForACodeGoesToTheGuest(t *testing.T) {
	t.Parallel()
	for _, profile := range profilesWithCodes {
		withGuests(t, profile, []veeamtest.Option{veeamtest.WithMFATries(10)}, func(g *guests) {
			code := func() string {
				g.rest(30 * time.Second)
				text, err := totp.GenerateCode(veeamtest.DefaultTOTPSecret, time.Now())
				if err != nil {
					g.Fatal(err)
				}
				return text
			}
			demanded := func() string {
				got, token := g.login(veeamtest.DefaultMFAUser, veeamtest.DefaultMFAPassword)
				if want := map[bool]int{true: http.StatusAccepted, false: http.StatusOK}[profile == veeamtest.GCP]; got.status != want || token == "" {
					g.Fatalf("%s: no demand: %v %s", profile, got, got.body)
				}
				if says := strings.Contains(got.body, `"userId":"`) && strings.Contains(got.body, `"roleName":"`); says != (profile == veeamtest.Azure) {
					g.Errorf("%s: the demand is not the server's: %s", profile, got.body)
				}
				return token
			}
			answer := func(token, code string) (received, string) {
				return g.ask(&veeam.TokenRequest{Grant: veeam.GrantMFA, MFAToken: secret.New(token), MFACode: secret.New(code)})
			}
			token := demanded()
			if got, _ := answer(token, "000000"); got.reason != veeam.ReasonBadCredential {
				g.Errorf("%s: a wrong code: %v", profile, got)
			}
			got, login := answer(token, code())
			if got.status != http.StatusOK || login == "" {
				g.Fatalf("%s: the right code: %v %s", profile, got, got.body)
			}
			g.call(login, "200")
			if got, _ := answer(token, code()); got.reason != "no guest" {
				g.Errorf("%s: a demand that was answered: %v", profile, got)
			}
			// Without a code there is no way back.
			g.server.RevokeAll()
			g.call(login, "401 expired_token")
			g.call(login, "401 expired_token")
			// Too late, and too often.
			late := demanded()
			g.rest(passthrough.ChallengeFor)
			if got, _ := answer(late, code()); got.reason != "no guest" {
				g.Errorf("%s: a late code: %v", profile, got)
			}
			often := demanded()
			for range passthrough.ChallengeTries {
				g.rest(passthrough.GuessEvery)
				answer(often, "000000")
			}
			if got, _ := answer(often, code()); got.status == http.StatusOK {
				g.Errorf("%s: a code after %d wrong ones: %v", profile, passthrough.ChallengeTries, got)
			}
		})
	}
}

func TestAnAccountWithTheGuestsUserLendsItsSecondFactor(t *testing.T) {
	t.Parallel()
	for _, profile := range profilesWithCodes {
		seed := seed()
		mfa := veeamtest.WithAccount(veeamtest.Account{Username: veeamtest.DefaultMFAUser, Password: veeamtest.DefaultMFAPassword, TOTPSecret: seed})
		withGuests(t, profile, []veeamtest.Option{mfa}, func(g *guests) {
			g.reload(&Transport{Passthrough: true, Accounts: []*account.Account{{
				Name: "second", Username: strings.ToUpper(veeamtest.DefaultMFAUser), Password: g.secret("own", "its own"), TOTPSecret: g.secret("totp", seed),
			}}})
			got, login := g.login(veeamtest.DefaultMFAUser, veeamtest.DefaultMFAPassword)
			if got.status != http.StatusOK || login == "" {
				g.Fatalf("%s: %v %s", profile, got, got.body)
			}
			g.call(login, "200")
			if n := g.wire.grants(); n != 2 {
				g.Errorf("%s: %d token requests", profile, n)
			}
			g.server.RevokeAll()
			g.call(login, "200") // and again, without the guest
		})
	}
}

func TestAUserWhoGetsASecondFactorIsAskedForACode(t *testing.T) {
	t.Parallel()
	withGuests(t, veeamtest.AWS, nil, func(g *guests) {
		login := g.welcome()
		g.wire.intercept(func(req *http.Request) (*http.Response, error) {
			if isGrant(req) {
				return canned(req, http.StatusOK, contentTypeJSON, `{"username":"u","mfa_enabled":true,"mfa_token":"x"}`), nil
			}
			return nil, nil
		})
		g.server.RevokeAll()
		g.call(login, "401") // the server's own: there is no better token
		g.rest(time.Minute)
		g.call(login, "401 expired_token")
		g.rest(time.Minute)
		if got, token := g.login(veeamtest.DefaultUser, veeamtest.DefaultPassword); got.status != http.StatusOK || len(token) != 88 {
			g.Errorf("%v %q %s", got, token, got.body)
		}
	})
}
