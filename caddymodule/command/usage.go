// What a command takes, and what it says about everything else.

package command

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/caddy-veeam/veeam-auth/internal/keys"
)

// errSecretArgument is about a secret among the arguments, which no error repeats.
var errSecretArgument = errors.New("a key, code or other secret in the arguments can be read by other users of this machine. Nothing was sent; enter it when asked, or through the standard input")

// errPasswordInAddress is about an argument such as https://user:password@host.
var errPasswordInAddress = errors.New("a password in an address can be read by other users of this machine, and no command needs one. Nothing was sent; write the address as host:port")

// arguments accepts so many arguments.
func arguments(least, most int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return errors.New("an argument is missing")
		case len(args) > most:
			return errors.New("there are more arguments than the command takes")
		}
		return nil
	}
}

// argumentsAndSecret accepts so many arguments. The command reads a secret besides.
func argumentsAndSecret(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return errSecretArgument
		}
		return arguments(n, n)(cmd, args)
	}
}

// noCommand refuses the name of a command that does not exist.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range cmd.Commands() {
		names = append(names, sub.Name())
	}
	return fmt.Errorf("unknown command; write one of %s", strings.Join(names, ", "))
}

// explainUse has a command, and all below it, answer a wrong use with what it takes. No
// answer repeats an argument or a value: it may be a secret in the wrong place.
func explainUse(cmd *cobra.Command) {
	accept := cmd.Args
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if slices.ContainsFunc(args, keys.Looks) {
			return wrongUse(cmd, errSecretArgument)
		}
		if slices.ContainsFunc(append(addresses(cmd), args...), hasPassword) {
			return wrongUse(cmd, errPasswordInAddress)
		}
		if err := accept(cmd, args); err != nil {
			return wrongUse(cmd, err)
		}
		return wrongUse(cmd, missingOption(cmd))
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return wrongUse(cmd, optionError(err)) })
	for _, sub := range cmd.Commands() {
		explainUse(sub)
	}
}

// addresses returns the values of the options for addresses.
func addresses(cmd *cobra.Command) (values []string) {
	for _, name := range [...]string{"address", "upstream"} {
		if flag := cmd.Flags().Lookup(name); flag != nil {
			values = append(values, flag.Value.String())
		}
	}
	return values
}

// hasPassword reports whether an address, with a scheme or without, has a password in it.
func hasPassword(address string) bool {
	if _, rest, found := strings.Cut(address, "://"); found {
		address = rest
	}
	if end := strings.IndexAny(address, "/?#"); end >= 0 {
		address = address[:end]
	}
	user, _, found := strings.Cut(address, "@")
	return found && strings.Contains(user, ":")
}

// wrongUse adds to an error what the command takes.
func wrongUse(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w\nUsage: %s\nSee %s --help", err, cmd.UseLine(), cmd.CommandPath())
}

// missingOption returns an error if an option that MarkFlagRequired has marked is not set.
func missingOption(cmd *cobra.Command) (err error) {
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		if len(flag.Annotations[cobra.BashCompOneRequiredFlag]) > 0 && !flag.Changed && err == nil {
			err = fmt.Errorf("--%s is required", flag.Name)
		}
	})
	return err
}

// optionError is an error about options, without their values.
func optionError(err error) error {
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		if unknown.GetSpecifiedShortnames() != "" {
			return fmt.Errorf("unknown option -%s", unknown.GetSpecifiedName())
		}
		return fmt.Errorf("unknown option --%s", unknown.GetSpecifiedName())
	}
	if required, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return fmt.Errorf("--%s requires a value", required.GetFlag().Name)
	}
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return fmt.Errorf("the value of --%s is not of type %s", invalid.GetFlag().Name, invalid.GetFlag().Value.Type())
	}
	return errors.New("an option is not written as --name or --name=value")
}
