// The command that uses up one scratch code.

package command

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

type scratchOptions struct {
	configFlags
	keyFlag
	codes string
}

// newScratchCommand returns `caddy veeam-auth scratch`.
func newScratchCommand() *cobra.Command {
	var o scratchOptions
	cmd := &cobra.Command{
		Use:   "scratch <account> --codes <file> [--key <file>] [--config <file>]",
		Short: "Uses one scratch code for one login",
		Long: `
Logs in as an account of the configuration with one scratch code instead of a
verification code, and logs out, to test that the codes still work. To replace a
lost secret, use a scratch code with enroll --recreate --codes <file>, or with
disable --codes <file>.

The file is sealed, as enroll --scratch-out writes it, with --key or the
encryption_key of the account's cache; or it is in clear text with one code per
line, where empty lines and lines with # are skipped. The format is kept. The code
is marked as used in the file before it is sent, whatever the result. If the server
requires no code, none is used.

Exit codes: 0 logged in; 1 invalid usage or configuration; 2 the login failed.`,
		Example: `  caddy veeam-auth scratch svc-monitor --codes /root/azure_scratch
  caddy veeam-auth scratch svc-monitor --codes /root/azure_scratch --key /root/scratch_key`,
		Args: arguments(1, 1),
		RunE: runCommand(o.run),
	}
	o.configFlags.add(cmd)
	o.keyFlag.add(cmd)
	cmd.Flags().StringVar(&o.codes, "codes", "", "File with scratch codes")
	_ = cmd.MarkFlagRequired("codes")
	return cmd
}

func (o *scratchOptions) run(cmd *cobra.Command, args []string) error {
	if o.codes == "" {
		return errors.New("--codes requires a file")
	}
	s, err := o.prepareMFA(cmd, args[0], o.codes, o.key)
	if err != nil {
		return err
	}
	defer s.end()
	err = s.start(cmd.Context())
	switch {
	case err != nil && s.scratchSent:
		return failed(fmt.Errorf("%w\nThe code is marked as used; %d left in %s", err, s.scratch.left(), o.codes))
	case err != nil:
		return failed(fmt.Errorf("%w\nNo scratch code was used; %d left in %s", err, s.scratch.left(), o.codes))
	case !s.scratchSent:
		fmt.Fprintf(cmd.OutOrStdout(), "Logged in as %s: the server did not require a code, and none was used. %d left in %s.\n", s.name(), s.scratch.left(), o.codes)
	default:
		fmt.Fprintf(cmd.OutOrStdout(), "Logged in as %s with one scratch code. %d left in %s.\n", s.name(), s.scratch.left(), o.codes)
	}
	return nil
}
