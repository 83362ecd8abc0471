// The subdirectives of what lasts: cache and hold.

package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// cache reads:
//
//	cache {
//		encryption_key <secret>
//		storage        <module> …
//	}
func (p *directiveParser) cache(d *caddyfile.Dispenser) error {
	c := new(Cache)
	at := *d
	if d.NextArg() {
		return d.Err("cache takes a block, with encryption_key in it")
	}
	seen := make(map[string]bool)
	for d.NextBlock(0) {
		option := d.Val()
		if seen[option] {
			return d.Errf("cache: %s is written twice", option)
		}
		seen[option] = true
		switch option {
		case "encryption_key":
			if err := oneArg(d, &c.EncryptionKey); err != nil {
				return err
			}
		case "storage":
			if err := c.storage(d); err != nil {
				return err
			}
		default:
			if !mayBeQuoted(option) {
				option = "(not shown, it may be a secret)"
			}
			return d.Errf("cache: unrecognized option %s; a cache takes encryption_key and storage", option)
		}
	}
	if err := c.check(); err != nil {
		return at.WrapErr(err)
	}
	p.transport.Cache = c
	return nil
}

// storage reads a storage module as the global option storage does.
func (c *Cache) storage(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("storage needs the name of a module, such as file_system")
	}
	name := d.Val()
	id := storageNamespace + "." + name
	if _, err := caddy.GetModule(id); err != nil {
		return d.Errf("there is no storage module %s in this Caddy", name)
	}
	module, err := caddyfile.UnmarshalModule(d, id)
	if err != nil {
		return err
	}
	if _, ok := module.(caddy.StorageConverter); !ok {
		return d.Errf("module %s is no storage", id)
	}
	c.StorageRaw = caddyconfig.JSONModuleObject(module, "module", name, nil)
	return nil
}

// hold reads: hold <duration> [<longest>]
func (p *directiveParser) hold(d *caddyfile.Dispenser) error {
	t := p.transport
	args := d.RemainingArgs()
	if len(args) == 0 || len(args) > 2 {
		return d.Err("hold takes one duration or two; write for example: hold 5m 30m")
	}
	for i, target := range []*caddy.Duration{&t.Hold, &t.HoldMost}[:len(args)] {
		value, err := caddy.ParseDuration(args[i])
		if err != nil || value <= 0 {
			return d.Errf("hold: %q is not a duration above zero; write for example 90s, 5m or 1h", args[i])
		}
		*target = caddy.Duration(value)
	}
	return noBlock(d)
}
