// The command that makes and rotates the keyset of the shared cache and of what is
// sealed in files.

package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/caddy-veeam/veeam-auth/internal/sealed"
)

func newKeygenCommand() *cobra.Command {
	var rotate string
	cmd := &cobra.Command{
		Use:   "keygen [<file>]",
		Short: "Creates or rotates the keyset that encrypts the shared cache",
		Long: `Writes a new keyset, one line of text, to a file that only its owner can read, or
to standard output. All processes that share a cache require the same keyset. enroll
and scratch use one for scratch codes.

With --rotate it adds a new key to the keyset in a file: the new key seals, the
old keys still open. The file keeps its owner. A running Caddy reloads the file by
itself; update it on all machines at about the same time.`,
		Example: "  caddy veeam-auth keygen /run/secrets/veeam_auth_key\n" +
			"  caddy veeam-auth keygen --rotate /run/secrets/veeam_auth_key",
		Args: arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.SilenceUsage = true
			rotates := cmd.Flags().Changed("rotate")
			switch {
			case rotates && len(args) > 0:
				return errors.New("either a new file or --rotate with an existing one is required")
			case rotates && rotate == "":
				return errors.New("--rotate requires a file")
			case rotates:
				return rotateKeyFile(rotate)
			}
			name := "-"
			if len(args) > 0 {
				name = args[0]
			}
			if name == "-" && isTerminal(cmd.OutOrStdout()) {
				fmt.Fprintln(cmd.ErrOrStderr(), "Warning: the keyset is a secret, and is printed to the terminal. To write it to a file: caddy veeam-auth keygen <file>")
			}
			return makeKeyFile(name, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&rotate, "rotate", "", "File of the keyset that gets a new key")
	return cmd
}

// isTerminal reports whether what is written is shown to whoever looks at the screen.
func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

func makeKeyFile(name string, out io.Writer) error {
	keyset, err := sealed.NewKeyset()
	if err != nil {
		return err
	}
	err = writeKeyset(keyset, name, false, out)
	if _, ok := errors.AsType[existsError](err); ok {
		return fmt.Errorf("%s exists: add a key with --rotate %s, or use another name for a new keyset", name, name)
	}
	return err
}

func rotateKeyFile(name string) error {
	name, err := filepath.EvalSymlinks(name) // the file is replaced, not the link
	if err != nil {
		return err
	}
	keyset, err := readKeyFile(name)
	if err != nil {
		return err
	}
	if keyset, err = keyset.Rotate(); err != nil {
		return err
	}
	return writeKeyset(keyset, name, true, nil)
}

func writeKeyset(keyset *sealed.Keyset, name string, replace bool, out io.Writer) error {
	text, err := keyset.Text()
	if err != nil {
		return err
	}
	file, err := newSecretFile(name, replace, out)
	if err != nil {
		return err
	}
	defer file.discard()
	return file.commit(text + "\n")
}
