// The commands about rules: why a request is allowed or denied, and which rules
// a log asks for.

package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/spf13/cobra"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

func newPolicyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Explains rules, and makes some from a log",
	}
	group(cmd, newPolicyTestCommand(), newPolicySuggestCommand())
	return cmd
}

// viaUnknown stands for a caller whom nothing speaks for.
const viaUnknown = "unknown"

var vias = []string{
	string(policy.ViaClient), string(policy.ViaCaddy), string(policy.ViaCertificate), string(policy.ViaPassthrough), string(policy.ViaUnix), string(policy.ViaLoopback), viaUnknown,
}

type policyTestOptions struct {
	configFlags
	client, via string
	headers     []string
}

func newPolicyTestCommand() *cobra.Command {
	var o policyTestOptions
	cmd := &cobra.Command{
		Use:   "test <config> <method> <url> [--client <name>] [--via <way>] [--header <name: value>]",
		Short: "Says how a request would be decided, by which rule, and as which account",
		Long: `
Reads a configuration and says what its rules make of a request. Nothing is started
or sent, and no secret is read. The URL chooses the site; a path alone will do if
the configuration has one site with veeam_auth.

The caller is a program on this machine, unless --client names one: a client of the
configuration, or, with --via caddy or --via certificate, somebody whom Caddy has
authenticated. --via unknown stands for a caller whom nothing speaks for. Limits
are not looked at.

Exit codes: 0 the request is allowed; 1 wrong usage or configuration; 2 it is
denied.`,
		Example: `  caddy veeam-auth policy test Caddyfile GET /api/v1/jobs --client grafana
  caddy veeam-auth policy test Caddyfile DELETE https://vbr-sidecar.lab.local/api/v1/jobs/5 --via certificate --client CN=ci`,
		Args: cobra.ExactArgs(3),
		RunE: runCommand(o.run),
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.adapter, "adapter", "a", "", "Adapter of the configuration, such as caddyfile; default: by the name of the file")
	flags.StringVar(&o.client, "client", "", "The name of the caller")
	flags.StringVar(&o.via, "via", "", "How the caller is known: "+strings.Join(vias, ", "))
	flags.StringArrayVar(&o.headers, "header", nil, "A header of the request, for rules about headers; may be repeated")
	return cmd
}

func (o *policyTestOptions) run(cmd *cobra.Command, args []string) error {
	o.config = args[0]
	r, err := o.request(args[1], args[2])
	if err != nil {
		return err
	}
	c, err := o.load(cmd.InOrStdin(), cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	guard, err := c.guardOf(r)
	if err != nil {
		return err
	}
	defer guard.close()
	caller, known, err := o.caller(guard.handler)
	if err != nil {
		return err
	}
	x := guard.explain(r, caller, known)
	x.print(cmd.OutOrStdout())
	if !x.allowed {
		return failed(errors.New("the request is denied"))
	}
	return nil
}

// request is the one that the arguments describe.
func (o *policyTestOptions) request(method, address string) (*http.Request, error) {
	u, err := url.Parse(address)
	if err != nil || !strings.HasPrefix(u.EscapedPath(), "/") {
		return nil, fmt.Errorf("%q is neither a URL nor a path", address)
	}
	r := &http.Request{
		Method: method, URL: u, Host: u.Host, RequestURI: u.RequestURI(), Header: http.Header{}, Body: http.NoBody,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RemoteAddr: "127.0.0.1:1",
	}
	for _, line := range o.headers {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("--header %q has no colon", line)
		}
		r.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), nil, new(caddyhttp.Server)), nil
}

// caller is whom the flags name, and whether they speak of one who is known.
func (o *policyTestOptions) caller(h *Handler) (caller policy.Caller, known bool, err error) {
	if o.via != "" && !slices.Contains(vias, o.via) {
		return caller, false, fmt.Errorf("--via %s: write one of %s", o.via, strings.Join(vias, ", "))
	}
	caller = policy.Caller{Name: o.client, Via: policy.Via(o.via)}
	if parsed, err := policy.ParseIdentity(o.client); err == nil && o.via == "" && parsed.Identity() == o.client {
		caller = parsed // such as certificate:CN=ci
	}
	client := h.clients.byName[caller.Name]
	switch {
	case o.via == viaUnknown:
		return policy.Caller{}, false, nil
	case caller.Via == policy.ViaClient && client != nil:
		return client.caller(), true, nil
	case caller.Via == policy.ViaClient:
		return caller, false, fmt.Errorf("there is no client named %q; --via caddy or --via certificate stands for callers with names of other origin", o.client)
	case caller.Via == "":
		caller.Via = policy.ViaLoopback
	}
	if caller.Via.ByAddress() {
		if o.client != "" && o.via != "" {
			return caller, false, fmt.Errorf("a caller with --via %s has no name", o.via)
		}
		caller.Name = string(caller.Via)
	}
	if caller.Name == "" {
		return caller, false, fmt.Errorf("--via %s needs the name of the caller: --client", o.via)
	}
	return caller, true, nil
}

// explanation is what becomes of a request, and why.
type explanation struct {
	allowed bool
	lines   [][2]string
}

func (x *explanation) say(what, format string, args ...any) {
	x.lines = append(x.lines, [2]string{what, fmt.Sprintf(format, args...)})
}

func (x *explanation) print(out io.Writer) {
	for _, line := range x.lines {
		fmt.Fprintf(out, "%-10s %s\n", line[0], line[1])
	}
}

// explain decides about a request as the handler does.
func (g *guard) explain(r *http.Request, caller policy.Caller, known bool) *explanation {
	x, h := new(explanation), g.handler
	asked := sent{method: r.Method, path: r.URL.EscapedPath(), query: r.URL.RawQuery}
	x.say("request", "%s %s", asked.method, asked.target())
	x.say("site", "%s, product %s", g.name, h.product.Name)
	decided, refusal := canonical(r)
	if refusal != nil {
		x.say("decision", "denied with %d: %s", h.product.Status(*refusal), h.product.Message(*refusal))
		return x
	}
	if decided.method != asked.method || decided.target() != asked.target() {
		x.say("sent as", "%s %s", decided.method, decided.target())
	}
	e := &exchange{caller: caller, sent: decided, route: h.product.Classify(decided.method, r.URL.Path)}
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	repl.Map(e.placeholders)
	if caller.Via == policy.ViaCaddy {
		repl.Set("http.auth.user.id", caller.Name)
	}
	if known {
		x.say("caller", "%s, known by %s", caller.Name, caller.Via)
	} else {
		x.say("caller", "not known")
	}
	switch e.route {
	case veeam.RouteToken, veeam.RouteLogout, veeam.RouteAuthorizationCode:
		x.allowed = known || e.route == veeam.RouteToken
		x.say("decision", "answered by veeam_auth itself (%s): no rule is asked", e.route)
		return x
	}
	if e.route == veeam.RouteClosed {
		x.say("decision", "denied with 403: %s", h.closedRoute().Message)
		return x
	}
	h.lookup(e)
	x.operation(e.operation)
	restore := h.show(r, e)
	g.rules(x, r, e, known)
	restore()
	g.account(x, r, e, known)
	return x
}

func (x *explanation) operation(op operation.Operation) {
	if op.Class == operation.Unknown {
		x.say("operation", "not in the index, class %s", op.Class)
		return
	}
	x.say("operation", "%s (%s), class %s", op.Name, op.Group, op.Class)
}

// rules goes through the rules up to the one that decides.
func (g *guard) rules(x *explanation, r *http.Request, e *exchange, known bool) {
	h := g.handler
	if len(h.Rules) == 0 && h.Default == "" {
		if x.allowed = known; known {
			x.say("decision", "allowed: there are no rules")
		} else {
			x.say("decision", "denied with 401: the caller is not known, and no rule lets such callers in")
		}
		return
	}
	e.decision, _ = h.rules.Decide(r, known)
	for i, rule := range h.rules.Rules {
		if i+1 == e.decision.Rule {
			break
		}
		matched, err := rule.Matches(r)
		outcome := "does not match"
		switch {
		case err != nil:
			outcome = "cannot be decided: " + err.Error()
		case matched && rule.Shadow:
			outcome = "matches, and is not obeyed"
		case matched:
			outcome = "matches, and is not for callers who are not known"
		}
		x.say("", "%s (%s) %s", h.source(i+1), rule.Effect, outcome)
	}
	x.allowed = e.decision.Allowed
	verdict := "denied with 403"
	switch {
	case x.allowed:
		verdict = "allowed"
	case !known:
		verdict = "denied with 401"
	}
	x.say("decision", "%s by %s", verdict, h.source(e.decision.Rule))
	if shadow := e.decision.Shadow; shadow != 0 {
		x.say("shadow", "%s would decide otherwise", h.source(shadow))
	}
}

// account says as whom the request would be sent.
func (g *guard) account(x *explanation, r *http.Request, e *exchange, known bool) {
	switch e.account = g.handler.accountFor(r, e); {
	case e.route == veeam.RouteAnonymous:
		x.say("account", "none: the route needs no session")
	case !known:
		x.say("account", "none: callers who are not known act as no account")
	case e.account != "":
		x.say("account", "%s", e.account)
	case g.handler.ActAs != "":
		x.allowed = false
		x.say("account", "none: act_as yields nothing for this request, which is denied with 403")
	default:
		x.say("account", "%s, the first", g.first)
	}
}
