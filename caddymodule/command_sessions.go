// The commands about upstream sessions.

package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func newSessionsCommand() *cobra.Command {
	var asJSON bool
	list := func(cmd *cobra.Command, _ []string) error {
		return callSessions(cmd, http.MethodGet, "", nil, asJSON)
	}
	sessions := &cobra.Command{
		Use:   "sessions",
		Short: "Shows and manages the sessions at Veeam servers",
		Long: `Asks the running Caddy for the sessions at Veeam servers that requests have needed
so far: account, product, server, state, age, time left, the last error, and
which process is getting a token. No token is shown.`,
		Args: cobra.NoArgs,
		RunE: withExitCode(list),
	}
	sessions.PersistentFlags().BoolVar(&asJSON, "json", false, "Print JSON")
	sessions.PersistentFlags().String("address", "", "The address of the admin endpoint. Default: that of the configuration, or Caddy's default")
	sessions.PersistentFlags().StringP("config", "c", "", "The configuration file that names the admin endpoint")
	sessions.PersistentFlags().StringP("adapter", "a", "", "The adapter for the configuration file")
	sessions.AddCommand(&cobra.Command{Use: "list", Short: "Lists the sessions", Args: cobra.NoArgs, RunE: withExitCode(list)})
	for _, c := range []struct{ name, short, long string }{
		{"forget", "Throws the session of an account away", `Throws the token of an account away, here and in the shared cache, and lifts the
hold of a refused credential. The next request logs in. At the server the session
ends by itself; other processes use their copies of the token until then.`},
		{"login", "Logs an account in anew", `Lifts the hold of a refused credential and logs in now; the session so far is
logged out where the product can end one session. A login that is refused is one
of the tries that a user has before the server may lock it: with one left, or
none, nothing is sent without --force.`},
		{"logout", "Ends the session of an account at the server", `Logs the session out at the server, where the product can end one session, and
forgets it. The next request logs in again.`},
	} {
		var wanted wantedSessions
		sub := &cobra.Command{
			Use: c.name + " <account>", Short: c.short, Long: c.long, Args: cobra.ExactArgs(1),
			Example: "  caddy veeam-auth sessions " + c.name + " svc-monitor",
			RunE: withExitCode(func(cmd *cobra.Command, args []string) error {
				wanted.Account = args[0]
				return callSessions(cmd, http.MethodPost, "/"+c.name, wanted, asJSON)
			}),
		}
		sub.Flags().StringVar(&wanted.Product, "product", "", "Only at servers of this product")
		if c.name == "login" {
			sub.Flags().BoolVar(&wanted.Force, "force", false, "Log in even if that is the last try of the lock-out budget, or one more")
		}
		sub.Flags().StringVar(&wanted.Origin, "origin", "", "Only at servers whose address has this in it")
		sessions.AddCommand(sub)
	}
	return sessions
}

// callSessions asks the running Caddy and prints its answer.
func callSessions(cmd *cobra.Command, method, path string, body any, asJSON bool) error {
	fl := caddycmd.Flags{FlagSet: cmd.Flags()}
	address, err := caddycmd.DetermineAdminAPIAddress(fl.String("address"), nil, fl.String("config"), fl.String("adapter"))
	if err != nil {
		return err
	}
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(text)
	}
	res, err := caddycmd.AdminAPIRequest(address, method, sessionsPath+path, http.Header{"Content-Type": {contentTypeJSON}}, content)
	if err != nil {
		return failed(err)
	}
	defer res.Body.Close()
	var states []sessionState
	if err := json.NewDecoder(res.Body).Decode(&states); err != nil {
		return failed(fmt.Errorf("reading the answer: %w", err))
	}
	if err := printSessions(cmd.OutOrStdout(), states, asJSON); err != nil {
		return err
	}
	for _, s := range states {
		if s.Error != "" {
			return failed(errors.New(s.Account + ": " + s.Error))
		}
	}
	return nil
}

func printSessions(out io.Writer, states []sessionState, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(states)
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ACCOUNT\tPRODUCT\tSERVER\tSTATE\tAGE\tLEFT\tCACHE\tLEASE\tLAST ERROR")
	for _, s := range states {
		account, left := s.Account, span(s.ExpiresIn)
		if s.Purpose != "" {
			account += " (" + s.Purpose + ")"
		}
		if s.HeldFor > 0 {
			left = "held " + span(s.HeldFor)
		}
		cache := "-"
		switch {
		case s.Loaded:
			cache = "loaded"
		case s.Shared:
			cache = "shared"
		}
		notice := s.LastError
		if notice == "" && s.LostEarly > 0 {
			notice = fmt.Sprintf("interference: %d tokens in a row ended early, does another program use this user?", s.LostEarly)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", account, s.Product, s.Origin, s.State,
			span(s.Age), left, cache, orDash(s.Holder), orDash(notice))
	}
	return table.Flush()
}

func span(seconds int64) string {
	if seconds == 0 {
		return "-"
	}
	return (time.Duration(seconds) * time.Second).String()
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
