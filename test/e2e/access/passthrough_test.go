// Clients that log in with Veeam credentials of their own.

package access

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// theirs reports a token of the server's among what a client got.
func (c *client) theirs(a *answer) bool {
	got := fmt.Sprint(a.header, a.body)
	return slices.ContainsFunc(c.world.servers[c.product()].Issued(), func(token string) bool { return strings.Contains(got, token) })
}

// counted is what a server has counted meanwhile.
func counted(server *veeamtest.Server, during func()) (tokenRequests, logins int64) {
	before := server.Counters()
	during()
	after := server.Counters()
	return after.TokenRequests - before.TokenRequests, after.Logins - before.Logins
}

func TestAPassthroughUserActsAsItselfAndLogsInOnce(t *testing.T) {
	w := here(t)
	for _, product := range products {
		server, c := w.servers[product], w.client(t, "passthrough "+product).relayed()
		var all []pair
		requests, logins := counted(server, func() {
			for range 10 { // a script that logs in every minute
				a := c.login(fresh, "fresh-pass-1")
				if all = append(all, a.tokens()); c.theirs(a) {
					t.Errorf("%s: the client got a token of the server", product)
				}
				if e := c.echo(bearer(all[len(all)-1].Access)); e.Subject != fresh {
					t.Errorf("%s: the user acts as %s", product, e.Subject)
				}
			}
			renewed := c.renew(all[0], fresh, "fresh-pass-1").tokens()
			if e := c.echo(bearer(renewed.Access)); e.Subject != fresh {
				t.Errorf("%s: after a refresh the user acts as %s", product, e.Subject)
			}
		})
		if requests != 1 || logins != 1 {
			t.Errorf("%s: %d token requests, %d logins", product, requests, logins)
		}
		other := c.tokens(monitor, veeamtest.DefaultPassword)
		if e := c.echo(bearer(other.Access)); e.Subject != monitor {
			t.Errorf("%s: another user acts as %s", product, e.Subject)
		}
		c.logout(all[1])
		c.get(server.Base()+"/echo", bearer(all[1].Access)).want(http.StatusUnauthorized)
		c.get(server.Base()+"/echo", bearer(all[2].Access)).want(http.StatusOK)
		c.get(server.Base() + "/echo").want(http.StatusUnauthorized)
		w.client(t, "passthrough "+product).get(server.Base() + "/echo").want(http.StatusUnauthorized) // there is no account
	}
}

func TestPassthroughRequestsAtOnceLogInOnce(t *testing.T) {
	w := here(t)
	for _, product := range products {
		c := w.client(t, "both "+product).relayed()
		requests, _ := counted(w.servers[product], func() {
			var wg sync.WaitGroup
			for range 40 {
				wg.Go(func() { c.login("SVC-Monitor", veeamtest.DefaultPassword).tokens() })
			}
			wg.Wait()
		})
		if requests != 1 {
			t.Errorf("%s: %d token requests", product, requests)
		}
	}
}

func TestAWrongPasswordOfAPassthroughUserIsSentOnce(t *testing.T) {
	w := here(t)
	for _, product := range products {
		c := w.client(t, "passthrough "+product).relayed()
		requests, _ := counted(w.servers[product], func() {
			for range 5 {
				c.login("nobody", "wrong").refused(atToken(product), facts[product].refused)
			}
		})
		if requests != 1 {
			t.Errorf("%s: %d token requests", product, requests)
		}
	}
	w.logs(t, "Login failed for user 'nobody'.")
}

func TestGuessingTheirPasswordsDoesNotLockUsers(t *testing.T) {
	w := here(t)
	for i, product := range products {
		c := w.client(t, "passthrough "+product).relayed()
		mine := c.tokens(operator, "operator-pass-1")
		requests, _ := counted(w.servers[product], func() {
			for guess := range 20 {
				from := c.from("127.0." + itoa(10+i) + "." + itoa(guess+1)) // each from an address of its own
				from.edits = c.edits
				a := from.login(strings.ToUpper(operator), "guess "+itoa(guess))
				if a.status != facts[product].refused && a.status != http.StatusTooManyRequests {
					t.Errorf("%s: %v", product, a)
				}
			}
		})
		if requests > 4 {
			t.Errorf("%s: %d guesses reached the server", product, requests)
		}
		c.tokens(operator, "operator-pass-1") // who is known is not stopped
		c.echo(bearer(mine.Access))
	}
}

type challenge struct {
	Access string `json:"access_token"`
	Token  string `json:"mfa_token"`
}

// code is a verification code that the server takes, also a step later: that of now, or of
// some steps later, for one was used already.
func code(t *testing.T, later int) string {
	t.Helper()
	const step = 30 * time.Second
	code, err := totp.GenerateCode(veeamtest.DefaultTOTPSecret, time.Now().Add(time.Duration(later)*step))
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func TestAPassthroughUserAnswersTheMFAChallengeItself(t *testing.T) {
	w := here(t)
	for _, product := range products {
		if facts[product].challenge == 0 {
			continue
		}
		c, server := w.client(t, "passthrough "+product).relayed(), w.servers[product]
		ask := func() (d challenge) {
			a := c.login(veeamtest.DefaultMFAUser, veeamtest.DefaultMFAPassword).want(facts[product].challenge)
			if a.into(&d); d.Token == "" || d.Access != "" || c.theirs(a) {
				t.Fatalf("%s: no challenge: %v", product, a)
			}
			return d
		}
		d := ask()
		c.form("grant_type", "mfa", "mfa_token", d.Token, "mfa_code", "000000").refused(atToken(product), facts[product].refused)
		a := c.form("grant_type", "mfa", "mfa_token", d.Token, "mfa_code", code(t, 0))
		mine := a.tokens()
		if c.theirs(a) {
			t.Errorf("%s: the client got a token of the server", product)
		}
		if e := c.echo(bearer(mine.Access)); e.Subject != veeamtest.DefaultMFAUser {
			t.Errorf("%s: the user acts as %s", product, e.Subject)
		}
		c.form("grant_type", "refresh_token", "refresh_token", mine.Refresh).tokens()
		// Its mfa_token is used up, and the password alone is not enough for another.
		c.form("grant_type", "mfa", "mfa_token", d.Token, "mfa_code", code(t, 1)).refused(atToken(product), facts[product].refused)
		if again := ask(); again.Token == d.Token {
			t.Errorf("%s: the challenge came twice", product)
		}
		// The server's own mfa_tokens are not accepted here.
		issued := server.Issued()
		c.form("grant_type", "mfa", "mfa_token", issued[len(issued)-1], "mfa_code", code(t, 1)).refused(atToken(product), facts[product].refused)
	}
	// VBR has no codes: it refuses the user.
	w.client(t, "passthrough vbr").relayed().login(veeamtest.DefaultMFAUser, veeamtest.DefaultMFAPassword).refused("vbr", http.StatusUnauthorized)
}

func TestTheSecondFactorOfAnAccountCompletesTheLoginOfItsUser(t *testing.T) {
	c := here(t).client(t, "second factor aws").relayed()
	mine := c.tokens(strings.ToUpper(second), "second-pass-1")
	if e := c.echo(bearer(mine.Access)); e.Subject != second {
		t.Errorf("the user acts as %s", e.Subject)
	}
	c.login(second, "wrong").refused("aws", http.StatusUnauthorized)
}

func TestTheNameOfAClientIsNoUserOfTheServer(t *testing.T) {
	w := here(t)
	for i, product := range products {
		c := w.client(t, "both "+product).from("127.0.4." + itoa(i+1))
		c.edits = []edit{header("X-Forwarded-For", "192.0.2.7")}
		requests, _ := counted(w.servers[product], func() {
			c.login("grafana", "wrong").refused(atToken(product), facts[product].refused)
			c.login("grafana", veeamtest.DefaultPassword).refused(atToken(product), facts[product].refused)
		})
		if requests != 0 {
			t.Errorf("%s: %d token requests", product, requests)
		}
		mine := c.tokens(operator, "operator-pass-1")
		if e := c.echo(bearer(mine.Access)); e.Subject != operator {
			t.Errorf("%s: the user acts as %s", product, e.Subject) // and not as act_as says
		}
	}
}

func TestAReloadKeepsTheSessionsOfPassthroughUsers(t *testing.T) {
	w := here(t)
	for _, product := range kinds {
		c := w.client(t, "passthrough "+product).relayed()
		mine := c.tokens(operator, "operator-pass-1")
		requests, _ := counted(w.servers[product], func() {
			for range 3 {
				w.reload(t)
				c.echo(bearer(mine.Access))
				c.tokens(operator, "operator-pass-1")
			}
		})
		if requests != 0 {
			t.Errorf("%s: %d token requests", product, requests)
		}
	}
}

func TestExposedTokensAreThoseOfTheServerAndEndHereToo(t *testing.T) {
	// Servers of its own: they end all sessions.
	w := newWorld(t.TempDir())
	for _, product := range formed {
		w.Sites = append(w.Sites, &site{Name: "exposed " + product, Product: product, Account: "passthrough", Options: "expose_upstream_tokens"}, &site{Name: "other " + product, Product: product})
	}
	t.Cleanup(w.stop)
	if err := w.serve(); err != nil {
		t.Fatal(err)
	}
	if err := w.start(); err != nil {
		t.Fatal(err)
	}
	for _, product := range formed {
		c, server := w.client(t, "exposed "+product).relayed(), w.servers[product]
		w.client(t, "other "+product).echo()
		others := server.Issued()
		a := c.login(monitor, veeamtest.DefaultPassword)
		if mine := a.tokens(); !c.theirs(a) {
			t.Errorf("%s: the token is not the server's", product)
		} else {
			if e := c.echo(bearer(mine.Access)); e.Subject != monitor {
				t.Errorf("%s: the user acts as %s", product, e.Subject)
			}
			for _, issued := range server.Issued() {
				if mine.Refresh == issued {
					t.Errorf("%s: the refresh token is the server's, which is good once", product)
				}
			}
			renewed := c.form("grant_type", "refresh_token", "refresh_token", mine.Refresh).tokens()
			c.echo(bearer(renewed.Access))
			server.RevokeAll()
			c.echo(bearer(renewed.Access)) // it stands for the session, which is a new one now
		}
		if len(others) == 0 {
			t.Errorf("%s: the other site has no session", product)
		}
		for _, token := range others {
			c.get(server.Base()+"/echo", bearer(token)).want(http.StatusUnauthorized)
		}
	}
}

func TestTheTokensOfPassthroughUsersAreValidAtEveryProcessWithOneCache(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(harness.Keyset(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	one, two := replicasOf(t, &site{Account: "passthrough", Options: "cache {\n\t\t\tencryption_key {file." + key + "}\n\t\t}"})
	server := one.servers["vbr"]
	first, second := one.at(t, "one"), one.at(t, "two")
	first.edits = []edit{header("X-Forwarded-For", "192.0.2.7")}
	second.edits = first.edits
	var mine pair
	requests, logins := counted(server, func() {
		mine = first.tokens(operator, "operator-pass-1")
		for _, c := range []*client{first, second} {
			c.accepted(mine.Access)
			if e := c.echo(bearer(mine.Access)); e.Subject != operator {
				t.Errorf("the user acts as %s", e.Subject)
			}
			for range 2 {
				mine = c.form("grant_type", "refresh_token", "refresh_token", mine.Refresh).tokens()
			}
			first.login("nobody", "wrong").refused("vbr", http.StatusUnauthorized)
		}
	})
	// On a busy machine, whose storage takes over a second, a process is alone for a while.
	alone := int64(one.Caddy.Alone() + two.Caddy.Alone())
	if requests < 2 || requests > 2+alone || logins < 1 || logins > 1+alone { // one request for nobody
		t.Errorf("%d token requests, %d logins; the storage was too slow %d times", requests, logins, alone)
	}
	// Nor does a restart end it.
	two.Caddy.Kill()
	one.Caddy.Kill()
	if err := two.start(); err != nil {
		t.Fatal(err)
	}
	again := two.client(t, "site")
	again.edits = first.edits
	again.accepted(mine.Access)
	requests, _ = counted(server, func() {
		if e := again.echo(bearer(mine.Access)); e.Subject != operator {
			t.Errorf("after a restart the user acts as %s", e.Subject)
		}
		server.RevokeAccess()
		if e := again.echo(bearer(mine.Access)); e.Subject != operator { // renewed without the password
			t.Errorf("after a renewal the user acts as %s", e.Subject)
		}
	})
	if requests != 1 {
		t.Errorf("%d token requests after a restart", requests)
	}
	// Without the session only the client itself can log in again.
	server.RevokeAll()
	again.get(server.Base()+"/echo", bearer(mine.Access)).want(http.StatusUnauthorized)
	if e := again.echo(bearer(again.tokens(operator, "operator-pass-1").Access)); e.Subject != operator {
		t.Errorf("after another login the user acts as %s", e.Subject)
	}
	err := filepath.WalkDir(one.Dir+"/..", func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if strings.Contains(string(content), "operator-pass-1") && filepath.Base(path) != "operator" {
			t.Errorf("%s has the password", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
