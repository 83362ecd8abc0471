// Short-lived tokens that are revoked at random, under load.

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

const (
	churnRequests = 10_000
	churnParallel = 50
	churnBursts   = 20
	churnLifetime = 2 * time.Second
	churnRevoked  = 100 // one token in so many requests
	churnSeed     = 2
)

// churnPauses lie between the bursts, so that the next one finds a good token, one
// that is due for renewal, or an expired one.
var churnPauses = []time.Duration{200 * time.Millisecond, 1500 * time.Millisecond, 2200 * time.Millisecond}

// measureChurn sends reads and operations that must not be carried out twice,
// mixed, in bursts.
func measureChurn(ctx context.Context, r *report) error {
	s, err := start(vbr, veeamtest.WithAccessLifetime(churnLifetime), veeamtest.WithRevokeRandom(churnRevoked, churnSeed))
	if err != nil {
		return err
	}
	defer s.stop()
	client := newClient(churnParallel)
	reads, writes := new(tally), new(tally)
	random := rand.New(rand.NewPCG(churnSeed, churnSeed))
	for burst := range churnBursts {
		if burst > 0 {
			time.Sleep(churnPauses[burst%len(churnPauses)])
		}
		churnBurst(ctx, s, client, reads, writes, burst, random.Perm(churnRequests/churnBursts))
	}

	c := s.server.Counters()
	twice := 0
	for _, times := range c.Executed {
		if times > 1 {
			twice++
		}
	}
	carriedOut := int64(len(c.Executed))
	r.exactly("GETs answered 401", reads.count(http.StatusUnauthorized), 0)
	r.check(reads.failed == 0, "failed GETs", reads.failures(), "0")
	r.exactly("operations executed twice", int64(twice), 0)
	r.exactly("operations answered as created and executed", carriedOut, writes.count(http.StatusCreated))
	r.note("failed POSTs", writes.failures())
	r.note("logins, renewals, 401s of the server", fmt.Sprintf("%d, %d, %d", c.Logins, c.Refreshes, c.Unauthorized))
	return s.faults()
}

// churnBurst sends one request for each number, a third of them operations.
func churnBurst(ctx context.Context, s *setup, client *http.Client, reads, writes *tally, burst int, numbers []int) {
	queue := make(chan int)
	var wg sync.WaitGroup
	for range churnParallel {
		wg.Go(func() {
			for n := range queue {
				method, url, t := http.MethodGet, s.url("echo"), reads
				if n%3 == 0 {
					method, url, t = http.MethodPost, s.url(fmt.Sprintf("execute?op=%d-%d", burst, n)), writes
				}
				begun := time.Now()
				status, err := send(ctx, client, method, url, nil)
				t.add(status, err, time.Since(begun))
			}
		})
	}
	for _, n := range numbers {
		queue <- n
	}
	close(queue)
	wg.Wait()
}
