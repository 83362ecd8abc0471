// The commands about the tokens of clients.

package command

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/caddy-veeam/veeam-auth/internal/adminapi"
	"github.com/caddy-veeam/veeam-auth/internal/issuer"
)

func newTokensCommand() *cobra.Command {
	var admin adminFlags
	tokens := &cobra.Command{
		Use:   "tokens",
		Short: "Lists and revokes the tokens that clients hold",
	}
	admin.add(tokens.PersistentFlags())
	group(tokens, newTokensListCommand(&admin), newTokensRevokeCommand(&admin))
	return tokens
}

func newTokensListCommand(admin *adminFlags) *cobra.Command {
	var asJSON bool
	list := &cobra.Command{
		Use:   "list",
		Short: "Lists the callers with tokens",
		Long: `Asks the running Caddy for the configured clients and all other callers with tokens
since its start: the number of logins and renewals, the first and last issue, the last
use, and the expiry of the last refresh token. Tokens are not shown. Tokens issued by
other processes, or before the start, are not listed.`,
		Args: arguments(0, 0),
		RunE: withExitCode(func(cmd *cobra.Command, _ []string) error {
			var states []issuer.HolderState
			if err := admin.call(cmd, http.MethodGet, adminapi.TokensPath, nil, &states); err != nil {
				return err
			}
			return printTokens(cmd.OutOrStdout(), states, asJSON)
		}),
	}
	list.Flags().BoolVar(&asJSON, "json", false, "Print JSON")
	return list
}

func printTokens(out io.Writer, states []issuer.HolderState, asJSON bool) error {
	if asJSON {
		return printJSON(out, states)
	}
	table := tabwriter.NewWriter(linesTo(out), 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "CLIENT\tKNOWN BY\tLOGINS\tRENEWALS\tFIRST ISSUED\tLAST ISSUED\tLAST USED\tEXPIRES\tREVOKED")
	for _, s := range states {
		known := s.Via
		if s.Configured && known == "" {
			known = "client"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", printable(s.Client), orDash(known), strconv.Itoa(s.Logins), strconv.Itoa(s.Renewals),
			moment(s.FirstIssued), moment(s.LastIssued), moment(s.LastUsed), moment(s.Expires), moment(s.Revoked))
	}
	return table.Flush()
}

func newTokensRevokeCommand(admin *adminFlags) *cobra.Command {
	var body adminapi.Revocation
	revoke := &cobra.Command{
		Use:   "revoke <client>",
		Short: "Revokes all tokens of a client",
		Long: `Asks the running Caddy to revoke all tokens issued to a client so far. Callers of
other kinds are named as in the log, such as certificate:CN=alice. The other
processes that share its storage follow within a second. The client can log in
again; to prevent that, remove it from the configuration as well.

A name that "tokens list" does not show requires --force: it is probably misspelled.`,
		Example: "  caddy veeam-auth tokens revoke grafana",
		Args:    arguments(1, 1),
		RunE: withExitCode(func(cmd *cobra.Command, args []string) error {
			body.Client = args[0]
			if err := admin.call(cmd, http.MethodPost, adminapi.RevokePath, body, nil); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Revoked all tokens of %s.\n", args[0])
			return nil
		}),
	}
	revoke.Flags().BoolVar(&body.Force, "force", false, "Revoke the tokens of an unknown name too")
	return revoke
}
