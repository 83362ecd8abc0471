// The transport: adds the token of an account to each request, and sends it again with
// a newer one after a 401.

package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/caddymodule/dialing"
	"github.com/caddy-veeam/veeam-auth/caddymodule/forwarder"
	"github.com/caddy-veeam/veeam-auth/caddymodule/records"
	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/answer"
	"github.com/caddy-veeam/veeam-auth/internal/headers"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/lockout"
	"github.com/caddy-veeam/veeam-auth/internal/passthrough"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/reauth"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/stdlog"
	"github.com/caddy-veeam/veeam-auth/internal/tlspin"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/metrics"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// Defaults of the transport.
const (
	defaultProduct     = "vbr"
	defaultReplayLimit = 1 << 20

	maxLoginTimeout = 5 * time.Minute

	// Caddy keeps 32, and dials again for each request above that: a gateway has more.
	defaultIdlePerHost = 1024
	// The time in which a server may answer "100 Continue" before the body is sent
	// anyway.
	defaultExpectContinue = time.Second
)

// Transport is Caddy's HTTP transport with a login: it has all options of the transport
// `http` and the ones below. It adds the access token of an account to requests that
// the handler `veeam_auth` admitted. Health checks of reverse_proxy are sent without a
// token. All other requests are refused, because no handler decided about them.
type Transport struct {
	// The product of the upstreams: one of the names in docs/products.md, such as
	// `vspc`. Default: `vbr`.
	Product string `json:"product,omitempty"`

	// The API version that is sent if the product requires one and the client sends
	// none (`x-api-version` for VBR and AWS, `X-Client-Version` for VSPC). Default: the
	// product's. Not for `azure` and `em`, which have none to choose from.
	APIVersion string `json:"api_version,omitempty"`

	// The path of the API at the upstreams, such as `/veeam` for a gateway at
	// `https://gateway/veeam`. Logins, requests and health checks use it, and it is
	// removed from references in the server's responses. Rules, log and clients see
	// paths without it. Letters, digits and `-._~/` only. Default: none.
	BasePath string `json:"base_path,omitempty"`

	// The accounts to log in with. The first is the default. At least one, unless
	// clients log in with their own Veeam credentials.
	Accounts []*account.Account `json:"accounts,omitempty"`

	// Whether no account is required, because the handler has `passthrough` and clients
	// log in with their own Veeam credentials. Default: false.
	Passthrough bool `json:"passthrough,omitempty"`

	// The time before its expiry at which an access token is renewed in the background.
	// At most a third of the token's lifetime. Default: `1m`.
	RefreshBefore caddy.Duration `json:"refresh_before,omitempty"`

	// A storage that shares sessions with other processes and keeps them over a
	// restart. Default: sessions are kept in memory.
	Cache *records.Cache `json:"cache,omitempty"`

	// Whether open sessions are recorded, sealed, in the storage of `cache` or Caddy's own:
	// `on`, or `off`. What a process leaves behind that is killed is ended at the next
	// start. Default: `on`.
	SessionRecords string `json:"session_records,omitempty"`

	// The time in which a refused credential is not sent again. It doubles with each
	// refusal, up to `hold_most`. A changed secret is sent immediately. Choose it so
	// that the tries stay below the server's lock-out threshold. Default: `1m`, and
	// `5m` with a `cache`.
	Hold caddy.Duration `json:"hold,omitempty"`

	// The maximum of `hold`. Default: `30m`.
	HoldMost caddy.Duration `json:"hold_most,omitempty"`

	// The number of tries with a wrong credential that a user has at a server within a
	// period, so that the server does not lock the user. Default: the product's: 2 in
	// `15m` for VBR, whose appliance locks after three, and 3 in `15m` for the others.
	LockoutBudget *records.LockoutBudget `json:"lockout_budget,omitempty"`

	// The time limit of one token request. Default: `20s`.
	LoginTimeout caddy.Duration `json:"login_timeout,omitempty"`

	// When accounts log in: `request` for the first request that requires their session,
	// `start` for the start of the configuration. With `start` they log in by themselves,
	// within `pace` and `lockout_budget`, at upstreams with a fixed address, and their
	// sessions are kept while no request requires them. Default: `request`.
	LoginAt string `json:"login_at,omitempty"`

	// The maximum rate of token requests to one server. Default: the product's.
	Pace *ratelimit.Pace `json:"pace,omitempty"`

	// The largest request body, in bytes, that is kept in memory so that the request
	// can be sent again after a 401. Larger bodies are sent with `Expect:
	// 100-continue`, so that the server can refuse them before they are sent. Default:
	// 1 MiB.
	ReplayLimit int64 `json:"replay_limit,omitempty"`

	// Fingerprints of the certificates that the server may have, in hex: SHA-1 as shown
	// by Veeam's consoles, or SHA-256; with or without colons, in any letter case. A
	// certificate with one of them is trusted regardless of its issuer; any other one
	// is refused before anything is sent. `caddy veeam-auth pin` prints them. Default:
	// none, the certificate is verified as usual.
	TLSPins []string `json:"tls_pins,omitempty"`

	// Whether credentials may be sent in clear text over HTTP. Default: false: an
	// upstream without TLS is an error.
	InsecureHTTP bool `json:"insecure_http,omitempty"`

	// Whether requests and logins use the proxy of the environment variables
	// `HTTPS_PROXY` and `NO_PROXY`. Use `network_proxy` to configure one. Not allowed
	// with `insecure_http`, because the proxy could read the credentials. Default:
	// false: the variables are ignored.
	ProxyFromEnvironment bool `json:"proxy_from_environment,omitempty"`

	// The value of the header `Host` in all requests to the server, including logins.
	// Default: the address of the upstream.
	UpstreamHost string `json:"upstream_host,omitempty"`

	// The maximum number of users whose sessions are kept, if each request names the
	// user to act as. Default: 1000.
	MaxUsers int `json:"max_users,omitempty"`

	*reverseproxy.HTTPTransport

	product  *veeam.Product
	storage  certmagic.Storage // for what is kept without a cache; default: Caddy's own
	process  *processState     // default: this one
	secrets  any               // default: veeam_secrets of the configuration, nil without it
	tries    *records.Tries
	pins     []tlspin.Fingerprint
	hasProxy bool // the configuration names one
	server   *upstream.Server
	sender   *reauth.Sender
	metrics  *metrics.Set
	logger   *zap.Logger
	said     *journal.Seldom
}

// CaddyModule returns the Caddy module information.
func (Transport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.transport.veeam_auth",
		New: func() caddy.Module { return new(Transport) },
	}
}

// Provision prepares the transport. It reads no secret and does no network I/O.
func (t *Transport) Provision(ctx caddy.Context) error {
	t.logger, t.said = ctx.Logger(), new(journal.Seldom)
	stdlog.Guard() // Caddy has just given the standard logger another output
	if t.HTTPTransport == nil {
		t.HTTPTransport = new(reverseproxy.HTTPTransport)
	}
	t.ReplayLimit = cmp.Or(t.ReplayLimit, defaultReplayLimit)
	t.ExpectContinueTimeout = cmp.Or(t.ExpectContinueTimeout, caddy.Duration(defaultExpectContinue))
	if err := t.check(); err != nil {
		return err
	}
	if err := t.pair(ctx); err != nil {
		return err
	}
	if t.secrets == nil {
		var err error
		if t.secrets, err = ctx.AppIfConfigured("veeam_secrets"); err != nil && !errors.Is(err, caddy.ErrNotConfigured) {
			return err
		}
	}
	if err := account.CheckSources(t.Accounts, t.secrets); err != nil {
		return fmt.Errorf("veeam_auth: %w", err)
	}
	t.KeepAlive = cmp.Or(t.KeepAlive, new(reverseproxy.KeepAlive))
	t.KeepAlive.MaxIdleConnsPerHost = cmp.Or(t.KeepAlive.MaxIdleConnsPerHost, defaultIdlePerHost)
	if t.product.HTTP1 {
		t.Versions = []string{"1.1"}
	}
	proxied := dialing.Proxied(t.HTTPTransport)
	if err := t.HTTPTransport.Provision(ctx); err != nil {
		return secret.WithVariable(err)
	}
	t.way(proxied)
	dialing.Pin(t.HTTPTransport.Transport, t.pins)
	dialing.Bound(t.HTTPTransport.Transport, dialsOf)
	t.process = cmp.Or(t.process, running())
	var err error
	if t.metrics, err = t.process.registerMetrics(ctx); err != nil {
		return err
	}
	t.metrics.Mismatches.WithLabelValues(t.product.Name) // shows 0
	t.warn()
	if t.Cache != nil {
		if err := t.Cache.Provision(ctx, t.process.State, expand); err != nil {
			return fmt.Errorf("veeam_auth: %w", err)
		}
	}
	t.tries = records.OpenTries(ctx, t.storage, t.Cache, t.process.tries)
	parents := account.Parents(t.Accounts)
	for _, a := range t.Accounts {
		env := t.accountEnv()
		env.Serves = parents[a.Name]
		a.Prepare(env)
	}
	t.sender = &reauth.Sender{Base: t.HTTPTransport, ReplayLimit: t.ReplayLimit, Count: t.replayed}
	t.server = upstream.NewServer(upstream.ServerOptions{
		Product: t.product, Transport: dialing.LoginTransport{HTTPTransport: t.HTTPTransport}, APIVersion: t.APIVersion,
		LoginTimeout: time.Duration(t.LoginTimeout), Budget: t.LockoutBudget.Limit(lockout.Limit(t.product.Lockout)), RateLimit: t.Pace.Rates(t.product.Pace),
		Accounts: t.Accounts, Cache: t.Cache.Shared(), Tries: t.tries.Shared, NoRecords: t.SessionRecords == "off", MaxUsers: t.MaxUsers,
		Session: tokencache.Options{
			RefreshBefore: time.Duration(t.RefreshBefore), HoldLeast: time.Duration(t.Hold), HoldMost: time.Duration(t.HoldMost),
		},
		State: t.process.State, Metrics: t.metrics, Log: t.logger, Pins: t.pins,
	})
	if t.Cache != nil && t.storage == nil {
		if err := atStart(ctx, func(started context.Context) { t.Cache.Try(started, t.logger.Named("cache")) }); err != nil {
			return err
		}
	}
	return t.onStart(ctx)
}

// loginTimeout is login_timeout or its default.
func (t *Transport) loginTimeout() time.Duration {
	return cmp.Or(time.Duration(t.LoginTimeout), upstream.DefaultLoginTimeout)
}

// check validates the configuration as far as possible without provisioning, and
// returns the first error.
func (t *Transport) check() (err error) {
	if t.product, err = LookupProduct(t.Product); err != nil {
		return err
	}
	if err := upstream.CheckBasePath(t.BasePath); err != nil {
		return fmt.Errorf("veeam_auth: %w", err)
	}
	if len(t.Accounts) == 0 && !t.Passthrough {
		return errors.New("veeam_auth: no account: write account <name> <password>, or passthrough if all clients have their own Veeam credentials")
	}
	if err := account.ValidateAll(t.Accounts, t.product); err != nil {
		return fmt.Errorf("veeam_auth: %w", err)
	}
	atLeast := func(option string, value caddy.Duration) error {
		return policy.CheckLeast(option, time.Duration(value), time.Second)
	}
	if err := cmp.Or(atLeast("refresh_before", t.RefreshBefore), atLeast("hold", t.Hold), atLeast("hold_most", t.HoldMost), atLeast("login_timeout", t.LoginTimeout)); err != nil {
		return fmt.Errorf("veeam_auth: %w", err)
	}
	switch {
	case t.TLS == nil && !t.InsecureHTTP:
		return errors.New("veeam_auth: credentials would be sent in clear text: use https:// for the upstream, or set insecure_http")
	case t.TLS != nil && len(t.TLS.ExceptPorts) > 0 && !t.InsecureHTTP:
		return errors.New("veeam_auth: tls_except_ports: credentials would be sent in clear text to these ports: set insecure_http to allow it")
	case t.InsecureHTTP && t.ProxyFromEnvironment:
		return errors.New("veeam_auth: proxy_from_environment is not allowed with insecure_http: credentials would be sent to the proxy in clear text")
	case t.InsecureHTTP && dialing.Proxied(t.HTTPTransport):
		return errors.New("veeam_auth: network_proxy is not allowed with insecure_http: credentials would be sent to the proxy in clear text")
	case t.ProxyFromEnvironment && dialing.Proxied(t.HTTPTransport):
		return errors.New("veeam_auth: write either proxy_from_environment or network_proxy")
	case strings.ContainsAny(t.UpstreamHost, "/@{}\\ \t\r\n"):
		return errors.New("veeam_auth: upstream_host is not a host name: write a fixed name such as vbr01.lab.local or vbr01.lab.local:9419")
	case t.HoldMost > 0 && t.HoldMost < t.Hold:
		return errors.New("veeam_auth: hold: the second duration is shorter than the first")
	case t.loginTimeout() > maxLoginTimeout:
		return fmt.Errorf("veeam_auth: login_timeout is %v (allowed: 1s to %v)", t.loginTimeout(), maxLoginTimeout)
	case !slices.Contains([]string{"", loginAtRequest, loginAtStart}, t.LoginAt):
		return fmt.Errorf("veeam_auth: login_at %q is not allowed (allowed: %s, %s)", t.LoginAt, loginAtRequest, loginAtStart)
	case !slices.Contains([]string{"", "on", "off"}, t.SessionRecords):
		return fmt.Errorf("veeam_auth: session_records %q is not allowed (allowed: on, off)", t.SessionRecords)
	case t.MaxUsers < 0:
		return errors.New("veeam_auth: max_users is negative")
	case t.APIVersion != "" && t.product.Version.None():
		return fmt.Errorf("veeam_auth: api_version: product %s has no versions to choose from; remove the option", t.product.Name)
	case t.ReplayLimit < 0:
		return errors.New("veeam_auth: replay_limit is negative")
	}
	if err := t.Cache.Check(); err != nil {
		return fmt.Errorf("veeam_auth: %w", err)
	}
	if err := t.checkSealed(); err != nil {
		return fmt.Errorf("veeam_auth: %w", err)
	}
	if err := t.LockoutBudget.Check(); err != nil {
		return fmt.Errorf("veeam_auth: %w", err)
	}
	if err := t.Pace.Check(); err != nil {
		return fmt.Errorf("veeam_auth: %w", err)
	}
	t.pins, err = dialing.Pins(t.TLSPins, t.HTTPTransport)
	return err
}

// warn logs options that are allowed but not recommended.
func (t *Transport) warn() {
	if stdlog.Verbose() {
		t.logger.Warn("GODEBUG=http2debug: credentials and tokens are written to Caddy's log in clear text; unset it")
	}
	if t.TLS == nil {
		t.logger.Warn("insecure_http: credentials and tokens are sent to the server in clear text")
	} else if t.TLS.InsecureSkipVerify && len(t.TLSPins) == 0 {
		t.logger.Warn("tls_insecure_skip_verify: credentials are sent to any host that answers at the server's address; use tls_pin or tls_trust_pool instead")
	}
	if t.Cache != nil && !account.HasPlaceholder(t.Cache.EncryptionKey) {
		t.logger.Warn("the encryption key of the cache is in clear text in the configuration, and the admin API shows it: use {env.NAME} or {file./path}")
	}
	for _, a := range t.Accounts {
		if options := a.PlainSecrets(); len(options) > 0 {
			t.logger.Warn("a secret is in clear text in the configuration, and the admin API shows it: use {env.NAME} or {file./path}",
				zap.String("account", a.Name), zap.Strings("options", options))
		}
	}
}

// accountEnv returns the values that accounts take from the transport.
func (t *Transport) accountEnv() account.Env {
	env := account.Env{Product: t.product.Name, Expand: expand}
	if t.Cache != nil {
		env.Keys = t.Cache.Shared().Keys.Read
	}
	return env
}

// expand replaces placeholders as Caddy does.
func expand(text string, lookup func(string) (any, bool)) (string, error) {
	system, repl := caddy.NewReplacer().WithoutFile(), caddy.NewEmptyReplacer()
	repl.Map(func(key string) (any, bool) {
		if value, known := lookup(key); known {
			return value, true
		}
		return system.Get(key)
	})
	return repl.ReplaceOrErr(text, true, true)
}

// checkSealed returns an error for a sealed secret that cannot be opened.
func (t *Transport) checkSealed() error {
	if t.Cache != nil {
		return nil
	}
	for _, a := range t.Accounts {
		if sealed := a.SealedSecrets(); len(sealed) > 0 {
			return fmt.Errorf("account %s: %s is sealed and requires a cache: write cache { encryption_key … } with the key it was sealed with", a.Name, sealed[0])
		}
	}
	return nil
}

// Cleanup releases the sessions and closes idle connections.
func (t *Transport) Cleanup() error {
	if t.server != nil {
		t.server.Close()
	}
	t.tries.Close()
	t.Cache.Cleanup()
	if t.HTTPTransport == nil {
		return nil
	}
	return t.HTTPTransport.Cleanup()
}

// RoundTrip implements http.RoundTripper. reverse_proxy may call it several times for a
// request, each time with another upstream.
func (t *Transport) RoundTrip(req *http.Request) (res *http.Response, err error) {
	state := stateOf(req.Context())
	difference := mismatch(req, state)
	if state == nil {
		if difference != "" {
			res, _ = t.refuseMismatch(req, nil, difference)
			return res, nil
		}
		return t.passOn(req, nil)
	}
	*state.found = found{spent: state.found.spent}
	atomic.StoreInt32(&state.dials, 0)
	answer.AskOnce(req)
	if difference == "" {
		req, difference = bind(req, state)
	}
	if difference != "" {
		res, state.found.refused = t.refuseMismatch(req, state, difference)
		return res, nil
	}
	if state.spent(req.Body) {
		return nil, errSpent
	}
	res, state.found.refused, err = t.answer(req, state)
	if err != nil {
		if _, ok := errors.AsType[reverseproxy.DialError](err); ok {
			state.approved.Unsent()
		}
	}
	return res, err
}

// errSpent is the error of a request that reverse_proxy sends to another upstream without
// its body, which was sent to an earlier one. request_buffers keeps it.
var errSpent = errors.New("the body of the request was sent to another upstream and is not kept for a retry; set request_buffers")

// spent reports whether an earlier attempt may have read a body. Other handlers make bodies
// of types that cannot be compared.
func (state *requestState) spent(body io.ReadCloser) bool {
	earlier := state.found.spent
	return earlier != nil && (!reflect.ValueOf(earlier).Comparable() || earlier == body)
}

// spend notes that the body of a request may have been read in an attempt that ended with
// err: if a server was reached.
func (state *requestState) spend(req *http.Request, err error) {
	_, reached := errors.AsType[*reauth.AgainError](err)
	if _, lost := errors.AsType[*reauth.NoTokenError](err); lost {
		reached = true
	}
	if _, dial := errors.AsType[reverseproxy.DialError](err); (reached || !dial) && req.Body != http.NoBody {
		state.found.spent = req.Body
	}
}

// mismatch describes the difference between the request and the decision, empty if
// there is none. Only health checks have no decision: requests that come through a site
// have variables.
func mismatch(req *http.Request, state *requestState) string {
	switch {
	case state != nil:
		return state.sent.Mismatch(req)
	case req.Context().Value(caddyhttp.VarsCtxKey) == nil:
		return ""
	}
	return "no handler veeam_auth decided about it"
}

// bind binds a request to its approval, and describes the difference between the two.
func bind(req *http.Request, state *requestState) (out *http.Request, difference string) {
	if state.decision.Approval && state.approved == nil {
		return req, "no approval"
	}
	if out, difference = state.approved.Bind(req); difference != "" {
		return req, difference
	}
	return out, ""
}

// refuseMismatch answers a request that is not sent because of a difference.
func (t *Transport) refuseMismatch(req *http.Request, state *requestState, difference string) (*http.Response, *veeam.Refusal) {
	refusal := veeam.Refusal{
		Reason:  veeam.ReasonDecisionMismatch,
		Message: "The request was changed after it was decided about, and is not sent. See the log of veeam-auth.",
	}
	said := "request not sent: it differs from the decided request. Move handlers that change requests before veeam_auth"
	fields := []zap.Field{zap.String("difference", difference), zap.String("method", req.Method), zap.String("path", req.URL.EscapedPath())}
	if state != nil {
		fields = append(fields, zap.String("decided_method", state.sent.Method), zap.String("decided_path", state.sent.Path))
	} else {
		refusal.Message = "No handler veeam_auth has decided about the request, and it is not sent. See the log of veeam-auth."
		said = "request not sent: no handler veeam_auth has decided about it. Write the handler veeam_auth before this reverse_proxy, in the same route"
	}
	t.logger.Error(said, fields...)
	t.metrics.Mismatches.WithLabelValues(t.product.Name).Inc()
	t.mismatched(state, difference)
	return answer.Refuse(t.product, req, refusal, state.spells()), &refusal
}

// passOn sends a request that requires no session.
func (t *Transport) passOn(req *http.Request, state *requestState) (*http.Response, error) {
	if state != nil {
		state.approved.Sending()
	}
	res, err := stdlog.Send(t.HTTPTransport, t.outgoing(req, state, t.anonymousVersion(req, state)))
	if err != nil && state != nil {
		state.spend(req, err)
	}
	if err == nil || state == nil || req.Body == nil { // else it may be the client's body that broke off
		t.server.Checked(req.Context(), dialing.Address(req), res, err)
	}
	return res, err
}

// answer gets the response from the server, or makes it. The refusal is nil if the
// response is not one.
func (t *Transport) answer(req *http.Request, state *requestState) (res *http.Response, refused *veeam.Refusal, err error) {
	if state.route == veeam.RouteAnonymous {
		if res, err = t.passOn(req, state); err != nil {
			return nil, nil, err
		}
		return t.pass(req, state, res)
	}
	user, login := state.user, ""
	if state.login != nil {
		var challenge *passthrough.Challenge
		if user, challenge, err = state.login.At(req.Context(), state.login.Where(t.upstreamOf(req, state))); err != nil {
			return t.refuse(req, state, err)
		}
		if challenge != nil {
			status, body := t.product.MFAChallenge(challenge.User, challenge.Token, challenge.Shape)
			return answer.New(req, status, contentTypeJSON, body), nil, nil
		}
		login = user.Token()
	}
	var source *upstream.Source
	request := state.request()
	switch {
	case state.caller.Via == policy.ViaPassthrough:
		at := state.login.Where(t.upstreamOf(req, state))
		request = at.Request
		source, err = user.Source(at)
	case len(t.Accounts) == 0:
		err = passthrough.ErrCredentialRequired
	default:
		source, err = t.server.Source(dialing.Address(req), state.account, func() upstream.Place { return t.place(req) })
	}
	if err != nil {
		return t.refuse(req, state, err)
	}
	tok, session, err := source.Token(req.Context(), request)
	if err != nil {
		return t.refuse(req, state, err)
	}
	state.spells().See(upstream.ShapeOf(tok))
	if state.answer != nil {
		res, refused = state.answer(tok, login)
		return res, refused, nil
	}
	out := t.outgoing(req, state, cmp.Or(t.APIVersion, source.FoundVersion()))
	state.approved.Sending()
	if res, err = t.sender.Send(req, out, source, session, tok, request); err != nil {
		state.spend(req, err)
	}
	if lost, ok := errors.AsType[*reauth.NoTokenError](err); ok {
		state.approved.Answered()
		return t.refuse(req, state, lost.Err)
	}
	if again, ok := errors.AsType[*reauth.AgainError](err); ok {
		state.approved.Answered()
		err = again.Err
	}
	if err != nil {
		return nil, nil, err
	}
	if !t.product.Linked {
		return t.pass(req, state, res)
	}
	if newer, _ := session.Current(time.Now()); newer != nil && newer != tok {
		return t.pass(req, state, res, newer, tok) // it may have been sent again
	}
	return t.pass(req, state, res, tok)
}

// pass changes a response of the server for the client. sent are the tokens with which
// the request was sent, which only products with links need.
func (t *Transport) pass(req *http.Request, state *requestState, res *http.Response, sent ...*tokencache.Token) (*http.Response, *veeam.Refusal, error) {
	if answer.Refers(res.Header) {
		answer.LeadHere(res.Header, t.spoken(req).BaseURL(dialing.Address(req)), t.BasePath, state.origin())
	}
	terms, websocket := state.terms(t.product), state.sent.Websocket
	if terms == (answer.Terms{}) {
		if plain, fit := answer.Plain(res, websocket); fit {
			return plain, nil, nil
		}
	}
	x := answer.Exchange{
		Terms: terms, Product: t.product, Request: req, Method: state.sent.Method, Path: state.sent.Path,
		Journal: state.journal, Log: t.logger, Spelling: state.spells(), Websocket: websocket,
	}
	if x.Linked {
		x.Site = state.origin()
		for _, tok := range sent {
			x.Links, x.Sessions = upstream.ShapeOf(tok).LinksFrom(), append(x.Sessions, t.product.SessionNames(tok.Access, tok.Refresh)...)
		}
	}
	res, refused := x.Pass(res)
	return res, refused, nil
}

// outgoing returns the request to send. Its headers are a copy, so that no token
// remains in a request that Caddy may log; those from the forwarder are one already. If a
// handler has admitted the request, it has no headers by which the client identified
// itself.
func (t *Transport) outgoing(req *http.Request, state *requestState, version string) *http.Request {
	terms := state.terms(t.product)
	if terms == (answer.Terms{}) && forwarder.Made(req) {
		return t.addressed(req, req, version)
	}
	out := new(http.Request)
	*out = *req
	// Room for the token, the version and what Ask adds, because growing would cost more
	// than the copy.
	out.Header = make(http.Header, len(req.Header)+4)
	for name, values := range req.Header {
		if state == nil || !headers.Withheld(name) {
			out.Header[name] = values
		}
	}
	terms.Ask(out)
	return t.addressed(req, out, version)
}

// addressed completes what is sent for req: host, version and path.
func (t *Transport) addressed(req, out *http.Request, version string) *http.Request {
	out.Host = t.host(req)
	t.product.SetVersion(out.Header, version)
	headers.SentOnce(out.Header)
	out.Trailer = nil // set when everything is decided
	if t.BasePath != "" {
		if out == req {
			out = new(http.Request)
			*out = *req
		}
		below := *req.URL
		below.Path = t.BasePath + below.Path
		if below.RawPath != "" {
			below.RawPath = t.BasePath + below.RawPath
		}
		out.URL = &below
	}
	return out
}

// refuse answers a request for which there is no token.
func (t *Transport) refuse(req *http.Request, state *requestState, err error) (*http.Response, *veeam.Refusal, error) {
	if errors.Is(err, context.Canceled) && req.Context().Err() != nil {
		return nil, nil, context.Canceled // the client has disconnected
	}
	elsewhere := state.login != nil && state.login.Where(t.upstreamOf(req, state)).Address != dialing.Address(req)
	if dial, ok := errors.AsType[reverseproxy.DialError](err); ok && !elsewhere {
		return nil, nil, dial // so that reverse_proxy may try another upstream
	}
	r, said := answer.RefusalOf(err, time.Now(), upstream.ResolveEvery), t.said
	if state.caller.Via == policy.ViaPassthrough || errors.Is(err, passthrough.ErrCredentialRequired) {
		r = passthrough.Refusal(err, state.route == veeam.RouteToken, state.login != nil, r)
		said = nil // whose login has failed is written each time
	}
	r.AtTokenEndpoint = state.route == veeam.RouteToken
	state.journal.NoSession(err, answer.Advice(err), said)
	return answer.Refuse(t.product, req, r, state.spells()), &r, nil
}

func (t *Transport) replayed(result string) {
	t.metrics.Replays.WithLabelValues(t.product.Name, result).Inc()
}

// LookupProduct returns the product with the given name; an empty name is the default,
// vbr. The error lists the names.
func LookupProduct(name string) (*veeam.Product, error) {
	p, ok := veeam.Lookup(cmp.Or(name, defaultProduct))
	if !ok {
		return nil, fmt.Errorf("veeam_auth: unknown product %q (allowed: %s)", name, strings.Join(veeam.Names(), ", "))
	}
	return p, nil
}

// Interface guards
var (
	_ caddy.Provisioner         = (*Transport)(nil)
	_ caddy.CleanerUpper        = (*Transport)(nil)
	_ http.RoundTripper         = (*Transport)(nil)
	_ reverseproxy.TLSTransport = (*Transport)(nil)
	_ reverseproxy.H2CTransport = (*Transport)(nil)
	_ caddy.Provisioner         = (*App)(nil)
)
