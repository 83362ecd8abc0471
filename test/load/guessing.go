// Guesses of a client's password from many addresses, and what they cost those who
// know theirs.

package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

const (
	guessers     = 100 // addresses
	guesserConns = 10  // of each
	guessingFor  = 25 * time.Second
	knownLogins  = 1000
	knownLoginMs = 1.0 // of processor time for a login after the first
	rightWithin  = time.Second
	guessingMiB  = 128.0 // that the process may grow by

	// What `caddy hash-password` makes.
	guessedCost = 14
)

// guessing is a run with clients, which have one password.
type guessing struct {
	*setup
	address  string
	password string
}

// measureGuessing has addresses guess passwords as fast as they can while clients log
// in with the right one.
func measureGuessing(ctx context.Context, r *report) error {
	s, err := start(vbr)
	if err != nil {
		return err
	}
	defer s.stop()
	g := &guessing{setup: s, address: fmt.Sprintf("http://127.0.0.1:%d%s", s.port, s.server.TokenPath()), password: "right " + veeamtest.DefaultPassword}
	hash, err := bcrypt.GenerateFromPassword([]byte(g.password), guessedCost)
	if err != nil {
		return err
	}
	var clients strings.Builder
	for _, name := range []string{"grafana", "nightly", "weekly"} {
		fmt.Fprintf(&clients, "client %s %s\n\t\t", name, hash)
	}
	s.caddy.Stop()
	if s.caddy, err = startCaddy(s.dir, s.caddyfile(clients.String())); err != nil {
		return err
	}
	if err := g.known(ctx, r); err != nil {
		return err
	}
	if err := g.flood(ctx, r); err != nil {
		return err
	}
	return s.faults()
}

// known measures a client that logs in over and over.
func (g *guessing) known(ctx context.Context, r *report) error {
	client := from("127.0.0.1")
	defer client.CloseIdleConnections()
	before, err := cpuTime(g.caddy.Pid())
	if err != nil {
		return err
	}
	if status, err := g.login(ctx, client, "grafana", g.password); err != nil || status != http.StatusOK {
		return fmt.Errorf("the first login: status %d, %w", status, err)
	}
	first, err := cpuTime(g.caddy.Pid())
	if err != nil {
		return err
	}
	t := new(tally)
	for range knownLogins {
		begun := time.Now()
		status, err := g.login(ctx, client, "grafana", g.password)
		t.add(status, err, time.Since(begun))
	}
	after, err := cpuTime(g.caddy.Pid())
	if err != nil {
		return err
	}
	each := float64((after - first).Microseconds()) / 1000 / knownLogins
	r.note("processor time of the first login", (first - before).String())
	r.check(t.failed == 0, "failed logins after it", t.failures(), "0")
	r.check(each <= knownLoginMs, "processor time of each login after it", fmt.Sprintf("%.2f ms", each), fmt.Sprintf("%v ms", knownLoginMs))
	return nil
}

// flood measures right logins while others guess.
func (g *guessing) flood(ctx context.Context, r *report) error {
	pid := g.caddy.Pid()
	memory, err := residentMiB(pid)
	if err != nil {
		return err
	}
	cpu, err := cpuTime(pid)
	if err != nil {
		return err
	}
	flooding, stop := context.WithTimeout(ctx, guessingFor)
	defer stop()
	wrong := new(tally)
	var wg sync.WaitGroup
	var letIn atomic.Int64
	for i := range guessers {
		for range guesserConns {
			wg.Go(func() { letIn.Add(g.guess(flooding, i, wrong)) })
		}
	}
	begun := time.Now()
	right, first := new(tally), new(tally)
	most := memory
	client := from("127.0.0.1")
	defer client.CloseIdleConnections()
	for second := 1; flooding.Err() == nil; second++ {
		select {
		case <-flooding.Done():
			continue
		case <-time.After(time.Until(begun.Add(time.Duration(second) * time.Second))):
		}
		start := time.Now()
		status, err := g.login(ctx, client, "grafana", g.password)
		right.add(status, err, time.Since(start))
		if second == 5 { // clients that have not logged in before, from here and from elsewhere
			for name, address := range map[string]string{"nightly": "127.0.0.1", "weekly": "127.0.4.1"} {
				wg.Go(func() {
					start := time.Now()
					status, err := g.patiently(flooding, from(address), name)
					first.add(status, err, time.Since(start))
				})
			}
		}
		now, err := residentMiB(pid)
		if err != nil {
			return err
		}
		most = max(most, now)
	}
	wg.Wait()
	took := time.Since(begun)
	after, err := cpuTime(pid)
	if err != nil {
		return err
	}
	r.note("guesses", fmt.Sprintf("%d in %v from %d addresses with %d connections each, %d of them refused after a check, %d told to wait", wrong.requests,
		took.Round(time.Second), guessers, guesserConns, wrong.count(http.StatusUnauthorized), wrong.count(http.StatusTooManyRequests)))
	r.exactly("wrong passwords that were let in", letIn.Load(), 0)
	r.check(right.failed == 0, "right logins that failed", right.failures(), "0")
	p99 := percentile(right.took, 99)
	r.check(p99 <= rightWithin, "right logins, p50 and p99",
		fmt.Sprintf("%v and %v", percentile(right.took, 50).Round(time.Millisecond/10), p99.Round(time.Millisecond/10)), rightWithin.String())
	r.check(first.failed == 0, "first logins of two clients, failed", first.failures(), "0")
	r.note("first logins of two clients", spread(first.took))
	r.note("processor time for 1,000 wrong guesses", fmt.Sprintf("%.2f s", (after-cpu).Seconds()*1000/float64(max(wrong.requests, 1))))
	r.note("processor time of the flood", fmt.Sprintf("%.0f %% of one processor", 100*(after-cpu).Seconds()/took.Seconds()))
	r.check(most-memory <= guessingMiB, "memory before, and at most during the flood", fmt.Sprintf("%.0f and %.0f MiB", memory, most),
		fmt.Sprintf("%.0f MiB more", guessingMiB))
	return nil
}

// patiently logs in with the right password until it succeeds, or ctx ends.
func (g *guessing) patiently(ctx context.Context, client *http.Client, name string) (status int, err error) {
	defer client.CloseIdleConnections()
	for {
		status, err = g.login(ctx, client, name, g.password)
		if err != nil || status != http.StatusTooManyRequests {
			return status, err
		}
		time.Sleep(time.Second)
	}
}

// guess guesses from one address until ctx ends: half of the addresses for a client
// that there is, the others for made-up names. It returns how many guesses succeeded.
func (g *guessing) guess(ctx context.Context, address int, t *tally) (letIn int64) {
	client := from(fmt.Sprintf("127.0.3.%d", address+1))
	defer client.CloseIdleConnections()
	for i := 0; ctx.Err() == nil; i++ {
		name := "grafana"
		if address%2 == 0 {
			name = fmt.Sprint("made up ", i)
		}
		begun := time.Now()
		status, err := g.login(ctx, client, name, fmt.Sprint("guess ", address, " ", i, " ", rand.Int()))
		if ctx.Err() != nil {
			break
		}
		t.add(status, err, time.Since(begun))
		if status == http.StatusOK {
			letIn++
		}
	}
	return letIn
}

// from is a client with an address on the loopback network.
func from(address string) *http.Client {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{DialContext: dialer.DialContext}}
}

// login sends a token request, as if relayed by a proxy: nobody is admitted by the
// address.
func (g *guessing) login(ctx context.Context, client *http.Client, name, password string) (status int, err error) {
	form := url.Values{"grant_type": {"password"}, "username": {name}, "password": {password}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.address, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("X-Api-Version", "1.1-rev0")
	req.Header.Set("X-Forwarded-For", "192.0.2.7")
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, err
}
