// Many tools at a server where a login ends the other sessions of the user.

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

const (
	toolCount    = 20
	toolsFor     = 5 * time.Minute
	toolsAlone   = 10 * time.Second // without the sidecar
	toolEvery    = 250 * time.Millisecond
	toolAsks     = 20               // between a login of a tool and its logout
	toolLifetime = 20 * time.Second // of the server's access tokens
	toolPassword = "builder"
	toolHash     = "$2a$04$JtdEpqxBUnUBxy6T63cbHuSlRHPPn3KyHsnKHhEZpitVgk.9a0g/u"
)

// singleSession are the products whose documents or users say that sessions of one user
// interfere, with the logout of each.
var singleSession = map[product]string{vspc: "DELETE /api/v3/users/1/tokens", one: "POST /api/revoke"}

// measureTools has tools log in, ask and log out, at first as the server's user without
// the sidecar, and then as clients of the sidecar.
func measureTools(ctx context.Context, r *report) error {
	var mu sync.Mutex
	var failed error
	var wg sync.WaitGroup
	for p, logout := range singleSession {
		wg.Go(func() {
			alone, behind, c, err := toolsAt(ctx, p, logout)
			mu.Lock()
			defer mu.Unlock()
			if failed = errors.Join(failed, err); err != nil {
				return
			}
			r.check(alone.count(http.StatusUnauthorized) > 0, p.name+", without the sidecar: requests answered 401",
				fmt.Sprintf("%d of %d", alone.count(http.StatusUnauthorized), alone.requests), "some, or the server does not interfere")
			r.check(behind.count(http.StatusUnauthorized) == 0 && behind.requests > 0, p.name+", requests answered 401",
				fmt.Sprintf("%d of %d", behind.count(http.StatusUnauthorized), behind.requests), "0")
			r.check(behind.failed == 0, p.name+", failed requests", behind.failures(), "0")
			r.exactly(p.name+", logins", c.Logins, 1)
			r.note(p.name+", renewals", fmt.Sprint(c.Refreshes))
		})
	}
	wg.Wait()
	return failed
}

func toolsAt(ctx context.Context, p product, logout string) (alone, behind *tally, c veeamtest.Counters, err error) {
	s, err := startWith(p, "client tool "+toolHash, veeamtest.WithSingleSession(), veeamtest.WithAccessLifetime(toolLifetime))
	if err != nil {
		return nil, nil, c, err
	}
	defer s.stop()
	pool := x509.NewCertPool()
	pool.AddCert(s.server.Certificate())
	direct := newClient(toolCount)
	direct.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool}
	defer direct.CloseIdleConnections()
	alone = runTools(ctx, &tool{direct, s.server.URL(), s, logout, veeamtest.DefaultUser, veeamtest.DefaultPassword}, toolsAlone)
	s.server.ResetCounters()
	client := newClient(toolCount)
	defer client.CloseIdleConnections()
	site := fmt.Sprintf("http://127.0.0.1:%d", s.port)
	behind = runTools(ctx, &tool{client, site, s, logout, "tool", toolPassword}, toolsFor)
	return alone, behind, s.server.Counters(), errors.Join(s.faults(), ctx.Err())
}

// tool is a program that logs in, asks and logs out.
type tool struct {
	client         *http.Client
	at             string
	s              *setup
	logout         string
	user, password string
}

// runTools runs many of them at once. What they were answered is in the tally.
func runTools(ctx context.Context, t *tool, during time.Duration) *tally {
	ctx, cancel := context.WithTimeout(ctx, during)
	defer cancel()
	all := new(tally)
	var wg sync.WaitGroup
	for i := range toolCount {
		wg.Go(func() {
			time.Sleep(toolEvery * time.Duration(i) / toolCount)
			for ctx.Err() == nil {
				t.run(ctx, all)
			}
		})
	}
	wg.Wait()
	return all
}

// run is one login with all that follows.
func (t *tool) run(ctx context.Context, all *tally) {
	token := t.logIn(all)
	for range toolAsks {
		if ctx.Err() != nil {
			break
		}
		began := time.Now()
		status, err := send(context.WithoutCancel(ctx), t.client, http.MethodGet, t.at+t.s.server.Base()+"/echo", http.Header{"Authorization": {"Bearer " + token}})
		all.add(status, err, time.Since(began))
		time.Sleep(toolEvery)
	}
	method, path, _ := strings.Cut(t.logout, " ")
	began := time.Now()
	status, _, err := t.form(method, path, "Bearer "+token, url.Values{"token": {token}})
	all.add(status, err, time.Since(began))
}

func (t *tool) logIn(all *tally) (token string) {
	began := time.Now()
	status, answer, err := t.form(http.MethodPost, t.s.server.TokenPath(), "", url.Values{
		"grant_type": {"password"}, "username": {t.user}, "password": {t.password},
	})
	all.add(status, err, time.Since(began))
	return answer
}

// form sends a form and returns the access token of the answer, if it has one.
func (t *tool) form(method, path, authorization string, form url.Values) (status int, token string, err error) {
	req, err := http.NewRequestWithContext(context.Background(), method, t.at+path, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	res, err := t.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	_ = json.NewDecoder(res.Body).Decode(&answer) // a logout has none
	return res.StatusCode, answer.AccessToken, nil
}
