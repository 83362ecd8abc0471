// The commands that give an account a second factor and take it away.

package command

import (
	"cmp"
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
at the server, confirms it with a first code, and verifies it with another login and
the next code, which takes up to half a minute. The APIs of VB for Azure, VB for AWS
and VSPC support this; that of VBR does not.

The secret is written to --out, a file that only you can read: set totp_secret of
the account to {file./path}. It is written to a temporary file before the server
activates it, and renamed after the verification. With --out - it is printed before
the server activates it: use it only if the exit code is 0. If a step fails, multi-factor
authentication is turned off again, and the state of the account is printed.
With --sealed the secret is sealed with the encryption_key of the account's cache.
It is then valid only as totp_secret of this account, with the same cache key.

Scratch codes are written to --scratch-out; without it they are discarded. They are
sealed with --key, or with the encryption_key of the account's cache. Without a
key nothing is sent: create one with keygen, or use --plain-scratch-codes.

With --recreate the active secret is replaced. If the old secret is lost, log in
with a scratch code: set --codes to their file. VSPC cannot replace a secret:
disable it first.

Exit codes: 0 done; 1 invalid usage or configuration; 2 failed, the account is
unchanged; 3 failed, the account has changed or its state is unknown.`,
		Example: `  caddy veeam-auth enroll svc-monitor --out /etc/caddy/azure_totp --scratch-out /root/azure_scratch --key /root/scratch_key
  caddy veeam-auth enroll svc-monitor --out /etc/caddy/azure_totp --sealed
  caddy veeam-auth enroll svc-monitor --recreate --force --out /etc/caddy/azure_totp`,
		Args: arguments(1, 1),
		RunE: runCommand(o.run),
	}
	o.configFlags.add(cmd)
	o.keyFlag.add(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&o.out, "out", "o", "", "File for the secret; - prints it")
	flags.BoolVar(&o.sealed, "sealed", false, "Encrypt the secret with the encryption_key of the account's cache")
	flags.StringVar(&o.scratchOut, "scratch-out", "", "File for the sealed scratch codes")
	flags.BoolVar(&o.plainCodes, "plain-scratch-codes", false, "Write the scratch codes in clear text")
	flags.StringVar(&o.codes, "codes", "", "File with scratch codes: log in with one of them")
	flags.BoolVar(&o.qr, "qr", false, "Print the secret as a QR code for an authenticator app")
	flags.BoolVar(&o.recreate, "recreate", false, "Replace the active secret")
	flags.BoolVar(&o.force, "force", false, "Replace existing files")
	_ = cmd.MarkFlagRequired("out")
	return cmd
}

func (o *enrollOptions) run(cmd *cobra.Command, args []string) error {
	if o.scratchOut == "-" {
		return errors.New("--scratch-out requires a file: scratch codes are never printed")
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
		return cmp.Or(scratch.prepare(lines(e.ScratchCodes)), out.prepare(line(e.Secret))) // what is printed, last
	})
	if err != nil {
		return o.explain(s, err, out, scratch)
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
			err = fmt.Errorf("--sealed requires a key that Caddy has: %w; create one with `caddy veeam-auth keygen <file>`, and set cache { encryption_key {file.<file>} }", err)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	if o.scratchOut != "" && !o.plainCodes && s.Client.Product.ScratchCodes {
		scratchSeal, err = s.scratchSeal(o.key)
		if errors.Is(err, errNoSealKey) {
			err = fmt.Errorf("--scratch-out requires a key: %w; create one with `caddy veeam-auth keygen <file>` and set --key <file>, or write the codes in clear text with --plain-scratch-codes", err)
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
		return &exitError{exitChanged, fmt.Errorf("multi-factor authentication of %s is on, but its secret in %s could not be renamed to %s: %w", s.name(), pending, out, err)}
	}
	notes := fmt.Sprintf("Multi-factor authentication of %s is on and verified.\nWrote the secret to %s%s.\n", s.name(), out, out.seal.sealedWith())
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
		return &exitError{exitChanged, fmt.Errorf("%sThe scratch codes are in %s, which could not be renamed to %s: %w", notes, pending, scratch, err)}
	}
	switch {
	case len(e.ScratchCodes) == 0:
	case scratch.seal != nil:
		notes += fmt.Sprintf("%d scratch codes are in %s%s. Each allows a login: keep the file and the key apart from the password.\n", len(e.ScratchCodes), scratch, scratch.seal.sealedWith())
	case o.scratchOut != "":
		notes += fmt.Sprintf("%d scratch codes are in %s. Each allows a login: move the file to a safe place.\n", len(e.ScratchCodes), scratch)
	default:
		notes += fmt.Sprintf("Discarded %d scratch codes: --scratch-out is not set.\n", len(e.ScratchCodes))
	}
	fmt.Fprint(people, notes)
	if o.qr {
		qrterminal.GenerateHalfBlock(e.URI.Reveal(), qrterminal.M, people)
	}
	return nil
}

// explain says what state the account is in after a failure, and what to do.
func (o *enrollOptions) explain(s *commandSession, err error, out, scratch *secretFile) error {
	var step *veeam.MFAError
	if !errors.As(err, &step) || step.State == veeam.MFAUnchanged {
		out.discard()
		scratch.discard()
		state := "its second factor, if any, is the same"
		if o.recreate {
			state = "its old secret remains valid"
		}
		written := "Nothing was written"
		if out.shown {
			written = "The printed secret is not valid"
		}
		return failed(fmt.Errorf("%w\nThe account %s is unchanged: %s. %s", err, s.name(), state, written))
	}
	state := "has the new secret, but the login with it failed"
	if step.State == veeam.MFAUnknown {
		state = "may have the new secret: the server's answer was lost"
	}
	kept := "The new secret is in " + out.pending()
	if o.scratchOut != "" {
		kept += ", its scratch codes are in " + scratch.pending()
	}
	return &exitError{exitChanged, fmt.Errorf("%w\nThe account %s %s.\n%s.\n%s", err, s.name(), state, kept,
		"Try that secret as totp_secret with `caddy veeam-auth check --login`: keep the file if the server accepts it, else remove it. An administrator can turn multi-factor authentication off in the product's console.")}
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
		err = fmt.Errorf("the REST API of %s does not support verification codes: %s", s.Client.Product.Title, s.Client.Product.MFAHint)
	case s.credentials.Grant != veeam.GrantPassword:
		err = fmt.Errorf("account %s has the grant %s; verification codes require the grant password", account, s.credentials.Grant)
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
		return fmt.Errorf("%s does not support scratch codes", s.Client.Product.Title)
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
off, and verifies it with a login without a code. The secret becomes invalid; its
file remains. If the secret is lost, log in with a scratch code: set --codes to
their file.

Exit codes: 0 done; 1 invalid usage or configuration; 2 failed, the account is
unchanged; 3 failed, the account has changed or its state is unknown.`,
		Example: "  caddy veeam-auth disable svc-monitor",
		Args:    arguments(1, 1),
		RunE:    runCommand(o.run),
	}
	o.configFlags.add(cmd)
	o.keyFlag.add(cmd)
	cmd.Flags().StringVar(&o.codes, "codes", "", "File with scratch codes: log in with one of them")
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
		return &exitError{exitChanged, fmt.Errorf("%w\nMulti-factor authentication of %s is off, but the login with the password alone failed", err, s.name())}
	case errors.As(err, &step) && step.State == veeam.MFAUnknown:
		return &exitError{exitChanged, fmt.Errorf("%w\nThe state of multi-factor authentication of %s is unknown: the server's answer was lost. Keep the secret, and try `caddy veeam-auth check --login`", err, s.name())}
	}
	return failed(fmt.Errorf("%w\nThe account %s is unchanged: its secret remains valid", err, s.name()))
}
