// Package metrics holds the collectors of veeam-auth. They are created once per process
// and registered for each loaded configuration, so that counters survive reloads. No
// label contains a path, a user agent or a secret: all label values are from the
// product table, closed lists or the configuration.
package metrics

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-veeam/veeam-auth/internal/events"
)

const (
	namespace = "caddy"
	subsystem = "veeam_auth"
)

// Results of a request, the values of the label result of Requests.
const (
	ResultInjected  = "injected"  // forwarded with the token of an account
	ResultAnonymous = "anonymous" // forwarded without a token
	ResultToken     = "token"     // answered at the token endpoint
	ResultLogout    = "logout"    // answered at the logout endpoint
	ResultRefused   = "refused"   // answered with an error, see Refusals
)

// What has sent a request on, the values of the label by of Forwarded.
const (
	ByForwarder    = "forwarder"     // that of veeam-auth
	ByReverseProxy = "reverse_proxy" // Caddy's
)

// Results of a replay, the values of the label result of Replays.
const (
	ReplayAccepted   = "accepted"   // the server accepted the request with the newer token
	ReplayRejected   = "rejected"   // it answered 401 again
	ReplayImpossible = "impossible" // the body could not be sent again
)

// Results of a token request's wait for its turn, the values of the label result
// of Paced.
const (
	PaceDelayed = "delayed" // it was sent later
	PaceRefused = "refused" // not sent, because it would have waited too long
)

// Results of a request for a session, the values of the label result of Lookups.
const (
	LookupHit    = "hit"    // the token was at hand
	LookupShared = "shared" // it was in the shared cache
	LookupMiss   = "miss"   // the request waited for a login or renewal, or got no token
)

// Reasons why a server has ended a token before its time, the values of the label
// reason of Lost.
const (
	LostRevoked      = "revoked"      // once
	LostInterference = "interference" // soon after its login, like those before it
)

// Results of a secret that was tried in place of another one, the values of the label
// result of Secrets.
const (
	SecretAccepted     = "accepted"      // a changed secret: it is in use
	SecretRefused      = "refused"       // a changed secret: the current session stays in use
	SecretNextAccepted = "next_accepted" // next_password, after password was refused
	SecretNextRefused  = "next_refused"  // next_password was refused too
)

// Outcomes of the sessions that a process has left behind, the values of the label result
// of Left.
const (
	LeftLoggedOut = "logged_out"
	LeftExpires   = "expires" // it was not logged out, and expires
	LeftUnknown   = "unknown" // the server may have it, and nobody can log it out
)

// Set holds all collectors of the module.
type Set struct {
	// Grants counts token requests to servers, by product, grant and result: ok, mfa (a
	// code was required), or the kind of the failure.
	Grants *prometheus.CounterVec

	// GrantSeconds observes the duration of token requests in seconds, by product and
	// grant.
	GrantSeconds *prometheus.HistogramVec

	// Paced counts token requests that were delayed or refused by the pace, by product
	// and result.
	Paced *prometheus.CounterVec

	// Requests counts requests of clients, by product and result.
	Requests *prometheus.CounterVec

	// Clients counts requests of the clients of the configuration, by product, client and
	// result.
	Clients *prometheus.CounterVec

	// Forwarded counts requests that were sent on, by product and by what has done it: the
	// Forwarder, or reverse_proxy.
	Forwarded *prometheus.CounterVec

	// Lookups counts requests for the session of an account, by product, account and
	// result.
	Lookups *AccountCounter

	// Refusals counts refused requests, by product and reason.
	Refusals *prometheus.CounterVec

	// Mismatches counts requests that were not sent because they differ from the
	// decided request, by product.
	Mismatches *prometheus.CounterVec

	// Replays counts requests that were retried after a 401, by product and result.
	Replays *prometheus.CounterVec

	// Lost counts tokens that servers ended before their expiry, by product, account
	// and reason.
	Lost *AccountCounter

	// Left counts sessions that a process has left behind when it ended, by product and
	// result.
	Left *prometheus.CounterVec

	// Decisions counts decisions of rules, by product, position of the rule (0 is the
	// default) and decision: allow, deny, approve, shadow_allow, shadow_deny or
	// shadow_approve.
	Decisions *prometheus.CounterVec

	// Approvals counts approvals by product and result. Each is counted by the process in
	// which it happens, and by no other one.
	Approvals *prometheus.CounterVec

	// Waiting is collected from the requests that wait for an approval at each scrape.
	Waiting *Waiting

	// Secrets counts tries of replaced secrets, by product, account and result.
	Secrets *AccountCounter

	// ClockOffset is the number of seconds that the server's clock is ahead, by product
	// and account, according to its latest token response.
	ClockOffset *AccountGauge

	// EventsDropped counts events that were not delivered, by name.
	EventsDropped *prometheus.CounterVec

	// Sessions is collected from the live sessions at each scrape.
	Sessions *Sessions

	// KeyEnds is collected from the keys of clients at each scrape.
	KeyEnds *KeyEnds

	// ProviderReads counts attempts to read the keys of identity providers, by provider and
	// result: ok, or a word of the closed vocabulary of reasons.
	ProviderReads *prometheus.CounterVec

	// ProviderKeys is collected from the identity providers at each scrape.
	ProviderKeys *ProviderKeys

	// Build is the constant 1, see BuildInfo.
	Build prometheus.Collector
}

// Begin initializes the counters of a product to 0: increase() of Prometheus does not see
// the first event of a series.
func (s *Set) Begin(product string) {
	for _, result := range []string{PaceDelayed, PaceRefused} {
		s.Paced.WithLabelValues(product, result)
	}
	for _, result := range []string{LeftLoggedOut, LeftExpires, LeftUnknown} {
		s.Left.WithLabelValues(product, result)
	}
}

// BeginAccount is Begin for the counters of an account.
func (s *Set) BeginAccount(product, account string) {
	series := s.Lookups.accounts.of(product, account)
	for _, counter := range []*AccountCounter{s.Lookups, s.Lost, s.Secrets} {
		counter.show(series)
	}
}

// SessionLookups are the counters of one account in Set.Lookups.
type SessionLookups struct{ Hit, Shared, Miss *Count }

// SessionLookups returns the counters of an account.
func (s *Set) SessionLookups(product, account string) SessionLookups {
	series := s.Lookups.accounts.of(product, account)
	of := func(result string) *Count { return s.Lookups.of(series, result) }
	return SessionLookups{of(LookupHit), of(LookupShared), of(LookupMiss)}
}

// New returns new collectors. sessions returns the current sessions and the configured
// accounts; it is called at each scrape.
func New(sessions func() []Session) *Set {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: name, Help: help,
		}, labels)
	}
	accounts := newAccounts()
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, name), help, append([]string{"product", "account"}, labels...), nil)
	}
	set := &Set{
		Grants: counter("grants_total",
			"Token requests to Veeam servers, by grant and result.", "product", "grant", "result"),
		GrantSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "grant_duration_seconds",
			Help:    "Duration of token requests to Veeam servers.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"product", "grant"}),
		Paced: counter("paced_total",
			"Token requests delayed or not sent because of pace or of the Retry-After of the server.", "product", "result"),
		Requests: counter("requests_total",
			"Requests of clients, by result.", "product", "result"),
		Clients: counter("client_requests_total",
			"Requests of the clients of the configuration, by result.", "product", "client", "result"),
		Forwarded: counter("forwarded_total",
			"Requests that were sent on to a server, by what has done it.", "product", "by"),
		Lookups: &AccountCounter{
			accounts, desc("session_lookups_total",
				"Requests for the session of the account, by whether its token was at hand.", "result"),
			firstLookup,
			[]string{LookupHit, LookupShared, LookupMiss},
		},
		Refusals: counter("refusals_total",
			"Requests of clients refused by veeam_auth, by reason.", "product", "reason"),
		Mismatches: counter("decision_mismatches_total",
			"Requests that were not sent because they differed from the decided request.", "product"),
		Replays: counter("replays_total",
			"Requests answered with 401, by the result of sending them again with a newer token.", "product", "result"),
		Lost: &AccountCounter{
			accounts, desc("lost_tokens_total",
				"Access tokens that the server ended before they expired, by reason.", "reason"),
			firstLost,
			[]string{LostRevoked, LostInterference},
		},
		Left: counter("left_sessions_total",
			"Sessions that a process has left behind when it ended, by what became of them.", "product", "result"),
		Decisions: counter("decisions_total",
			"Decisions about requests, by rule.", "product", "rule", "source", "decision"),
		Approvals: counter("approvals_total",
			"Approvals of requests by operators, by what became of them.", "product", "result"),
		Waiting: new(Waiting),
		Secrets: &AccountCounter{
			accounts, desc("changed_secrets_total",
				"Changed secrets and next passwords that were tried, by result.", "result"),
			firstSecret,
			[]string{SecretAccepted, SecretRefused, SecretNextAccepted, SecretNextRefused},
		},
		ClockOffset: &AccountGauge{accounts, desc("clock_offset_seconds",
			"Seconds that the clock of the Veeam server is ahead.")},
		EventsDropped: counter("events_dropped_total",
			"Events that were not delivered because too many waited for their handlers, or a handler has panicked.", "event"),
		Sessions: &Sessions{live: sessions},
		KeyEnds:  new(KeyEnds),
		ProviderReads: counter("jwks_reads_total",
			"Attempts to read the keys of an identity provider, by result.", "provider", "result"),
		ProviderKeys: new(ProviderKeys),
		Build:        BuildInfo(),
	}
	for _, row := range events.Rows() {
		set.EventsDropped.WithLabelValues(string(row.Name)) // from 0, see Begin
	}
	return set
}

// Register registers all collectors with r. A collector that is registered already is
// not an error: several sites of a configuration share them.
func (s *Set) Register(r prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{
		s.Grants, s.GrantSeconds, s.Paced, s.Requests, s.Clients, s.Forwarded, s.Lookups, s.Refusals, s.Mismatches, s.Replays, s.Lost, s.Left, s.Decisions, s.Approvals, s.Waiting, s.Secrets,
		s.ClockOffset, s.EventsDropped, s.Sessions, s.KeyEnds, s.ProviderReads, s.ProviderKeys, s.Build,
	} {
		var already prometheus.AlreadyRegisteredError
		if err := r.Register(c); err != nil && !errors.As(err, &already) {
			return err
		}
	}
	return nil
}

// ReadOK is the value of the label result of ProviderReads for a success.
const ReadOK = "ok"

// ReadKeys counts an attempt to read the keys of a provider. The successes of each provider
// are counted from 0: the first one after failures is seen, too.
func (s *Set) ReadKeys(provider, result string) {
	s.ProviderReads.WithLabelValues(provider, ReadOK)
	s.ProviderReads.WithLabelValues(provider, result).Inc()
}

// Session is the state of a session at a scrape, or of a configured account without a
// session.
type Session struct {
	Product, Account string
	Unused           bool // there is no session
	OfUser           bool // of a user named by a request, not of the account

	// Reason is the account's state, a word of the closed vocabulary. Healthy reports
	// that no action is required.
	Reason  string
	Healthy bool

	// Success is the time of the server's last answer, Failure that of the last
	// failure. Zero for never.
	Success, Failure time.Time

	// Login and Renewal are when the last login and the last renewal have succeeded,
	// RefreshToken when the server issued the refresh token. CertificateEnd is the end of
	// the certificate that the server presented last. Zero if unknown.
	Login, Renewal, RefreshToken, CertificateEnd time.Time

	// BudgetLeft is the rest of the lock-out budget of BudgetOf tries. If BudgetOf is
	// 0, tries are not counted.
	BudgetLeft, BudgetOf int

	Status    string
	ExpiresIn time.Duration // of the token, zero without one
	Held      bool          // the credential was refused and is not tried until the hold ends
	Next      bool          // next_password is in use
	Waiting   int64         // requests waiting for a login
}

// Sessions collects gauges of the current sessions and configured accounts. An account
// may have several sessions, one for each server: counts are summed, the earliest
// expiry is used, and the reason of the latest failure.
type Sessions struct {
	live func() []Session

	// Caches reports whether all shared caches work; known is false if there is none. It
	// is called at each scrape. Default: nothing is known.
	Caches func() (work, known bool)

	// Storage reports the same of Caddy's storage, where accounts without a shared cache
	// count refused logins.
	Storage func() (work, known bool)
}

var (
	sessionsDesc = prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, "sessions"),
		"Upstream sessions by state.", []string{"product", "state"}, nil)
	expiryDesc = prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, "session_expiry_seconds"),
		"Seconds until the access token of the account expires, the earliest of its sessions.", []string{"product", "account"}, nil)
	holdDesc = prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, "hold_active"),
		"Whether logins of the account are held because its credential was refused.", []string{"product", "account"}, nil)
	nextDesc = prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, "next_password_active"),
		"Whether next_password of the account is in use because its password was refused.", []string{"product", "account"}, nil)
	healthyDesc = prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, "account_healthy"),
		"Whether the account can be used at all of its servers.", []string{"product", "account"}, nil)
	reasonDesc = prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, "account_reason"),
		"Current state of the account: 1 for the reason that applies.", []string{"product", "account", "reason"}, nil)
	successDesc = prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, "account_last_success_timestamp_seconds"),
		"Unix time of the last answer of a server to the account, 0 for never.", []string{"product", "account"}, nil)
	failureDesc = prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, "account_last_failure_timestamp_seconds"),
		"Unix time of the last failed login, request or secret read of the account, 0 for never.", []string{"product", "account"}, nil)
	budgetDesc = prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, "lockout_budget_left"),
		"Failed logins left in the lock-out budget of the account, the fewest of its sessions.", []string{"product", "account"}, nil)
	loginDesc = prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, "account_last_login_timestamp_seconds"),
		"Unix time of the last successful login of the account, 0 for never.", []string{"product", "account"}, nil)
	renewalDesc = prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, "account_last_renewal_timestamp_seconds"),
		"Unix time of the last renewal of the account's session, 0 for never.", []string{"product", "account"}, nil)
	refreshDesc = prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, "refresh_token_issued_timestamp_seconds"),
		"Unix time at which the server issued the refresh token of the account, the earliest of its sessions.", []string{"product", "account"}, nil)
	certificateDesc = prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, "certificate_not_after_timestamp_seconds"),
		"Unix time at which the certificate expires that the server of the account presented last, the earliest of its servers.", []string{"product", "account"}, nil)
	cacheDesc = prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, "cache_up"),
		"Whether the storages of the shared caches work.", nil, nil)
	storageDesc = prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, "storage_up"),
		"Whether Caddy's storage can be read and written to.", nil, nil)
	waitersDesc = prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, "waiters"),
		"Requests waiting for a login or renewal.", []string{"product"}, nil)
)

// Describe implements prometheus.Collector.
func (*Sessions) Describe(ch chan<- *prometheus.Desc) {
	ch <- sessionsDesc
	ch <- expiryDesc
	ch <- holdDesc
	ch <- nextDesc
	ch <- waitersDesc
	ch <- healthyDesc
	ch <- reasonDesc
	ch <- successDesc
	ch <- failureDesc
	ch <- budgetDesc
	ch <- loginDesc
	ch <- renewalDesc
	ch <- refreshDesc
	ch <- certificateDesc
	ch <- cacheDesc
	ch <- storageDesc
}

// doing is how an account is doing at all of its servers.
type doing struct {
	reason           string
	healthy          bool
	success, failure time.Time
	login, renewal   time.Time // the latest
}

// add takes in how the account is doing at one server. What fails counts more than
// what works, and that more than what nobody uses.
func (d *doing) add(s Session) {
	worse := d.reason == "" || d.healthy && !s.Healthy || d.healthy == s.Healthy &&
		(s.Failure.After(d.failure) && !s.Healthy || s.Success.After(d.success) && s.Healthy)
	if worse {
		d.reason, d.healthy = s.Reason, s.Healthy
	}
	if s.Success.After(d.success) {
		d.success = s.Success
	}
	if s.Failure.After(d.failure) {
		d.failure = s.Failure
	}
	if s.Login.After(d.login) {
		d.login = s.Login
	}
	if s.Renewal.After(d.renewal) {
		d.renewal = s.Renewal
	}
}

// earliest keeps the earliest of several times. Zero is none.
func earliest[K comparable](of map[K]time.Time, key K, at time.Time) {
	if so, ok := of[key]; !at.IsZero() && (!ok || at.Before(so)) {
		of[key] = at
	}
}

// unix is a time as a value: 0 for none.
func unix(at time.Time) float64 {
	if at.IsZero() {
		return 0
	}
	return float64(at.Unix())
}

// Collect implements prometheus.Collector.
func (s *Sessions) Collect(ch chan<- prometheus.Metric) {
	type pair struct{ product, other string }
	states := map[pair]float64{}
	expiry := map[pair]float64{}
	holds := map[pair]float64{}
	next := map[pair]float64{}
	waiters := map[string]float64{}
	accounts := map[pair]*doing{}
	budgets := map[pair]int{}
	refresh := map[pair]time.Time{}
	certificates := map[pair]time.Time{}
	for _, session := range s.live() {
		account := pair{session.Product, session.Account}
		if !session.Unused {
			states[pair{session.Product, session.Status}]++
		}
		if !session.OfUser {
			if accounts[account] == nil {
				accounts[account] = new(doing)
			}
			accounts[account].add(session)
			earliest(refresh, account, session.RefreshToken)
			earliest(certificates, account, session.CertificateEnd)
		}
		if left, ok := budgets[account]; session.BudgetOf > 0 && (!ok || session.BudgetLeft < left) {
			budgets[account] = session.BudgetLeft
		}
		waiters[session.Product] += float64(session.Waiting)
		holds[account] += 0
		if session.Held {
			holds[account] = 1
		}
		next[account] += 0
		if session.Next {
			next[account] = 1
		}
		if session.ExpiresIn > 0 {
			soonest, ok := expiry[account]
			if left := session.ExpiresIn.Seconds(); !ok || left < soonest {
				expiry[account] = left
			}
		}
	}
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	for key, n := range states {
		gauge(sessionsDesc, n, key.product, key.other)
	}
	for key, seconds := range expiry {
		gauge(expiryDesc, seconds, key.product, key.other)
	}
	for key, held := range holds {
		gauge(holdDesc, held, key.product, key.other)
	}
	for key, active := range next {
		gauge(nextDesc, active, key.product, key.other)
	}
	for key, account := range accounts {
		healthy := 0.0
		if account.healthy {
			healthy = 1
		}
		gauge(healthyDesc, healthy, key.product, key.other)
		gauge(reasonDesc, 1, key.product, key.other, account.reason)
		gauge(successDesc, unix(account.success), key.product, key.other)
		gauge(failureDesc, unix(account.failure), key.product, key.other)
		gauge(loginDesc, unix(account.login), key.product, key.other)
		gauge(renewalDesc, unix(account.renewal), key.product, key.other)
	}
	for key, at := range refresh {
		gauge(refreshDesc, unix(at), key.product, key.other)
	}
	for key, at := range certificates {
		gauge(certificateDesc, unix(at), key.product, key.other)
	}
	for desc, storage := range map[*prometheus.Desc]func() (work, known bool){cacheDesc: s.Caches, storageDesc: s.Storage} {
		if storage == nil {
			continue
		}
		if work, known := storage(); known {
			value := 0.0
			if work {
				value = 1
			}
			gauge(desc, value)
		}
	}
	for key, left := range budgets {
		gauge(budgetDesc, float64(left), key.product, key.other)
	}
	for product, n := range waiters {
		gauge(waitersDesc, n, product)
	}
}
