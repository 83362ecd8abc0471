// The arguments of subdirectives and the errors about them.

package caddymodule

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"

	"github.com/caddy-veeam/veeam-auth/internal/browser"
	"github.com/caddy-veeam/veeam-auth/internal/hidden"
)

// noArg parses a subdirective without a value.
func noArg(d *caddyfile.Dispenser, flag *bool) error {
	name := d.Val()
	*flag = true
	if d.NextArg() {
		return d.Errf("%s accepts no value", name) // the value may be a secret on the wrong line
	}
	return noBlock(d, name)
}

// noBlock refuses a block of the subdirective with the name.
func noBlock(d *caddyfile.Dispenser, name string) error {
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return d.Errf("%s accepts no block", name)
	}
	return nil
}

func oneArg(d *caddyfile.Dispenser, target *string) error {
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

func choiceArg(d *caddyfile.Dispenser, target *string, allowed ...string) error {
	name := d.Val()
	if err := oneArg(d, target); err != nil {
		return err
	}
	if !slices.Contains(allowed, *target) {
		return d.Errf("%s: %q is not allowed (allowed: %s)", name, *target, strings.Join(allowed, ", "))
	}
	return nil
}

func listArg(d *caddyfile.Dispenser, target *[]string) error {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Errf("%s requires a value", name)
	}
	*target = append(*target, args...)
	return nil
}

func originsArg(d *caddyfile.Dispenser, target *[]string) error {
	name := d.Val()
	if err := listArg(d, target); err != nil {
		return err
	}
	if _, err := browser.ReadOrigins(*target); err != nil {
		return d.WrapErr(err)
	}
	return noBlock(d, name)
}

func countArg(d *caddyfile.Dispenser, target *int) error {
	name := d.Val()
	var text string
	if err := oneArg(d, &text); err != nil {
		return err
	}
	value, err := strconv.Atoi(text)
	if err != nil || value <= 0 {
		return d.Errf("%s: %q is not a number above zero", name, text)
	}
	*target = value
	return nil
}

func durationArg(d *caddyfile.Dispenser, target *caddy.Duration) error {
	name := d.Val()
	var text string
	if err := oneArg(d, &text); err != nil {
		return err
	}
	value, err := caddy.ParseDuration(text)
	if err != nil || value <= 0 {
		return d.Errf("%s: %q is not a duration above zero, for example 90s, 5m or 1h", name, text)
	}
	*target = caddy.Duration(value)
	return nil
}

func sizeArg(d *caddyfile.Dispenser, target *int64) error {
	name := d.Val()
	var text string
	if err := oneArg(d, &text); err != nil {
		return err
	}
	value, err := humanize.ParseBytes(text)
	if err != nil || value == 0 || value > math.MaxInt32 {
		return d.Errf("%s: %q is not a size between 1 byte and 2 GiB, for example 64KiB or 1MiB", name, text)
	}
	*target = int64(value)
	return nil
}

// texts returns the texts of tokens.
func texts(tokens []caddyfile.Token) []string {
	texts := make([]string, len(tokens))
	for i, token := range tokens {
		texts[i] = token.Text
	}
	return texts
}

// mayBeQuoted reports whether an unknown word looks like an option of this module, so
// that an error may contain it.
func mayBeQuoted(word string) bool { return hidden.MayBeQuoted(word, ownNames()) }
