// Clients with names and passwords of their own at the token endpoint.

package access

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	passwords "github.com/caddy-veeam/veeam-auth/internal/password"
)

func TestAClientLogsInWithEitherHashAndActsAsItsAccount(t *testing.T) {
	w := here(t)
	for _, product := range products {
		c := w.client(t, "clients "+product)
		for name, subject := range map[string]string{"grafana": monitor, "nightly": operator} {
			mine := c.tokens(name, password)
			if e := c.echo(bearer(mine.Access)); e.Subject != subject {
				t.Errorf("%s: %s acts as %s", product, name, e.Subject)
			}
			renewed := c.renew(mine, name, password).tokens()
			if e := c.echo(bearer(renewed.Access)); e.Subject != subject {
				t.Errorf("%s: %s acts as %s after a refresh", product, name, e.Subject)
			}
		}
	}
}

// atToken is the form of an error of the token endpoint.
func atToken(product string) string {
	if product == "vspc" {
		return "vspc token"
	}
	return product
}

func TestAWrongPasswordIsRefusedInTheProductsFormAndNeverReachesTheServer(t *testing.T) {
	w := here(t)
	for i, product := range products {
		c := w.client(t, "clients "+product).from("127.0.1." + strconv.Itoa(i+1))
		before := w.servers[product].Counters().TokenRequests
		for _, wrong := range []string{"wrong", "", "Builder", "builder ", "builder\x00"} {
			c.login("grafana", wrong).refused(atToken(product), facts[product].refused)
		}
		if after := w.servers[product].Counters().TokenRequests; after != before {
			t.Errorf("%s: %d wrong passwords reached the server", product, after-before)
		}
	}
}

func TestGuessingIsBrakedAndLocksNobodyOut(t *testing.T) {
	w := here(t)
	for i, product := range products {
		c := w.client(t, "clients "+product)
		guesser := c.from("127.0.2." + strconv.Itoa(i+1))
		began, braked := time.Now(), (*answer)(nil)
		for guesses := 0; braked == nil; guesses++ {
			switch a := guesser.login("grafana", "guess"); {
			case guesses < passwords.NameRate.Burst:
				a.refused(atToken(product), facts[product].refused)
			case a.status == http.StatusTooManyRequests, guesses > passwords.NameRate.Burst+int(time.Since(began)/passwords.NameRate.Every):
				braked = a.refused(atToken(product), http.StatusTooManyRequests)
			}
		}
		if seconds, err := strconv.Atoi(braked.header.Get("Retry-After")); err != nil || seconds < 1 || seconds > 60 {
			t.Errorf("%v: Retry-After %q", braked, braked.header.Get("Retry-After"))
		}
		guesser.tokens("grafana", password) // the right one is accepted nevertheless
		c.tokens("grafana", password)       // elsewhere
		guesser.tokens("nightly", password) // another client at the same address
		c.from("127.0.3.1").tokens("grafana", password)
	}
}

// What it costs is compared by TestEveryNameLooksAndCostsTheSame.
func TestAnUnknownNameLooksTheSame(t *testing.T) {
	w := here(t)
	c := w.client(t, "clients vbr").relayed()
	began := time.Now()
	for i := range 8 { // some are refused, the others are told to wait
		known, unknown := c.from("127.0.4.1").login("nightly", "wrong"), c.from("127.0.4.2").login("nobody", "wrong")
		if time.Since(began) > passwords.NameRate.Every {
			t.Log("this machine is so slow that one of the addresses has waited longer than the other")
			break
		}
		if known.status != unknown.status || known.body != unknown.body {
			t.Errorf("try %d: %v and %v", i, known, unknown)
		}
	}
}

func TestANameWithAnInvisibleCharacterIsRefusedInTheProductsForm(t *testing.T) {
	w := here(t)
	for i, product := range products {
		for _, site := range []string{"clients ", "passthrough "} {
			c := w.client(t, site+product).relayed().from("127.0.6." + strconv.Itoa(i+1))
			before := w.servers[product].Counters().TokenRequests
			for _, name := range []string{"svc\x00a", "grafana\x00", "graf\u200bana", "graf\nana"} {
				c.login(name, password).refused(atToken(product), http.StatusBadRequest)
			}
			if after := w.servers[product].Counters().TokenRequests; after != before {
				t.Errorf("%s%s: %d token requests", site, product, after-before)
			}
		}
	}
}

func TestATokenOfOneSiteIsNoneOfAnother(t *testing.T) {
	w := here(t)
	mine := w.client(t, "clients vbr").tokens("grafana", password)
	w.client(t, "cel").get("/api/v1/serverInfo", bearer(mine.Access)).refused("vbr", http.StatusUnauthorized)
	w.client(t, "clients azure").get("/api/v8.1/system/about", bearer(mine.Access)).refused("azure", http.StatusUnauthorized)
	for _, product := range products {
		mine := w.client(t, "clients "+product).tokens("grafana", password)
		c := w.client(t, "both "+product) // with the same client and the same server
		c.get(w.servers[product].Base()+"/echo", bearer(mine.Access)).refused(product, http.StatusUnauthorized)
		c.get(w.servers[product].Base() + "/echo").want(http.StatusOK)
	}
}

func TestAClientsPasswordIsInNoLog(t *testing.T) {
	w := here(t)
	c := w.client(t, "clients vbr")
	c.tokens("grafana", password)
	c.from("127.0.5.1").login("grafana", "not-its-password-7")
	w.logs(t, "request to [/api/oauth2/token]")
	text := w.Caddy.Output()
	for _, secret := range []string{"not-its-password-7", "=" + password, `"` + password + `"`} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
}
