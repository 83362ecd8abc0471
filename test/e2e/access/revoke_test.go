// Cutting a client off: by command, by admin endpoint, by taking it out of the
// configuration; at every process with the same storage.

package access

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
)

// replicas are two processes with one storage, one server, and one port: tokens
// are valid at one listener, and the kernel shares connections out between those
// who listen.
func replicas(t *testing.T, product string) (*world, *world) {
	t.Helper()
	return replicasOf(t, &site{Product: product, Options: twoClients})
}

func replicasOf(t *testing.T, s *site) (*world, *world) {
	t.Helper()
	storage := t.TempDir()
	var both [2]*world
	for i, name := range []string{"one", "two"} {
		w := newWorld(t.TempDir(), &site{Name: "site", Product: s.Product, Before: "header X-Process " + name, Account: s.Account, Options: s.Options})
		w.Global = "storage file_system " + storage
		t.Cleanup(w.stop)
		both[i] = w
		var err error
		if i == 0 {
			err = w.serve()
		} else {
			w.servers, w.Sites[0].Port = both[0].servers, both[0].port("site")
			err = w.writeSecrets()
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := w.start(); err != nil {
			t.Fatal(err)
		}
	}
	return both[0], both[1]
}

// at returns a client whose one connection leads to a certain process.
func (w *world) at(t *testing.T, process string) *client {
	t.Helper()
	for range 200 {
		c := w.client(t, "site")
		c.http.Transport = &http.Transport{MaxConnsPerHost: 1}
		if c.get(c.echoPath()).header.Get("X-Process") == process {
			t.Cleanup(c.http.CloseIdleConnections)
			return c
		}
		c.http.CloseIdleConnections()
	}
	t.Fatalf("no connection leads to the process %s", process)
	return nil
}

func TestARevokedClientIsCutOffAtEveryProcessWithinASecond(t *testing.T) {
	for _, product := range kinds {
		t.Run(product, func(t *testing.T) { revokedEverywhere(t, product) })
	}
}

func revokedEverywhere(t *testing.T, product string) {
	t.Helper()
	one, two := replicas(t, product)
	first, second := one.at(t, "one"), one.at(t, "two")
	for what, revoke := range map[string]func(){
		"by command": func() {
			cmd, err := harness.Command(one.Dir, nil, "veeam-auth", "tokens", "revoke", "grafana", "--address", one.Caddy.Admin)
			if err != nil {
				t.Fatal(err)
			}
			if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "Revoked all tokens of grafana.") {
				t.Fatalf("%v: %s", err, out)
			}
		},
		"by the admin endpoint": func() {
			res, err := http.Post("http://"+two.Caddy.Admin+"/veeam_auth/tokens/revoke", "application/json", strings.NewReader(`{"client":"grafana"}`))
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != http.StatusNoContent {
				t.Fatal(res.Status)
			}
		},
	} {
		mine, theirs := first.tokens("grafana", password), second.tokens("nightly", password)
		for _, c := range []*client{first, second} {
			c.accepted(mine.Access)
			c.accepted(theirs.Access)
		}
		revoke()
		revoked := time.Now()
		for name, c := range map[string]*client{"one": first, "two": second} {
			for c.get(c.echoPath(), bearer(mine.Access)).status == http.StatusOK {
				if time.Since(revoked) > harness.Patience {
					t.Fatalf("%s: %s still lets the client in", what, name)
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Logf("%s: cut off at %s after %v", what, name, time.Since(revoked).Round(time.Millisecond))
			c.get(c.echoPath(), bearer(mine.Access)).refused(product, http.StatusUnauthorized)
			if mine.Refresh != "" {
				c.form("grant_type", "refresh_token", "refresh_token", mine.Refresh).refused(product, http.StatusUnauthorized)
			}
			c.get(c.echoPath(), bearer(theirs.Access)).want(http.StatusOK)
		}
		// It may log in again.
		second.accepted(first.tokens("grafana", password).Access)
	}
}

func TestALogoutCountsAtEveryProcessWithinASecond(t *testing.T) {
	for _, product := range kinds {
		t.Run(product, func(t *testing.T) {
			one, _ := replicas(t, product)
			first, second := one.at(t, "one"), one.at(t, "two")
			mine, other := first.tokens("grafana", password), first.tokens("grafana", password)
			second.accepted(mine.Access)
			if a := first.logout(mine); a.status > 299 {
				t.Error(a)
			}
			first.get(first.echoPath(), bearer(mine.Access)).refused(product, http.StatusUnauthorized)
			harness.Eventually(t, "the other process knows", func() bool {
				return second.get(second.echoPath(), bearer(mine.Access)).status == http.StatusUnauthorized
			})
			second.accepted(other.Access)
		})
	}
}

func TestAClientThatIsTakenOutOfTheConfigurationIsOut(t *testing.T) {
	var sites []*site
	for _, product := range kinds {
		sites = append(sites, &site{Name: product, Product: product, Options: twoClients})
	}
	w := newWorld(t.TempDir(), sites...)
	t.Cleanup(w.stop)
	if err := w.serve(); err != nil {
		t.Fatal(err)
	}
	if err := w.start(); err != nil {
		t.Fatal(err)
	}
	grafana, nightly := map[string]pair{}, map[string]pair{}
	for i, product := range kinds {
		c := w.client(t, product)
		grafana[product], nightly[product] = c.tokens("grafana", password), c.tokens("nightly", password)
		w.Sites[i].Options = "client nightly " + argonHash + " " + monitor // and with another account
	}
	w.reload(t)
	for _, product := range kinds {
		c := w.client(t, product)
		c.get(c.echoPath(), bearer(grafana[product].Access)).refused(product, http.StatusUnauthorized)
		if refresh := grafana[product].Refresh; refresh != "" {
			c.form("grant_type", "refresh_token", "refresh_token", refresh).refused(product, http.StatusUnauthorized)
		}
		if e := c.echo(bearer(nightly[product].Access)); e.Subject != monitor {
			t.Errorf("%s: a token goes on as %s", product, e.Subject)
		}
		// The sidecar trusts this machine, but a name that is nobody's gets no more
		// than that.
		if e := c.echo(bearer(c.login("grafana", "x").tokens().Access)); e.Subject != monitor {
			t.Errorf("%s: %+v", product, e)
		}
	}
	// Another hash ends what was issued by the one before.
	for i := range kinds {
		w.Sites[i].Options = "client nightly " + otherHash
	}
	w.reload(t)
	for _, product := range kinds {
		c := w.client(t, product)
		c.get(c.echoPath(), bearer(nightly[product].Access)).refused(product, http.StatusUnauthorized)
	}
}
