// The options in a Caddyfile.

package records

import (
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-veeam/veeam-auth/caddymodule/arguments"
	"github.com/caddy-veeam/veeam-auth/caddymodule/storages"
)

// ReadCache reads the option cache:
//
//	cache {
//		encryption_key <secret>
//		storage        <module> …
//	}
//
// unrecognized says what is wrong with an option that is not known.
func ReadCache(d *caddyfile.Dispenser, unrecognized func(of, option string) string) (*Cache, error) {
	c := new(Cache)
	at := *d
	if d.NextArg() {
		return nil, d.Err("cache requires a block with encryption_key")
	}
	seen := make(map[string]bool)
	for d.NextBlock(0) {
		option := d.Val()
		if seen[option] {
			return nil, d.Errf("cache: %s is set twice", option)
		}
		seen[option] = true
		switch option {
		case "encryption_key":
			if err := arguments.One(d, &c.EncryptionKey); err != nil {
				return nil, err
			}
		case "storage":
			if err := c.storage(d); err != nil {
				return nil, err
			}
		default:
			return nil, d.Errf("cache: %s", unrecognized("cache", option))
		}
	}
	if err := c.Check(); err != nil {
		return nil, at.WrapErr(err)
	}
	return c, nil
}

// storage reads a storage module as the global option storage does.
func (c *Cache) storage(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("storage requires the name of a module, such as file_system")
	}
	name := d.Val()
	id := storages.Namespace + "." + name
	if _, err := caddy.GetModule(id); err != nil {
		return d.Errf("this Caddy has no storage module %s", name)
	}
	module, err := caddyfile.UnmarshalModule(d, id)
	if err != nil {
		return err
	}
	if _, ok := module.(caddy.StorageConverter); !ok {
		return d.Errf("module %s is not a storage", id)
	}
	c.StorageRaw = caddyconfig.JSONModuleObject(module, "module", name, nil)
	return nil
}

// ReadLockoutBudget reads the option:
//
//	lockout_budget <tries> <window>
func ReadLockoutBudget(d *caddyfile.Dispenser, target **LockoutBudget) error {
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Err("lockout_budget accepts a number of tries and a duration; " + budgetUsage)
	}
	tries, err := strconv.Atoi(args[0])
	if err != nil {
		return d.Errf("lockout_budget: %q is not a number of tries; "+budgetUsage, args[0])
	}
	window, err := caddy.ParseDuration(args[1])
	if err != nil {
		return d.Errf("lockout_budget: %q is not a duration; "+budgetUsage, args[1])
	}
	b := &LockoutBudget{Tries: tries, Window: caddy.Duration(window)}
	if err := b.Check(); err != nil {
		return d.WrapErr(err)
	}
	*target = b
	return nil
}
