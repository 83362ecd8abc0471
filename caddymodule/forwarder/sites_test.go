package forwarder_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Errors, and what can be seen of a request while it runs.
//
// Not parallel: Caddy runs once in a process.
func TestErrorsAndCountsAreThoseOfReverseProxy(t *testing.T) {
	const mapped = "handle_errors {\n\t\trespond \"{err.status_code} {err.message}\" {err.status_code}\n\t}\n\t"
	const hasty = "transport http {\n\t\t\tresponse_header_timeout 100ms\n\t\t}"
	all := []*pair{
		{name: "slow", options: hasty},
		{name: "slow, with handle_errors", options: hasty, before: mapped},
		{name: "as usual"},
		{name: "nobody listens", upstream: []string{"https://127.0.0.1:1"}},
	}
	l := newLab(t, all)
	l.warm(t, all[:3]...)
	hang := script{ends: "hang"}
	for _, proto := range []string{"HTTP/1.1", "HTTP/2", "HTTP/3"} {
		s := newSender(proto)
		defer s.close()
		for i, c := range []struct {
			pair   *pair
			script script
			status string
		}{{all[0], hang, "504"}, {all[1], hang, "504"}, {all[2], script{ends: "drop"}, "502"}, {all[3], hang, "502"}} {
			x := &exchange{id: fmt.Sprint(proto, i), method: http.MethodPost, target: "/api/v1/jobs", body: []byte("{}"), script: c.script}
			if status, difference := l.compare(s, x, c.pair); difference != "" || status != c.status {
				t.Errorf("%s, %s: %s, not %s\n%s", c.pair.name, proto, status, c.status, difference)
			}
		}
	}

	// Every one is counted while it runs, and none after its client has gone.
	for i, port := range all[2].ports {
		x := &exchange{id: fmt.Sprint("hang", i), method: http.MethodGet, target: "/api/v1/jobs", script: hang}
		l.cases.Store(x.id, x)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			s := newSender("HTTP/2").(*clientSender)
			defer s.close()
			_, err := s.sendIn(ctx, x, port)
			ended <- err
		}()
		address := strings.TrimPrefix(l.url, "https://")
		l.poll(t, func() bool {
			return strings.Contains(l.admin(t, "/reverse_proxy/upstreams"), fmt.Sprintf(`{"address":%q,"num_requests":1,"fails":0}`, address))
		})
		cancel()
		if err := <-ended; err == nil {
			t.Error("it has an answer")
		}
		l.poll(t, func() bool {
			return strings.Contains(l.admin(t, "/reverse_proxy/upstreams"), fmt.Sprintf(`{"address":%q,"num_requests":0,"fails":0}`, address))
		})
	}
}

// poll waits until something is so.
func (l *lab) poll(t *testing.T, is func() bool) {
	t.Helper()
	for since := time.Now(); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Since(since) > aLongTime {
			t.Fatal("it takes too long")
		}
	}
}

// Who sends a request on is a matter of the configuration and of the request.
//
// Not parallel: Caddy runs once in a process.
func TestWhoSendsARequestOn(t *testing.T) {
	wanted := map[*pair]bool{
		{name: "as usual"}: true,
		{name: "in a handle block", around: "handle"}:                                                       true,
		{name: "in a route block", around: "route"}:                                                         true,
		{name: "two addresses", options: "to %s"}:                                                           true,
		{name: "an option", options: "flush_interval -1"}:                                                   false,
		{name: "a header", options: "header_up X-A b"}:                                                      false,
		{name: "a handler between", between: true}:                                                          false,
		{name: "load balancing", options: "lb_policy first"}:                                                false,
		{name: "health checks", options: "health_uri /api/v1/jobs"}:                                         false,
		{name: "HTTP/3", options: "transport http {\n\t\t\tversions 1.1 2\n\t\t\tproxy_protocol v1\n\t\t}"}: false,
	}
	var all []*pair
	for p := range wanted {
		all = append(all, p)
	}
	l := newLab(t, all)
	const series = `caddy_veeam_auth_forwarded_total{by=%q,product="vbr"}`
	for p, own := range wanted {
		for i, want := range []bool{false, own} {
			for upgrade := range 2 {
				x := &exchange{id: fmt.Sprint(p.name, i, upgrade), method: http.MethodGet, target: "/api/v1/jobs", script: script{status: http.StatusOK, length: true}}
				if upgrade > 0 {
					x.header, want = [][2]string{{"Incremental", "?1"}}, false
				}
				l.cases.Store(x.id, x)
				before := [2]float64{l.metric(t, fmt.Sprintf(series, "reverse_proxy")), l.metric(t, fmt.Sprintf(series, "forwarder"))}
				l.poll(t, func() bool {
					s := newSender("HTTP/1.1")
					defer s.close()
					got, err := s.send(x, p.ports[i])
					if err == nil && p.between != strings.Contains(got.head, "X-Between") {
						t.Errorf("%s: %s", p.name, got.head)
					}
					return err == nil
				})
				proxy, forwarder := l.metric(t, fmt.Sprintf(series, "reverse_proxy"))-before[0], l.metric(t, fmt.Sprintf(series, "forwarder"))-before[1]
				if proxy+forwarder != 1 || want != (forwarder == 1) {
					t.Errorf("%s, site %d, request %d: sent %v times by reverse_proxy, %v times by the forwarder", p.name, i, upgrade, proxy, forwarder)
				}
			}
		}
	}
}
