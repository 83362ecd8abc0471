// The commands about rules: why a request is allowed or denied, and which rules
// a log asks for.

package command

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-veeam/veeam-auth/caddymodule"
	"github.com/caddy-veeam/veeam-auth/internal/keys"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

func newPolicyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Explains rules, derives rules from a log, and indexes operations",
	}
	group(cmd, newPolicyTestCommand(), newPolicySuggestCommand(), newPolicyIndexCommand())
	return cmd
}

// viaUnknown stands for a caller whom nothing speaks for.
const viaUnknown = "unknown"

var vias = []string{
	string(policy.ViaClient), string(policy.ViaCaddy), string(policy.ViaCertificate), string(policy.ViaPassthrough), string(policy.ViaJWT), string(policy.ViaUnix), string(policy.ViaLoopback), viaUnknown,
}

type policyTestOptions struct {
	configFlags
	client, via string
	headers     []string
	key, at     string
	claims      string
	scope       keys.Scope
}

func newPolicyTestCommand() *cobra.Command {
	var o policyTestOptions
	cmd := &cobra.Command{
		Use:   "test <config> <method> <url> [--client <name>] [--via <way>] [--header <name: value>]",
		Short: "Explains the decision about a request: rule and account",
		Long: `
Reads a configuration and explains how its rules decide about a request. Nothing is
started or sent, and no secret is read. The URL selects the site; a path is enough
if the configuration has one site with veeam_auth.

The caller is a program on this machine, unless --client names one: a client of the
configuration, or, with --via caddy or --via certificate, a caller that Caddy has
authenticated. --via unknown is a caller without any authentication. Rate limits are
ignored.

--key names a key of the client in the configuration. The scope of an issued key, which
is in the storage, is described with --preset and --account. Addresses of keys are
ignored. --jwt-claims names a file with the claims of a token of an identity provider
(trust_jwt), in JSON, or - for the standard input; neither a signature nor times are
checked. --at decides as at another time, such as 2027-01-31T18:00:00+01:00.

Exit codes: 0 the request is allowed; 1 invalid usage or configuration; 2 it is
denied, or requires an approval.`,
		Example: `  caddy veeam-auth policy test Caddyfile GET /api/v1/jobs --client grafana
  caddy veeam-auth policy test Caddyfile DELETE https://vbr-sidecar.lab.local/api/v1/jobs/5 --via certificate --client CN=ci`,
		Args: arguments(3, 3),
		RunE: runCommand(o.run),
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.adapter, "adapter", "a", "", "Adapter of the configuration, such as caddyfile. Default: by file name")
	flags.StringVar(&o.client, "client", "", "Name of the caller")
	flags.StringVar(&o.via, "via", "", "How the caller is authenticated: "+strings.Join(vias, ", "))
	flags.StringVar(&o.key, "key", "", "Name of the client's key in the configuration")
	flags.StringVar(&o.scope.Preset, "preset", "", "Preset of the client's key")
	flags.StringVar(&o.scope.Account, "account", "", "Account of the client's key")
	flags.StringVar(&o.claims, "jwt-claims", "", "File with the claims of the caller's token, in JSON")
	flags.StringVar(&o.at, "at", "", "Time of the request, in the form of RFC 3339. Default: now")
	flags.StringArrayVar(&o.headers, "header", nil, "Header of the request, for rules about headers; may be repeated")
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
	caller, known, err := o.caller(guard.handler, cmd.InOrStdin())
	if err == nil {
		caller.Key, err = o.keyOf(guard.handler, caller)
	}
	if err != nil {
		return err
	}
	x := guard.handler.Explain(r, caller, known)
	guard.explain(cmd.OutOrStdout(), &x, caller, known)
	switch {
	case x.Refusal == nil:
		return nil
	case x.Refusal.Reason == veeam.ReasonApprovalRequired:
		return failed(errors.New("the request requires an approval"))
	}
	return failed(errors.New("the request is denied"))
}

// request is the one that the arguments describe.
func (o *policyTestOptions) request(method, address string) (*http.Request, error) {
	header := make(http.Header)
	for _, line := range o.headers {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("--header %q has no colon", line)
		}
		header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	r, err := caddymodule.ExplainRequest(method, address, header)
	if err == nil && o.at != "" {
		var at time.Time
		if at, err = time.Parse(time.RFC3339, o.at); err != nil {
			return nil, fmt.Errorf("--at: %q is not a time such as 2027-01-31T18:00:00+01:00", o.at)
		}
		r = r.WithContext(policy.WithTime(r.Context(), at))
	}
	return r, err
}

// keyOf is the key that the flags describe, nil without one.
func (o *policyTestOptions) keyOf(h *caddymodule.Handler, caller policy.Caller) (*policy.Key, error) {
	switch scoped := o.scope.Preset != "" || o.scope.Account != ""; {
	case o.key == "" && !scoped:
		return nil, nil
	case caller.Via != policy.ViaClient:
		return nil, errors.New("a key requires --client with a client of the configuration")
	case o.key != "" && scoped:
		return nil, errors.New("--key is not allowed with --preset or --account: the scope of the key is in the configuration")
	case o.key != "":
		if key := h.Key(o.key); key != nil && key.Client == caller.Name {
			return key, nil
		}
		return nil, fmt.Errorf("client %s has no key named %s in the configuration; describe an issued key with --preset and --account", caller.Name, o.key)
	}
	scope, err := o.scope.Parse()
	return &policy.Key{Name: "issued", Client: caller.Name, Scope: scope}, err
}

// caller is whom the flags name, and whether they speak of one who is known.
func (o *policyTestOptions) caller(h *caddymodule.Handler, in io.Reader) (caller policy.Caller, known bool, err error) {
	if o.via != "" && !slices.Contains(vias, o.via) {
		return caller, false, fmt.Errorf("--via %s is not allowed (allowed: %s)", o.via, strings.Join(vias, ", "))
	}
	if o.claims != "" {
		if o.client != "" || o.via != "" {
			return caller, false, errors.New("--jwt-claims is not allowed with --client or --via: the claims name the caller")
		}
		text, err := o.readClaims(in)
		if err == nil {
			caller, err = h.CallerByClaims(text)
		}
		return caller, err == nil, err
	}
	caller = policy.Caller{Name: o.client, Via: policy.Via(o.via)}
	if parsed, err := policy.ParseIdentity(o.client); err == nil && o.via == "" && parsed.Identity() == o.client {
		caller = parsed // such as certificate:CN=ci
	}
	client, configured := h.Caller(caller.Name)
	switch {
	case o.via == viaUnknown:
		return policy.Caller{}, false, nil
	case caller.Via == policy.ViaClient && configured:
		return client, true, nil
	case caller.Via == policy.ViaClient:
		return caller, false, fmt.Errorf("no client named %q: set --via caddy or --via certificate for other kinds of callers", o.client)
	case caller.Via == "":
		caller.Via = policy.ViaLoopback
	}
	if caller.Via.ByAddress() {
		if o.client != "" && o.via != "" {
			return caller, false, fmt.Errorf("--via %s does not accept --client: such callers have no name", o.via)
		}
		caller.Name = string(caller.Via)
	}
	if caller.Name == "" {
		return caller, false, fmt.Errorf("--via %s requires --client", o.via)
	}
	return caller, true, nil
}

// maxClaims is the size of claims, in bytes.
const maxClaims = 64 << 10

func (o *policyTestOptions) readClaims(in io.Reader) ([]byte, error) {
	if o.claims != "-" {
		file, err := os.Open(o.claims)
		if err != nil {
			return nil, fmt.Errorf("--jwt-claims: %w", err)
		}
		defer file.Close()
		in = file
	}
	return io.ReadAll(io.LimitReader(in, maxClaims))
}

// explain says what becomes of a request, line by line.
func (g *guard) explain(out io.Writer, x *caddymodule.Explanation, caller policy.Caller, known bool) {
	say := func(what, format string, args ...any) {
		fmt.Fprintf(out, "%-10s %s\n", what, fmt.Sprintf(format, args...))
	}
	say("request", "%s", x.Asked)
	say("site", "%s, product %s", g.name, x.Product)
	if x.Ambiguous {
		say("decision", "denied with %d: %s", x.Status, x.Message)
		return
	}
	if x.Sent != x.Asked {
		say("sent as", "%s", x.Sent)
	}
	if known {
		say("caller", "%s, authenticated by %s", caller.Name, caller.Via)
	} else {
		say("caller", "unknown")
	}
	if !x.Proxied {
		switch {
		case x.Refusal == nil:
			say("decision", "answered by veeam_auth itself (%s), without rules", x.Route)
		case !known:
			say("decision", "denied with %d: the caller is unknown", x.Status)
		default:
			say("decision", "denied with %d: %s", x.Status, x.Message)
		}
		return
	}
	if x.Operation.Class == operation.Unknown {
		say("operation", "not in the index, class %s", x.Operation.Class)
	} else {
		say("operation", "%s (%s), class %s", x.Operation.Name, x.Operation.Group, x.Operation.Class)
	}
	if caller.Key != nil {
		say("key", "%s, %s", caller.Key.Name, cmp.Or(caller.Key.Scope.String(), "without a scope"))
	}
	if x.Narrowed != "" {
		say("decision", "denied with %d before the rules: %s", x.Status, x.Narrowed)
		return
	}
	explainRules(say, x, known)
	noAccount := x.Refusal != nil && x.Refusal.Reason == veeam.ReasonNoAccount
	switch {
	case x.Route == veeam.RouteAnonymous:
		say("account", "none: the route needs no session")
	case !known:
		say("account", "none: unknown callers act as no account")
	case caller.Via == policy.ViaPassthrough:
		say("account", "none: the caller acts as its own user")
	case x.Account != "":
		say("account", "%s", x.Account)
	case noAccount:
		say("account", "none: act_as is empty for this request, which is denied with %d", x.Status)
	default:
		say("account", "%s, the default", g.first)
	}
}

// explainRules goes through the rules up to the one that decides.
func explainRules(say func(what, format string, args ...any), x *caddymodule.Explanation, known bool) {
	if !x.Ruled {
		if known {
			say("decision", "allowed: there are no rules")
		} else {
			say("decision", "denied with %d: the caller is unknown, and no rule has unknown_callers", x.Status)
		}
		return
	}
	for _, rule := range x.Rules {
		say("", "%s (%s) %s", rule.Source, rule.Effect, rule.Outcome)
	}
	switch {
	case x.Decision.Allowed:
		say("decision", "allowed by %s", x.Source)
	case x.Decision.Approval:
		say("decision", "needs approval by %s: allowed once an operator has approved this request", x.Source)
	default:
		say("decision", "denied with %d by %s", x.Status, x.Source)
	}
	if x.Shadow != "" {
		say("shadow", "%s would decide otherwise", x.Shadow)
	}
}
