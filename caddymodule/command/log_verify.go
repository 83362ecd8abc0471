// The commands of logs that are hash chains: a key that signs them, and their
// verification.

package command

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/spf13/cobra"

	"github.com/caddy-veeam/veeam-auth/internal/logchain"
)

// newLogKeygenCommand returns `caddy veeam-auth log keygen`.
func newLogKeygenCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "keygen <file>",
		Short: "Creates the key that signs a log chain",
		Long: `Writes a new Ed25519 private key to a file that only its owner can read, for key_file
of log_chain, and prints the public key, for "log verify --key". Keep the public key
where nobody who can write the log can change it.`,
		Example: "  caddy veeam-auth log keygen /etc/caddy/log_chain.pem",
		Args:    arguments(1, 1),
		RunE: runCommand(func(cmd *cobra.Command, args []string) error {
			private, public, err := logchain.NewKey()
			if err != nil {
				return err
			}
			if args[0] == "-" {
				return errors.New("a file name is required: the standard output gets the public key")
			}
			file, err := newSecretFile(args[0], false, nil)
			if _, exists := errors.AsType[existsError](err); exists {
				return fmt.Errorf("%s exists: use another name for a new key", args[0])
			}
			if err != nil {
				return err
			}
			defer file.discard()
			if err := file.commit(private); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), public)
			return err
		}),
	}
}

// verifyOptions are the flags of `caddy veeam-auth log verify`.
type verifyOptions struct {
	keys   []string
	copies string
	json   bool
}

// newLogVerifyCommand returns `caddy veeam-auth log verify`.
func newLogVerifyCommand() *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify --key <public key or file>... [--copies <file>] [--json] <file>...",
		Short: "Finds lines of a log chain that were changed, removed, added or reordered",
		Long: `
Verifies logs that log_chain has written. Each file is read with its rotated files,
also compressed ones. A file named - is standard input.

--key is the public key that "log keygen" has printed, or a file with it, or with
the key in PEM. Repeat it if the key was replaced. With --copies, the log must have
every signed line of that file, which log_chain's option copies writes: a log whose
end was removed lacks some.

Each finding names file and line: changed, removed (before that line), added,
reordered, incomplete, or signature, which means that the lines since the last
checkpoint may have been replaced. A changed line is named by itself or by its neighbour, in
which its hash is. Lines behind the last checkpoint are not proved yet.

Exit codes: 0 nothing was found; 1 invalid usage, or a file cannot be read; 2 the log
is not the one that was written.`,
		Example: `  caddy veeam-auth log verify --key n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg /var/log/veeam/Svc.ResAPI.log
  caddy veeam-auth log verify --key log_chain.pub --copies /mnt/audit/chain.log --json Svc.ResAPI.log`,
		Args: arguments(1, math.MaxInt),
		RunE: runCommand(o.run),
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&o.keys, "key", nil, "Public key, or a file with it")
	flags.StringVar(&o.copies, "copies", "", "File with copies of signed lines that the log must have")
	flags.BoolVar(&o.json, "json", false, "Print the result as JSON")
	return cmd
}

func (o *verifyOptions) run(cmd *cobra.Command, names []string) error {
	if len(o.keys) == 0 {
		return errors.New("--key is missing: a key inside the log proves nothing")
	}
	keys := make([]ed25519.PublicKey, len(o.keys))
	for i, text := range o.keys {
		var err error
		if keys[i], err = logchain.ReadPublic(text); err != nil {
			return fmt.Errorf("--key: %w", err)
		}
	}
	reports := []*logchain.Report{}
	findings := 0
	for _, name := range names {
		report, err := o.verify(cmd.Context(), logchain.NewVerifier(keys...), name, cmd.InOrStdin())
		if err != nil {
			return err
		}
		reports = append(reports, report)
		findings += len(report.Findings) + report.More
	}
	if err := o.print(cmd.OutOrStdout(), reports); err != nil {
		return err
	}
	if findings > 0 {
		return failed(fmt.Errorf("the log is not the one that was written, findings: %d", findings))
	}
	return nil
}

func (o *verifyOptions) verify(ctx context.Context, v *logchain.Verifier, name string, in io.Reader) (*logchain.Report, error) {
	if o.copies != "" {
		file, err := os.Open(o.copies)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		if err := v.Expect(o.copies, file); err != nil {
			return nil, err
		}
	}
	if name == "-" {
		return v.Verify(ctx, "standard input", in)
	}
	return v.VerifyFile(ctx, name)
}

func (o *verifyOptions) print(out io.Writer, reports []*logchain.Report) error {
	if o.json {
		return printJSON(out, reports)
	}
	out = linesTo(out)
	for _, r := range reports {
		for _, f := range r.Findings {
			fmt.Fprintln(out, f)
		}
		if r.More > 0 {
			fmt.Fprintln(out, "further findings:", r.More)
		}
		for _, note := range r.Notes {
			fmt.Fprintln(out, "note:", note)
		}
		for _, s := range r.Segments {
			fmt.Fprintln(out, s)
		}
		fmt.Fprintf(out, "files: %d, lines: %d, findings: %d\n", len(r.Files), r.Lines, len(r.Findings)+r.More)
	}
	return nil
}
