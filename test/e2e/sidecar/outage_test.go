// Servers in trouble: what a client is told, and that it never sees the raw
// answer to a login.

package sidecar

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestAServerThatIsDownIsSaidToBeSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range products {
		w.add(p)
		w.add(p)
	}
	w.start()
	for i := 0; i < len(w.sites); i += 2 {
		warm, cold := w.sites[i], w.sites[i+1]
		warm.client.ok(t, warm.protected)
		for _, s := range []*site{warm, cold} {
			s.Server.Close()
			s.client.get(t, s.protected).refusedAs(t, s.product, false, http.StatusBadGateway)
		}
		cold.client.attempt(t).refusedAs(t, cold.product, true, http.StatusBadGateway)
		for _, s := range []*site{warm, cold} {
			if err := s.Server.Start(); err != nil {
				t.Fatal(err)
			}
			harness.Eventually(t, s.Name+" is back", func() bool { return s.client.get(t, s.protected).status == http.StatusOK })
			if c := s.Server.Counters(); c.Logins != 1 {
				t.Errorf("%s: %d logins", s.Name, c.Logins)
			}
		}
	}
	if !strings.Contains(w.Caddy.Output(), "the request could not be forwarded") || !strings.Contains(w.Caddy.Output(), "connection refused") {
		t.Errorf("the log does not say so: %s", tail(w.Caddy.Output()))
	}
	if !strings.Contains(w.svclog(), "[502] ") {
		t.Error("no 502 in Svc.ResAPI.log")
	}
}

func TestATokenEndpointThatHangsIsNotWaitedForForever(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range products {
		s := w.add(p)
		s.Options = "transport http {\n\t\t\tresponse_header_timeout 500ms\n\t\t}"
		s.Server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultHang})
	}
	w.start()
	for _, s := range w.sites {
		s.client.get(t, s.protected).refusedAs(t, s.product, false, http.StatusGatewayTimeout)
		s.Server.ClearFault()
		harness.Eventually(t, s.Name+" is back", func() bool { return s.client.get(t, s.protected).status == http.StatusOK })
	}
}

func TestNoAnswerThatIsNotATokenReachesAClient(t *testing.T) {
	t.Parallel()
	faults := []veeamtest.Fault{
		{Kind: veeamtest.FaultStatus, Status: http.StatusInternalServerError},
		{Kind: veeamtest.FaultStatus, Status: http.StatusServiceUnavailable, Body: `{"raw":"answer"}`},
		{Kind: veeamtest.FaultStatus, Status: http.StatusNotFound, Body: `{"raw":"answer"}`},
		{Kind: veeamtest.FaultHTML},
		{Kind: veeamtest.FaultTruncated},
		{Kind: veeamtest.FaultEmpty},
		{Kind: veeamtest.FaultWrongTypes},
		{Kind: veeamtest.FaultReset},
		{Kind: veeamtest.FaultResetAfterHeaders},
		{Kind: veeamtest.FaultRedirect},
	}
	w := newWorld(t)
	elsewhere := veeamtest.New(veeamtest.VBR13)
	if err := elsewhere.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(elsewhere.Close)
	for _, fault := range faults {
		for _, p := range products {
			s := w.add(p)
			if fault.Kind == veeamtest.FaultRedirect {
				fault.Location = elsewhere.URL() + s.Server.TokenPath()
			}
			s.Server.SetFault(fault)
		}
	}
	w.start()
	for i, s := range w.sites {
		fault := faults[i/len(products)]
		t.Run(fmt.Sprintf("%s/%s %d", s.Product, fault.Kind, fault.Status), func(t *testing.T) {
			t.Parallel()
			begun := time.Now()
			answers := []*answer{s.client.get(t, s.protected), s.client.attempt(t)}
			paused := time.Since(begun) < 500*time.Millisecond // the shortest pause after a failed login
			for i, a := range answers {
				a.refusedAs(t, s.product, i == 1, http.StatusBadGateway)
				for _, raw := range []string{"raw", "Sign in", "eyJhbGci", "4711", "internal error", elsewhere.URL()} {
					if strings.Contains(string(a.body), raw) {
						t.Errorf("%q is in %v", raw, a)
					}
				}
				if a.header.Get("Location") != "" {
					t.Errorf("Location %q", a.header.Get("Location"))
				}
			}
			// Within the pause after the first request's login, the second one starts none.
			want := int64(1)
			if s.product == vb365 && fault.Status == http.StatusNotFound {
				want = 3 // the path is tried in each version
			}
			if c := s.Server.Counters(); c.TokenRequests < want || c.TokenRequests > 2*want || paused && c.TokenRequests > want {
				t.Errorf("%d token requests", c.TokenRequests)
			}
			if c := elsewhere.Counters(); c.TokenRequests+c.Protected+c.Unauthorized+c.Anonymous != 0 {
				t.Errorf("a credential went where a redirect pointed: %+v", c)
			}
		})
	}
}

func TestARedirectOfAProtectedRouteIsTheClients(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range products {
		s := w.add(p)
		s.Server.SetFault(veeamtest.Fault{
			Kind: veeamtest.FaultRedirect, On: veeamtest.OnProtected, Status: http.StatusFound, Location: "https://veeam.invalid/elsewhere",
		})
	}
	w.start()
	for _, s := range w.sites {
		a := s.client.get(t, s.protected)
		a.want(t, http.StatusFound)
		if a.header.Get("Location") != "https://veeam.invalid/elsewhere" {
			t.Errorf("%s: Location %q", s.Name, a.header.Get("Location"))
		}
	}
}

func TestAServerThatAsksToWaitIsHeard(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range formed { // Enterprise Manager answers 503 without a time
		w.add(p, veeamtest.WithTokenStatus429(0, 40*time.Second))
	}
	w.start()
	for _, s := range w.sites {
		began := time.Now()
		for range 5 {
			a := s.client.get(t, s.protected)
			a.refusedAs(t, s.product, false, http.StatusTooManyRequests)
			least, most := 39-int(time.Since(began).Seconds()), 40
			if s.product == vb365 {
				most = 60 // it never says how long
			}
			if seconds := a.retryAfter(t); seconds < least || seconds > most {
				t.Errorf("%s: Retry-After %d, the server said 40", s.Name, seconds)
			}
			if s.Product == "vspc" && !strings.Contains(string(a.body), `"retryAfter":`) {
				t.Errorf("%v", a)
			}
		}
		a := s.client.attempt(t)
		a.refusedAs(t, s.product, true, http.StatusTooManyRequests)
		if c := s.Server.Counters(); c.TokenRequests != 1 {
			t.Errorf("%s: %d token requests", s.Name, c.TokenRequests)
		}
	}
}
