// Reloads of the configuration under load.

package main

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
)

const (
	reloadTimes   = 100
	reloadPause   = 100 * time.Millisecond
	reloadClients = 20 // of each site
	reloadTries   = 3
)

// measureReloads loads one changed configuration after the other while clients
// keep asking, through the sidecar and through a plain reverse_proxy of the same
// Caddy. At each reload Caddy closes connections, now and then one on which a
// request has just been sent. Such a request has no answer, whatever would have
// handled it: those are counted apart, held against the plain proxy's, and sent
// again, twice at most.
func measureReloads(ctx context.Context, r *report) error {
	s, err := start(vbr)
	if err != nil {
		return err
	}
	defer s.stop()
	ports, err := harness.FreePorts(1)
	if err != nil {
		return err
	}
	token, err := logIn(ctx, s.server)
	if err != nil {
		return err
	}
	load := func(n int) error {
		sites := s.caddyfile(fmt.Sprintf("log_body_limit %d", 4000+n)) + s.plainSite(ports[0], token)
		return s.caddy.Load(ctx, []byte(sites))
	}
	if err := load(0); err != nil {
		return err
	}
	if _, err := send(ctx, newClient(1), http.MethodGet, s.url("echo"), nil); err != nil {
		return err
	}
	s.server.ResetCounters()

	sidecar, plain := newAskers(s.port, s), newAskers(ports[0], s)
	asking, enough := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { sidecar.ask(asking) })
	wg.Go(func() { plain.ask(asking) })
	begun := time.Now()
	loaded := 0
	for ; loaded < reloadTimes && err == nil; loaded++ {
		err = load(loaded + 1)
		time.Sleep(reloadPause)
	}
	took := time.Since(begun)
	enough()
	wg.Wait()
	if err != nil {
		return err
	}

	c := s.server.Counters()
	r.exactly("reloads", int64(loaded), reloadTimes)
	r.exactly("logins", c.Logins, 0)
	r.exactly("token requests", c.TokenRequests, 0)
	r.exactly("answers other than 200", int64(sidecar.first.requests-sidecar.first.unanswered)-sidecar.first.count(http.StatusOK), 0)
	r.check(sidecar.last.failed == 0, "failed requests, tried again included",
		fmt.Sprintf("%d of %d", sidecar.last.failed, sidecar.first.requests), "0")
	ours, theirs := float64(sidecar.first.unanswered), float64(plain.first.unanswered)
	r.check(ours <= theirs+3*math.Sqrt(ours+theirs), "requests without an answer at the first try",
		fmt.Sprintf("%v, of plain reverse_proxy %v of %d", ours, theirs, plain.first.requests), "as plain reverse_proxy, within chance")
	r.note("time for all reloads", took.Round(time.Millisecond).String())
	return s.faults()
}

// askers ask one site all the time.
type askers struct {
	clients     int
	urls        []string
	header      http.Header
	first, last *tally // of the tries of each request
}

func newAskers(port int, s *setup) *askers {
	return &askers{clients: reloadClients, urls: []string{s.urlAt(port, "echo"), s.urlAt(port, "slow?ms=30")}, first: new(tally), last: new(tally)}
}

func (a *askers) ask(asking context.Context) {
	client := newClient(a.clients)
	defer client.CloseIdleConnections()
	ctx := context.WithoutCancel(asking)
	var wg sync.WaitGroup
	for range a.clients {
		wg.Go(func() {
			for n := 0; asking.Err() == nil; n++ {
				url := a.urls[n%len(a.urls)]
				begun := time.Now()
				status, err := send(ctx, client, http.MethodGet, url, a.header)
				a.first.add(status, err, time.Since(begun))
				for tries := 1; err != nil && tries < reloadTries; tries++ {
					status, err = send(ctx, client, http.MethodGet, url, a.header)
				}
				a.last.add(status, err, time.Since(begun))
			}
		})
	}
	wg.Wait()
}
