// Sessions of passthrough users over time: when they end, and how they follow changes at
// the server.

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
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/pquerna/otp/totp"

	"github.com/caddy-veeam/veeam-auth/caddymodule/dialing"
	"github.com/caddy-veeam/veeam-auth/caddymodule/records"
	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/answer"
	"github.com/caddy-veeam/veeam-auth/internal/clients"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/keys"
	"github.com/caddy-veeam/veeam-auth/internal/passthrough"
	"github.com/caddy-veeam/veeam-auth/internal/password"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// passthroughSite is a site with passthrough, without the HTTP of its token endpoint.
type passthroughSite struct {
	*world
	h *Handler

	meanwhile func() // between handler and transport, or nil
	from      string // the address of the client, or empty
	chosen    string // the address of the server that a load balancer has chosen, or empty
}

// toChosen has a request go to the server that was chosen for it.
func (s *passthroughSite) toChosen(req *http.Request) *http.Request {
	if s.chosen == "" {
		return req
	}
	return req.WithContext(dialing.To(req.Context(), reverseproxy.DialInfo{Network: "tcp", Address: s.chosen, Host: s.chosen}))
}

func withPassthrough(t *testing.T, profile veeamtest.Profile, options []veeamtest.Option, test func(s *passthroughSite)) {
	t.Helper()
	inWorld(t, profile, options, func(w *world) {
		known, err := clients.New(nil, password.New(password.Options{Compare: hasHash}))
		if err != nil {
			t.Fatal(err)
		}
		product, _ := veeam.Lookup(profile.Product())
		s := &passthroughSite{world: w, h: &Handler{product: product, clients: known, users: passthrough.New(), stands: new(atomic.Pointer[site])}}
		s.h.stands.Store(new(site))
		w.tr = w.transport(&Transport{Passthrough: true})
		test(s)
	})
}

// ask sends a token request. The second result is the login that came of it, or the
// mfa_token.
func (s *passthroughSite) ask(request *veeam.TokenRequest) (got received, login string) {
	s.Helper()
	state := &requestState{route: veeam.RouteToken}
	req := s.toChosen(proxied(s.Context(), state))
	req.Method, req.URL.Path = http.MethodPost, s.h.product.TokenPath
	state.decideFor(req)
	state.journal = journal.New(s.svc, req)
	from := httptest.NewRequestWithContext(req.Context(), http.MethodPost, "/", http.NoBody)
	if s.from != "" {
		from.RemoteAddr = s.from
		address, _, _ := net.SplitHostPort(s.from)
		caddyhttp.SetVar(from.Context(), caddyhttp.ClientIPVarKey, address) // as Caddy does
	}
	var refusal *veeam.Refusal
	if state.login, refusal = s.h.readLogin(from, state, request); refusal != nil {
		return received{status: s.h.product.Status(*refusal), reason: refusal.Reason}, ""
	}
	if state.login == nil {
		return received{status: http.StatusUnauthorized, reason: "no login"}, ""
	}
	if s.meanwhile != nil {
		s.meanwhile()
	}
	state.answer = func(_ *tokencache.Token, ofUser string) (*http.Response, *veeam.Refusal) {
		login = ofUser
		return answer.New(req, http.StatusOK, contentTypeJSON, []byte(`{}`)), nil
	}
	res, err := sendDecided(s, s.tr, req)
	if err != nil {
		return received{body: err.Error()}, ""
	}
	got = s.read(res, state)
	if _, after, ok := strings.Cut(strings.ToLower(got.body), `token":"`); ok && login == "" && got.reason == "" {
		text, _, _ := strings.Cut(got.body[len(got.body)-len(after):], `"`)
		return got, text
	}
	return got, login
}

func (s *passthroughSite) login(username, password string) (received, string) {
	s.Helper()
	return s.ask(&veeam.TokenRequest{Grant: veeam.GrantPassword, Username: username, Password: secret.New(password)})
}

// welcome logs the default user in.
func (s *passthroughSite) welcome() (login string) {
	s.Helper()
	got, login := s.login(veeamtest.DefaultUser, veeamtest.DefaultPassword)
	if got.status != http.StatusOK || login == "" {
		s.Fatalf("no login: %v %s", got, got.body)
	}
	return login
}

// call asks for a protected resource as a passthrough user.
func (s *passthroughSite) call(login, want string) {
	s.Helper()
	s.callAs("user", login, want)
}

func (s *passthroughSite) callAs(name, login, want string) {
	s.Helper()
	state := &requestState{
		route: veeam.RouteProtected, user: s.h.users.Of(login, name),
		caller: policy.Caller{Via: policy.ViaPassthrough, Login: login},
	}
	req := s.toChosen(proxied(s.Context(), state))
	req.Method, req.URL.Path, req.URL.RawQuery = http.MethodGet, s.server.Base()+"/echo", ""
	state.decideFor(req)
	state.journal = journal.New(s.svc, req)
	res, err := sendDecided(s, s.tr, req)
	if err != nil {
		s.Fatal(err)
	}
	if got := s.read(res, state); got.String() != want {
		s.Fatalf("got %v, want %s: %s", got, want, got.body)
	}
}

func TestTheSessionOfAPassthroughUserEnds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(s *passthroughSite){
		"when nobody uses it": func(s *passthroughSite) {
			login := s.welcome()
			s.call(login, "200")
			s.rest(passthrough.Idle - time.Minute)
			s.call(login, "200")
			s.rest(passthrough.Idle - time.Minute)
			s.over(0, 1)
			s.rest(2 * time.Minute)
			s.over(1, 0)
			s.call(login, "200") // the client notices nothing
			s.over(1, 1)
		},
		"with its login, after a day": func(s *passthroughSite) {
			login := s.welcome()
			for range 47 {
				s.rest(30 * time.Minute)
				s.call(login, "200")
			}
			s.rest(31 * time.Minute)
			s.call(login, "401 expired_token")
			s.rest(passthrough.Idle)
			if live := s.server.Counters().LiveSessions; live != 0 {
				s.Errorf("%d sessions live", live)
			}
			s.call(s.welcome(), "200")
			s.call(login, "401 expired_token") // who has the old tokens has to log in too
		},
		"at shutdown": func(s *passthroughSite) {
			s.welcome()
			s.tr.close()
			s.over(1, 0)
		},
		"not by a reload": func(s *passthroughSite) {
			login := s.welcome()
			for range 5 {
				s.reload(&Transport{Passthrough: true})
				s.call(login, "200")
			}
			s.over(0, 1)
			if s.wire.grants() != 1 {
				s.Errorf("%d token requests", s.wire.grants())
			}
		},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			for _, profile := range endable {
				withPassthrough(t, profile, []veeamtest.Option{veeamtest.WithAccessLifetime(2 * time.Hour)}, test)
			}
		})
	}
}

func TestAPassthroughUserWhosePasswordChangedHasToLogInAgain(t *testing.T) {
	t.Parallel()
	withPassthrough(t, veeamtest.VBR13, nil, func(s *passthroughSite) {
		login := s.welcome()
		s.call(login, "200")
		s.rest(time.Minute)
		s.server.SetPassword(veeamtest.DefaultUser, "changed")
		s.server.RevokeAll()
		s.call(login, "401 expired_token")
		before := s.wire.grants()
		for range 5 {
			s.call(login, "401 expired_token")
			if got, _ := s.login(veeamtest.DefaultUser, veeamtest.DefaultPassword); got.String() != "401 bad_credential" {
				s.Errorf("the old password: %v", got)
			}
		}
		if after := s.wire.grants(); after != before {
			s.Errorf("the refused password was sent %d times more", after-before)
		}
		if got, next := s.login(veeamtest.DefaultUser, "changed"); got.status != http.StatusOK {
			s.Errorf("the new password: %v", got)
		} else {
			s.call(next, "200")
		}
	})
}

func TestARefusedPassthroughLoginLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	withPassthrough(t, veeamtest.VBR13, nil, func(s *passthroughSite) {
		for i := range 3 {
			if got, _ := s.login("nobody", "wrong "+string(rune('a'+i))); got.String() != "401 bad_credential" {
				s.Errorf("%v", got)
			}
		}
		live := len(s.State.Find(passthrough.Account.Name, "", ""))
		if live != 0 || s.tr.server.Inspect().Users != 0 || s.h.users.Len() != 0 {
			s.Errorf("%d sessions, %d sources, %d users", live, s.tr.server.Inspect().Users, s.h.users.Len())
		}
		// Four wrong passwords are sent, then no more for a while.
		for i := range 5 {
			s.login("nobody", "again "+string(rune('a'+i)))
		}
		if n := s.wire.grants(); n != passthrough.GuessBurst {
			s.Errorf("%d guesses were sent", n)
		}
		if got, _ := s.login("nobody", "yet another"); got.reason != veeam.ReasonThrottled {
			s.Errorf("the fifth guess: %v", got)
		}
		s.welcome()
	})
}

// Who guesses all day must not keep a user out when its login is over.
func TestAFloodOfGuessesStopsNoPasswordThatTheServerHasAcceptedBefore(t *testing.T) {
	t.Parallel()
	withPassthrough(t, veeamtest.VBR13, nil, func(s *passthroughSite) {
		flood := func() {
			for i := range 50 {
				s.login(veeamtest.DefaultUser, "guess "+strconv.Itoa(i))
			}
		}
		s.welcome()
		for range 3 {
			s.rest(25 * time.Hour)
			flood()
			before := s.wire.grants()
			s.call(s.welcome(), "200")
			if n := s.wire.grants() - before; n != 1 {
				s.Errorf("%d token requests", n)
			}
		}
		s.rest(25 * time.Hour)
		s.server.SetPassword(veeamtest.DefaultUser, "changed")
		flood()
		before := s.wire.grants()
		for range 20 {
			if got, _ := s.login(veeamtest.DefaultUser, veeamtest.DefaultPassword); got.status == http.StatusOK {
				s.Errorf("the old password: %v", got)
			}
			s.rest(10 * time.Second)
			flood()
		}
		if n := s.wire.grants() - before; n > 3 { // one of the old password, and a guess in three minutes
			s.Errorf("%d credentials were sent after the change", n)
		}
	})
}

func TestGuessesAtOnceAndInOtherSpellingsAreCountedToo(t *testing.T) {
	t.Parallel()
	withPassthrough(t, veeamtest.VBR13, nil, func(s *passthroughSite) {
		s.wire.intercept(func(req *http.Request) (*http.Response, error) {
			if isGrant(req) {
				time.Sleep(time.Second) // the server takes its time
			}
			return nil, nil
		})
		var wg sync.WaitGroup
		for i := range 40 {
			name := []string{"nobody", `LAB\Nobody`, "nobody@lab.local", `.\NOBODY`}[i%4]
			wg.Go(func() {
				got, _ := s.login(name, "guess "+strconv.Itoa(i))
				if got.reason != veeam.ReasonBadCredential && got.reason != veeam.ReasonThrottled {
					s.Errorf("%v %s", got, got.body)
				}
			})
		}
		wg.Wait()
		if n := s.wire.grants(); n != passthrough.GuessBurst {
			s.Errorf("%d guesses were sent", n)
		}
		// Those who send the same at once are one guess.
		before := s.wire.grants()
		for range 40 {
			wg.Go(func() {
				if got, _ := s.login(veeamtest.DefaultUser, veeamtest.DefaultPassword); got.status != http.StatusOK {
					s.Errorf("no login: %v", got)
				}
			})
		}
		wg.Wait()
		if n := s.wire.grants() - before; n != 1 {
			s.Errorf("%d logins of one user", n)
		}
	})
}

// at is the same site as another client sees it, at another process or here.
func (s *passthroughSite) at(from string, tr *Transport, h *Handler) *passthroughSite {
	w := *s.world
	w.tr = tr
	return &passthroughSite{world: &w, h: h, from: from}
}

func TestGuessesForManyUsersAtOnceAreCountedByAddress(t *testing.T) {
	t.Parallel()
	for name, most := range map[string]int{
		"192.0.2.7:%d":          password.SourceRate.Burst,
		"[2001:db8:1:2::%x]:80": password.SourceRate.Burst, // one network of 64 bits
	} {
		withPassthrough(t, veeamtest.VBR13, []veeamtest.Option{veeamtest.WithLatency(time.Second)}, func(s *passthroughSite) {
			s.reload(&Transport{Passthrough: true, Pace: &ratelimit.Pace{Off: true}})
			var wg sync.WaitGroup
			for i := range 520 {
				wg.Go(func() {
					from := s.at(fmt.Sprintf(name, 1+i), s.tr, s.h)
					got, _ := from.login(fmt.Sprint("user ", i), "guess")
					if got.reason != veeam.ReasonBadCredential && got.reason != veeam.ReasonThrottled {
						s.Errorf("%v %s", got, got.body)
					}
				})
			}
			wg.Wait()
			if n := s.wire.grants(); n != most {
				s.Errorf("%d guesses were sent, want %d", n, most)
			}
		})
	}
}

func TestPassthroughLoginsDelayNoLoginOfAnAccount(t *testing.T) {
	t.Parallel()
	const seconds = 25
	var options []veeamtest.Option
	for i := range seconds {
		options = append(options, veeamtest.WithAccount(veeamtest.Account{Username: fmt.Sprint("account ", i), Password: "right"}))
	}
	withPassthrough(t, veeamtest.VBR13, options, func(s *passthroughSite) {
		next := &Transport{Passthrough: true, Pace: &ratelimit.Pace{PerSecond: 10}}
		for i := range seconds {
			next.Accounts = append(next.Accounts, &account.Account{Name: fmt.Sprint("account ", i), Password: s.secret("password", "right")})
		}
		s.reload(next)
		var wg sync.WaitGroup
		for i := range 520 { // each from an address of its own
			wg.Go(func() {
				from := s.at(fmt.Sprintf("10.0.%d.%d:80", i/256, i%256), s.tr, s.h)
				from.login(fmt.Sprint("user ", i), "guess")
			})
		}
		for _, a := range next.Accounts {
			s.rest(time.Second)
			began := time.Now()
			if got := s.world.ask(s.tr, http.MethodGet, "/echo", a.Name); got.status != http.StatusOK || time.Since(began) != 0 {
				s.Errorf("the account was answered %v after %v", got, time.Since(began))
			}
		}
		wg.Wait()
		// Passthrough users get half of the rate at most, and wait 30 s at most.
		if n := s.wire.grants() - seconds; n < 50 || n > 150 {
			s.Errorf("%d token requests of passthrough users", n)
		}
	})
}

func TestProcessesWithOneCacheGuessNoMoreThanOne(t *testing.T) {
	t.Parallel()
	withPassthrough(t, veeamtest.VBR13, []veeamtest.Option{veeamtest.WithLatency(time.Second)}, func(s *passthroughSite) {
		path, one := newKeyFile(t)
		key, err := os.ReadFile(path)
		if err != nil {
			s.Fatal(err)
		}
		dir := t.TempDir()
		var processes []*passthroughSite
		for i := range 3 {
			key := map[int]string{0: one, 1: s.secret("key-1", string(key)), 2: s.secret("key-2", string(key))}[i]
			tr := s.transport(&Transport{Passthrough: true, Cache: &records.Cache{EncryptionKey: key, StorageRaw: fileStorage(dir)}})
			known, err := clients.New(nil, password.New(password.Options{Compare: hasHash}))
			if err != nil {
				s.Fatal(err)
			}
			processes = append(processes, s.at("", tr, &Handler{product: s.h.product, clients: known, users: passthrough.New(), stands: s.h.stands}))
		}
		var wg sync.WaitGroup
		for i := range 30 {
			p := processes[i%3]
			wg.Go(func() {
				got, _ := p.at(fmt.Sprintf("192.0.2.%d:80", i), p.tr, p.h).login("nobody", fmt.Sprint("guess ", i))
				if got.reason != veeam.ReasonBadCredential && got.reason != veeam.ReasonThrottled {
					s.Errorf("%v %s", got, got.body)
				}
			})
		}
		wg.Wait()
		if n := s.wire.grants(); n != passthrough.GuessBurst {
			s.Errorf("%d guesses were sent", n)
		}
		// The right credential of another user counts nowhere.
		for i, p := range processes {
			for range 3 {
				if got, _ := p.login(veeamtest.DefaultUser, veeamtest.DefaultPassword); got.status != http.StatusOK {
					s.Errorf("process %d: %v %s", i, got, got.body)
				}
			}
		}
		for _, p := range processes {
			p.tr.close()
		}
		s.rest(10 * time.Second) // the storage's locks end by themselves
	})
}

// Another process, or this one after a restart, knows the user from the token only, where the
// name is in lower case.
func TestATokenIsValidAtProcessesWithTheSameCacheHoweverTheNameIsWritten(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"svc-monitor", `LAB\Carol`, "CAROL@lab.local"} {
		user := veeamtest.WithAccount(veeamtest.Account{Username: name, Password: "right"})
		withPassthrough(t, veeamtest.VBR13, []veeamtest.Option{user}, func(s *passthroughSite) {
			path, one := newKeyFile(t)
			key, err := os.ReadFile(path)
			if err != nil {
				s.Fatal(err)
			}
			dir := fileStorage(t.TempDir())
			here := s.at("", s.transport(&Transport{Passthrough: true, Cache: &records.Cache{EncryptionKey: one, StorageRaw: dir}}), s.h)
			got, login := here.login(name, "right")
			if got.status != http.StatusOK {
				s.Fatalf("%s: %v", name, got)
			}
			caller, err := policy.ParseIdentity(policy.Caller{Via: policy.ViaPassthrough, Name: name}.Identity())
			if err != nil {
				s.Fatal(err)
			}
			other := *s.h
			other.users = passthrough.New()
			there := s.at("", s.transport(&Transport{Passthrough: true, Cache: &records.Cache{EncryptionKey: s.secret("key", string(key)), StorageRaw: dir}}), &other)
			there.callAs(caller.Name, login, "200")
			if n := s.wire.grants(); n != 1 {
				s.Errorf("%s: %d token requests", name, n)
			}
			// Once the user has logged in there, the session is that of the login.
			there.login(name, "right")
			there.callAs(caller.Name, login, "200")
			s.rest(10 * time.Minute)
			s.server.RevokeAll()
			there.callAs(caller.Name, login, "200")
			here.tr.close()
			there.tr.close()
			s.rest(10 * time.Second) // the storage's locks end by themselves
		})
	}
}

// Passthrough that was off for a moment, or very many users, make a process forget a login
// whose session goes on: another login of the user leaves no second one at the server.
func TestALoginThatWasForgottenLeavesNoSessionBehind(t *testing.T) {
	t.Parallel()
	withPassthrough(t, veeamtest.VBR13, nil, func(s *passthroughSite) {
		for range 3 {
			s.call(s.welcome(), "200")
			s.h.users.Forget()
		}
		s.rest(time.Minute)
		if n := s.server.Counters().LiveSessions; n != 1 {
			s.Errorf("%d sessions", n)
		}
		s.tr.close()
		if n := s.server.Counters().LiveSessions; n != 0 {
			s.Errorf("%d sessions at the end", n)
		}
	})
}

func TestALoginThatIsForgottenMeanwhileIsRefusedLikeAnyOther(t *testing.T) {
	t.Parallel()
	withPassthrough(t, veeamtest.VBR13, nil, func(s *passthroughSite) {
		s.welcome()
		s.server.SetPassword(veeamtest.DefaultUser, "changed")
		s.meanwhile = s.h.users.Forget
		if got, _ := s.login(veeamtest.DefaultUser, veeamtest.DefaultPassword); got.String() != "401 bad_credential" {
			s.Errorf("the old password: %v %s", got, got.body)
		}
	})
}

// A login whose credential is none of a user must not become that of the address that it
// comes from, which acts as the account.
func TestALoginThatIsNoneOfAUserIsNotThatOfItsAddress(t *testing.T) {
	t.Parallel()
	some := secret.New("some")
	withPassthrough(t, veeamtest.Azure, nil, func(s *passthroughSite) {
		for _, request := range []veeam.TokenRequest{
			{Grant: veeam.GrantPassword, Username: veeamtest.DefaultUser},
			{Grant: veeam.GrantPassword, Password: some},
			{Grant: veeam.GrantMFA, MFAToken: some, MFACode: some}, // a challenge that is unknown, or over
			{Grant: veeam.GrantMFA, MFAToken: some},
			{Grant: veeam.GrantMFA},
			{Grant: veeam.GrantSAML, Credential: some},
			{Grant: veeam.GrantSSOToken, Credential: some},
			{Grant: veeam.GrantUpdaterToken, Credential: some},
			{Grant: veeam.GrantJWTBearer, Credential: some},
			{Grant: veeam.GrantOperator, Credential: some},
		} {
			if got, _ := s.ask(&request); got.String() != "401 bad_credential" {
				s.Errorf("%+v: %v", request, got)
			}
		}
		if got, _ := s.ask(&veeam.TokenRequest{Grant: veeam.GrantPassword}); got.reason != "no login" {
			s.Errorf("a request without a credential: %v", got)
		}
		if n := s.wire.grants(); n != 0 {
			s.Errorf("%d token requests", n)
		}
	})
}

// A key in the wrong field is not sent to the server, and nobody keeps it as a user.
func TestAKeyIsNoPassthroughLogin(t *testing.T) {
	t.Parallel()
	key := keys.Make()
	withPassthrough(t, veeamtest.VBR13, nil, func(s *passthroughSite) {
		for _, c := range [][2]string{{key, "x"}, {key, key + " "}, {"nobody", " " + key}, {"nobody", "Bearer " + key}, {`LAB\` + key, "x"}} {
			if got, _ := s.login(c[0], c[1]); got.status != http.StatusUnauthorized {
				s.Errorf("%s: %v", strings.ReplaceAll(c[0]+" "+c[1], key, "KEY"), got)
			}
		}
		if n := s.wire.grants(); n != 0 || s.h.users.Len() != 0 {
			s.Errorf("%d keys were sent, %d users are kept", n, s.h.users.Len())
		}
	})
}

func TestAFaultOfTheServerIsNoRefusalOfThePassthroughUser(t *testing.T) {
	t.Parallel()
	withPassthrough(t, veeamtest.VBR13, nil, func(s *passthroughSite) {
		s.wire.intercept(func(req *http.Request) (*http.Response, error) {
			return canned(req, http.StatusServiceUnavailable, "text/html", "down"), nil
		})
		if got, _ := s.login(veeamtest.DefaultUser, veeamtest.DefaultPassword); got.String() != "502 server_fault" {
			s.Errorf("%v %s", got, got.body)
		}
		s.wire.intercept(nil)
		s.rest(time.Minute)
		s.call(s.welcome(), "200")
	})
}

func TestAnMFAChallengeGoesToThePassthroughUser(t *testing.T) {
	t.Parallel()
	for _, profile := range withCodes {
		withPassthrough(t, profile, []veeamtest.Option{veeamtest.WithMFATries(10)}, func(s *passthroughSite) {
			code := func() string {
				s.rest(30 * time.Second)
				text, err := totp.GenerateCode(veeamtest.DefaultTOTPSecret, time.Now())
				if err != nil {
					s.Fatal(err)
				}
				return text
			}
			challenged := func() string {
				got, token := s.login(veeamtest.DefaultMFAUser, veeamtest.DefaultMFAPassword)
				if want := map[bool]int{true: http.StatusAccepted, false: http.StatusOK}[profile == veeamtest.GCP]; got.status != want || token == "" {
					s.Fatalf("%s: no challenge: %v %s", profile, got, got.body)
				}
				if says := strings.Contains(got.body, `"userId":"`) && strings.Contains(got.body, `"roleName":"`); says != (profile == veeamtest.Azure) {
					s.Errorf("%s: the challenge is not the server's: %s", profile, got.body)
				}
				return token
			}
			answer := func(token, code string) (received, string) {
				return s.ask(&veeam.TokenRequest{Grant: veeam.GrantMFA, MFAToken: secret.New(token), MFACode: secret.New(code)})
			}
			token := challenged()
			if got, _ := answer(token, "000000"); got.reason != veeam.ReasonBadCredential {
				s.Errorf("%s: a wrong code: %v", profile, got)
			}
			got, login := answer(token, code())
			if got.status != http.StatusOK || login == "" {
				s.Fatalf("%s: the right code: %v %s", profile, got, got.body)
			}
			s.call(login, "200")
			if got, _ := answer(token, code()); got.reason != veeam.ReasonBadCredential {
				s.Errorf("%s: a challenge that was answered: %v", profile, got)
			}
			// Without a code the client cannot log in again.
			s.server.RevokeAll()
			s.call(login, "401 expired_token")
			s.call(login, "401 expired_token")
			// Too late, and too often.
			late := challenged()
			s.rest(passthrough.ChallengeFor)
			if got, _ := answer(late, code()); got.reason != veeam.ReasonBadCredential {
				s.Errorf("%s: a late code: %v", profile, got)
			}
			often := challenged()
			for range passthrough.ChallengeTries {
				s.rest(passthrough.GuessEvery)
				answer(often, "000000")
			}
			if got, _ := answer(often, code()); got.status == http.StatusOK {
				s.Errorf("%s: a code after %d wrong ones: %v", profile, passthrough.ChallengeTries, got)
			}
		})
	}
}

func TestAPassthroughUserUsesTheSecondFactorOfTheAccountWithItsName(t *testing.T) {
	t.Parallel()
	for _, profile := range withCodes {
		seed := seed()
		mfa := veeamtest.WithAccount(veeamtest.Account{Username: veeamtest.DefaultMFAUser, Password: veeamtest.DefaultMFAPassword, TOTPSecret: seed})
		withPassthrough(t, profile, []veeamtest.Option{mfa}, func(s *passthroughSite) {
			s.reload(&Transport{Passthrough: true, Accounts: []*account.Account{{
				Name: "second", Username: strings.ToUpper(veeamtest.DefaultMFAUser), Password: s.secret("own", "its own"), TOTPSecret: s.secret("totp", seed),
			}}})
			got, login := s.login(veeamtest.DefaultMFAUser, veeamtest.DefaultMFAPassword)
			if got.status != http.StatusOK || login == "" {
				s.Fatalf("%s: %v %s", profile, got, got.body)
			}
			s.call(login, "200")
			if n := s.wire.grants(); n != 2 {
				s.Errorf("%s: %d token requests", profile, n)
			}
			s.server.RevokeAll()
			s.call(login, "200") // logged in again, without the client
		})
	}
}

func TestAUserWhoGetsASecondFactorIsAskedForACode(t *testing.T) {
	t.Parallel()
	withPassthrough(t, veeamtest.AWS, nil, func(s *passthroughSite) {
		login := s.welcome()
		s.wire.intercept(func(req *http.Request) (*http.Response, error) {
			if isGrant(req) {
				return canned(req, http.StatusOK, contentTypeJSON, `{"username":"u","mfa_enabled":true,"mfa_token":"x"}`), nil
			}
			return nil, nil
		})
		s.server.RevokeAll()
		s.call(login, "401") // the server's own: there is no better token
		s.rest(time.Minute)
		s.call(login, "401 expired_token")
		s.rest(time.Minute)
		if got, token := s.login(veeamtest.DefaultUser, veeamtest.DefaultPassword); got.status != http.StatusOK || len(token) != 88 {
			s.Errorf("%v %q %s", got, token, got.body)
		}
	})
}
