// The command that says which version this is.

package command

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/caddy-veeam/veeam-auth/internal/buildinfo"
)

func newVersionCommand() *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "version [--json]",
		Short: "Prints the version of the module, of Caddy and of Go",
		Long: `
Prints the version of the module, the commit if the build has it, and the versions
of Caddy and Go. The metric caddy_veeam_auth_build_info has the same.`,
		Args: arguments(0, 0),
		RunE: withExitCode(func(cmd *cobra.Command, _ []string) error {
			info := buildinfo.Read()
			if !asJSON {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), info)
				return err
			}
			return plainJSON(cmd.OutOrStdout()).Encode(map[string]any{
				"version": info.Version, "revision": info.Revision, "modified": info.Modified, "caddy": info.Caddy, "go": info.Go,
			})
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print JSON")
	return cmd
}
