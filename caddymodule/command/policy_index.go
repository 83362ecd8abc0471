// The command that makes an index file of the API description of a server.

package command

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-veeam/veeam-auth/policy/operation"
	"github.com/caddy-veeam/veeam-auth/policy/operation/build"
)

type policyIndexOptions struct{ product, version, out string }

func newPolicyIndexCommand() *cobra.Command {
	var o policyIndexOptions
	cmd := &cobra.Command{
		Use:   "index <openapi.json> [--product <product>] [--api-version <version>] [--out <file>]",
		Short: "Makes an index file of the API description of a server",
		Long: `
Reads an API description, OpenAPI 3 or Swagger 2, and prints an index file with the
class of each operation, for the option index_file. The classes follow the rules of the
indexes that ship; operations without a rule are unknown, which no preset allows. They
are listed on standard error. Nothing is sent to a server. A file named - is standard
input.`,
		Example: "  caddy veeam-auth policy index swagger.json --product vbr --out /etc/caddy/vbr.index.tsv",
		Args:    arguments(1, 1),
		RunE:    runCommand(o.run),
	}
	flags := cmd.Flags()
	flags.StringVar(&o.product, "product", "", "Product of the description, or ahv for that plug-in of vbr. Default: the product whose index has most of its operations")
	flags.StringVar(&o.version, "api-version", "", "Name of the version. Default: that of the description")
	flags.StringVar(&o.out, "out", "", "File to write. Default: standard output")
	return cmd
}

func (o *policyIndexOptions) run(cmd *cobra.Command, args []string) error {
	in, err := open(cmd, args[0])
	if err != nil {
		return err
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, build.MaxDescription+1))
	if err != nil {
		return err
	}
	own, err := build.FromOpenAPI(text, o.product, o.version)
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	say := func(lines []string, prefix string) {
		for _, line := range lines {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s%q\n", prefix, line)
		}
	}
	say(own.Unclassed, "unknown: ")
	say(own.LeftOut, "left out: ")
	var counts []string
	for _, class := range operation.Classes() {
		counts = append(counts, fmt.Sprintf("%d %s", own.Counts[class], class))
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s %s: %s\n", own.Product, own.Version, strings.Join(counts, ", "))
	if own.Counts[operation.Unknown] > 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "No preset allows an unknown operation. To give it a class, edit the first column of its line.")
	}
	if o.out == "" {
		_, err = io.WriteString(cmd.OutOrStdout(), own.Text)
		return err
	}
	return os.WriteFile(o.out, []byte(own.Text), 0o644) //nolint:gosec // it holds no secret, and Caddy may be another user
}
