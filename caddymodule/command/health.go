// The command that asks a running Caddy whether it is healthy, for the health checks of
// containers.

package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-veeam/veeam-auth/internal/health"
)

// healthTimeout is how long a Caddy may take to answer a probe at a URL.
const healthTimeout = 10 * time.Second

// healthOptions say what is asked of whom.
type healthOptions struct {
	admin   adminFlags
	account string
	probes  map[health.Probe]*bool
}

func newHealthCommand() *cobra.Command {
	o := healthOptions{probes: make(map[health.Probe]*bool)}
	cmd := &cobra.Command{
		Use:   "health [--live | --ready | --startup] [--account <name>] [--address <address or URL>]",
		Short: "Asks whether a running Caddy is ready, for health checks",
		Long: `Asks the running Caddy at its admin endpoint, or at the URL of a veeam_auth_health
handler, and prints one line. The exit code is 0 if the answer is yes, otherwise 1.
Nothing is sent to a Veeam server.`,
		Example: "  caddy veeam-auth health\n" +
			"  caddy veeam-auth health --startup --address http://localhost:9180/veeam_auth",
		Args: arguments(0, 0),
		RunE: withExitCode(func(cmd *cobra.Command, _ []string) error { return o.run(cmd) }),
	}
	o.admin.add(cmd.Flags())
	address := cmd.Flags().Lookup("address")
	address.Usage = "Address of the admin endpoint, or the URL below which the probes of a veeam_auth_health handler are. Default: the address in the configuration, or Caddy's default"
	cmd.Flags().StringVar(&o.account, "account", "", "Ask about this account only")
	for _, probe := range []struct {
		name health.Probe
		help string
	}{
		{health.Live, "Ask whether the process answers"},
		{health.Ready, "Ask whether requests of the required accounts are likely to succeed (default)"},
		{health.Startup, "Ask whether the configuration is loaded and logins at the start have had a result"},
	} {
		o.probes[probe.name] = cmd.Flags().Bool(string(probe.name), false, probe.help)
	}
	return cmd
}

// run returns each error as it is, so that the exit code is 1: Docker allows no other.
func (o *healthOptions) run(cmd *cobra.Command) error {
	probe, wanted := health.Ready, 0
	for name, isWanted := range o.probes {
		if *isWanted {
			probe, wanted = name, wanted+1
		}
	}
	if wanted > 1 {
		return wrongUse(cmd, errors.New("write only one of --live, --ready and --startup"))
	}
	path := "/" + string(probe)
	if o.account != "" {
		path += "?account=" + url.QueryEscape(o.account)
	}
	answer, err := o.ask(cmd, path)
	if err != nil {
		return err
	}
	line := healthLine(&answer)
	switch answer.Status {
	case health.StatusLive, health.StatusReady, health.StatusStarted:
		_, err = fmt.Fprintln(linesTo(cmd.OutOrStdout()), line)
		return err
	}
	return errors.New(line)
}

// ask asks at a URL, or at the admin endpoint.
func (o *healthOptions) ask(cmd *cobra.Command, path string) (answer health.Answer, err error) {
	if strings.HasPrefix(o.admin.address, "http://") || strings.HasPrefix(o.admin.address, "https://") {
		return askURL(cmd, strings.TrimSuffix(o.admin.address, "/")+path)
	}
	address, err := o.admin.find(cmd.InOrStdin(), io.Discard, false)
	if err != nil {
		return answer, err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), healthTimeout)
	defer cancel()
	content, err := askAdmin(ctx, address, http.MethodGet, health.Path+path, nil)
	if err != nil {
		if refused := adminAnswer().FindStringSubmatch(err.Error()); refused != nil && readAnswer(strings.NewReader(refused[2]), &answer) == nil {
			return answer, nil
		}
		_, plain := o.admin.plainError(address, err)
		return answer, plain
	}
	return answer, readAnswer(bytes.NewReader(content), &answer)
}

func askURL(cmd *cobra.Command, url string) (answer health.Answer, err error) {
	req, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, url, nil)
	if err != nil {
		return answer, err
	}
	res, err := (&http.Client{Timeout: healthTimeout}).Do(req)
	if err != nil {
		return answer, err
	}
	defer res.Body.Close()
	if err := readAnswer(res.Body, &answer); err != nil {
		return answer, fmt.Errorf("%s answers with status %d and no health: is a handler veeam_auth_health there?", url, res.StatusCode)
	}
	return answer, nil
}

var errNoHealth = errors.New("the answer is not about health")

func readAnswer(body io.Reader, answer *health.Answer) error {
	if json.NewDecoder(io.LimitReader(body, 1<<20)).Decode(answer) != nil || answer.Status == "" {
		return errNoHealth
	}
	return nil
}

// healthLine is an answer in one line: the accounts that are the reason for a no, or how
// many there are.
func healthLine(answer *health.Answer) string {
	line := strings.ReplaceAll(string(answer.Status), "_", " ")
	if answer.Error != "" {
		return answer.Error
	}
	var faulty []string
	for _, a := range answer.Accounts {
		if !a.Ready && (a.Required || len(answer.Accounts) == 1) {
			faulty = append(faulty, fmt.Sprintf("%s (%s) %s", printable(a.Account), a.Product, a.Reason))
		}
	}
	switch {
	case len(faulty) > 0 && (answer.Status == health.StatusNotReady || answer.Status == health.StatusStarting):
		return line + ": " + strings.Join(faulty, ", ")
	case answer.Status == health.StatusReady:
		return line + ": " + count(len(answer.Accounts), "account")
	}
	return line
}
