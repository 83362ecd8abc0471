package metrics

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/caddy-veeam/veeam-auth/internal/events"
)

func some() []Session {
	return []Session{
		{Product: "vbr", Account: "svc", Status: "valid", ExpiresIn: 90 * time.Second},
		{Product: "vbr", Account: "svc", Status: "valid", ExpiresIn: 30 * time.Second, Waiting: 2, Next: true},
		{Product: "aws", Account: "svc", Status: "held", Held: true, Waiting: 3},
		{Product: "aws", Account: "other", Status: "none"},
	}
}

func full(t *testing.T) (*Set, *prometheus.Registry) {
	t.Helper()
	set, registry := New(some), prometheus.NewPedanticRegistry()
	for range 2 { // a second site of the same configuration
		if err := set.Register(registry); err != nil {
			t.Fatal(err)
		}
	}
	set.Grants.WithLabelValues("vbr", "password", "ok").Inc()
	set.GrantSeconds.WithLabelValues("vbr", "password").Observe(0.2)
	set.Paced.WithLabelValues("vbr", PaceDelayed).Inc()
	set.Requests.WithLabelValues("vbr", ResultInjected).Inc()
	set.RequestCounts("vbr", []string{"reports"}).Add(ResultInjected, "reports")
	set.SessionLookups("vbr", "svc").Hit.Inc()
	set.Sessions.Caches = func() (work, known bool) { return true, true }
	set.Refusals.WithLabelValues("vbr", "caller_unknown").Inc()
	set.Replays.WithLabelValues("vbr", ReplayAccepted).Inc()
	set.Lost.WithLabelValues("vbr", "svc", LostInterference).Inc()
	set.Left.WithLabelValues("vbr", LeftUnknown).Inc()
	set.Secrets.WithLabelValues("vbr", "svc", SecretAccepted).Inc()
	set.Decisions.WithLabelValues("vbr", "1", "Caddyfile:7", "deny").Inc()
	return set, registry
}

func TestMetricsAreLintedClean(t *testing.T) {
	_, registry := full(t)
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

func TestSessionsAreGatheredAtTheScrape(t *testing.T) {
	_, registry := full(t)
	err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP caddy_veeam_auth_hold_active Whether logins of the account are held because its credential was refused.
# TYPE caddy_veeam_auth_hold_active gauge
caddy_veeam_auth_hold_active{account="other",product="aws"} 0
caddy_veeam_auth_hold_active{account="svc",product="aws"} 1
caddy_veeam_auth_hold_active{account="svc",product="vbr"} 0
# HELP caddy_veeam_auth_next_password_active Whether next_password of the account is in use because its password was refused.
# TYPE caddy_veeam_auth_next_password_active gauge
caddy_veeam_auth_next_password_active{account="other",product="aws"} 0
caddy_veeam_auth_next_password_active{account="svc",product="aws"} 0
caddy_veeam_auth_next_password_active{account="svc",product="vbr"} 1
# HELP caddy_veeam_auth_session_expiry_seconds Seconds until the access token of the account expires, the earliest of its sessions.
# TYPE caddy_veeam_auth_session_expiry_seconds gauge
caddy_veeam_auth_session_expiry_seconds{account="svc",product="vbr"} 30
# HELP caddy_veeam_auth_sessions Upstream sessions by state.
# TYPE caddy_veeam_auth_sessions gauge
caddy_veeam_auth_sessions{product="aws",state="held"} 1
caddy_veeam_auth_sessions{product="aws",state="none"} 1
caddy_veeam_auth_sessions{product="vbr",state="valid"} 2
# HELP caddy_veeam_auth_waiters Requests waiting for a login or renewal.
# TYPE caddy_veeam_auth_waiters gauge
caddy_veeam_auth_waiters{product="aws"} 3
caddy_veeam_auth_waiters{product="vbr"} 2
`), "caddy_veeam_auth_hold_active", "caddy_veeam_auth_next_password_active", "caddy_veeam_auth_session_expiry_seconds", "caddy_veeam_auth_sessions", "caddy_veeam_auth_waiters")
	if err != nil {
		t.Error(err)
	}
}

func TestCountersSurviveANewRegistry(t *testing.T) {
	set, _ := full(t)
	next := prometheus.NewRegistry() // each configuration has one of its own
	if err := set.Register(next); err != nil {
		t.Fatal(err)
	}
	if got := testutil.ToFloat64(set.Requests.WithLabelValues("vbr", ResultInjected)); got != 2 {
		t.Errorf("requests %v", got)
	}
	if n, err := testutil.GatherAndCount(next, "caddy_veeam_auth_requests_total"); err != nil || n != len(requestResults) {
		t.Errorf("%d series, %v", n, err)
	}
}

// Prometheus sees the first event that is dropped as an increase.
func TestDroppedEventsAreCountedFromZero(t *testing.T) {
	set, _ := full(t)
	if got, want := testutil.CollectAndCount(set.EventsDropped), len(events.Rows()); got != want {
		t.Errorf("%d of %d events have a series", got, want)
	}
}

func TestNoLabelCanHoldAPathOrASecret(t *testing.T) {
	_, registry := full(t)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	allowed := map[string]bool{"product": true, "grant": true, "result": true, "reason": true, "state": true, "account": true, "rule": true, "source": true, "decision": true, "client": true, "by": true, "event": true}
	build := map[string]bool{"version": true, "revision": true, "go": true}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if !allowed[label.GetName()] && (family.GetName() != "caddy_veeam_auth_build_info" || !build[label.GetName()]) {
					t.Errorf("%s has a label %s", family.GetName(), label.GetName())
				}
			}
		}
	}
}

// What fails counts more than what works, and that more than what nobody uses.
func TestAnAccountAtSeveralServersHasOneReason(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC) }
	ok := Session{Product: "vbr", Account: "svc", Reason: "ok", Healthy: true, Success: at(5)}
	unused := Session{Product: "vbr", Account: "svc", Reason: "not_logged_in", Healthy: true, Unused: true}
	down := Session{Product: "vbr", Account: "svc", Reason: "unreachable", Success: at(1), Failure: at(2)}
	refused := Session{Product: "vbr", Account: "svc", Reason: "credential_refused", Failure: at(3)}
	user := Session{Product: "vbr", Account: "svc", Reason: "wrong_user", Failure: at(9), OfUser: true}
	for name, tt := range map[string]struct {
		sessions []Session
		want     string
	}{
		"unused":        {[]Session{unused}, "not_logged_in"},
		"one is used":   {[]Session{unused, ok}, "ok"},
		"one is down":   {[]Session{ok, down, unused}, "unreachable"},
		"the latest":    {[]Session{refused, down, ok}, "credential_refused"},
		"others' users": {[]Session{user, ok}, "ok"},
	} {
		for range 2 {
			slices.Reverse(tt.sessions)
			reasons := testutil.CollectAndCount(New(func() []Session { return tt.sessions }).Sessions, "caddy_veeam_auth_account_reason")
			err := testutil.CollectAndCompare(New(func() []Session { return tt.sessions }).Sessions, strings.NewReader(`
# HELP caddy_veeam_auth_account_reason Current state of the account: 1 for the reason that applies.
# TYPE caddy_veeam_auth_account_reason gauge
caddy_veeam_auth_account_reason{account="svc",product="vbr",reason="`+tt.want+`"} 1
`), "caddy_veeam_auth_account_reason")
			if err != nil || reasons != 1 {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestTheTimesOfAnAccountAtSeveralServers(t *testing.T) {
	at := func(second int64) time.Time { return time.Unix(second, 999) }
	set := New(func() []Session {
		return []Session{
			{Product: "vbr", Account: "svc", Login: at(10), Renewal: at(40), RefreshToken: at(40), CertificateEnd: at(900)},
			{Product: "vbr", Account: "svc", Login: at(20), Renewal: at(30), RefreshToken: at(30), CertificateEnd: at(800)},
			{Product: "vbr", Account: "svc", Login: at(99), RefreshToken: at(1), OfUser: true},
			{Product: "vbr", Account: "idle", Unused: true},
		}
	})
	set.Sessions.Caches = func() (work, known bool) { return false, true }
	set.Sessions.Storage = func() (work, known bool) { return true, true }
	err := testutil.CollectAndCompare(set.Sessions, strings.NewReader(`
# HELP caddy_veeam_auth_account_last_login_timestamp_seconds Unix time of the last successful login of the account, 0 for never.
# TYPE caddy_veeam_auth_account_last_login_timestamp_seconds gauge
caddy_veeam_auth_account_last_login_timestamp_seconds{account="idle",product="vbr"} 0
caddy_veeam_auth_account_last_login_timestamp_seconds{account="svc",product="vbr"} 20
# HELP caddy_veeam_auth_account_last_renewal_timestamp_seconds Unix time of the last renewal of the account's session, 0 for never.
# TYPE caddy_veeam_auth_account_last_renewal_timestamp_seconds gauge
caddy_veeam_auth_account_last_renewal_timestamp_seconds{account="idle",product="vbr"} 0
caddy_veeam_auth_account_last_renewal_timestamp_seconds{account="svc",product="vbr"} 40
# HELP caddy_veeam_auth_cache_up Whether the storages of the shared caches work.
# TYPE caddy_veeam_auth_cache_up gauge
caddy_veeam_auth_cache_up 0
# HELP caddy_veeam_auth_storage_up Whether Caddy's storage can be read and written to.
# TYPE caddy_veeam_auth_storage_up gauge
caddy_veeam_auth_storage_up 1
# HELP caddy_veeam_auth_certificate_not_after_timestamp_seconds Unix time at which the certificate expires that the server of the account presented last, the earliest of its servers.
# TYPE caddy_veeam_auth_certificate_not_after_timestamp_seconds gauge
caddy_veeam_auth_certificate_not_after_timestamp_seconds{account="svc",product="vbr"} 800
# HELP caddy_veeam_auth_refresh_token_issued_timestamp_seconds Unix time at which the server issued the refresh token of the account, the earliest of its sessions.
# TYPE caddy_veeam_auth_refresh_token_issued_timestamp_seconds gauge
caddy_veeam_auth_refresh_token_issued_timestamp_seconds{account="svc",product="vbr"} 30
`), "caddy_veeam_auth_account_last_login_timestamp_seconds", "caddy_veeam_auth_account_last_renewal_timestamp_seconds", "caddy_veeam_auth_cache_up", "caddy_veeam_auth_storage_up",
		"caddy_veeam_auth_certificate_not_after_timestamp_seconds", "caddy_veeam_auth_refresh_token_issued_timestamp_seconds")
	if err != nil {
		t.Error(err)
	}
}

// Callers decide neither which series there are nor how many.
func TestRequestsOfClientsAddNoSeries(t *testing.T) {
	set := New(some)
	counts := set.RequestCounts("vbr", []string{"reports", "inventory"})
	before := testutil.CollectAndCount(set.Clients)
	for _, client := range []string{"reports", "reports", "", "stranger", "removed"} {
		counts.Add(ResultInjected, client)
	}
	if after := testutil.CollectAndCount(set.Clients); before != 2*len(requestResults) || after != before {
		t.Errorf("%d series, then %d", before, after)
	}
	for client, want := range map[string]float64{"reports": 2, "inventory": 0} {
		if got := testutil.ToFloat64(set.Clients.WithLabelValues("vbr", client, ResultInjected)); got != want {
			t.Errorf("%s: %v requests, not %v", client, got, want)
		}
	}
	if all := testutil.ToFloat64(set.Requests.WithLabelValues("vbr", ResultInjected)); all != 5 {
		t.Errorf("%v requests in all", all)
	}
}

// Requests that wait and keys that expire are counted at the scrape, from 0.
func TestWhatWaitsForPeopleIsGatheredAtTheScrape(t *testing.T) {
	set, registry := full(t)
	for _, product := range []string{"vbr", "azure"} {
		set.BeginApprovals(product)
	}
	set.Waiting.Live = func(time.Time) map[string]Waits { return map[string]Waits{"vbr": {2, 90 * time.Second}} }
	set.KeyEnds.Live = func(now time.Time) []KeyEnd {
		return []KeyEnd{{"ci", "one", now.Add(time.Hour), true}, {"ci", "two", now.Add(time.Minute), true}, {"other", "three", now.Add(time.Minute), false}}
	}
	set.ReadKeys("k8s", "timeout")
	set.ReadKeys("k8s", "timeout")
	err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP caddy_veeam_auth_approval_expiry_seconds Seconds until the first request that waits for an approval expires.
# TYPE caddy_veeam_auth_approval_expiry_seconds gauge
caddy_veeam_auth_approval_expiry_seconds{product="vbr"} 90
# HELP caddy_veeam_auth_approvals_waiting Requests that wait for an approval by an operator, in the storage.
# TYPE caddy_veeam_auth_approvals_waiting gauge
caddy_veeam_auth_approvals_waiting{product="azure"} 0
caddy_veeam_auth_approvals_waiting{product="vbr"} 2
# HELP caddy_veeam_auth_jwks_reads_total Attempts to read the keys of an identity provider, by result.
# TYPE caddy_veeam_auth_jwks_reads_total counter
caddy_veeam_auth_jwks_reads_total{provider="k8s",result="ok"} 0
caddy_veeam_auth_jwks_reads_total{provider="k8s",result="timeout"} 2
# HELP caddy_veeam_auth_keys_expiring Keys of the client that expire within a week and were neither made for so short a time nor replaced.
# TYPE caddy_veeam_auth_keys_expiring gauge
caddy_veeam_auth_keys_expiring{client="ci"} 2
caddy_veeam_auth_keys_expiring{client="other"} 0
`), "caddy_veeam_auth_approval_expiry_seconds", "caddy_veeam_auth_approvals_waiting", "caddy_veeam_auth_jwks_reads_total", "caddy_veeam_auth_keys_expiring")
	if err != nil {
		t.Error(err)
	}
}
