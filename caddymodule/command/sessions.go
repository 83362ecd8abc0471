// The commands about upstream sessions.

package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/caddy-veeam/veeam-auth/internal/adminapi"
)

// watchSessionsEvery is how often --watch asks.
const watchSessionsEvery = 2 * time.Second

func newSessionsCommand() *cobra.Command {
	var (
		admin         adminFlags
		asJSON, watch bool
	)
	list := func(cmd *cobra.Command, _ []string) error {
		show := func() error { return callSessions(cmd, &admin, http.MethodGet, "", nil, asJSON) }
		if watch {
			return watchSessions(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), show)
		}
		return show()
	}
	sessions := &cobra.Command{
		Use:   "sessions",
		Short: "Shows and manages the sessions at Veeam servers",
		Long: `Asks the running Caddy for each configured account at its servers: the state of the
session, the reason (docs/behaviour.md lists them), the time left, the time of the
server's last answer, the tries left before a lock-out, the last error. An account
without any request yet has no server. Tokens are not shown.

If the terminal is too narrow for a table, each account is printed as a block.`,
		Args: noCommand,
		RunE: runCommand(list),
	}
	sessions.PersistentFlags().BoolVar(&asJSON, "json", false, "Print JSON")
	admin.add(sessions.PersistentFlags())
	sessions.Flags().BoolVarP(&watch, "watch", "w", false, "Repeat every 2 s until interrupted")
	listing := &cobra.Command{Use: "list", Short: "Lists accounts and sessions", Args: arguments(0, 0), RunE: runCommand(list)}
	listing.Flags().BoolVarP(&watch, "watch", "w", false, "Repeat every 2 s until interrupted")
	sessions.AddCommand(listing)
	for _, c := range []struct {
		name, short, long string
		sends             bool // perhaps a credential
	}{
		{"forget", "Discards the session of an account", `Discards the token of an account, here and in the shared cache, and lifts the hold
of a refused credential. The next request logs in. At the server the session
expires; other processes may use their copies of the token until then.`, false},
		{"login", "Logs in again as an account", `Lifts the hold of a refused credential and logs in now. The old session
is logged out if the product supports it. A refused login counts against the
lock-out budget of the user: with one try left or none, --force is required.`, true},
		{"renew", "Renews the session of an account", `Renews the session by its refresh token, also if it is not due. Requests use the old
token meanwhile. It logs in if there is no refresh token, or if the server refuses it;
a refused login counts against the lock-out budget of the user: with one try left or
none, --force is required.`, true},
		{"lift", "Lifts the hold of a refused credential", `Lifts the hold of a refused credential, here and in the shared cache. Nothing is sent:
the next request logs in. A refused login counts against the lock-out budget of the
user: with one try left or none, --force is required.`, true},
		{"logout", "Ends the session of an account at the server", `Logs the session out at the server, if the product can end a single session, and
discards it. The next request logs in again.`, false},
	} {
		var wanted adminapi.WantedSessions
		sub := &cobra.Command{
			Use: c.name + " <account>", Short: c.short, Long: c.long, Args: arguments(1, 1),
			Example: "  caddy veeam-auth sessions " + c.name + " svc-monitor",
			RunE: withExitCode(func(cmd *cobra.Command, args []string) error {
				wanted.Account = args[0]
				return callSessions(cmd, &admin, http.MethodPost, "/"+c.name, wanted, asJSON)
			}),
		}
		sub.Flags().StringVar(&wanted.Product, "product", "", "Only at servers of this product")
		if c.sends {
			sub.Flags().BoolVar(&wanted.Force, "force", false, "Do it even if the lock-out budget has one try left, or none")
		}
		sub.Flags().StringVar(&wanted.Origin, "origin", "", "Only at servers with this text in their address")
		sessions.AddCommand(sub)
	}
	sessions.AddCommand(newCodeCommand(&admin, &asJSON), newCredentialCommand(&admin, &asJSON))
	return sessions
}

// callSessions asks the running Caddy and prints its answer.
func callSessions(cmd *cobra.Command, admin *adminFlags, method, path string, body any, asJSON bool) error {
	var states []sessionRow
	if err := admin.call(cmd, method, adminapi.SessionsPath+path, body, &states); err != nil {
		return err
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

// watchSessions shows again and again, until ctx ends. A Caddy that does not answer
// for a while is no end.
func watchSessions(ctx context.Context, out, errOut io.Writer, show func() error) error {
	ticker := time.NewTicker(watchSessionsEvery)
	defer ticker.Stop()
	for {
		if terminalWidth(out) > 0 {
			fmt.Fprint(out, "\x1b[H\x1b[2J") // to the upper left, and clear
		}
		if err := show(); err != nil && ctx.Err() == nil {
			if _, ok := errors.AsType[*exitError](err); !ok {
				return err // of the command line
			}
			fmt.Fprintf(errOut, "Error: %s\n", strings.TrimSpace(err.Error()))
		}
		fmt.Fprintln(out)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// terminalWidth is how many characters fit into a line, 0 if out is no terminal. The
// variable COLUMNS sets it for any output.
func terminalWidth(out io.Writer) int {
	if columns, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && columns > 0 {
		return columns
	}
	file, ok := out.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0
	}
	return width
}

func printSessions(out io.Writer, states []sessionRow, asJSON bool) error {
	if asJSON {
		return printJSON(out, states)
	}
	text := sessionTable(states)
	if width := terminalWidth(out); width > 0 && widest(text) > width {
		text = sessionBlocks(states, width)
	}
	_, err := io.WriteString(out, printableLines(text))
	return err
}

// widest is the length of the longest line.
func widest(text string) (most int) {
	for line := range strings.Lines(text) {
		most = max(most, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")))
	}
	return most
}

func sessionTable(states []sessionRow) string {
	var text bytes.Buffer
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ACCOUNT\tPRODUCT\tSERVER\tSTATE\tREASON\tLEFT\tLAST SUCCESS\tTRIES\tCACHE\tLEASE\tLAST ERROR")
	for i := range states {
		s := &states[i]
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.name(), s.Product, orDash(s.Origin), s.State, s.Reason,
			s.left(), moment(s.LastSuccess), orDash(s.tries()), orDash(s.cache()), orDash(s.Holder), orDash(s.notice()))
	}
	_ = table.Flush() // a buffer takes everything
	return text.String()
}

// sessionBlocks has a block of lines for each account, none longer than width
// unless one word is.
func sessionBlocks(states []sessionRow, width int) string {
	var b strings.Builder
	for i := range states {
		s := &states[i]
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(wrap(s.name()+" at "+orDash(s.Origin)+" ("+s.Product+")", 0, width))
		for _, line := range []struct{ name, value string }{
			{"state", s.State + ", " + string(s.Reason)},
			{"left", s.left()},
			{"success", moment(s.LastSuccess)},
			{"failure", moment(s.LastFailure)},
			{"tries", s.tries()},
			{"cache", s.cache()},
			{"lease", s.Holder},
			{"error", s.notice()},
		} {
			if line.value != "" && line.value != "-" {
				b.WriteString(wrap(fmt.Sprintf("  %-8s %s", line.name, line.value), 11, width))
			}
		}
	}
	return b.String()
}

// wrap breaks a text at blanks; the lines after the first one are indented.
func wrap(text string, indent, width int) string {
	var b strings.Builder
	lead := text[:min(indent, len(text))]
	b.WriteString(lead)
	column := utf8.RuneCountInString(lead)
	for i, word := range strings.Fields(text[len(lead):]) {
		length := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case column+1+length > width:
			b.WriteString("\n" + strings.Repeat(" ", max(indent, 2)))
			column = max(indent, 2)
		default:
			b.WriteString(" ")
			column++
		}
		b.WriteString(word)
		column += length
	}
	return b.String() + "\n"
}

// sessionRow is the state of an account as the admin endpoint describes it.
type sessionRow adminapi.SessionState

func (s *sessionRow) name() string {
	if s.Purpose != "" {
		return s.Account + " (" + s.Purpose + ")"
	}
	return s.Account
}

func (s *sessionRow) left() string {
	if s.HeldFor > 0 {
		return "held " + span(s.HeldFor)
	}
	return span(s.ExpiresIn)
}

func (s *sessionRow) tries() string {
	if s.Budget == nil {
		return ""
	}
	text := fmt.Sprintf("%d of %d", s.Budget.Left, s.Budget.Of)
	if !s.Budget.Until.IsZero() {
		text += " until " + s.Budget.Until.Local().Format(time.TimeOnly)
	}
	return text
}

func (s *sessionRow) cache() string {
	switch {
	case s.Loaded:
		return "loaded"
	case s.Shared:
		return "shared"
	}
	return ""
}

func (s *sessionRow) notice() string {
	if s.LastError == "" && s.LostEarly > 0 {
		return fmt.Sprintf("interference: %d tokens in a row ended early; another program may use this user", s.LostEarly)
	}
	return s.LastError
}

// moment is a time in local time, with its date unless that is today's.
func moment(at time.Time) string {
	switch {
	case at.IsZero():
		return "-"
	case at.Local().Format(time.DateOnly) == time.Now().Format(time.DateOnly):
		return at.Local().Format(time.TimeOnly)
	}
	return at.Local().Format(time.DateTime)
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
