// Options: the facts that differ between installations, or that no document settles.

package veeamtest

import (
	"io"
	"math/rand/v2"
	"net/http"
	"time"
)

// Option configures a server. See New.
type Option func(*Server)

type config struct {
	addrs                []string
	names                []string
	hidden               bool
	clock                func() time.Time
	accounts             []Account
	access, refresh      time.Duration
	short                time.Duration
	mfaLifetime          time.Duration
	codePeriod           time.Duration
	mfaTries             int
	latency              time.Duration
	singleSession        bool
	lockoutAfter         int
	lockoutWindow        time.Duration
	revokeOneIn          int
	random               *rand.Rand
	expiresInAs          string
	dates                DateStyle
	zone                 *time.Location
	username             bool
	refreshUsername      bool
	bearerDocument       bool
	versionMissingBody   string
	reuseRevokes         bool
	refreshRevokesAccess bool
	refreshDropsReadOnly bool
	asKeepsRefresh       bool
	swapOneIn            int
	swapRandom           *rand.Rand
	codeLifetime         time.Duration
	codePaths            []string
	keys                 []assignedKey
	padding              Padding
	keyForm              KeyForm
	binaryChallenge      bool
	log                  io.Writer
	barePlus             bool
	fourEyes             bool
	versions             []string
	throttleAfter        int
	throttleFor          time.Duration
	limits               []tokenLimit
	actionPolls          int
	loose                bool
	exemptLoopback       bool
	versionAtToken       bool
	reusableRefresh      bool
	sessionLifetime      time.Duration
	noLogout             bool

	refusedStatus     int // VB365
	antiforgeryCookie string
	antiforgeryReads  bool
	operatorOnly      bool

	revokeBearer, revokeKeepsRefresh bool // Veeam ONE

	publicURL        string // Enterprise Manager
	randomHeader     bool
	anyLogonVersion  bool
	anySpelling      bool
	bom              bool
	quietLogonChecks bool

	plugInTokens, plugInPage bool // plug-ins behind VBR
	observer                 func(Executed)
}

func defaultConfig(p *product) config {
	return config{
		clock:       time.Now,
		access:      p.access,
		refresh:     p.refresh,
		mfaLifetime: 2 * time.Minute,
		codePeriod:  totpPeriod,
		mfaTries:    3,

		codeLifetime: time.Minute,
		codePaths:    []string{"authorization_code"},
		padding:      PKCS1v15,
		dates:        p.dates,
		zone:         time.FixedZone("", 2*60*60),
		fourEyes:     true,
		versions:     append(p.versions, p.pathVersions...),

		singleSession:     p.oneSession,
		limits:            p.limits,
		refusedStatus:     http.StatusUnauthorized,
		antiforgeryCookie: "X-VB365-Antiforgery",
		publicURL:         "https://em01.lab.local:9398",
	}
}

// WithHiddenServer answers 404 to all requests without a session except logins, so that
// the product cannot be found out without a credential. No document rules it out.
func WithHiddenServer() Option { return func(s *Server) { s.cfg.hidden = true } }

// WithAddr makes Start listen on these addresses instead of a free port of 127.0.0.1. VBR 13.1 has two: 9419 and 443.
func WithAddr(addrs ...string) Option { return func(s *Server) { s.cfg.addrs = addrs } }

// WithNames adds DNS names to the certificate, beside localhost.
func WithNames(names ...string) Option { return func(s *Server) { s.cfg.names = names } }

// WithAccount adds an account. The default accounts stay unless one of the same name is given.
func WithAccount(a Account) Option {
	return func(s *Server) { s.cfg.accounts = append(s.cfg.accounts, a) }
}

// WithClock makes clock the server's time, for expiry and TOTP. Advance adds to it. Default: time.Now.
func WithClock(clock func() time.Time) Option { return func(s *Server) { s.cfg.clock = clock } }

// WithCodePeriod sets the period of verification codes. Default: 30 seconds, as at
// every product. A shorter period reduces waiting in tests; otpauth URIs contain it.
// Clients that know only the seed use the default.
func WithCodePeriod(d time.Duration) Option { return func(s *Server) { s.cfg.codePeriod = d } }

// WithAccessLifetime sets the lifetime of access tokens, and at Enterprise Manager the
// time after which an unused session ends. Default: 15 minutes at VBR, Google Cloud and
// Enterprise Manager, 899 seconds at Veeam ONE, one hour elsewhere.
func WithAccessLifetime(d time.Duration) Option { return func(s *Server) { s.cfg.access = d } }

// WithRefreshLifetime sets the lifetime of refresh tokens. Default: 14 days at VBR,
// Azure and Google Cloud, 48 hours at VSPC, 2 hours at AWS, and 24 hours at VB365 and
// Veeam ONE, for which it is not documented.
func WithRefreshLifetime(d time.Duration) Option { return func(s *Server) { s.cfg.refresh = d } }

// WithShortRefreshLifetime sets the lifetime of refresh tokens that were requested as
// short-lived. Default: access lifetime plus 15 minutes at VBR, 15 minutes at Azure
// (its documents also say 60), 75 minutes at Google Cloud.
func WithShortRefreshLifetime(d time.Duration) Option { return func(s *Server) { s.cfg.short = d } }

// WithMFALifetime sets the lifetime of an mfa_token. Undocumented; default: two
// minutes.
func WithMFALifetime(d time.Duration) Option { return func(s *Server) { s.cfg.mfaLifetime = d } }

// WithMFATries sets the number of wrong codes after which an mfa_token is not valid any
// more. Undocumented; default: three.
func WithMFATries(n int) Option { return func(s *Server) { s.cfg.mfaTries = n } }

// WithLatency delays every answer of the token endpoint.
func WithLatency(d time.Duration) Option { return func(s *Server) { s.cfg.latency = d } }

// WithSingleSession makes a new login end the earlier sessions of the same user, as the
// documents of VSPC and Veeam ONE suggest. It is the default at Veeam ONE.
func WithSingleSession() Option { return func(s *Server) { s.cfg.singleSession = true } }

// WithLockout locks an account after n wrong secrets, each within window of the one
// before. Its logins are refused, also correct ones, until window has passed since the
// last wrong one. Default: none is locked.
func WithLockout(n int, window time.Duration) Option {
	return func(s *Server) { s.cfg.lockoutAfter, s.cfg.lockoutWindow = n, window }
}

// WithRevokeRandom revokes the access token of one in oneIn protected requests right after it was accepted:
// that request is served, the next one with the token is not. Equal seeds make equal choices.
func WithRevokeRandom(oneIn int, seed uint64) Option {
	return func(s *Server) {
		s.cfg.revokeOneIn = oneIn
		s.cfg.random = rand.New(rand.NewPCG(seed, seed))
	}
}

// WithExpiresInAs sets the form of expires_in: "number" (the default), "string",
// "absent", or any other text, which is raw JSON.
func WithExpiresInAs(form string) Option { return func(s *Server) { s.cfg.expiresInAs = form } }

// WithDateStyle sets the format of .issued and .expires. Default: DateLocal at VBR 12
// and AWS, DateOffset at VBR 13, DateSevenDigits at Azure; VSPC has no dates.
func WithDateStyle(d DateStyle) Option { return func(s *Server) { s.cfg.dates = d } }

// WithZone sets the time zone of the server's clock, which appears in dates. Default:
// UTC+2.
func WithZone(zone *time.Location) Option { return func(s *Server) { s.cfg.zone = zone } }

// WithUsernameInAnswer adds username to VBR's token answers, as one page of its documents shows.
func WithUsernameInAnswer() Option { return func(s *Server) { s.cfg.username = true } }

// WithUsernameAfterRefresh adds username to the responses of AWS to a refresh token,
// for which its documents have no example.
func WithUsernameAfterRefresh() Option { return func(s *Server) { s.cfg.refreshUsername = true } }

// WithVBR401Document adds a body to VBR's 401 on protected routes. Default: empty, as
// seen in the field.
func WithVBR401Document() Option { return func(s *Server) { s.cfg.bearerDocument = true } }

// WithVersionMissingBody sets the body of the 400 for a missing x-api-version, which is
// not documented.
func WithVersionMissingBody(body string) Option {
	return func(s *Server) { s.cfg.versionMissingBody = body }
}

// WithAPIVersions sets the versions that are served, oldest first: values of
// x-api-version or, at VB365 and Veeam ONE, of the version in paths, such as "v7".
func WithAPIVersions(versions ...string) Option { return func(s *Server) { s.cfg.versions = versions } }

// WithRefreshReuseRevokesFamily makes the second use of a refresh token end the session that came from it.
func WithRefreshReuseRevokesFamily() Option { return func(s *Server) { s.cfg.reuseRevokes = true } }

// WithRefreshRevokesAccess makes a refresh end the session's earlier access tokens.
// Default: they remain valid.
func WithRefreshRevokesAccess() Option { return func(s *Server) { s.cfg.refreshRevokesAccess = true } }

// WithBarePlus accepts a space in code, public_key and mfa_token in place of a + that
// the client did not encode.
func WithBarePlus() Option { return func(s *Server) { s.cfg.barePlus = true } }

// WithFourEyes sets whether VBR refuses deletions with 403. Default: true.
func WithFourEyes(on bool) Option { return func(s *Server) { s.cfg.fourEyes = on } }

// WithTokenStatus429 answers token requests with 429 after the first ones, whose number
// is after, until retryAfter has passed since the first 429. The response contains the
// remaining time.
func WithTokenStatus429(after int, retryAfter time.Duration) Option {
	return func(s *Server) { s.cfg.throttleAfter, s.cfg.throttleFor = after, retryAfter }
}

// WithRefreshDropsReadOnly makes a refresh lose the read-only property of its session
// unless it requests it with readOnly=true. Undocumented; default: the property
// remains.
func WithRefreshDropsReadOnly() Option { return func(s *Server) { s.cfg.refreshDropsReadOnly = true } }

// WithAsKeepsRefresh keeps the refresh token of the grant "as" valid. Undocumented;
// default: it is used up as by a refresh.
func WithAsKeepsRefresh() Option { return func(s *Server) { s.cfg.asKeepsRefresh = true } }

// WithSwappedUsers makes one in oneIn responses to the grant "as", and to refreshes
// after it, a session of another user, like a server that mixes up its responses. Equal
// seeds make equal choices.
func WithSwappedUsers(oneIn int, seed uint64) Option {
	return func(s *Server) {
		s.cfg.swapOneIn, s.cfg.swapRandom = oneIn, rand.New(rand.NewPCG(seed, seed))
	}
}

// WithCodeLifetime sets the lifetime of an authorization code. Default: one minute.
func WithCodeLifetime(d time.Duration) Option { return func(s *Server) { s.cfg.codeLifetime = d } }

// WithCodePaths sets the names of the paths at which AWS makes authorization codes:
// "authorization_code" as in its guide, "authorizationCode" as in its specification, or
// both. Default: the former.
func WithCodePaths(names ...string) Option { return func(s *Server) { s.cfg.codePaths = names } }

// WithPublicKey assigns a public key to a VSPC user, as POST …/logins/asymmetricalgorithm does.
// key may be .NET XML, PEM, SPKI or PKCS#1.
func WithPublicKey(user string, key []byte, readOnly bool) Option {
	return func(s *Server) { s.cfg.keys = append(s.cfg.keys, assignedKey{user, key, "", readOnly}) }
}

// WithAPIKey gives a VSPC user a simple key: a bearer that needs no login and does not expire.
func WithAPIKey(user, key string, readOnly bool) Option {
	return func(s *Server) { s.cfg.keys = append(s.cfg.keys, assignedKey{user, nil, key, readOnly}) }
}

// WithPadding sets the padding of the challenge of grant public_key at VSPC.
// Undocumented; default: PKCS1v15.
func WithPadding(p Padding) Option { return func(s *Server) { s.cfg.padding = p } }

// WithKeyForm sets the format of public_key before it is encoded in Base64.
// Undocumented; default: KeyAny.
func WithKeyForm(f KeyForm) Option { return func(s *Server) { s.cfg.keyForm = f } }

// WithBinaryChallenge makes the challenge of grant public_key 32 random bytes, which
// the client must return in Base64. Default: text, which the client must return
// unchanged.
func WithBinaryChallenge() Option { return func(s *Server) { s.cfg.binaryChallenge = true } }

// WithActionPolls sets the number of polls that VSPC's queued actions answer with
// "running" before they are done. Default: 0.
func WithActionPolls(n int) Option { return func(s *Server) { s.cfg.actionPolls = n } }

// WithLog makes a VBR server write its log to w, in the format of Svc.ResAPI.log.
func WithLog(w io.Writer) Option { return func(s *Server) { s.cfg.log = w } }
