// The commands about the keys of clients.

package command

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/caddy-veeam/veeam-auth/internal/adminapi"
	"github.com/caddy-veeam/veeam-auth/internal/keys"
)

func newKeysCommand() *cobra.Command {
	var admin adminFlags
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Lists, issues, rotates and revokes the keys of clients",
	}
	running := []*cobra.Command{newKeysListCommand(&admin), newKeysIssueCommand(&admin), newKeysRotateCommand(&admin), newKeysRevokeCommand(&admin)}
	for _, sub := range running {
		admin.add(sub.Flags())
	}
	group(cmd, append(running, newKeysHashCommand())...)
	return cmd
}

func newKeysListCommand(admin *adminFlags) *cobra.Command {
	var asJSON bool
	list := &cobra.Command{
		Use:   "list",
		Short: "Lists the keys of clients",
		Long: `Asks the running Caddy for the keys of clients: those of the configuration and those in
its storage, with client, scope, issue, end, and last use to the minute. Keys and their
hashes are not shown. A key that has ended is listed for 30 days.`,
		Args: arguments(0, 0),
		RunE: withExitCode(func(cmd *cobra.Command, _ []string) error {
			var states []keys.State
			if err := admin.call(cmd, http.MethodGet, adminapi.KeysPath, nil, &states); err != nil {
				return err
			}
			return printKeys(cmd.OutOrStdout(), states, asJSON)
		}),
	}
	list.Flags().BoolVar(&asJSON, "json", false, "Print JSON")
	return list
}

func printKeys(out io.Writer, states []keys.State, asJSON bool) error {
	if asJSON {
		return printJSON(out, states)
	}
	table := tabwriter.NewWriter(linesTo(out), 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tCLIENT\tSCOPE\tCREATED\tEXPIRES\tLAST USED\tSTATUS")
	for _, s := range states {
		status := s.Status
		if s.Configured {
			status += ", configured"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", printable(s.Name), printable(s.Client), orDash(scopeText(s.Scope)),
			moment(s.Created), moment(s.Expires), moment(s.LastUsed), status)
	}
	return table.Flush()
}

// scopeText describes a scope in one line.
func scopeText(s keys.Scope) string {
	scope, err := s.Parse()
	if err != nil {
		return "?" // of a newer version
	}
	return printable(scope.String())
}

func newKeysIssueCommand(admin *adminFlags) *cobra.Command {
	var order adminapi.KeyOrder
	var lifetime string
	var asJSON bool
	issue := &cobra.Command{
		Use:   "issue <client> --for <duration>",
		Short: "Issues a key of a client and prints it once",
		Long: `Asks the running Caddy to issue a key of a configured client, and prints the key alone to
standard output. It is stored as a hash: nobody can show it again.

The key identifies the client at each site with this storage that configures the client.
It may do what the rules allow that client to do, and no more than --preset, --account
and --from allow.`,
		Example: `  caddy veeam-auth keys issue grafana --for 90d --preset monitor
  caddy veeam-auth keys issue backup-bot --for 30d --account svc-bot --from 10.20.0.0/16 > /run/secrets/veeam_key`,
		Args: arguments(1, 1),
		RunE: withExitCode(func(cmd *cobra.Command, args []string) (err error) {
			order.Client = args[0]
			if order.Seconds, err = wholeSeconds("for", lifetime); err != nil {
				return err
			}
			return printIssued(cmd, admin, adminapi.IssueKeyPath, order, asJSON)
		}),
	}
	flags := issue.Flags()
	flags.StringVar(&lifetime, "for", "", "How long the key is valid, such as 12h or 90d. Required")
	flags.StringVar(&order.Name, "name", "", "Name of the key. Default: one that begins with the client's")
	flags.StringVar(&order.Preset, "preset", "", "Only the operations of this preset: monitor, report or operate")
	flags.StringVar(&order.Account, "account", "", "Only requests that act as this account")
	flags.StringSliceVar(&order.From, "from", nil, "Only from these networks or addresses, or from unix sockets (unix); may be repeated")
	flags.BoolVar(&asJSON, "json", false, "Print JSON, with the key")
	return issue
}

func newKeysRotateCommand(admin *adminFlags) *cobra.Command {
	var body adminapi.KeyRotation
	var overlap, lifetime string
	var asJSON bool
	rotate := &cobra.Command{
		Use:   "rotate <key>",
		Short: "Issues the successor of a key",
		Long: `Asks the running Caddy to issue another key with the client and scope of a key, and prints
it once. The key itself stays valid for --overlap, but not longer than before.`,
		Example: "  caddy veeam-auth keys rotate grafana-k3x7qa --overlap 24h",
		Args:    arguments(1, 1),
		RunE: withExitCode(func(cmd *cobra.Command, args []string) (err error) {
			body.Name = args[0]
			if body.Overlap, err = wholeSeconds("overlap", overlap); err != nil {
				return err
			}
			if lifetime != "" {
				if body.Seconds, err = wholeSeconds("for", lifetime); err != nil {
					return err
				}
			}
			return printIssued(cmd, admin, adminapi.RotateKeyPath, body, asJSON)
		}),
	}
	rotate.Flags().StringVar(&overlap, "overlap", "24h", "How long the old key stays valid")
	rotate.Flags().StringVar(&lifetime, "for", "", "How long the new key is valid. Default: as long as the old one was issued for")
	rotate.Flags().BoolVar(&asJSON, "json", false, "Print JSON, with the key")
	return rotate
}

// wholeSeconds reads the duration of a flag.
func wholeSeconds(flag, text string) (int64, error) {
	if text == "" {
		return 0, fmt.Errorf("--%s is required, such as --%s 90d", flag, flag)
	}
	duration, err := caddy.ParseDuration(text)
	if err != nil || duration < 0 {
		return 0, fmt.Errorf("--%s: %q is not a duration, for example 12h or 90d", flag, text)
	}
	return int64(duration / time.Second), nil
}

// printIssued has a key issued and prints it to the standard output, and what is known of
// it to the other one.
func printIssued(cmd *cobra.Command, admin *adminFlags, path string, body any, asJSON bool) error {
	var issued adminapi.IssuedKey
	if err := admin.call(cmd, http.MethodPost, path, body, &issued); err != nil {
		return err
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), issued)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "Key %s of client %s, valid until %s. It is not shown again.\n", printable(issued.Name), printable(issued.Client), issued.Expires.Format(time.RFC3339))
	_, err := fmt.Fprintln(cmd.OutOrStdout(), issued.Key)
	return err
}

func newKeysRevokeCommand(admin *adminFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke <key>",
		Short: "Revokes a key, with the tokens that it got",
		Long: `Asks the running Caddy to revoke a key by its name. The other processes that share its
storage follow within a second. A key of the configuration ends when it is removed
there.`,
		Example: "  caddy veeam-auth keys revoke grafana-k3x7qa",
		Args:    arguments(1, 1),
		RunE: withExitCode(func(cmd *cobra.Command, args []string) error {
			if err := admin.call(cmd, http.MethodPost, adminapi.RevokeKeyPath, adminapi.KeyRevocation{Name: args[0]}, nil); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Revoked the key %s.\n", printable(args[0]))
			return nil
		}),
	}
}

func newKeysHashCommand() *cobra.Command {
	var fresh bool
	hash := &cobra.Command{
		Use:   "hash",
		Short: "Prints the hash of a key, for the configuration",
		Long: `Reads a key from the terminal or standard input and prints its hash, for the option key of
a client in the configuration. With --new it makes a key, and prints the key and its hash.
A running Caddy is not required.`,
		Example: "  caddy veeam-auth keys hash --new",
		Args:    argumentsAndSecret(0),
		RunE: withExitCode(func(cmd *cobra.Command, _ []string) (err error) {
			text := keys.Make()
			if !fresh {
				if text, err = readEntry(cmd, "Key"); err != nil {
					return err
				}
			}
			hash, err := keys.Read(strings.TrimSpace(text))
			if err != nil {
				return errors.New("this is not a key of veeam-auth, or it is mistyped; --new makes one")
			}
			if fresh {
				fmt.Fprintln(cmd.OutOrStdout(), text)
			}
			fmt.Fprintln(cmd.OutOrStdout(), hash)
			return nil
		}),
	}
	hash.Flags().BoolVar(&fresh, "new", false, "Make a key")
	return hash
}
