// Package command holds the commands under `caddy veeam-auth`. It reads configurations
// as Caddy does and uses package caddymodule: Handler.Explain decides about requests,
// Transport.Reach dials servers, the admin endpoints report the state of a running
// Caddy. Package caddymodule does not import it.
package command

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-veeam/veeam-auth/internal/tlspin"
)

func init() {
	caddycmd.RegisterCommand(command)
}

// Group is the name of the command that the others are below.
const Group = "veeam-auth"

var command = caddycmd.Command{
	Name:  Group,
	Short: "Tools for the veeam_auth module",
	CobraFunc: func(cmd *cobra.Command) {
		group(cmd, commands()...)
		explainUse(cmd)
	},
}

// commands are those of the group.
func commands() []*cobra.Command {
	return []*cobra.Command{
		newPinCommand(), newSessionsCommand(), newKeygenCommand(), newCheckCommand(), newLogCommand(), newTokensCommand(), newKeysCommand(), newApprovalsCommand(), newPolicyCommand(), newHealthCommand(), newSupportCommand(),
		newEnrollCommand(), newDisableCommand(), newScratchCommand(), newVSPCCommand(), newVersionCommand(),
	}
}

// Names returns the names of the commands of the group.
func Names() (names []string) {
	for _, cmd := range commands() {
		names = append(names, cmd.Name())
	}
	return names
}

// group makes cmd the parent of commands. Alone it prints its help; the name of a
// command that does not exist is an error, which a script would not see in a help.
func group(cmd *cobra.Command, commands ...*cobra.Command) {
	cmd.Args = noCommand
	cmd.DisableFlagsInUseLine = true
	cmd.RunE = withExitCode(func(cmd *cobra.Command, _ []string) error { return cmd.Help() })
	cmd.AddCommand(commands...)
}

// count is a number of things.
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// plainJSON writes JSON for people, in which < and > stay as they are, and what is not
// printable is escaped.
func plainJSON(out io.Writer) *json.Encoder {
	encoder := json.NewEncoder(&printing{out, printableJSON})
	encoder.SetEscapeHTML(false)
	return encoder
}

// printJSON is what the option --json prints.
func printJSON(out io.Writer, value any) error {
	encoder := plainJSON(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// pinOptions say how servers are dialed.
type pinOptions struct {
	configFlags
	serverName string
}

func newPinCommand() *cobra.Command {
	var o pinOptions
	cmd := &cobra.Command{
		Use:   "pin <address>... [--server-name <name>] [--config <file>]",
		Short: "Prints the fingerprints of a server's certificate, for tls_pin",
		Long: `Connects to each address (host:port or URL) with TLS, without trusting it and
without sending a request, and prints the fingerprints of its certificate. It offers
every TLS version and cipher suite, and names those that logins do not offer.

With --config, an address of that configuration is dialed as its logins are:
through its network_proxy, by its resolver, with its tls_server_name and client
certificate. Otherwise servers are dialed directly, whatever HTTPS_PROXY says.

Compare the fingerprints with those in the server's console before you use them:
another host may have answered.`,
		Example: "  caddy veeam-auth pin vbr01.lab.local:9419\n" +
			"  caddy veeam-auth pin 192.0.2.10:9419 --server-name vbr01.lab.local",
		Args: arguments(1, math.MaxInt),
		RunE: withExitCode(o.run),
	}
	o.addFile(cmd)
	cmd.Flags().Lookup("config").Usage = "Configuration file whose TLS options and proxy are used"
	cmd.Flags().StringVar(&o.serverName, "server-name", "", "Server name to send (SNI). Default: tls_server_name of the configuration, or the host of the address")
	return cmd
}

func (o *pinOptions) run(cmd *cobra.Command, addresses []string) error {
	for _, address := range addresses {
		hostPort, err := tlspin.Address(address)
		if err != nil {
			return err
		}
		seen, err := o.show(cmd, hostPort)
		if err != nil {
			return err
		}
		cert := seen.Certificate
		fmt.Fprintf(cmd.OutOrStdout(), "%s\n  subject  %s\n  valid    %s to %s\n  sha1     %s\n  sha256   %s\n", hostPort, tlspin.Subject(cert),
			cert.NotBefore.UTC().Format(time.DateOnly), cert.NotAfter.UTC().Format(time.DateOnly),
			tlspin.SHA1(cert), tlspin.SHA256(cert))
		if missing := seen.Missing(); missing != "" {
			fmt.Fprintf(cmd.OutOrStdout(), "  note     %s\n", missing)
		}
	}
	return nil
}

// show dials as the configuration does that has the address, or directly.
func (o *pinOptions) show(cmd *cobra.Command, hostPort string) (*tlspin.Handshake, error) {
	show := func() (*tlspin.Handshake, error) {
		return tlspin.Dial(cmd.Context(), new(http.Transport), hostPort, o.serverName)
	}
	if o.config != "" {
		c, err := o.load(cmd.InOrStdin(), cmd.ErrOrStderr())
		if err != nil {
			return nil, err
		}
		if found := c.places("", hostPort); len(found) > 0 {
			r, err := c.reach(found[0])
			if err != nil {
				return nil, err
			}
			defer r.close()
			show = func() (*tlspin.Handshake, error) { return r.Handshake(cmd.Context(), hostPort, o.serverName) }
		}
	}
	seen, err := show()
	if err != nil {
		return nil, failed(fmt.Errorf("%s: %w", hostPort, err))
	}
	return seen, nil
}
