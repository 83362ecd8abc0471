// What users cost whose names come with requests, behind one account.

package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

const (
	usersRounds   = 15
	usersRequests = 4_000
)

var usersCount = flag.Int("users", 20_000, "how many users the figure users has")

// measureUsers has many users served by the grant as, and compares with one.
func measureUsers(ctx context.Context, r *report) error {
	n := *usersCount
	options := make([]veeamtest.Option, 0, n)
	for i := range n {
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
	g := &growth{dir: dir}
	serve := func() (*grown, error) {
		s, err := g.begin("storage load_memory\n", func(port int) string {
			return fmt.Sprintf(`%s {
	bind 127.0.0.1
	veeam_auth %s {
		product vspc
		account owner {
			username %s
			password {env.LOAD_PASSWORD}
		}
		account users {
			grant as
			parent owner
		}
		act_as {header.X-Tenant}
		max_users %d
		pace off
		tls_pin %s
	}
}
`, local(port), server.URL(), veeamtest.DefaultUser, n, harness.Pin(server))
		})
		if err == nil {
			s.url = local(s.port) + server.Base() + "/echo"
		}
		return s, err
	}
	one, err := serve()
	if err != nil {
		return err
	}
	defer one.caddy.Stop()
	many, err := serve()
	if err != nil {
		return err
	}
	defer many.caddy.Stop()
	as := func(i int64) func(*http.Request, int64) {
		return func(req *http.Request, at int64) { req.Header.Set("X-Tenant", tenantUID(int(at*i)%n)) }
	}
	for _, s := range []*grown{one, many} {
		if _, err := s.send(ctx, 100, as(0)); err != nil {
			return err
		}
	}
	before, err := many.live()
	if err != nil {
		return err
	}
	first, err := many.send(ctx, n, as(1))
	if err != nil {
		return err
	}
	later, err := many.send(ctx, n, as(1))
	if err != nil {
		return err
	}
	after, err := many.live()
	if err != nil {
		return err
	}
	r.note(fmt.Sprintf("%d users by the grant as: the first login of each, a request, processor time; live memory of one", n),
		fmt.Sprintf("%v; %v; %.0f bytes", first-later, later, (after-before)/float64(n)))
	var ratios []float64
	for range usersRounds {
		single, err := one.send(ctx, usersRequests, as(0))
		if err != nil {
			return err
		}
		of, err := many.send(ctx, usersRequests, as(7919))
		if err != nil {
			return err
		}
		ratios = append(ratios, float64(of)/float64(single))
	}
	e := estimateOf(ratios)
	r.check(e.low <= maxManyToOne, "a request, against one with a single user, processor time", e.String(), fmt.Sprintf("at most %.1f", maxManyToOne))
	return nil
}
