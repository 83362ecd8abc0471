// The handler: callers, decisions, log and metrics.

package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/caddymodule/forwarder"
	"github.com/caddy-veeam/veeam-auth/caddymodule/rules"
	"github.com/caddy-veeam/veeam-auth/caddymodule/storages"
	"github.com/caddy-veeam/veeam-auth/internal/answer"
	"github.com/caddy-veeam/veeam-auth/internal/approval"
	"github.com/caddy-veeam/veeam-auth/internal/browser"
	"github.com/caddy-veeam/veeam-auth/internal/clients"
	"github.com/caddy-veeam/veeam-auth/internal/headers"
	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/jwtcaller"
	"github.com/caddy-veeam/veeam-auth/internal/keys"
	"github.com/caddy-veeam/veeam-auth/internal/logerrors"
	"github.com/caddy-veeam/veeam-auth/internal/logon"
	"github.com/caddy-veeam/veeam-auth/internal/page"
	"github.com/caddy-veeam/veeam-auth/internal/passthrough"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/reauth"
	"github.com/caddy-veeam/veeam-auth/internal/requestbody"
	"github.com/caddy-veeam/veeam-auth/internal/tracing"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/metrics"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// Handler authenticates callers, answers the token endpoint and the logout of the
// product itself, and passes all other requests to the next handler, which is a reverse
// proxy with the transport `veeam_auth`.
//
// A caller is admitted if an earlier handler authenticated it, if it presents a token
// that this handler issued, or if it connects over a loopback address or a unix socket
// without another proxy in between. All others are refused.
type Handler struct {
	// The product that clients expect: one of the names in docs/products.md, such as
	// `vspc`. Default: `vbr`.
	Product string `json:"product,omitempty"`

	// A file of `caddy veeam-auth policy index` with operations to add. Default: none.
	IndexFile string `json:"index_file,omitempty"`

	// A name shared by sites of the same product: they accept each other's tokens, and
	// each of them applies its own clients, accounts and rules. At most 100 bytes
	// without blanks. Default: tokens are valid at this site only, which is identified
	// by its listener addresses, the matchers of its routes, its upstreams and its
	// accounts.
	Audience string `json:"audience,omitempty"`

	// The clients that may log in at the token endpoint with a name and password.
	// Default: none.
	Clients []*clients.Client `json:"clients,omitempty"`

	// The identity providers whose JSON Web Tokens identify callers. Default: none.
	TrustJWT []*jwtcaller.Config `json:"trust_jwt,omitempty"`

	// The rules, in order; the first match decides. They apply to all requests for the
	// server.
	Rules []*rules.Rule `json:"rules,omitempty"`

	// The decision if no rule matches: `allow` or `deny`. Default: `deny` if any rule
	// allows something, otherwise `allow`. Unknown callers are always denied.
	Default string `json:"default,omitempty"`

	// How requests wait for the approvals that rules with `approve` require. Default: the
	// defaults of its options.
	Approvals *approval.Options `json:"approvals,omitempty"`

	// The request rate of each caller. Default: no limit.
	RateLimit *ratelimit.PerCaller `json:"rate_limit,omitempty"`

	// The maximum number of concurrent requests of each caller. Default: no limit.
	MaxParallel int `json:"max_parallel,omitempty"`

	// Additional host names of this site for callers on this machine, besides localhost
	// and the loopback addresses. A request over a loopback address that names another
	// host is not trusted, because a web page may have made a browser send it (DNS
	// rebinding). Neither addresses nor ports.
	Hosts []string `json:"hosts,omitempty"`

	// The origins whose pages may use the browser's client certificate, password or
	// address: scheme://host or scheme://host:port. Browser requests from other pages
	// require an issued token. Default: this site only.
	AllowedOrigins []string `json:"allowed_origins,omitempty"`

	// Whether callers known only by their address are refused, so that programs on this
	// machine must authenticate too. Default: false.
	RequireAuthentication bool `json:"require_authentication,omitempty"`

	// Whether clients may log in with their own Veeam credentials, to act as their own
	// users. Default: false: such credentials are ignored.
	Passthrough bool `json:"passthrough,omitempty"`

	// Whether clients that log in with their own Veeam credentials get the server's
	// access tokens instead of tokens that are valid here only. Default: false.
	ExposeUpstreamTokens bool `json:"expose_upstream_tokens,omitempty"`

	// Lifetime of issued access tokens, at most 14 days. Default: `1h`.
	TokenLifetime caddy.Duration `json:"token_lifetime,omitempty"`

	// The period in which the tokens of a login can be renewed, at least
	// `token_lifetime`. After it the caller must log in again. It starts at the login;
	// a change applies to later logins. Default: 30 days.
	TokenMaxLifetime caddy.Duration `json:"token_max_lifetime,omitempty"`

	// The name of the account to act as, or the UUID of a user for an account with the
	// grant `as` and no `user_uid`. Placeholders such as {http.veeam_auth.client} are
	// replaced for each request; an empty result refuses the request. Do not use values
	// that the caller can choose, unless it may act as every account. Default: the
	// first account.
	ActAs string `json:"act_as,omitempty"`

	// The maximum number of bytes of a body in the log, up to 1 MiB; 0 for none. Only forms
	// and JSON are logged, with all secrets masked; for unknown callers only token
	// requests. Default: 4 KiB.
	LogBodyLimit *int64 `json:"log_body_limit,omitempty"`

	// Whether bodies of successful responses are logged too, not only those of errors.
	// Default: false.
	LogAllBodies bool `json:"log_all_bodies,omitempty"`

	// Whether the request line of the log has the id of the request's trace, if the
	// handler `tracing` stands before this one. Default: false.
	LogTraceID bool `json:"log_trace_id,omitempty"`

	// Who sends requests on: `auto` for the forwarder of veeam-auth, if a reverse_proxy with
	// default options comes right behind this handler, `nested` for reverse_proxy always.
	// The Caddyfile's adapter writes it always: who will. Default: the value of the
	// environment variable `VEEAM_AUTH_FORWARD`, or `auto`.
	Forward string `json:"forward,omitempty"`

	// Removal of secrets from the server's responses. Default: none is removed.
	FilterSecrets *clients.FilterSecrets `json:"filter_secrets,omitempty"`

	// uncanonical disables the normalization of requests, for the test that shows what
	// it prevents.
	uncanonical bool

	product     *veeam.Product
	names       *veeam.Spelling // of JSON, as the server spells them
	index       *operation.Index
	clients     *clients.Clients
	keys        *clients.Keyed
	jwts        *jwtcaller.Trust // nil without trust_jwt
	first       string           // the account that acts by default
	rules       *rules.Set
	approvals   *approval.Site     // nil if no rule requires one
	limits      *ratelimit.Callers // of named callers; nil without a limit
	sources     *ratelimit.Callers // of others; nil without a limit
	stands      *atomic.Pointer[site]
	forwarder   *atomic.Pointer[forwarder.Forwarder] // holds nil if reverse_proxy sends requests on
	origins     map[string]struct{}                  // AllowedOrigins
	users       *passthrough.Users                   // nil without passthrough
	issuer      *issuer.Issuer
	logins      logon.Endpoint
	release     []func() // of the issuer and the keys
	bodyLimit   int
	bodyTimeout time.Duration
	refusals    *ratelimit.Limiter // of token requests
	counts      *metrics.RequestCounts
	metrics     *metrics.Set
	logger      *zap.Logger
	said        *journal.Seldom // of messages that every request would cause
	svc         *zap.Logger
	page        *page.Record // nil without a page
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.veeam_auth",
		New: func() caddy.Module { return new(Handler) },
	}
}

// svcLogger is the logger of the lines in the format of Svc.ResAPI.log, below that of the
// handler.
func svcLogger(handler *zap.Logger) *zap.Logger {
	return handler.Named(journal.LoggerName).WithOptions(zap.ErrorOutput(logerrors.Stderr))
}

// Provision prepares the handler. It does no I/O: the key for tokens is read when the
// first token is issued or verified.
func (h *Handler) Provision(ctx caddy.Context) (err error) {
	h.logger, h.said = ctx.Logger(), new(journal.Seldom)
	h.svc = svcLogger(h.logger)
	if h.product, err = LookupProduct(h.Product); err != nil {
		return err
	}
	h.names = h.product.Spelling()
	if err := cmp.Or(issuer.CheckLifetime(time.Duration(h.TokenLifetime)), issuer.CheckAudience(h.Audience), policy.CheckHosts(h.Hosts)); err != nil {
		return fmt.Errorf("veeam_auth: %w", err)
	}
	here, err := h.nowhere()
	if err != nil {
		return err
	}
	if h.Forward, err = forwarder.Choice(h.Forward); err != nil {
		return fmt.Errorf("veeam_auth: %w", err)
	}
	h.stands, h.forwarder = new(atomic.Pointer[site]), new(atomic.Pointer[forwarder.Forwarder])
	h.stands.Store(here)
	if h.TokenLifetime == 0 {
		h.TokenLifetime = caddy.Duration(issuer.DefaultLifetime)
	}
	if h.TokenMaxLifetime == 0 {
		h.TokenMaxLifetime = caddy.Duration(max(issuer.DefaultMaxLifetime, time.Duration(h.TokenLifetime)))
	}
	if err := issuer.CheckMaxLifetime(time.Duration(h.TokenMaxLifetime), time.Duration(h.TokenLifetime)); err != nil {
		return fmt.Errorf("veeam_auth: %w", err)
	}
	h.refusals, h.bodyTimeout = ratelimit.New(refusalMemory), requestbody.Timeout
	h.bodyLimit = defaultLogBodyLimit
	if h.LogBodyLimit != nil {
		if *h.LogBodyLimit < 0 || *h.LogBodyLimit > maxLogBodyLimit {
			return fmt.Errorf("veeam_auth: log_body_limit is %d bytes (allowed: 0 for off, to %d)", *h.LogBodyLimit, maxLogBodyLimit)
		}
		h.bodyLimit = int(*h.LogBodyLimit)
	}
	if h.metrics, err = running().registerMetrics(ctx); err != nil {
		return err
	}
	if h.index, err = operation.Open(h.product.Name, h.IndexFile); err != nil {
		return fmt.Errorf("veeam_auth: %w", err)
	}
	if h.clients, err = clients.New(h.Clients, passwords); err != nil {
		return fmt.Errorf("veeam_auth: %w", err)
	}
	h.clients.Warn(h.logger)
	if h.jwts, err = h.trust(); err != nil {
		return fmt.Errorf("veeam_auth: %w", err)
	}
	h.counts = h.metrics.RequestCounts(h.product.Name, h.clients.Names())
	if h.rules, err = rules.Load(ctx, h.Rules, h.Default); err != nil {
		return err
	}
	h.rules.Warn(h.logger, h.product, h.index)
	if err := h.FilterSecrets.Read(h.Clients); err != nil {
		return err
	}
	if err := h.RateLimit.Check(); err != nil {
		return fmt.Errorf("veeam_auth: %w", err)
	}
	if h.MaxParallel < 0 {
		return errors.New("veeam_auth: max_parallel is negative")
	}
	h.limits, h.sources = h.RateLimit.Callers(h.MaxParallel), h.RateLimit.Callers(h.MaxParallel)
	h.clients.Limit(h.MaxParallel)
	if err := h.acquireUsers(); err != nil {
		return err
	}
	if h.origins, err = browser.ReadOrigins(h.AllowedOrigins); err != nil {
		return fmt.Errorf("veeam_auth: %w", err)
	}
	if err := h.meetServer(ctx); err != nil {
		return err
	}
	storage := storages.Dated{Storage: ctx.Storage()}
	pooled, releaseIssuer := issuer.Acquire(storages.Key(ctx.Storage()), storage)
	stored, releaseKeys := keys.Acquire(storages.Key(ctx.Storage()), storage, keyExpires)
	h.keys = h.clients.Keyed(stored.Keys)
	h.release = []func(){h.keys.Enter(), h.jwts.Enter(keysRead), releaseKeys, releaseIssuer}
	for _, client := range h.Clients {
		client.Holder = tokenHolders.Enter(client.Name)
	}
	if err := h.acquireApprovals(ctx); err != nil {
		return err
	}
	h.issuer, h.logins = pooled.Issuer, logon.For(h.product, pooled.Issuer)
	if err := h.pair(ctx); err != nil {
		return err
	}
	return atStart(ctx, func(started context.Context) {
		h.jwts.Start()
		stored.Start(unseenRevocations)
		pooled.Start(unseenRevocations, func() { tryTokenStorage(started, ctx.Storage(), pooled, h.logger) })
	})
}

const (
	defaultLogBodyLimit = 4 << 10

	// maxLogBodyLimit is the maximum size of the part of a body that is read for the
	// log.
	maxLogBodyLimit = 1 << 20
)

// Cleanup releases the issuer.
func (h *Handler) Cleanup() error {
	if h.users != nil {
		passthrough.Release()
	}
	if h.release != nil {
		for _, client := range h.Clients {
			tokenHolders.Leave(client.Name)
		}
		for _, release := range h.release {
			release()
		}
	}
	return nil
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	requestbody.Exact(r)
	state := h.open(r)
	state.journal = journal.New(h.svc, r)
	state.journal.DecidedAs(state.sent.Method) // the GET of an extended CONNECT
	if h.LogTraceID {
		state.journal.Traced(tracing.ID(r.Context()))
	}
	var unknown *veeam.Refusal
	if h.product.LogsOutByForm(state.route) && state.presented == "" && !state.early() {
		requestbody.ReadToken(w, r, h.bodyTimeout)
		state.presented = h.product.PresentedInBody(r)
	}
	var body func() ([]byte, bool)
	if state.early() { // nobody knows from where
		unknown = state.ambiguous
	} else {
		state.caller, unknown = h.identify(r, state.route, state.presented)
		if state.route == veeam.RouteToken {
			requestbody.ReadToken(w, r, h.bodyTimeout)
		}
		if unknown == nil || state.route == veeam.RouteToken {
			body = func() ([]byte, bool) { return requestbody.Peek(r, h.bodyLimit) }
		}
	}
	state.journal.Request(r, state.caller.Identity(), body)

	rec, answered := state.recorder, false
	rec.Record(w, h.bodyLimit, h.LogAllBodies, state)
	defer func() { // a panic ends an answer that breaks off
		if h.page != nil {
			h.showOnPage(state, rec.Status)
		}
		if answered || rec.Wrote() {
			state.journal.Response(rec.Status, rec.Header(), rec.Body, rec.Cut)
		}
	}()
	err := h.serve(rec, r, next, state, unknown)
	answered = err == nil
	return err
}

// serve answers the request or passes it on. unknown is the reason why the caller is
// not known, nil if it is.
func (h *Handler) serve(w *forwarder.Recorder, r *http.Request, next caddyhttp.Handler, state *requestState, unknown *veeam.Refusal) error {
	v := h.judge(r, state, unknown, nil)
	h.record(state, &v)
	result, refusal := metrics.ResultInjected, v.refusal
	if refusal == nil {
		switch state.route {
		case veeam.RouteToken:
			result = metrics.ResultToken
			if refusal = h.token(r, state, unknown); refusal == nil {
				refusal = cmp.Or(h.narrow(r, state), h.chooseAccount(r, state))
			}
		case veeam.RouteLogout, veeam.RouteAuthorizationCode, veeam.RouteSession:
			return h.answerHere(w, r, state)
		case veeam.RouteAnonymous:
			result = metrics.ResultAnonymous
		}
	}
	if refusal != nil {
		h.refuse(w, r, state, *refusal)
		return nil
	}
	if state.caller.Via == policy.ViaPassthrough {
		state.user = h.users.Of(state.caller.Login, state.caller.Name)
	}
	leave, exceeded := h.enter(r, state)
	if exceeded != nil {
		h.refuse(w, r, state, answer.Exceeded(exceeded, state.route == veeam.RouteToken))
		return nil
	}
	defer leave()
	if state.decision.Approval {
		if refusal = h.approve(w, r, state); refusal != nil {
			h.refuse(w, r, state, *refusal)
			return nil
		}
		defer state.approved.Close(r.Context())
	}
	state.filter = h.filters(state)
	caddyhttp.SetVar(r.Context(), stateVar, state)
	if state.hides || v.ruled { // conditions of rules may come from other modules
		headers.MaskOthers(r.Header)
	}
	w.Extra = &state.found.session
	if state.sent.Websocket && r.ProtoMajor > 1 {
		r.Body = w.Admitted(r.Body)
	}
	err := h.send(w, r, next, state)
	switch {
	case err != nil && !w.Wrote():
		return h.unlogged(w, r, h.refuseFailed(w, r, state, err))
	case state.found.refused != nil:
		h.countRefusal(state, *state.found.refused)
	default:
		h.counts.Add(result, state.caller.Client())
	}
	return h.unlogged(w, r, err)
}

// answerHere answers a request that never reaches the server.
func (h *Handler) answerHere(w http.ResponseWriter, r *http.Request, state *requestState) error {
	result := metrics.ResultLogout
	if state.route == veeam.RouteAuthorizationCode {
		result = metrics.ResultToken
	}
	h.counts.Add(result, state.caller.Client())
	return answer.Write(w, h.logins.Here(r, logon.Question{ //nolint:bodyclose // Write closes it
		Route: state.route, Method: state.sent.Method, Presented: state.presented, Site: state.origin(), Audience: h.audience(r),
		Caller: &state.caller, Subject: func() issuer.Subject { return h.subjectOf(r, &state.caller) },
	}))
}

const contentTypeJSON = "application/json"

// refuse answers with an error in the format of the product, and logs what decided.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, state *requestState, refusal veeam.Refusal) {
	state.journal.Denied(state.caller.Identity(), refusal)
	h.countRefusal(state, refusal)
	h.throttled(r, state, refusal)
	state.found.refused = &refusal
	requestbody.Abandon(w, r, h.bodyTimeout)
	_ = answer.Write(w, answer.Refuse(h.product, r, refusal, h.names)) //nolint:bodyclose // Write closes it
}

func (h *Handler) countRefusal(state *requestState, refusal veeam.Refusal) {
	h.counts.Add(metrics.ResultRefused, state.caller.Client())
	h.metrics.Refusals.WithLabelValues(h.product.Name, string(refusal.Reason)).Inc()
}

// refuseFailed answers for an error of the proxy, in the format of the product.
func (h *Handler) refuseFailed(w *forwarder.Recorder, r *http.Request, state *requestState, err error) error {
	if errors.Is(err, context.Canceled) {
		return err // the client has disconnected
	}
	var failed caddyhttp.HandlerError
	if !errors.As(err, &failed) || failed.StatusCode < http.StatusInternalServerError {
		return err
	}
	refusal := veeam.Refusal{
		Status: failed.StatusCode, Reason: veeam.TransportReason(r.Context(), failed.Err), AtTokenEndpoint: state.route == veeam.RouteToken,
		Message: "The server cannot be reached through veeam-auth. See its log.",
		Detail:  "the request could not be forwarded: " + fmt.Sprint(failed.Err),
	}
	if _, ok := errors.AsType[*reauth.BodyError](failed.Err); ok { // the client's fault, whatever status reverse_proxy has for it
		refusal.Status, refusal.Message = 0, "The body of the request is incomplete, malformed or too large."
		h.refuse(w, r, state, refusal)
		return nil
	}
	if failed.StatusCode == http.StatusInternalServerError {
		refusal.Reason = veeam.ReasonInternal
	}
	h.said.Error(h.logger, string(refusal.Reason), "the request could not be forwarded", zap.Int("status", failed.StatusCode), zap.Error(failed.Err))
	h.refuse(w, r, state, refusal) // writes each of them
	return nil
}

// send sends a request on, by reverse_proxy unless the forwarder can do it.
func (h *Handler) send(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, state *requestState) error {
	f := h.forwarder.Load()
	if f == nil || !forwarder.Takes(r) {
		h.counts.ByReverseProxy.Inc()
		return next.ServeHTTP(w, r)
	}
	h.counts.ByForwarder.Inc()
	state.exchange = new(forwarder.Exchange)
	return f.ServeHTTP(w, r, next, state.exchange)
}

// unlogged keeps an error out of Caddy's error log, which contains a copy of the
// request, if the request is excluded from the access log. It is in the log of
// veeam_auth at level debug, and routes of handle_errors do not run for it.
func (h *Handler) unlogged(w *forwarder.Recorder, r *http.Request, err error) error {
	if err == nil {
		return nil
	}
	if skip, _ := caddyhttp.GetVar(r.Context(), caddyhttp.LogSkipVar).(bool); !skip {
		return err
	}
	status := http.StatusInternalServerError
	if failed, ok := errors.AsType[caddyhttp.HandlerError](err); ok && failed.StatusCode != 0 {
		status, err = failed.StatusCode, failed.Err
	}
	h.logger.Debug("the request has failed", zap.Int("status", status), zap.Error(err))
	if !w.Wrote() {
		w.WriteHeader(status)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
