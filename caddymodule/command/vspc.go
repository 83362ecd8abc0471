// The commands over the key services of VSPC.

package command

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-veeam/veeam-auth/caddymodule"
	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// vspcOptions are those that all services share.
type vspcOptions struct {
	configFlags
	selected      []string
	clientVersion string
	force, print  bool
}

func (o *vspcOptions) add(cmd *cobra.Command) {
	o.configFlags.add(cmd)
	flags := cmd.Flags()
	flags.StringSliceVar(&o.selected, "select", nil, "Request only these properties, such as publicKey")
	flags.StringVar(&o.clientVersion, "client-version", "", "API version for the header X-Client-Version, such as 3.6.1")
	flags.BoolVar(&o.force, "force", false, "Replace existing files")
	flags.BoolVar(&o.print, "print", false, "Print secrets that have no file")
}

// newVSPCCommand returns `caddy veeam-auth vspc`.
func newVSPCCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "vspc",
		Short: "Creates and assigns keys with Veeam Service Provider Console",
		Long: `
The key services of the API of Veeam Service Provider Console. Each command logs in
as an account of the configuration. Secrets are written to files that only you can
read, and are printed only with --print.

Exit codes: 0 done; 1 invalid usage or configuration; 2 the server refused the
request or could not be reached.`,
	}
	group(cmd, newRSAKeysCommand(), newPKCS12Command(), newTOTPSecretCommand(), newAssignKeyCommand())
	return cmd
}

// ask logs in at VSPC and runs one call.
func (o *vspcOptions) ask(cmd *cobra.Command, account string, run func(ctx context.Context, s *commandSession) error) error {
	s, err := o.prepare(cmd, account)
	if err != nil {
		return err
	}
	defer s.close()
	if !s.Client.Product.KeyServices {
		return fmt.Errorf("account %s is at %s; key services require %s", account, s.Client.Product.Title, "Veeam Service Provider Console")
	}
	if o.clientVersion != "" {
		s.Client.APIVersion = o.clientVersion
	}
	if err := s.start(cmd.Context()); err != nil {
		return err
	}
	s.Client.Timeout = 0 // login_timeout is about token requests
	ctx, cancel := s.Within(cmd.Context(), callFor)
	defer cancel()
	return failed(run(ctx, s))
}

// pairOutput are the files of a key pair.
type pairOutput struct{ private, public string }

func (p *pairOutput) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.private, "private-out", "", "File for the private key; - prints it")
	cmd.Flags().StringVar(&p.public, "public-out", "", "File for the public key; - prints it")
}

// begin opens the files. There must be a place for the private key unless it is
// not asked for.
func (p *pairOutput) begin(o *vspcOptions, out io.Writer) (private, public *secretFile, err error) {
	wanted := len(o.selected) == 0 || containsFold(o.selected, "privateKey")
	if p.private == "" && wanted {
		if !o.print {
			return nil, nil, errors.New("the private key requires --private-out <file>, or --print to print it")
		}
		p.private = "-"
	}
	if p.private == "-" && wanted && !o.print {
		return nil, nil, errors.New("--private-out - prints the private key and requires --print")
	}
	if err := distinct("--private-out", p.private, "--public-out", p.public); err != nil {
		return nil, nil, err
	}
	if private, err = optionalFile(p.private, o.force, out); err != nil {
		return nil, nil, err
	}
	if public, err = optionalFile(p.public, o.force, out); err != nil {
		private.discard()
		return nil, nil, err
	}
	return private, public, nil
}

// optionalFile is a file, or nothing if it has no name.
func optionalFile(name string, force bool, out io.Writer) (*secretFile, error) {
	if name == "" {
		return &secretFile{out: io.Discard}, nil
	}
	return newSecretFile(name, force, out)
}

func containsFold(list []string, name string) bool {
	for _, item := range list {
		if strings.EqualFold(item, name) {
			return true
		}
	}
	return false
}

// save writes a key pair. An empty half is left out.
func (p *pairOutput) save(cmd *cobra.Command, pair *veeam.KeyPair, private, public *secretFile) error {
	for _, half := range []struct {
		name, what, text string
		file             *secretFile
	}{{p.private, "private", pair.Private.Reveal(), private}, {p.public, "public", string(pair.Public), public}} {
		switch {
		case half.name == "":
		case half.text == "":
			fmt.Fprintf(cmd.ErrOrStderr(), "The server sent no %s key.\n", half.what)
		default:
			if err := half.file.commit(half.text); err != nil {
				return err
			}
			if half.name != "-" {
				fmt.Fprintf(cmd.OutOrStdout(), "The %s key is in %s.\n", half.what, half.file)
			}
		}
	}
	return nil
}

func newRSAKeysCommand() *cobra.Command {
	var (
		o     vspcOptions
		files pairOutput
		bits  int
	)
	cmd := &cobra.Command{
		Use:     "rsa-keys <account> --private-out <file> [--public-out <file>] [--key-size <bits>]",
		Short:   "Creates an RSA key pair in .NET XML at the server",
		Example: "  caddy veeam-auth vspc rsa-keys provider --private-out key.xml --public-out key.pub.xml --key-size 4096",
		Args:    arguments(1, 1),
		RunE: runCommand(func(cmd *cobra.Command, args []string) error {
			private, public, err := files.begin(&o, cmd.OutOrStdout())
			if err != nil {
				return err
			}
			defer private.discard()
			defer public.discard()
			return o.ask(cmd, args[0], func(ctx context.Context, s *commandSession) error {
				pair, err := s.Client.RSAKeys(ctx, s.token, bits, o.selected)
				if err != nil {
					return err
				}
				return files.save(cmd, pair, private, public)
			})
		}),
	}
	o.add(cmd)
	files.add(cmd)
	cmd.Flags().IntVar(&bits, "key-size", 0, "Key size in bits. Default: the server's")
	return cmd
}

func newPKCS12Command() *cobra.Command {
	var (
		o                          vspcOptions
		files                      pairOutput
		bits                       int
		subject, password, decrypt string
	)
	cmd := &cobra.Command{
		Use:   "pkcs12 <account> (--subject <name> | --decrypt <file>) [--password <placeholder>] --private-out <file>",
		Short: "Creates a key with a certificate in PKCS#12 at the server, or opens such a container",
		Long: `
With --subject the server creates an RSA key and a certificate for it, in PKCS#12
containers. With --decrypt it opens a container with its password: the container
that is written has none.

--password requires a placeholder, {env.NAME} or {file./path}: other users of this
machine can see the arguments of a command. The API takes the password of a new
container in the query of the request: the log of the server, or of a proxy that
terminates TLS, may show it. Use this password for nothing else.`,
		Example: `  caddy veeam-auth vspc pkcs12 provider --subject CN=exporter --password {file./run/secrets/p12} --private-out key.p12
  caddy veeam-auth vspc pkcs12 provider --decrypt key.p12 --password {env.P12} --private-out open.p12`,
		Args: arguments(1, 1),
		RunE: runCommand(func(cmd *cobra.Command, args []string) error {
			if (subject == "") == (decrypt == "") {
				return errors.New("either --subject or --decrypt is required")
			}
			secretPassword, err := placeholderFlag("--password", password)
			if err != nil {
				return err
			}
			var container []byte
			if decrypt != "" {
				if container, err = readContainer(decrypt); err != nil {
					return err
				}
			}
			private, public, err := files.begin(&o, cmd.OutOrStdout())
			if err != nil {
				return err
			}
			defer private.discard()
			defer public.discard()
			if subject != "" && password != "" {
				fmt.Fprintln(cmd.ErrOrStderr(), "Note: the API takes the password in the query of the request; the server's log may show it.")
			}
			return o.ask(cmd, args[0], func(ctx context.Context, s *commandSession) (err error) {
				var pair *veeam.KeyPair
				if decrypt != "" {
					pair, err = s.Client.DecryptPKCS12(ctx, s.token, container, secretPassword, o.selected)
				} else {
					pair, err = s.Client.PKCS12(ctx, s.token, subject, bits, secretPassword, o.selected)
				}
				if err != nil {
					return err
				}
				return files.save(cmd, pair, private, public)
			})
		}),
	}
	o.add(cmd)
	files.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&subject, "subject", "", "Subject of the certificate for a new key")
	flags.IntVar(&bits, "key-size", 0, "Size of a new key in bits. Default: the server's")
	flags.StringVar(&decrypt, "decrypt", "", "Container to open, binary or Base64")
	flags.StringVar(&password, "password", "", "Placeholder for the container's password: {env.NAME} or {file./path}")
	return cmd
}

// placeholderFlag resolves a flag that must be a placeholder, so that no secret is
// in the arguments of the process.
func placeholderFlag(flag, text string) (secret.Value, error) { //nolint:unparam // which flag it is belongs to the message
	if text == "" {
		return secret.Value{}, nil
	}
	if !account.IsPlaceholder(text) {
		return secret.Value{}, fmt.Errorf("%s requires a placeholder, {env.NAME} or {file./path}, not the secret itself", flag)
	}
	value, err := caddymodule.ReadPlaceholder(text)
	if err != nil {
		return secret.Value{}, fmt.Errorf("%s: %w", flag, err)
	}
	return secret.New(value), nil
}

// readContainer reads a PKCS#12 container, binary or as the Base64 that VSPC sends.
func readContainer(name string) ([]byte, error) {
	content, err := secret.ReadKeyMaterial(name)
	if err != nil {
		return nil, err
	}
	const sequence = 0x30 // with which every container begins
	if len(content) > 0 && content[0] == sequence {
		return content, nil
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(content)), ""))
	if err != nil {
		return nil, fmt.Errorf("%s is not a PKCS#12 container, neither binary nor Base64", name)
	}
	return decoded, nil
}

// callFor bounds a call, with its repetitions and the wait for a queued one.
const callFor = 3 * time.Minute
