// The commands about approvals of requests.

package command

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-veeam/veeam-auth/internal/adminapi"
	"github.com/caddy-veeam/veeam-auth/internal/approval"
)

func newApprovalsCommand() *cobra.Command {
	var admin adminFlags
	cmd := &cobra.Command{
		Use:   "approvals",
		Short: "Lists, approves and denies requests that wait for an operator",
	}
	admin.add(cmd.PersistentFlags())
	group(cmd, newApprovalsListCommand(&admin), newDecideCommand(&admin, true), newDecideCommand(&admin, false))
	return cmd
}

func newApprovalsListCommand(admin *adminFlags) *cobra.Command {
	var asJSON, all bool
	list := &cobra.Command{
		Use:   "list",
		Short: "Lists the requests that wait for an approval",
		Long: `Asks the running Caddy for the requests that wait for an approval, and for those that were
approved and have not passed yet: with client, account, method, path, and the body with
all secrets masked. With --all it also lists what was used, denied or has expired within
the last hour.

Exit codes: 0 the requests are listed; 1 no answer or invalid usage.`,
		Args: arguments(0, 0),
		RunE: withExitCode(func(cmd *cobra.Command, _ []string) error {
			var states []approval.State
			if err := admin.call(cmd, http.MethodGet, adminapi.ApprovalsPath, nil, &states); err != nil {
				return err
			}
			if !all {
				open := states[:0]
				for _, s := range states {
					if s.Status == approval.Waiting || s.Status == approval.Approved {
						open = append(open, s)
					}
				}
				states = open
			}
			return printApprovals(cmd.OutOrStdout(), states, asJSON)
		}),
	}
	list.Flags().BoolVar(&asJSON, "json", false, "Print JSON")
	list.Flags().BoolVar(&all, "all", false, "List also what has ended within the last hour")
	return list
}

func printApprovals(out io.Writer, states []approval.State, asJSON bool) error {
	if asJSON {
		return printJSON(out, states)
	}
	out = linesTo(out)
	if len(states) == 0 {
		_, err := fmt.Fprintln(out, "No request waits for an approval.")
		return err
	}
	for i, s := range states {
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "%s  %s\n", printable(s.ID), standing(s))
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		say := func(name, text string) {
			if text != "" {
				fmt.Fprintf(table, "  %s\t%s\n", name, text)
			}
		}
		target := s.Path
		if s.Query != "" {
			target += "?" + s.Query
		}
		say("request", printable(s.Method+" "+target))
		say("operation", printable(operationText(s)))
		say("client", printable(s.Client))
		say("account", printable(s.Account))
		say("server", printable(s.Server))
		say("product", printable(s.Product))
		say("asked", moment(s.Asked))
		if s.BodyBytes > 0 {
			say("body", fmt.Sprintf("%s, %s", count(s.BodyBytes, "byte"), printable(strings.Join(strings.Fields(s.ContentType+" "+s.ContentEncoding), " "))))
			say("digest", printable(s.BodyDigest))
		}
		if err := table.Flush(); err != nil {
			return err
		}
		for line := range strings.Lines(s.Body) {
			fmt.Fprintln(out, "    "+strings.TrimRight(line, "\n")) // invisible characters are written as escapes in it
		}
	}
	return nil
}

func operationText(s approval.State) string {
	if s.Operation == "" {
		return "not in the index, class " + s.Class
	}
	return s.Operation + ", class " + s.Class
}

// standing says how an approval stands, and until when.
func standing(s approval.State) string {
	left := time.Until(s.Expires).Round(time.Second)
	by := ""
	if s.By != "" {
		by = " by " + printable(s.By)
	}
	switch s.Status {
	case approval.Waiting:
		return fmt.Sprintf("waiting, expires in %s", left)
	case approval.Approved:
		return fmt.Sprintf("approved%s, to be used within %s", by, left)
	case approval.Denied:
		return "denied" + by + " at " + moment(s.Decided)
	case approval.Used:
		return "used at " + moment(s.Used) + ", approved" + by
	}
	return printable(string(s.Status)) + " at " + moment(s.Expires)
}

func newDecideCommand(admin *adminFlags, approve bool) *cobra.Command {
	use, short, path, done := "deny <id>", "Denies a request", adminapi.DenyPath, "Denied"
	long := `Asks the running Caddy to deny a request by the id of its approval. An approved request can
be denied until it has passed. The client is told, and an identical request is refused
until the time that it could have waited is over.`
	if approve {
		use, short, path, done = "approve <id>", "Approves a request: it passes once", adminapi.ApprovePath, "Approved"
		long = `Asks the running Caddy to approve a request by the id of its approval. Exactly this request
passes once, when its client repeats it in time. See it with approvals list before.`
	}
	return &cobra.Command{
		Use:     use,
		Short:   short,
		Long:    long,
		Example: "  caddy veeam-auth approvals " + strings.Fields(use)[0] + " apr_k3x7qahw5m2n4p6r",
		Args:    arguments(1, 1),
		RunE: withExitCode(func(cmd *cobra.Command, args []string) error {
			var s approval.State
			if err := admin.call(cmd, http.MethodPost, path, adminapi.WantedApproval{ID: args[0]}, &s); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s: %s %s of client %s.\n", done, printable(s.ID), printable(s.Method), printable(s.Path), printable(s.Client))
			return err
		}),
	}
}
