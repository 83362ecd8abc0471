// The commands under `caddy veeam-auth`.

package caddymodule

import (
	"context"
	"fmt"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

var command = caddycmd.Command{
	Name:  "veeam-auth",
	Short: "Tools for the veeam_auth module",
	CobraFunc: func(cmd *cobra.Command) {
		cmd.AddCommand(
			newPinCommand(), newSessionsCommand(), newKeygenCommand(), newCheckCommand(), newLogCommand(), newTokensCommand(), newPolicyCommand(),
			newEnrollCommand(), newDisableCommand(), newScratchCommand(), newVSPCCommand(),
		)
	},
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
		RunE: caddycmd.WrapCommandFuncForCobra(func(fl caddycmd.Flags) (int, error) {
			for _, address := range fl.Args() {
				cert, err := peerCertificate(context.Background(), address)
				if err != nil {
					return 1, fmt.Errorf("%s: %w", address, err)
				}
				fmt.Printf("%s\n  subject  %s\n  valid    %s to %s\n  sha1     %s\n  sha256   %s\n", address, cert.Subject,
					cert.NotBefore.UTC().Format(time.DateOnly), cert.NotAfter.UTC().Format(time.DateOnly),
					sha1Of(cert), sha256Of(cert))
			}
			return 0, nil
		}),
	}
}
