// Reloads of the configuration under load.

package main

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
)

const (
	reloadTimes   = 100
	reloadPause   = 100 * time.Millisecond
	reloadClients = 20 // of each site
	reloadTries   = 3
)

// measureReloads loads one changed configuration after the other while clients keep asking,
// through sites whose requests the forwarder and reverse_proxy send on, and through two of a
// plain reverse_proxy of the same Caddy. At a reload requests on new connections may have no
// answer, whatever would have handled them: net/http ends a connection without an answer if
// the server has begun to shut down before it has read the first request, and the kernel
// resets those that a listener has not accepted when it is closed. All clients open
// connections at the same moment, after a reload, so one reload loses none or many. Such
// requests are counted apart and sent again, twice at most; the reloads that have lost any
// are held against the plain proxy's.
func measureReloads(ctx context.Context, r *report) error {
	s, err := start(vbr)
	if err != nil {
		return err
	}
	defer s.stop()
	ports, err := harness.FreePorts(3)
	if err != nil {
		return err
	}
	token, err := logIn(ctx, s.server)
	if err != nil {
		return err
	}
	load := func(n int) error {
		changed := fmt.Sprintf("log_body_limit %d\n", 4000+n)
		sites := s.caddyfile(changed+"forward auto") + s.site(ports[0], changed+"forward nested") + s.plainSite(ports[1], token) + s.plainSite(ports[2], token)
		return s.caddy.Load(ctx, []byte(sites))
	}
	if err := load(0); err != nil {
		return err
	}
	for _, port := range []int{s.port, ports[0]} {
		var err error
		for range reloadTries { // the configuration has just been loaded
			if _, err = send(ctx, newClient(1), http.MethodGet, s.urlAt(port, "echo"), nil); err == nil {
				break
			}
		}
		if err != nil {
			return err
		}
	}
	s.server.ResetCounters()

	plain := newAskers("plain reverse_proxy", ports[1], s)
	all := []*askers{
		newAskers("forward auto", s.port, s), newAskers("forward nested", ports[0], s),
		newAskers("plain reverse_proxy again", ports[2], s), plain,
	}
	asking, enough := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, a := range all {
		wg.Go(func() { a.ask(asking) })
	}
	begun := time.Now()
	loaded := 0
	for ; loaded < reloadTimes && err == nil; loaded++ {
		for _, a := range all {
			a.reload.Store(int64(loaded))
		}
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
	for _, a := range all {
		r.exactly(a.name+", answers other than 200", int64(a.first.requests-a.first.unanswered)-a.first.count(http.StatusOK), 0)
		r.check(a.last.failed == 0, a.name+", failed requests, tried again included", fmt.Sprintf("%d of %d", a.last.failed, a.first.requests), "0")
		ours, theirs := float64(len(a.lost)), float64(len(plain.lost))
		r.check(ours <= theirs+3*math.Sqrt(ours+theirs), a.name+", reloads with requests without an answer at the first try",
			fmt.Sprintf("%v, of plain reverse_proxy %v", ours, theirs), "as plain reverse_proxy, within chance")
		r.note(a.name+", these requests", fmt.Sprintf("%d of %d, at most %d at one reload", a.first.unanswered, a.first.requests, a.most()))
	}
	r.note("time for all reloads", took.Round(time.Millisecond).String())
	return s.faults()
}

// askers ask one site all the time.
type askers struct {
	name        string
	clients     int
	urls        []string
	header      http.Header
	first, last *tally // of the tries of each request

	reload atomic.Int64 // the current one
	mu     sync.Mutex
	lost   map[int64]int // first tries without an answer, by reload
}

// most is the largest number of first tries without an answer at one reload.
func (a *askers) most() (most int) {
	for _, n := range a.lost {
		most = max(most, n)
	}
	return most
}

func (a *askers) unanswered() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lost == nil {
		a.lost = make(map[int64]int)
	}
	a.lost[a.reload.Load()]++
}

func newAskers(name string, port int, s *setup) *askers {
	return &askers{name: name, clients: reloadClients, urls: []string{s.urlAt(port, "echo"), s.urlAt(port, "slow?ms=30")}, first: new(tally), last: new(tally)}
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
				if err != nil {
					a.unanswered()
				}
				for tries := 1; err != nil && tries < reloadTries; tries++ {
					status, err = send(ctx, client, http.MethodGet, url, a.header)
				}
				a.last.add(status, err, time.Since(begun))
			}
		})
	}
	wg.Wait()
}
