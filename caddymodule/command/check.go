// The command that says what works and what does not.

package command

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// States of a step.
const (
	stepOK      = "ok"
	stepFailed  = "failed"
	stepSkipped = "skipped"
	stepWarning = "warning" // the report is good all the same
)

// checkStep is one line of the report.
type checkStep struct {
	Name   string       `json:"step"`
	State  string       `json:"state"`
	Detail string       `json:"detail"`
	Reason veeam.Reason `json:"reason,omitempty"`
	Help   string       `json:"help,omitempty"`
}

// checkReport is what was found out about one account at one server, or about an identity
// provider, whose keys are at the server.
type checkReport struct {
	Account string       `json:"account"`
	Server  string       `json:"server"`
	Product string       `json:"product"`
	Issuer  string       `json:"issuer,omitempty"`
	OK      bool         `json:"ok"`
	Reason  veeam.Reason `json:"reason,omitempty"` // of the first step that failed
	Steps   []checkStep  `json:"steps"`
}

func (r *checkReport) ok(name, detail string) {
	r.Steps = append(r.Steps, checkStep{Name: name, State: stepOK, Detail: detail})
}

func (r *checkReport) skip(name, why string) {
	r.Steps = append(r.Steps, checkStep{Name: name, State: stepSkipped, Detail: why})
}

func (r *checkReport) warn(name, detail, help string) {
	r.Steps = append(r.Steps, checkStep{Name: name, State: stepWarning, Detail: detail, Help: help})
}

func (r *checkReport) fail(name string, reason veeam.Reason, detail, help string) {
	r.Steps = append(r.Steps, checkStep{Name: name, State: stepFailed, Detail: detail, Reason: reason, Help: help})
	if r.Reason == "" {
		r.Reason = reason
	}
	r.OK = false
}

type checkOptions struct {
	configFlags
	login, json bool
}

// newCheckCommand returns `caddy veeam-auth check`.
func newCheckCommand() *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use:   "check [<account>] [--login] [--json] [--config <file>]",
		Short: "Checks storage, network, TLS, product, API version, login and keys of providers",
		Long: `
Checks each server of the configuration, or of one account, with the TLS options,
pins and secrets that Caddy would use: reachability, trust, product and the API
versions that the server serves. None of this requires or sends a credential. A
test key is written to Caddy's storage, read and deleted. Without an account, the
keys of each trust_jwt are read as well, from their file or address.

With --login the account logs in once: one request with its credential, and one
with a verification code if the server requires it. Grants that would use up a
one-time code or a refresh token are not tried. At VSPC a login may end other
sessions of the same user, including that of a running Caddy. The login counts
against the user's lock-out budget, which is in Caddy's storage: run the command as
Caddy's user. The report shows the remaining tries. If none is left, nothing is sent.

Each failure has a reason, as in the metrics, the log and "caddy veeam-auth
sessions"; docs/behaviour.md lists them. A product without verification codes
refuses a wrong password and a user with multi-factor authentication alike:
credential_or_mfa. A server that is not recognized without a login is a warning.

Exit codes: 0 nothing failed, though there may be warnings; 1 invalid usage or
configuration; 2 a check failed.`,
		Example: `  caddy veeam-auth check
  caddy veeam-auth check svc-monitor --login --json`,
		Args: arguments(0, 1),
		RunE: runCommand(o.run),
	}
	o.add(cmd)
	cmd.Flags().BoolVar(&o.login, "login", false, "Log in once")
	cmd.Flags().BoolVar(&o.json, "json", false, "Print the result as JSON")
	return cmd
}

func (o *checkOptions) run(cmd *cobra.Command, args []string) error {
	c, err := o.load(cmd.InOrStdin(), cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	places, err := o.places(c, args)
	if err != nil {
		return err
	}
	reports := []*checkReport{}
	broken := false
	for _, p := range places {
		r, err := c.reach(p)
		if err != nil {
			return err
		}
		report := r.check(cmd.Context(), o.login)
		r.close()
		if len(args) == 0 && !o.login {
			report.Account = "" // nothing of it was about an account
		}
		reports, broken = append(reports, report), broken || !report.OK
	}
	if len(args) == 0 && o.upstream == "" {
		for _, p := range c.providers {
			report := checkProvider(cmd.Context(), p)
			reports, broken = append(reports, report), broken || !report.OK
		}
	}
	if o.json {
		err = printJSON(cmd.OutOrStdout(), reports)
	} else {
		for _, report := range reports {
			report.print(linesTo(cmd.OutOrStdout()))
		}
	}
	if err == nil && broken {
		err = failed(errors.New("a check failed"))
	}
	return err
}

// places are what to check: an account, or each server once.
func (o *checkOptions) places(c *configuration, args []string) ([]configPlace, error) {
	if len(args) == 1 {
		p, err := c.find(args[0], o.upstream)
		return []configPlace{p}, err
	}
	all := c.places("", o.upstream)
	if o.login && len(all) > 1 {
		return nil, fmt.Errorf("--login requires the name of one account, such as %s", all[0].account)
	}
	var servers []configPlace
	type key struct {
		*configSite
		upstream string
	}
	seen := map[key]bool{}
	for _, p := range all {
		if k := (key{p.site, p.upstream}); !seen[k] {
			seen[k] = true
			servers = append(servers, p)
		}
	}
	if len(servers) == 0 {
		if o.upstream != "" {
			_, err := c.find("", o.upstream)
			return nil, err
		}
		return nil, fmt.Errorf("%s has no fixed server: choose one with --upstream", c.name)
	}
	return servers, nil
}

func (r *checkReport) print(out io.Writer) {
	title := r.Server
	if r.Issuer != "" {
		title = r.Issuer + ", keys at " + title
	}
	if r.Account != "" {
		title = r.Account + " at " + title
	}
	fmt.Fprintf(out, "%s (%s)\n", title, r.Product)
	for _, s := range r.Steps {
		state := s.State
		if s.State == stepFailed {
			state = "FAILED"
		}
		fmt.Fprintf(out, "  %-7s  %-12s %s\n", state, s.Name, s.Detail)
		if s.Reason != "" {
			fmt.Fprintf(out, "  %-7s  %-12s reason: %s\n", "", "", s.Reason)
		}
		if s.Help != "" {
			fmt.Fprintf(out, "  %-7s  %-12s %s\n", "", "", s.Help)
		}
	}
}
