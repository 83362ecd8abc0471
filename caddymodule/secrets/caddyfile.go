// The global option veeam_secrets of the Caddyfile.

package secrets

import (
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-veeam/veeam-auth/caddymodule/arguments"
	"github.com/caddy-veeam/veeam-auth/internal/hidden"
	"github.com/caddy-veeam/veeam-auth/internal/secretsource"
)

// parseApp parses the global option. Syntax:
//
//	veeam_secrets {
//	    exec <program>... {
//	        timeout <duration>
//	        max_age <duration>
//	    }
//	    vault <url> {
//	        token      <placeholder>
//	        approle    <role_id> [<placeholder>]
//	        kubernetes <role> [<placeholder>]
//	        auth_mount <path>
//	        namespace  <name>
//	        ca_file    <file>
//	        timeout    <duration>
//	        max_age    <duration>
//	    }
//	}
func parseApp(d *caddyfile.Dispenser, before any) (any, error) {
	d.Next() // consume option name
	if before != nil {
		return nil, d.Err("veeam_secrets is set twice")
	}
	if d.NextArg() {
		return nil, d.Err("veeam_secrets accepts no arguments: write exec or vault into a block")
	}
	app := new(App)
	for d.NextBlock(0) {
		var err error
		switch kind := d.Val(); {
		case kind == "exec" && app.Exec == nil:
			app.Exec, err = parseExec(d)
		case kind == "vault" && app.Vault == nil:
			app.Vault, err = parseVault(d)
		case kind == "exec", kind == "vault":
			err = d.Errf("%s is set twice", kind)
		default:
			err = unrecognized(d, "veeam_secrets", kind, "exec", "vault")
		}
		if err != nil {
			return nil, err
		}
	}
	if app.Exec == nil && app.Vault == nil {
		return nil, d.Err("veeam_secrets requires exec or vault")
	}
	return httpcaddyfile.App{Name: appID, Value: caddyconfig.JSON(app, nil)}, nil
}

func parseExec(d *caddyfile.Dispenser) (*Exec, error) {
	e := &Exec{Programs: d.RemainingArgs()}
	if _, err := secretsource.NewExec(secretsource.ExecOptions{Programs: e.Programs}); err != nil {
		return nil, d.Errf("exec: %v", err)
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		known, err := parseTimes(d, &e.Timeout, &e.MaxAge)
		if err != nil {
			return nil, err
		}
		if !known {
			return nil, unrecognized(d, "exec", d.Val(), "timeout", "max_age")
		}
	}
	return e, nil
}

func parseVault(d *caddyfile.Dispenser) (*Vault, error) {
	v := new(Vault)
	if !d.Args(&v.Address) || d.NextArg() {
		return nil, d.Err("vault requires an address, such as https://bao.lab.local:8200")
	}
	mount := ""
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := parseVaultOption(d, v, &mount); err != nil {
			return nil, err
		}
	}
	switch {
	case mount == "":
	case v.AppRole != nil:
		v.AppRole.Mount = mount
	case v.Kubernetes != nil:
		v.Kubernetes.Mount = mount
	default:
		return nil, d.Err("auth_mount requires approle or kubernetes")
	}
	if _, err := v.login(); err != nil {
		return nil, d.Errf("vault: %v", err)
	}
	if _, err := secretsource.NewVault(secretsource.VaultOptions{Address: v.Address}); err != nil {
		return nil, d.Errf("vault: %v", err)
	}
	return v, nil
}

func parseVaultOption(d *caddyfile.Dispenser, v *Vault, mount *string) error {
	known, err := parseTimes(d, &v.Timeout, &v.MaxAge)
	if known || err != nil {
		return err
	}
	option := d.Val()
	if !slices.Contains(vaultOptions, option) {
		return unrecognized(d, "vault", option, vaultOptions...)
	}
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Errf("%s of vault requires a value", option)
	}
	texts := map[string]*string{"token": &v.Token, "namespace": &v.Namespace, "ca_file": &v.CAFile, "auth_mount": mount}
	switch text := texts[option]; {
	case text != nil && len(args) == 1 && *text == "":
		*text = args[0]
	case option == "approle" && len(args) < 3 && v.AppRole == nil:
		v.AppRole = &AppRole{RoleID: args[0]}
		if len(args) == 2 {
			v.AppRole.SecretID = args[1]
		}
	case option == "kubernetes" && len(args) < 3 && v.Kubernetes == nil:
		v.Kubernetes = &Kubernetes{Role: args[0]}
		if len(args) == 2 {
			v.Kubernetes.JWT = args[1]
		}
	default:
		return d.Errf("%s of vault is set twice, or has too many values", option)
	}
	if option == "ca_file" {
		if _, err := v.roots(); err != nil && !arguments.Unread(err) {
			return d.Errf("vault: %v", err)
		}
	}
	return nil
}

var vaultOptions = []string{"token", "approle", "kubernetes", "auth_mount", "namespace", "ca_file", "timeout", "max_age"}

// unrecognized is the error for a word that is no option of a block. It may be a token on the
// wrong line.
func unrecognized(d *caddyfile.Dispenser, of, word string, known ...string) error {
	return d.Errf("unrecognized option %s of %s: allowed: %s", hidden.Shown(word, known), of, strings.Join(known, ", "))
}

// parseTimes parses the options that both have; known is false for another one.
func parseTimes(d *caddyfile.Dispenser, timeout, maxAge *caddy.Duration) (known bool, err error) {
	option := d.Val()
	times := map[string]*caddy.Duration{"timeout": timeout, "max_age": maxAge}
	if times[option] == nil {
		return false, nil
	}
	var text string
	if !d.Args(&text) || d.NextArg() {
		return true, d.Errf("%s requires a duration", option)
	}
	value, err := caddy.ParseDuration(text)
	if err != nil || value <= 0 {
		return true, d.Errf("%s %s: it must be a duration, such as 5s", option, text)
	}
	*times[option] = caddy.Duration(value)
	if err := secretsource.CheckTimes(time.Duration(*timeout), time.Duration(*maxAge)); err != nil {
		return true, d.Err(err.Error())
	}
	return true, nil
}
