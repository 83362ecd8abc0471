// Package arguments reads the arguments of options of a Caddyfile. The errors name the
// option, its line and what to write instead. Package caddymodule imports it.
package arguments

import (
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"

	"github.com/caddy-veeam/veeam-auth/internal/browser"
)

// None reads an option without a value, and sets flag.
func None(d *caddyfile.Dispenser, flag *bool) error {
	name := d.Val()
	*flag = true
	if d.NextArg() {
		return d.Errf("%s accepts no value", name) // the value may be a secret on the wrong line
	}
	return NoBlock(d, name)
}

// NoBlock refuses a block behind the option with the name.
func NoBlock(d *caddyfile.Dispenser, name string) error {
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return d.Errf("%s accepts no block", name)
	}
	return nil
}

// One reads an option with one value, which is not empty.
func One(d *caddyfile.Dispenser, target *string) error {
	name := d.Val()
	if !d.NextArg() {
		return d.Errf("%s requires a value", name)
	}
	*target = d.Val()
	if *target == "" {
		return d.Errf("%s requires a value that is not empty", name)
	}
	if d.NextArg() {
		return d.Errf("%s accepts one value: put quotes around a value with blanks", name)
	}
	return nil
}

// Choice reads an option whose value is one of those that are allowed.
func Choice(d *caddyfile.Dispenser, target *string, allowed ...string) error {
	name := d.Val()
	if err := One(d, target); err != nil {
		return err
	}
	if !slices.Contains(allowed, *target) {
		return d.Errf("%s: %q is not allowed (allowed: %s)", name, *target, strings.Join(allowed, ", "))
	}
	return nil
}

// List reads an option with one or more values, which are added to target.
func List(d *caddyfile.Dispenser, target *[]string) error {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Errf("%s requires a value", name)
	}
	*target = append(*target, args...)
	return nil
}

// Origins reads an option with one or more origins, as browsers send them.
func Origins(d *caddyfile.Dispenser, target *[]string) error {
	name := d.Val()
	if err := List(d, target); err != nil {
		return err
	}
	if _, err := browser.ReadOrigins(*target); err != nil {
		return d.WrapErr(err)
	}
	return NoBlock(d, name)
}

// Unread reports whether an error is that a file cannot be read. A Caddyfile may be adapted
// where its files are not, so this is left to the start of the configuration. What is wrong
// in a file is an error with a line.
func Unread(err error) bool {
	_, ok := errors.AsType[*fs.PathError](err)
	return ok
}

// Upstreams returns an error for an address without a host, which would be this machine, and
// for one with a user, which reverse_proxy drops without a word. d is at the word before them.
func Upstreams(d caddyfile.Dispenser) error {
	for d.NextArg() {
		host := d.Val()
		if _, rest, found := strings.Cut(host, "://"); found {
			host = rest
		}
		switch {
		case strings.Contains(d.Val(), "@") && !strings.HasPrefix(d.Val(), "unix"): // where it is a name of Linux
			return d.Err("the address of an upstream has a user: write user and password as account <name> <password>")
		case host == "" || host[0] == ':' || host[0] == '/':
			return d.Err("the address of an upstream has no host: write it as in https://vbr01.lab.local:9419")
		}
	}
	return nil
}

// Count reads an option whose value is a number above zero.
func Count(d *caddyfile.Dispenser, target *int) error {
	return value(d, target, "a number above zero", func(text string) (int, bool) {
		n, err := strconv.Atoi(text)
		return n, err == nil && n > 0
	})
}

// Duration reads an option whose value is a duration above zero.
func Duration(d *caddyfile.Dispenser, target *caddy.Duration) error {
	return value(d, target, "a duration above zero, for example 90s, 5m or 1h", func(text string) (caddy.Duration, bool) {
		duration, err := caddy.ParseDuration(text)
		return caddy.Duration(duration), err == nil && duration > 0
	})
}

// Size reads an option whose value is a number of bytes, from 1 byte to 2 GiB.
func Size(d *caddyfile.Dispenser, target *int64) error {
	return size(d, target, 2<<30, "a size between 1 byte and 2 GiB, for example 64KiB or 1MiB")
}

// SizeOrOff reads an option whose value is off, which is 0, or a number of bytes up to most.
func SizeOrOff(d *caddyfile.Dispenser, target **int64, most int64) error {
	*target = new(int64)
	if ahead := *d; ahead.NextArg() && ahead.Val() == "off" {
		var off string
		return One(d, &off)
	}
	return size(d, *target, most, "off, or a size between 1 byte and "+strings.Replace(humanize.IBytes(uint64(most)), ".0 ", " ", 1)+", for example 64KiB")
}

func size(d *caddyfile.Dispenser, target *int64, most int64, wanted string) error {
	return value(d, target, wanted, func(text string) (int64, bool) {
		size, err := humanize.ParseBytes(text)
		return int64(size), err == nil && size > 0 && size <= uint64(most)
	})
}

// value reads an option with one value. parse reports whether it is what is wanted.
func value[T any](d *caddyfile.Dispenser, target *T, wanted string, parse func(text string) (T, bool)) error {
	name := d.Val()
	var text string
	if err := One(d, &text); err != nil {
		return err
	}
	read, ok := parse(text)
	if !ok {
		return d.Errf("%s: %q is not %s", name, text, wanted)
	}
	*target = read
	return nil
}

// Block reads a block of options with arguments, if there is one. of names it in errors, and
// unrecognized says what is wrong with an option that is not known. inner reads the block
// behind an option; nil if no option has one.
func Block(d *caddyfile.Dispenser, of string, known []string, unrecognized func(of, option string) string, repeatable func(option string) bool, set func(option string, args []string) error, inner func(option string) error) (block bool, err error) {
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); block = true {
		option := d.Val()
		switch {
		case !slices.Contains(known, option):
			return true, d.Errf("%s: %s", of, unrecognized(of, option))
		case seen[option] && !repeatable(option):
			return true, d.Errf("%s: %s is set twice", of, option)
		}
		seen[option] = true
		if err := set(option, d.RemainingArgs()); err != nil {
			return true, d.Errf("%s: %v", of, err)
		}
		if inner == nil {
			err = NoBlock(d, option)
		} else {
			err = inner(option)
		}
		if err != nil {
			return true, err
		}
	}
	return block, nil
}

// Reader reads an option. The dispenser is at its name.
type Reader = func(*caddyfile.Dispenser) error

// Into returns a reader that puts the value into target.
func Into[T any](target *T, read func(*caddyfile.Dispenser, *T) error) Reader {
	return func(d *caddyfile.Dispenser) error { return read(d, target) }
}

// Parsed returns what parses all arguments of an option without a block.
func Parsed[T any](parse func(words []string) (T, error)) func(*caddyfile.Dispenser, *T) error {
	return func(d *caddyfile.Dispenser, target *T) (err error) {
		name := d.Val()
		if *target, err = parse(d.RemainingArgs()); err != nil {
			return d.WrapErr(err)
		}
		return NoBlock(d, name)
	}
}

// Checked returns a reader that validates its result with check.
func Checked(read Reader, check func() error) Reader {
	return func(d *caddyfile.Dispenser) error {
		if err := read(d); err != nil {
			return err
		}
		if err := check(); err != nil {
			return d.WrapErr(err)
		}
		return nil
	}
}
