// Processes that start and stop: what stays behind at the servers.

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

const (
	endingCycles   = 500
	endingParallel = 4
)

// endingServers are of the products that can end one session. Processes with the same
// user are not to disturb each other here.
func endingServers() []*veeamtest.Server {
	return []*veeamtest.Server{
		veeamtest.New(veeamtest.VBR13), veeamtest.New(veeamtest.Azure), veeamtest.New(veeamtest.AWS), veeamtest.New(veeamtest.GCP),
		veeamtest.New(veeamtest.VB365, veeamtest.WithLoopbackUnlimited()), veeamtest.New(veeamtest.ONE, veeamtest.WithParallelSessions()),
		veeamtest.New(veeamtest.EM13),
	}
}

// measureEndings starts Caddy, asks each server something through it, and stops
// it, again and again.
func measureEndings(ctx context.Context, r *report) error {
	var servers []*veeamtest.Server
	defer func() {
		for _, s := range servers {
			s.Close()
		}
	}()
	for _, s := range endingServers() {
		if err := s.Start(); err != nil {
			return err
		}
		servers = append(servers, s)
	}
	var done, failed atomic.Int64
	var mu sync.Mutex
	var faults []error
	var wg sync.WaitGroup
	for worker := range endingParallel {
		wg.Go(func() {
			for cycle := worker; cycle < endingCycles && ctx.Err() == nil; cycle += endingParallel {
				if err := endingCycle(ctx, servers); err != nil {
					failed.Add(1)
					mu.Lock()
					faults = append(faults, err)
					mu.Unlock()
				}
				if n := done.Add(1); n%100 == 0 {
					fmt.Printf("     endings   %d of %d\n", n, endingCycles)
				}
			}
		})
	}
	wg.Wait()
	r.exactly("starts and stops", done.Load(), endingCycles)
	r.check(failed.Load() == 0, "cycles with a fault", fmt.Sprint(failed.Load()), "0")
	for _, s := range servers {
		c := s.Counters()
		r.exactly(string(s.Profile())+" live sessions", int64(c.LiveSessions), 0)
		r.exactly(string(s.Profile())+" logouts", c.Logouts, c.Logins)
	}
	return errors.Join(faults[:min(len(faults), 3)]...)
}

// endingCycle is the life of one process.
func endingCycle(ctx context.Context, servers []*veeamtest.Server) error {
	dir, err := os.MkdirTemp("", "veeam-auth-load-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ports, err := harness.FreePorts(len(servers))
	if err != nil {
		return err
	}
	var sites strings.Builder
	fmt.Fprintf(&sites, "{%s}\n", withoutLog)
	for i, s := range servers {
		fmt.Fprintf(&sites, `http://127.0.0.1:%d {
	bind 127.0.0.1
	veeam_auth %s {
		product %s
		account %s {env.LOAD_PASSWORD}
		tls_pin %s
	}
}
`, ports[i], s.URL(), s.Profile().Product(), veeamtest.DefaultUser, harness.Pin(s))
	}
	caddy, err := startCaddy(dir, sites.String())
	if err != nil {
		if strings.Contains(err.Error(), "address already in use") {
			return endingCycle(ctx, servers) // another process was faster
		}
		return err
	}
	defer caddy.Stop()
	client := newClient(1)
	defer client.CloseIdleConnections()
	for i, s := range servers {
		url := fmt.Sprintf("http://127.0.0.1:%d%s/echo", ports[i], s.Base())
		if status, err := send(ctx, client, http.MethodGet, url, nil); err != nil || status != http.StatusOK {
			return errors.Join(fmt.Errorf("%s: status %d", s.Profile(), status), err)
		}
	}
	return nil
}
