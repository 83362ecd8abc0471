// Reloads: sessions at the servers and tokens of clients outlive them.

package sidecar

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestSessionsAndTokensOutliveAReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range formed {
		w.add(p)
	}
	w.start()
	var clients []pair
	for _, s := range w.sites {
		clients = append(clients, s.client.login(t))
		s.client.ok(t, s.protected)
	}
	first := make([]string, len(w.sites))
	for i, s := range w.sites {
		first[i] = s.Account
	}
	for _, change := range []struct {
		what string
		make func(i int, s *site)
	}{
		{"nothing", func(int, *site) {}},
		{"an option of the handler", func(_ int, s *site) { s.Options = "token_lifetime 2h" }},
		{"an option of the transport", func(_ int, s *site) { s.Options = "refresh_before 30s\n\t\treplay_limit 2MiB" }},
		{"how servers are reached", func(_ int, s *site) {
			s.Options = "lb_policy first\n\t\ttransport http {\n\t\t\tdial_timeout 5s\n\t\t\tversions 1.1\n\t\t}"
		}},
		{"one more account", func(i int, s *site) {
			s.Account = first[i] + "\n\t\taccount another " + s.secret("other_password", "another-pass-1")
		}},
		{"that account is gone", func(i int, s *site) { s.Account = first[i] }},
		{"how the certificate is trusted", func(_ int, s *site) { s.Trust += " " + otherPin }},
	} {
		for i, s := range w.sites {
			change.make(i, s)
		}
		if err := w.Reload(t.Context()); err != nil {
			t.Fatalf("%s: %v", change.what, err)
		}
		for i, s := range w.sites {
			s.client.ok(t, s.protected)
			if strings.Contains(change.what, "account") {
				// Tokens are for a site with these accounts.
				s.client.get(t, s.protected, bearer(clients[i].Access)).want(t, http.StatusUnauthorized)
				clients[i] = s.client.login(t)
			}
			s.client.ok(t, s.protected, bearer(clients[i].Access))
			clients[i] = s.client.tokensOf(t, s.client.renew(t, clients[i].Refresh))
			if c := s.Server.Counters(); c.Logins != 1 || c.TokenRequests != 1 || c.Logouts != 0 {
				t.Errorf("%s, after a reload with %s: %d logins, %d token requests, %d logouts",
					s.Name, change.what, c.Logins, c.TokenRequests, c.Logouts)
			}
		}
	}
}

const otherPin = "86:F1:76:9B:44:7A:46:41:38:95:5D:B9:23:6A:41:1C:54:87:28:1F"

func TestASiteThatIsGoneLogsOutAndComesBackWithALogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range products {
		w.add(p)
	}
	stays := w.add(vbr)
	stays.Account = "account keeper {\n\t\tusername svc-monitor\n\t\tpassword " + stays.secret("password", veeamtest.DefaultPassword) + "\n\t}"
	w.start()
	clients := make([]pair, len(w.sites))
	for i, s := range w.sites {
		clients[i] = s.client.login(t)
		s.client.ok(t, s.protected)
		s.Absent = s != stays
	}
	if err := w.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range w.sites {
		if s == stays || s.Product == "vspc" { // whose logout would end all sessions of the user
			continue
		}
		harness.Eventually(t, s.Name+" is logged out", func() bool { return s.Server.Counters().Logouts == 1 })
	}
	for _, s := range w.sites {
		s.Absent = false
	}
	if err := w.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, s := range w.sites {
		s.client.ok(t, s.protected, bearer(clients[i].Access))
		want := veeamtest.Counters{Logins: 2, Logouts: 1}
		switch {
		case s == stays:
			want = veeamtest.Counters{Logins: 1}
		case s.Product == "vspc":
			want = veeamtest.Counters{Logins: 2}
		}
		if c := s.Server.Counters(); c.Logins != want.Logins || c.Logouts != want.Logouts {
			t.Errorf("%s: %d logins and %d logouts, expected %d and %d", s.Name, c.Logins, c.Logouts, want.Logins, want.Logouts)
		}
	}
}

func TestReloadsUnderLoadFailNoRequestAndCostNoLogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range products {
		w.add(p)
	}
	w.start()
	clients := make([]pair, len(w.sites))
	for i, s := range w.sites {
		clients[i] = s.client.login(t)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var requests, failures atomic.Int64
	var all sync.WaitGroup
	for i, s := range slices.Concat(w.sites, w.sites) {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				var edits []edit
				if n%2 == 0 {
					edits = append(edits, bearer(clients[i%len(w.sites)].Access))
				}
				a, err := s.client.patient(s.protected, edits...)
				if err == nil && a.status != http.StatusOK {
					err = fmt.Errorf("%v", a)
				}
				if requests.Add(1); err != nil && failures.Add(1) <= 5 {
					t.Errorf("%s: %v", s.Name, err)
				}
				time.Sleep(2 * time.Millisecond) // the cores are wanted for reloads too
			}
		})
	}
	for i := range 20 {
		for _, s := range w.sites {
			s.Options = fmt.Sprintf("token_lifetime %dm", 60+i%2)
		}
		if err := w.Reload(ctx); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	all.Wait()
	t.Logf("%d requests during 20 reloads", requests.Load())
	if failures.Load() > 0 || requests.Load() < 20 {
		t.Errorf("%d of %d requests failed", failures.Load(), requests.Load())
	}
	for _, s := range w.sites {
		if c := s.Server.Counters(); c.Logins != 1 || c.TokenRequests != 1 {
			t.Errorf("%s: %d logins", s.Name, c.Logins)
		}
	}
}

// patient gets a path, on a new connection if the one that it used was dropped.
func (c *client) patient(path string, edits ...edit) (a *answer, err error) {
	for range 5 {
		a, err = c.try(http.MethodGet, path, nil, edits...)
		if !harness.Dropped(err) {
			break
		}
	}
	return a, err
}
