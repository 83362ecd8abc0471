// Many users behind one account: whose token a request travels with, and what it
// costs to keep their sessions apart.

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

const (
	tenantCount    = 2_000
	tenantCallers  = 64
	tenantRequests = 200_000
	tenantLimit    = 200 // sessions kept at most
	tenantHot      = 150 // that most requests are for, at any time
	tenantCold     = 40  // one request in so many is for any other
	tenantLifetime = 15 * time.Second
	tenantSwapped  = 50 // one answer in so many is another tenant's
	tenantGrowth   = 1.1
)

// tenantsRun is the state of the callers.
type tenantsRun struct {
	url                           string
	client                        *http.Client
	sent                          atomic.Int64
	right, wrong, refused, failed atomic.Int64
}

// measureTenants has callers ask as one tenant after the other. Those who are
// asked for most change slowly, so that sessions are evicted and created again all
// the time; tokens live for seconds, so that they are renewed all the time; and
// the server mixes up some of its answers.
func measureTenants(ctx context.Context, r *report) error {
	options := []veeamtest.Option{
		veeamtest.WithAccessLifetime(tenantLifetime), veeamtest.WithSwappedUsers(tenantSwapped, 1),
	}
	for i := range tenantCount {
		options = append(options, veeamtest.WithAccount(veeamtest.Account{Username: tenantName(i), Password: "x", UID: tenantUID(i)}))
	}
	server := veeamtest.New(veeamtest.VSPC, options...)
	if err := server.Start(); err != nil {
		return err
	}
	defer server.Close()
	dir, err := os.MkdirTemp("", "veeam-auth-load-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ports, err := harness.FreePorts(1)
	if err != nil {
		return err
	}
	caddy, err := startCaddy(dir, fmt.Sprintf(`{%s}
http://127.0.0.1:%d {
	bind 127.0.0.1
	veeam_auth %s {
		product vspc
		account owner {
			username %s
			password {env.LOAD_PASSWORD}
		}
		account tenants {
			grant as
			parent owner
		}
		act_as {header.X-Tenant}
		max_users %d
		pace off
		tls_pin %s
	}
}
`, withoutLog, ports[0], server.URL(), veeamtest.DefaultUser, tenantLimit, harness.Pin(server)))
	if err != nil {
		return err
	}
	defer caddy.Stop()

	run := &tenantsRun{url: fmt.Sprintf("http://127.0.0.1:%d%s/echo", ports[0], server.Base()), client: newClient(tenantCallers)}
	defer run.client.CloseIdleConnections()
	begun := time.Now()
	memory, err := run.all(ctx, caddy.Pid())
	if err != nil {
		return err
	}
	c := server.Counters()
	r.exactly("requests", run.sent.Load(), tenantRequests)
	r.exactly("requests under another tenant's token", run.wrong.Load(), 0)
	r.exactly("requests without an answer, or with one that was not foreseen", run.failed.Load(), 0)
	r.check(c.Swapped > 0 && run.right.Load() > tenantRequests/2, "answered; refused; answers mixed up by the server",
		fmt.Sprintf("%d; %d; %d", run.right.Load(), run.refused.Load(), c.Swapped), "most; the others; some")
	growth := memory[3] / memory[1]
	r.check(growth <= tenantGrowth, "memory after 25, 50, 75 and 100 %",
		fmt.Sprintf("%.0f, %.0f, %.0f, %.0f MiB", memory[0], memory[1], memory[2], memory[3]),
		fmt.Sprintf("in the second half at most +%.0f %%", (tenantGrowth-1)*100))
	sessions, err := sessionsOf(caddy)
	if err != nil {
		return err
	}
	r.check(sessions <= tenantLimit+2, "sessions kept", fmt.Sprint(sessions), fmt.Sprintf("at most %d and the parent's two", tenantLimit))
	r.note("logins and impersonations, renewals, time", fmt.Sprintf("%d, %d, %v", c.Logins, c.Refreshes, time.Since(begun).Round(time.Second)))
	return nil
}

func tenantName(i int) string { return fmt.Sprint("tenant-", i) }

func tenantUID(i int) string { return fmt.Sprintf("5f0d0c9c-0000-4000-8000-%012d", i) }

// all sends every request, and reads the memory of the process at each quarter.
func (t *tenantsRun) all(ctx context.Context, pid int) (memory [4]float64, err error) {
	for quarter := range memory {
		var wg sync.WaitGroup
		for caller := range tenantCallers {
			wg.Go(func() {
				random := rand.New(rand.NewPCG(uint64(caller), uint64(quarter)))
				for t.sent.Add(1) <= int64(quarter+1)*tenantRequests/int64(len(memory)) && ctx.Err() == nil {
					t.ask(ctx, t.choose(random))
				}
				t.sent.Add(-1)
			})
		}
		wg.Wait()
		if memory[quarter], err = residentMiB(pid); err != nil {
			return memory, err
		}
		fmt.Printf("     tenants   %d of %d, %.0f MiB\n", t.sent.Load(), tenantRequests, memory[quarter])
	}
	return memory, ctx.Err()
}

// choose takes one of those who are asked for most, or now and then anybody.
func (t *tenantsRun) choose(random *rand.Rand) int {
	if random.IntN(tenantCold) == 0 {
		return random.IntN(tenantCount)
	}
	first := int(t.sent.Load() * tenantCount / tenantRequests) // once through all of them
	return (first + random.IntN(tenantHot)) % tenantCount
}

func (t *tenantsRun) ask(ctx context.Context, tenant int) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url, http.NoBody)
	if err != nil {
		t.failed.Add(1)
		return
	}
	req.Header.Set("X-Tenant", tenantUID(tenant))
	res, err := t.client.Do(req)
	if err != nil {
		t.failed.Add(1)
		return
	}
	defer res.Body.Close()
	var echo veeamtest.Echo
	err = json.NewDecoder(res.Body).Decode(&echo)
	switch {
	case res.StatusCode == http.StatusOK && err == nil && echo.Subject == tenantName(tenant):
		t.right.Add(1)
	case res.StatusCode == http.StatusOK:
		t.wrong.Add(1)
	case res.StatusCode == http.StatusBadGateway:
		t.refused.Add(1) // a mixed up answer, or the pause after one
	default:
		t.failed.Add(1)
	}
}

// residentMiB is the memory of a process.
func residentMiB(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kib, err := strconv.ParseFloat(strings.Fields(rest + " 0")[0], 64)
	return kib / 1024, err
}

// sessionsOf reads how many sessions the sidecar keeps.
func sessionsOf(caddy *harness.Caddy) (n int, err error) {
	text, err := caddy.Metrics()
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.HasPrefix(name, "caddy_veeam_auth_sessions{") {
			count, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, err
			}
			n += int(count)
		}
	}
	return n, nil
}
