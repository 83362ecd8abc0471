// The command that cuts clients off.

package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func newTokensCommand() *cobra.Command {
	tokens := &cobra.Command{
		Use:   "tokens",
		Short: "Manages the tokens that clients hold",
	}
	revoke := &cobra.Command{
		Use:   "revoke <client>",
		Short: "Makes all tokens void that a client has got so far",
		Long: `Asks the running Caddy to make all tokens void that a client has got so far. The
other processes that share its storage follow within a second. The client can
log in again; to keep it out, remove it from the configuration as well.`,
		Example: "  caddy veeam-auth tokens revoke grafana",
		Args:    cobra.ExactArgs(1),
		RunE: withExitCode(func(cmd *cobra.Command, args []string) error {
			body, err := json.Marshal(revocation{Client: args[0]})
			if err != nil {
				return err
			}
			fl := caddycmd.Flags{FlagSet: cmd.Flags()}
			address, err := caddycmd.DetermineAdminAPIAddress(fl.String("address"), nil, fl.String("config"), fl.String("adapter"))
			if err != nil {
				return err
			}
			res, err := caddycmd.AdminAPIRequest(address, http.MethodPost, revokePath,
				http.Header{"Content-Type": {contentTypeJSON}}, bytes.NewReader(body))
			if err != nil {
				return failed(err)
			}
			defer res.Body.Close()
			fmt.Fprintf(cmd.OutOrStdout(), "All tokens of %s are void.\n", args[0])
			return nil
		}),
	}
	revoke.Flags().String("address", "", "The address of the admin endpoint. Default: that of the configuration, or Caddy's default")
	revoke.Flags().StringP("config", "c", "", "The configuration file that names the admin endpoint")
	revoke.Flags().StringP("adapter", "a", "", "The adapter for the configuration file")
	group(tokens, revoke)
	return tokens
}
