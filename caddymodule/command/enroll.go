// The commands that give an account a second factor and take it away.

package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

type enrollOptions struct {
	configFlags
	keyFlag
	out, scratchOut, codes string
	qr, recreate, force    bool
	sealed, plainCodes     bool
}

// newEnrollCommand returns `caddy veeam-auth enroll`.
func newEnrollCommand() *cobra.Command {
	var o enrollOptions
	cmd := &cobra.Command{
		Use:   "enroll <account> --out <file> [--sealed] [--scratch-out <file> [--key <file>]] [--qr] [--recreate] [--config <file>]",
		Short: "Turns on multi-factor authentication for an account and keeps its secret",
		Long: `
Logs in as an account of the configuration, creates a secret for verification codes
at the server, confirms it with a first code, and verifies it by another login with
the next code, which takes up to half a minute. The APIs of VB for Azure, VB for AWS
and VSPC support this; that of VBR does not.

The secret is written to --out, a file that only you can read and that
totp_secret {file./path} of the account can name. It is on the disk before it is
active, and gets its name when it is verified. If a step fails, multi-factor
authentication is turned off again, and the state of the account is printed.
With --sealed the secret is sealed with the encryption_key of the account's cache,
with which Caddy opens it: for this account and as totp_secret only.

Scratch codes are written to --scratch-out; without it they are lost. They are
sealed with --key, or with the encryption_key of the account's cache. Without a
key nothing is sent: make one with keygen, or write --plain-scratch-codes.

With --recreate the active secret is replaced. If the
old secret is lost, log in with a scratch code: --codes names their file. VSPC
cannot replace a secret: disable it first.

Exit codes: 0 done; 1 invalid usage or configuration; 2 failed, the account is as
before; 3 the account is not as before, or that is not known.`,
		Example: `  caddy veeam-auth enroll svc-monitor --out /etc/caddy/azure_totp --scratch-out /root/azure_scratch --key /root/scratch_key
  caddy veeam-auth enroll svc-monitor --out /etc/caddy/azure_totp --sealed
  caddy veeam-auth enroll svc-monitor --recreate --force --out /etc/caddy/azure_totp`,
		Args: cobra.ExactArgs(1),
		RunE: runCommand(o.run),
	}
	o.configFlags.add(cmd)
	o.keyFlag.add(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&o.out, "out", "o", "", "File for the secret; - prints it")
	flags.BoolVar(&o.sealed, "sealed", false, "Encrypt the secret with the encryption_key of the account's cache")
	flags.StringVar(&o.scratchOut, "scratch-out", "", "File for the scratch codes, which are sealed")
	flags.BoolVar(&o.plainCodes, "plain-scratch-codes", false, "Write the scratch codes in clear text")
	flags.StringVar(&o.codes, "codes", "", "File of scratch codes: log in with one of them")
	flags.BoolVar(&o.qr, "qr", false, "Print a QR code of the secret, for an authenticator")
	flags.BoolVar(&o.recreate, "recreate", false, "Replace the active secret")
	flags.BoolVar(&o.force, "force", false, "Replace existing files")
	_ = cmd.MarkFlagRequired("out")
	return cmd
}

func (o *enrollOptions) run(cmd *cobra.Command, args []string) error {
	if o.scratchOut == "-" {
		return errors.New("--scratch-out takes a file: scratch codes are not printed")
	}
	if err := distinct("--out", o.out, "--scratch-out", o.scratchOut, "--codes", o.codes, "--key", o.key); err != nil {
		return err
	}
	s, err := o.prepareMFA(cmd, args[0], o.codes, o.key)
	if err != nil {
		return err
	}
	defer s.end()
	out, scratch, err := o.begin(s, cmd.OutOrStdout())
	if err != nil {
		return err
	}
	if err := s.start(cmd.Context()); err != nil {
		out.discard()
		scratch.discard()
		return err
	}
	if hint := s.Client.Product.EnrollHint; hint != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "Note: %s.\n", hint)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "Logged in as %s. The verification takes up to a minute.\n", s.name())

	ctx, cancel := s.Within(cmd.Context(), loginFor)
	defer cancel()
	var offered *veeam.Enrollment
	_, err = s.Client.Enroll(ctx, s.credentials, s.token, o.recreate, func(e *veeam.Enrollment) error {
		offered = e
		return errors.Join(out.prepare(line(e.Secret)), scratch.prepare(lines(e.ScratchCodes)))
	})
	if err != nil {
		return o.explain(s, err, offered, out, scratch)
	}
	people := cmd.OutOrStdout()
	if out.out != nil {
		people = cmd.ErrOrStderr() // the standard output is the secret and nothing else
	}
	return o.done(people, s, offered, out, scratch)
}

// begin begins the files, with the keys that seal them. Nothing was sent so far.
func (o *enrollOptions) begin(s *commandSession, stdout io.Writer) (out, scratch *secretFile, err error) {
	var seal, scratchSeal *commandSeal
	if o.sealed {
		seal, err = s.cacheSeal("totp_secret")
		if errors.Is(err, errNoSealKey) {
			err = fmt.Errorf("--sealed needs a key that Caddy has too, and %w; make one with `caddy veeam-auth keygen <file>`, and write cache { encryption_key {file.<file>} }", err)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	if o.scratchOut != "" && !o.plainCodes && s.Client.Product.ScratchCodes {
		scratchSeal, err = s.scratchSeal(o.key)
		if errors.Is(err, errNoSealKey) {
			err = fmt.Errorf("scratch codes are written sealed and require a key: %w. Make a key with `caddy veeam-auth keygen <file>` and name it with --key <file>; --plain-scratch-codes writes them in clear text", err)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	if out, err = newSecretFile(o.out, o.force, stdout); err != nil {
		return nil, nil, err
	}
	if scratch, err = optionalFile(o.scratchOut, o.force, nil); err != nil {
		out.discard()
		return nil, nil, err
	}
	out.seal, scratch.seal = seal, scratchSeal
	return out, scratch, nil
}

func line(v secret.Value) string { return v.Reveal() + "\n" }

func lines(values []secret.Value) string {
	var b strings.Builder
	for _, v := range values {
		b.WriteString(line(v))
	}
	return b.String()
}

// done gives the files their names and says what to do with them.
func (o *enrollOptions) done(people io.Writer, s *commandSession, e *veeam.Enrollment, out, scratch *secretFile) error {
	pending := out.pending()
	if err := out.commit(line(e.Secret)); err != nil {
		return &exitError{exitChanged, fmt.Errorf("multi-factor authentication of %s is on, and its secret is in %s, but it could not be renamed to %s: %w", s.name(), pending, out, err)}
	}
	notes := fmt.Sprintf("Multi-factor authentication of %s is on and verified.\nThe secret is in %s%s.\n", s.name(), out, out.seal.sealedWith())
	if out.out == nil {
		path := out.name
		if absolute, err := filepath.Abs(path); err == nil {
			path = absolute
		}
		notes += fmt.Sprintf("Add this to the account: totp_secret {file.%s}\n", path)
	}
	if len(e.ScratchCodes) == 0 {
		scratch.discard()
		scratch = &secretFile{out: io.Discard}
	}
	pending = scratch.pending()
	if err := scratch.commit(lines(e.ScratchCodes)); err != nil {
		return &exitError{exitChanged, fmt.Errorf("%sThe scratch codes are in %s, but it could not be renamed to %s: %w", notes, pending, scratch, err)}
	}
	switch {
	case len(e.ScratchCodes) == 0:
	case scratch.seal != nil:
		notes += fmt.Sprintf("%d scratch codes are in %s%s. Each allows a login: keep the file and the key apart from the password.\n", len(e.ScratchCodes), scratch, scratch.seal.sealedWith())
	case o.scratchOut != "":
		notes += fmt.Sprintf("%d scratch codes are in %s. Keep them elsewhere: each allows a login.\n", len(e.ScratchCodes), scratch)
	default:
		notes += fmt.Sprintf("%d scratch codes of the server were discarded: --scratch-out is missing.\n", len(e.ScratchCodes))
	}
	fmt.Fprint(people, notes)
	if o.qr {
		qrterminal.GenerateHalfBlock(e.URI.Reveal(), qrterminal.M, people)
	}
	return nil
}

// explain says what state the account is in after a failure, and what to do.
func (o *enrollOptions) explain(s *commandSession, err error, e *veeam.Enrollment, out, scratch *secretFile) error {
	var step *veeam.MFAError
	if !errors.As(err, &step) || step.State == veeam.MFAUnchanged {
		out.discard()
		scratch.discard()
		state := "it has no second factor, or the one it had"
		if o.recreate {
			state = "its old secret stays in force"
		}
		return failed(fmt.Errorf("%w\nThe account %s is as before: %s. Nothing was written", err, s.name(), state))
	}
	state := "has the new secret, but the login with it has failed"
	if step.State == veeam.MFAUnknown {
		state = "may have the new secret or not: the answer of the server was lost"
	}
	if out.out != nil { // nobody else has it
		_ = out.commit(line(e.Secret))
	}
	kept := "The new secret is in " + out.pending()
	if o.scratchOut != "" {
		kept += ", its scratch codes are in " + scratch.pending()
	}
	return &exitError{exitChanged, fmt.Errorf("%w\nThe account %s %s.\n%s.\n%s", err, s.name(), state, kept,
		"Find out with `caddy veeam-auth check --login` and that secret as totp_secret; if the server takes it, keep the file, else remove it. An administrator can turn multi-factor authentication off in the product's console.")}
}

// prepareMFA finds an account that logs in with a password, to which alone second
// factors apply.
func (f *configFlags) prepareMFA(cmd *cobra.Command, account, codes, key string) (*commandSession, error) {
	s, err := f.prepare(cmd, account)
	if err != nil {
		return nil, err
	}
	switch {
	case s.Client.Product.Values[veeam.GrantMFA] == "":
		err = fmt.Errorf("%s has no verification codes in its REST API: %s", s.Client.Product.Title, s.Client.Product.MFAHint)
	case s.credentials.Grant != veeam.GrantPassword:
		err = fmt.Errorf("account %s logs in by the grant %s; verification codes belong to the grant password", account, s.credentials.Grant)
	case codes != "":
		err = s.useScratchCode(codes, key)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// useScratchCode has the login use a scratch code if the server demands a code. key
// is the file of the key that opens the file of the codes, or empty.
func (s *commandSession) useScratchCode(file, key string) error {
	if !s.Client.Product.ScratchCodes {
		return fmt.Errorf("%s has no scratch codes", s.Client.Product.Title)
	}
	codes, err := readScratchCodes(file, func() (*commandSeal, error) { return s.scratchSeal(key) })
	if err != nil {
		return err
	}
	s.scratch = codes
	s.credentials.ScratchCode = func(context.Context) (secret.Value, error) {
		code, err := codes.take()
		if err == nil {
			s.scratchSent = true
		}
		return code, err
	}
	return nil
}

type disableOptions struct {
	configFlags
	keyFlag
	codes string
}

// newDisableCommand returns `caddy veeam-auth disable`.
func newDisableCommand() *cobra.Command {
	var o disableOptions
	cmd := &cobra.Command{
		Use:   "disable <account> [--codes <file> [--key <file>]] [--config <file>]",
		Short: "Turns off multi-factor authentication for an account",
		Long: `
Logs in as an account of the configuration, turns its multi-factor authentication
off, and verifies that by a login with the password alone. The secret becomes
invalid; its file stays. If the secret is lost, log in with a scratch code: --codes
names their file.

Exit codes: 0 done; 1 invalid usage or configuration; 2 failed, the account is as
before; 3 the account is not as before, or that is not known.`,
		Example: "  caddy veeam-auth disable svc-monitor",
		Args:    cobra.ExactArgs(1),
		RunE:    runCommand(o.run),
	}
	o.configFlags.add(cmd)
	o.keyFlag.add(cmd)
	cmd.Flags().StringVar(&o.codes, "codes", "", "File of scratch codes: log in with one of them")
	return cmd
}

func (o *disableOptions) run(cmd *cobra.Command, args []string) error {
	s, err := o.prepareMFA(cmd, args[0], o.codes, o.key)
	if err != nil {
		return err
	}
	defer s.end()
	if err := s.start(cmd.Context()); err != nil {
		return err
	}
	ctx, cancel := s.Within(cmd.Context(), loginFor)
	defer cancel()
	err = s.Client.DisableMFA(ctx, s.credentials, s.token)
	var step *veeam.MFAError
	switch {
	case err == nil:
		fmt.Fprintf(cmd.OutOrStdout(), "Multi-factor authentication of %s is off. Remove totp_secret from the account.\n", s.name())
		return nil
	case errors.As(err, &step) && step.State == veeam.MFAChanged:
		return &exitError{exitChanged, fmt.Errorf("%w\nMulti-factor authentication of %s is off, but the login with the password alone has failed", err, s.name())}
	case errors.As(err, &step) && step.State == veeam.MFAUnknown:
		return &exitError{exitChanged, fmt.Errorf("%w\nWhether multi-factor authentication of %s is off is not known: the answer of the server was lost. Keep the secret, and try `caddy veeam-auth check --login`", err, s.name())}
	}
	return failed(fmt.Errorf("%w\nThe account %s is as before: its secret stays in force", err, s.name()))
}
