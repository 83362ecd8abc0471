// The metrics of a running sidecar: every series, with the right value.

package sidecar

import (
	"crypto/rand"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// scrape reads the module's series: name and labels to value.
func (w *world) scrape(t *testing.T) map[string]float64 {
	t.Helper()
	series, err := w.Caddy.Series()
	if err != nil {
		t.Fatal(err)
	}
	return series
}

func TestTheMetricsCountWhatHasHappened(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	seed := rand.Text()[:16]
	ofVBR := w.add(vbr)
	ofAzure := w.add(azure, veeamtest.WithAccount(veeamtest.Account{Username: "svc-metrics", Password: "metrics-pass-1", TOTPSecret: seed})).
		withMFA("svc-metrics", "metrics-pass-1", seed)
	ofAWS := w.add(aws)
	ofAWS.Account = "account svc-held " + ofAWS.secret("password", "wrong-metrics-pass")
	ofVSPC := w.add(vspc, veeamtest.WithLatency(time.Second))
	w.start()

	client := ofVBR.client
	mine := client.login(t) // token, 1 login
	for range 3 {
		client.ok(t, ofVBR.protected) // injected
	}
	client.ok(t, ofVBR.anonymous)
	ofVBR.Server.RevokeAll()
	client.ok(t, ofVBR.protected, bearer(mine.Access)) // a replay, 1 login
	client.get(t, ofVBR.protected, bearer("forged")).want(t, http.StatusUnauthorized)
	client.get(t, ofVBR.protected, header("X-Forwarded-For", "192.0.2.7")).want(t, http.StatusUnauthorized)
	method, path := split(ofVBR.logout)
	client.do(t, method, path, nil, bearer(mine.Access)).want(t, http.StatusOK)
	ofAzure.client.ok(t, ofAzure.protected)
	for range 2 {
		ofAWS.client.get(t, ofAWS.protected).want(t, http.StatusServiceUnavailable)
	}

	ofVSPC.Server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultHold})
	var waiting sync.WaitGroup
	for range 5 {
		waiting.Go(func() {
			if a, err := ofVSPC.client.try(http.MethodGet, ofVSPC.protected, nil); err != nil || a.status != http.StatusOK {
				t.Errorf("%v %v", a, err)
			}
		})
	}
	harness.Eventually(t, "five requests wait for one login", func() bool { return w.scrape(t)[`waiters{product="vspc"}`] == 5 })
	ofVSPC.Server.ClearFault()
	waiting.Wait()

	want := map[string]float64{
		`grants_total{grant="password",product="vbr",result="ok"}`:    2,
		`grants_total{grant="password",product="azure",result="mfa"}`: 1,
		`grants_total{grant="mfa",product="azure",result="ok"}`:       1,

		`grants_total{grant="password",product="aws",result="credential_refused"}`: 1,
		`grants_total{grant="password",product="vspc",result="ok"}`:                1,

		`grant_duration_seconds_count{grant="password",product="vbr"}`: 2,

		`requests_total{product="vbr",result="injected"}`:  4,
		`requests_total{product="vbr",result="anonymous"}`: 1,
		`requests_total{product="vbr",result="token"}`:     1,
		`requests_total{product="vbr",result="logout"}`:    1,
		`requests_total{product="vbr",result="refused"}`:   2,
		`requests_total{product="aws",result="refused"}`:   2,
		`requests_total{product="vspc",result="injected"}`: 5,

		`refusals_total{product="vbr",reason="bad_token"}`:          1,
		`refusals_total{product="vbr",reason="no_token"}`:           1,
		`refusals_total{product="aws",reason="credential_refused"}`: 2,
		`replays_total{product="vbr",result="accepted"}`:            1,

		`sessions{product="vbr",state="valid"}`:              1,
		`sessions{product="aws",state="held"}`:               1,
		`hold_active{account="svc-monitor",product="vbr"}`:   0,
		`hold_active{account="svc-held",product="aws"}`:      1,
		`hold_active{account="svc-metrics",product="azure"}`: 0,
		`waiters{product="vspc"}`:                            0,
	}
	check := func(when string) {
		t.Helper()
		series := w.scrape(t)
		for name, value := range want {
			if got, ok := series[name]; !ok || got != value {
				t.Errorf("%s: %s is %v, expected %v (there: %v)", when, name, got, value, ok)
			}
		}
		for name, most := range map[string]float64{
			`session_expiry_seconds{account="svc-monitor",product="vbr"}`:   900,
			`session_expiry_seconds{account="svc-metrics",product="azure"}`: 3600,
		} {
			if got := series[name]; got <= most-600 || got > most {
				t.Errorf("%s: %s is %v, expected at most %v", when, name, got, most)
			}
		}
		if took := series[`grant_duration_seconds_sum{grant="password",product="vspc"}`]; took < 1 {
			t.Errorf("%s: a login that took a second is counted with %v s", when, took)
		}
		if _, there := series[`session_expiry_seconds{account="svc-held",product="aws"}`]; there {
			t.Errorf("%s: an expiry without a token", when)
		}
	}
	check("after the traffic")
	if err := w.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("after a reload")
	client.ok(t, ofVBR.protected)
	want[`requests_total{product="vbr",result="injected"}`]++
	check("after one more request")
}
