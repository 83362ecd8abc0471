// The commands under `caddy veeam-auth`.

package caddymodule

import (
	"fmt"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

var command = caddycmd.Command{
	Name:  "veeam-auth",
	Short: "Tools for the veeam_auth module",
	CobraFunc: func(cmd *cobra.Command) {
		group(cmd,
			newPinCommand(), newSessionsCommand(), newKeygenCommand(), newCheckCommand(), newLogCommand(), newTokensCommand(), newPolicyCommand(),
			newEnrollCommand(), newDisableCommand(), newScratchCommand(), newVSPCCommand(), newVersionCommand(),
		)
	},
}

// group makes cmd the parent of commands. Alone it prints its help; the name of a
// command that does not exist is an error, which a script would not see in a help.
func group(cmd *cobra.Command, commands ...*cobra.Command) {
	cmd.Args = cobra.NoArgs
	cmd.DisableFlagsInUseLine = true
	cmd.RunE = withExitCode(func(cmd *cobra.Command, _ []string) error { return cmd.Help() })
	cmd.AddCommand(commands...)
}

func newPinCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "pin <address>...",
		Short: "Prints the fingerprints of a server's certificate, for tls_pin",
		Long: `Connects to each address (host:port or URL) with TLS, without trusting it and
without sending anything, and prints the fingerprints of its certificate.

Compare them with what the server's own console shows before you use them: who
answers at the address now need not be your server.`,
		Example: "  caddy veeam-auth pin vbr01.lab.local:9419",
		Args:    cobra.MinimumNArgs(1),
		RunE: withExitCode(func(cmd *cobra.Command, addresses []string) error {
			for _, address := range addresses {
				hostPort, err := pinAddress(address)
				if err != nil {
					return err
				}
				cert, err := peerCertificate(cmd.Context(), hostPort)
				if err != nil {
					return failed(fmt.Errorf("%s: %w", hostPort, err))
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s\n  subject  %s\n  valid    %s to %s\n  sha1     %s\n  sha256   %s\n", hostPort, subjectName(cert),
					cert.NotBefore.UTC().Format(time.DateOnly), cert.NotAfter.UTC().Format(time.DateOnly),
					sha1Of(cert), sha256Of(cert))
			}
			return nil
		}),
	}
}
