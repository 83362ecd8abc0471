// After the server has revoked a token: who notices, and what is sent again.

package sidecar

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// content is a body of some length that no two offsets of have in common.
func content(length int) []byte {
	b := make([]byte, length)
	for i := range b {
		b[i] = byte(i*7 + i>>8 + i>>16)
	}
	return b
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func TestARevokedTokenIsReplacedAndTheRequestSentAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range products {
		w.add(p)
	}
	overHTTP1 := w.add(vbr)
	overHTTP1.Options = "transport http {\n\t\t\tversions 1.1\n\t\t}"
	w.start()
	small, large := content(600), content(700<<10)
	for _, s := range w.sites {
		logins := int64(1)
		s.client.ok(t, s.protected)
		for _, c := range []struct {
			what, method string
			body         func() io.Reader
			length       int
		}{
			{"GET", http.MethodGet, func() io.Reader { return nil }, 0},
			{"DELETE", http.MethodDelete, func() io.Reader { return nil }, 0},
			{"a small POST", http.MethodPost, func() io.Reader { return bytes.NewReader(small) }, len(small)},
			{"a POST of 700 KiB", http.MethodPost, func() io.Reader { return bytes.NewReader(large) }, len(large)},
			{"a chunked PUT of 700 KiB", http.MethodPut, func() io.Reader { return chunked(large) }, len(large)},
		} {
			s.Server.RevokeAll()
			e := s.client.echo(t, c.method, c.body(), header("Content-Type", "application/octet-stream"))
			if want := sum(map[int][]byte{600: small, 700 << 10: large}[c.length]); e.Length != int64(c.length) || e.SHA256 != want {
				t.Errorf("%s, %s: the server got %d bytes with the sum %s", s.Name, c.what, e.Length, e.SHA256)
			}
			logins++
			if got := s.Server.Counters(); got.Logins != logins || got.TokenRequests != logins {
				t.Fatalf("%s, %s: %d logins with %d token requests, expected %d", s.Name, c.what, got.Logins, got.TokenRequests, logins)
			}
		}
	}
	if e := overHTTP1.client.echo(t, http.MethodGet, nil); e.Proto != "HTTP/1.1" {
		t.Errorf("the server was spoken to in %s", e.Proto)
	}
	if e := w.sites[0].client.echo(t, http.MethodGet, nil); e.Proto != "HTTP/2.0" {
		t.Errorf("the server was spoken to in %s", e.Proto)
	}
}

func TestManyRequestsNoticeARevocationWithOneLogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range products {
		w.add(p)
	}
	w.start()
	for _, s := range w.sites {
		for round := range 2 { // first a cold start, then a revocation
			flood(t, 50, 50, func(int) error {
				a, err := s.client.try(http.MethodGet, s.protected, nil)
				if err == nil && a.status != http.StatusOK {
					err = fmt.Errorf("%v", a)
				}
				return err
			})
			if c := s.Server.Counters(); c.Logins != int64(round+1) {
				t.Errorf("%s: %d logins in round %d", s.Name, c.Logins, round)
			}
			s.Server.RevokeAll()
		}
	}
}

// flood calls do n times, some at once, and reports errors.
func flood(t *testing.T, n, parallel int, do func(i int) error) {
	t.Helper()
	var next, failed atomic.Int64
	var all sync.WaitGroup
	for range parallel {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil && failed.Add(1) <= 3 {
					t.Errorf("%d: %v", i, err)
				}
			}
		})
	}
	all.Wait()
	if n := failed.Load(); n > 3 {
		t.Errorf("%d failures in all", n)
	}
}

func TestALargeUploadIsRefusedUnsentAndThenSentOnce(t *testing.T) {
	t.Parallel()
	const size = 40 << 20
	w := newWorld(t)
	http2, http1 := w.add(vbr), w.add(vbr)
	// Whatever the machine does meanwhile, the answer is waited for before the body is sent.
	http2.Options = "transport http {\n\t\t\texpect_continue_timeout 2m\n\t\t}"
	http1.Options = "transport http {\n\t\t\tversions 1.1\n\t\t\texpect_continue_timeout 2m\n\t\t}"
	w.start()
	body := content(size)
	want := sum(body)
	for _, s := range []*site{http2, http1} {
		s.client.ok(t, s.protected)
		s.Server.RevokeAll()
		a := s.client.do(t, http.MethodPost, s.Server.Base()+"/upload", bytes.NewReader(body), header("Content-Type", "application/octet-stream"))
		a.want(t, http.StatusOK)
		var got veeamtest.Upload
		a.into(t, &got)
		if got.Length != size || got.SHA256 != want {
			t.Errorf("%s: %+v", s.Name, got)
		}
		// A second 401 is for the logout of the session that the server has revoked.
		if c := s.Server.Counters(); c.Logins != 2 || c.Uploaded != size || c.Unauthorized > 2 {
			t.Errorf("%s: %d logins, %d bytes read in all, %d refusals", s.Name, c.Logins, c.Uploaded, c.Unauthorized)
		}
	}
}

func TestABodyThatIsNotKeptLeavesThe401ToTheClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range products {
		s := w.add(p)
		s.Options = "replay_limit 64KiB\n\t\ttransport http {\n\t\t\tversions 1.1\n\t\t}"
	}
	w.start()
	body := content(2 << 20)
	for _, s := range w.sites {
		s.client.ok(t, s.protected)
		s.Server.RevokeAll()
		upload := func() *answer {
			return s.client.do(t, http.MethodPost, s.Server.Base()+"/upload", chunked(body), header("Content-Type", "application/octet-stream"))
		}
		upload().want(t, http.StatusUnauthorized)
		upload().want(t, http.StatusOK)
		s.client.ok(t, s.protected)
		if c := s.Server.Counters(); c.Logins != 2 {
			t.Errorf("%s: %+v", s.Name, c)
		}
	}
}

func TestARouteThatAlwaysAnswers401CausesNoLogins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range products {
		w.add(p)
		w.add(p)
	}
	w.start()
	for i := 0; i < len(w.sites); i += 2 {
		alone, mixed := w.sites[i], w.sites[i+1]
		hopeless := func(s *site) error {
			a, err := s.client.try(http.MethodGet, s.Server.Base()+"/always401", nil)
			if err == nil && a.status != http.StatusUnauthorized {
				err = fmt.Errorf("%v", a)
			}
			return err
		}
		flood(t, 50, 10, func(int) error { return hopeless(alone) })
		if c := alone.Server.Counters(); c.Logins != 1 || c.TokenRequests != 1 {
			t.Errorf("%s: %d logins for a route that always answers 401", alone.Name, c.Logins)
		}
		alone.client.ok(t, alone.protected)

		// Beside good traffic the token looks revoked at first: a few logins find out.
		flood(t, 100, 10, func(i int) error {
			if i%2 == 0 {
				return hopeless(mixed)
			}
			a, err := mixed.client.try(http.MethodGet, mixed.protected, nil)
			if err == nil && a.status != http.StatusOK {
				err = fmt.Errorf("%v", a)
			}
			return err
		})
		if c := mixed.Server.Counters(); c.Logins > 15 {
			t.Errorf("%s: %d logins for 50 answers 401 beside good traffic", mixed.Name, c.Logins)
		}
	}
}

func TestUnderRandomRevocationNothingIsDoneTwiceAndNoReaderSeesIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, p := range products {
		w.add(p, veeamtest.WithRevokeRandom(50, uint64(i+1)))
	}
	w.start()
	for _, s := range w.sites {
		var refused atomic.Int64
		flood(t, 250, 10, func(i int) error {
			if i%5 == 0 {
				path := fmt.Sprintf("%s/execute?op=%d", s.Server.Base(), i)
				a, err := s.client.try(http.MethodPost, path, bytes.NewReader(content(100)))
				if err == nil && a.status == http.StatusUnauthorized {
					refused.Add(1) // two tokens in turn were revoked: the client's to handle
				} else if err == nil && a.status != http.StatusCreated {
					err = fmt.Errorf("%v", a)
				}
				return err
			}
			a, err := s.client.try(http.MethodGet, s.protected, nil)
			if err == nil && a.status != http.StatusOK {
				err = fmt.Errorf("%v", a)
			}
			return err
		})
		c := s.Server.Counters()
		for op, times := range c.Executed {
			if times != 1 {
				t.Errorf("%s: operation %s was carried out %d times", s.Name, op, times)
			}
		}
		if done := int64(len(c.Executed)); done != 50-refused.Load() || done < 38 || c.Unauthorized == 0 {
			t.Errorf("%s: %d operations carried out, %d refused; %d answers 401 of the server's", s.Name, done, refused.Load(), c.Unauthorized)
		}
	}
}
