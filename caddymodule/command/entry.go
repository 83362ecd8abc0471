// The commands that give a session something which a person enters.

package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/caddy-veeam/veeam-auth/internal/adminapi"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// newCodeCommand returns `caddy veeam-auth sessions code`.
func newCodeCommand(admin *adminFlags, asJSON *bool) *cobra.Command {
	var wanted adminapi.WantedCode
	cmd := &cobra.Command{
		Use:   "code <account>",
		Short: "Logs in with a verification code that you enter",
		Long: `Logs in as an account that waits for a verification code (code_needed), or that has no
session. The code is read from the terminal without echo, or from the standard input;
it is never an argument, which other users could see. It is sent once and stored
nowhere. If the server's request for the code has expired, the password is sent first.

A refused code counts against the lock-out budget of the user: with one try left or
none, --force is required. After three refused codes in a row no code is accepted for
5 minutes without --force.

Exit codes: 0 logged in; 1 invalid usage or code, nothing was sent; 2 not logged in, the
message says why.`,
		Args: argumentsAndSecret(1),
		Example: `  caddy veeam-auth sessions code svc-monitor
  oathtool --totp -b @seed | caddy veeam-auth sessions code svc-monitor`,
		RunE: runCommand(func(cmd *cobra.Command, args []string) (err error) {
			wanted.Account = args[0]
			if wanted.Code, err = readEntry(cmd, "Verification code of "+args[0]); err != nil {
				return err
			}
			if !wanted.Complete() {
				return errors.New("a verification code has 6 to 10 digits; nothing was sent")
			}
			return callSessions(cmd, admin, http.MethodPost, "/code", wanted, *asJSON)
		}),
	}
	entryFlags(cmd, &wanted.WantedSessions)
	return cmd
}

// newCredentialCommand returns `caddy veeam-auth sessions credential`.
func newCredentialCommand(admin *adminFlags, asJSON *bool) *cobra.Command {
	var (
		wanted adminapi.WantedCredential
		grant  string
	)
	cmd := &cobra.Command{
		Use:   "credential <account>",
		Short: "Logs in with a new one-time secret that you enter",
		Long: `Logs in as an account whose grant takes a secret that somebody else issues: a refresh
token, an authorization code, a SAML response, an SSO, updater or platform token, or an
assertion. The secret is read from the terminal without echo, or from the standard
input. It is sent once and stored nowhere: the configuration keeps its own. The session
is then renewed as usual.

A refused secret counts against the lock-out budget of the user: with one try left or
none, --force is required.

Exit codes: 0 logged in; 1 invalid usage, nothing was sent; 2 not logged in, the message
says why.`,
		Args: argumentsAndSecret(1),
		Example: `  caddy veeam-auth sessions credential exporter --grant refresh_token
  caddy veeam-auth sessions credential sso < saml_response.txt`,
		RunE: runCommand(func(cmd *cobra.Command, args []string) (err error) {
			wanted.Account, wanted.Grant = args[0], veeam.Grant(grant)
			if wanted.Secret, err = readEntry(cmd, "One-time secret of "+args[0]); err != nil {
				return err
			}
			return callSessions(cmd, admin, http.MethodPost, "/credential", wanted, *asJSON)
		}),
	}
	cmd.Flags().StringVar(&grant, "grant", "", "Fail if the account has another grant")
	entryFlags(cmd, &wanted.WantedSessions)
	return cmd
}

func entryFlags(cmd *cobra.Command, wanted *adminapi.WantedSessions) {
	cmd.Flags().StringVar(&wanted.Product, "product", "", "Only at servers of this product")
	cmd.Flags().StringVar(&wanted.Origin, "origin", "", "Only at servers with this text in their address")
	cmd.Flags().BoolVar(&wanted.Force, "force", false, "Log in even if the lock-out budget has one try left, or none")
}

// mostEntry is the most that is read of something that a person enters, in bytes.
const mostEntry = 60_000

var errNothingEntered = errors.New("nothing was entered, and nothing was sent")

// readEntry reads a secret from the terminal without echo, or all of another standard
// input.
func readEntry(cmd *cobra.Command, prompt string) (text string, err error) {
	if term.IsTerminal(int(os.Stdin.Fd())) {
		fmt.Fprint(cmd.ErrOrStderr(), prompt+": ")
		text, err = readHidden(cmd.Context(), int(os.Stdin.Fd()))
		fmt.Fprintln(cmd.ErrOrStderr())
	} else {
		var all []byte
		all, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), mostEntry+1))
		text = string(all)
	}
	text = strings.TrimSpace(text)
	switch {
	case err != nil:
		return "", fmt.Errorf("reading the standard input: %w", err)
	case text == "":
		return "", errNothingEntered
	case len(text) > mostEntry:
		return "", fmt.Errorf("the secret exceeds %d bytes; nothing was sent", mostEntry)
	}
	return text, nil
}

// readHidden reads a line of a terminal without echo. The end of ctx brings the echo back.
func readHidden(ctx context.Context, terminal int) (string, error) {
	before, err := term.GetState(terminal)
	if err != nil {
		return "", err
	}
	type line struct {
		text []byte
		err  error
	}
	read := make(chan line, 1)
	go func() {
		text, err := term.ReadPassword(terminal)
		read <- line{text, err}
	}()
	select {
	case got := <-read:
		return string(got.text), got.err
	case <-ctx.Done():
		_ = term.Restore(terminal, before)
		return "", ctx.Err()
	}
}
