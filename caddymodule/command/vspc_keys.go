// The commands that have VSPC make a secret for codes, and assign a public key.

package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

func newTOTPSecretCommand() *cobra.Command {
	var (
		o        vspcOptions
		out, uri string
	)
	cmd := &cobra.Command{
		Use:   "totp-secret <account> --out <file> [--uri-out <file>]",
		Short: "Creates a secret for verification codes at the server",
		Long: `
Creates a secret for verification codes at the server without activating it. The
command enroll creates and activates one.`,
		Example: "  caddy veeam-auth vspc totp-secret provider --out totp --uri-out totp.uri",
		Args:    arguments(1, 1),
		RunE: runCommand(func(cmd *cobra.Command, args []string) error {
			switch {
			case out == "" && uri == "" && o.print:
				out = "-"
			case out == "" && uri == "":
				return errors.New("the secret requires --out <file>, or --print to print it")
			case (out == "-" || uri == "-") && !o.print:
				return errors.New("- prints the secret and requires --print")
			}
			if err := distinct("--out", out, "--uri-out", uri); err != nil {
				return err
			}
			secretOut, err := optionalFile(out, o.force, cmd.OutOrStdout())
			if err != nil {
				return err
			}
			defer secretOut.discard()
			uriOut, err := optionalFile(uri, o.force, cmd.OutOrStdout())
			if err != nil {
				return err
			}
			defer uriOut.discard()
			return o.ask(cmd, args[0], func(ctx context.Context, s *commandSession) error {
				issued, err := s.Client.TOTPSecret(ctx, s.token, o.selected)
				if err != nil {
					return err
				}
				if err := errors.Join(secretOut.commit(line(issued.Secret)), uriOut.commit(line(issued.URI))); err != nil {
					return err
				}
				for _, file := range []*secretFile{secretOut, uriOut} {
					if file.name != "" && file.out == nil {
						fmt.Fprintf(cmd.OutOrStdout(), "The secret is in %s.\n", file)
					}
				}
				return nil
			})
		}),
	}
	o.add(cmd)
	cmd.Flags().StringVarP(&out, "out", "o", "", "File for the secret in Base32; - prints it")
	cmd.Flags().StringVar(&uri, "uri-out", "", "File for the otpauth URI; - prints it")
	return cmd
}

func newAssignKeyCommand() *cobra.Command {
	var (
		o    vspcOptions
		k    veeam.KeyAssignment
		file string
	)
	cmd := &cobra.Command{
		Use:   "assign-key <account> --key <file> [--user <uid>] [--description <text>] [--read-only]",
		Short: "Assigns a public key to a user",
		Long: `
Assigns a public key to a user, for accounts with the grant public_key. The file is
sent unchanged; set public_key of the account to the same file if its format is not
the default. A file with a private key is refused.`,
		Example: "  caddy veeam-auth vspc assign-key provider --key key.pub.xml --description exporter --read-only",
		Args:    arguments(1, 1),
		RunE: runCommand(func(cmd *cobra.Command, args []string) (err error) {
			if k.Public, err = os.ReadFile(file); err != nil {
				return err
			}
			if holdsPrivateKey(k.Public) {
				return fmt.Errorf("%s has a private key: the public key is required", file)
			}
			if k.UserUID != "" && !account.IsUUID(k.UserUID) {
				return fmt.Errorf("--user %q is not a UUID", k.UserUID)
			}
			return o.ask(cmd, args[0], func(ctx context.Context, s *commandSession) error {
				login, err := s.Client.AssignKey(ctx, s.token, k)
				if err == nil {
					fmt.Fprintf(cmd.OutOrStdout(), "Assigned the key as login %s.\n", login)
				}
				return err
			})
		}),
	}
	o.configFlags.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.clientVersion, "client-version", "", "API version for the header X-Client-Version, such as 3.6.1")
	flags.StringVar(&file, "key", "", "File with the public key as issued by VSPC")
	flags.StringVar(&k.UserUID, "user", "", "UID of the user. Default: the account's user")
	flags.StringVar(&k.Description, "description", "veeam-auth", "Description of the login in the console")
	flags.BoolVar(&k.ReadOnly, "read-only", false, "Allow sessions of the key to read only")
	_ = cmd.MarkFlagRequired("key")
	return cmd
}

// holdsPrivateKey reports whether a file looks like a private key.
func holdsPrivateKey(text []byte) bool {
	for _, mark := range []string{"PRIVATE KEY", "<InverseQ>", "<D>", "<P>"} {
		if strings.Contains(string(text), mark) {
			return true
		}
	}
	return false
}
