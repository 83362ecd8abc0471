// The check of an identity provider: whether its keys can be read.

package command

import (
	"context"
	"fmt"

	"github.com/caddy-veeam/veeam-auth/internal/jwtcaller"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// checkProvider reads the keys of an identity provider as a running Caddy would.
func checkProvider(ctx context.Context, p *jwtcaller.Config) *checkReport {
	const step = "keys"
	report := &checkReport{Issuer: p.Issuer, Server: p.Place(), Product: "trust_jwt", OK: true}
	read, err := p.ReadKeys(ctx)
	if err != nil {
		reason := veeam.ReasonOf(err)
		report.fail(step, reason, err.Error(), keysHelp(p, reason))
		return report
	}
	detail := "one is usable"
	if n := len(read.Keys); n != 1 {
		detail = fmt.Sprintf("%d are usable", n)
	}
	report.ok(step, detail)
	for _, why := range read.LeftOut {
		report.warn(step, "a key is not used: "+why.Error(), "")
	}
	return report
}

// keysHelp is the way out of keys that cannot be read.
func keysHelp(p *jwtcaller.Config, reason veeam.Reason) string {
	switch reason {
	case veeam.ReasonTLS:
		if p.JWKSCA == "" {
			return "the authorities are those of the system: jwks_ca names others"
		}
		return "the authorities are those of " + p.JWKSCA
	case veeam.ReasonUnreachable:
		return "check address, port and network; proxies of the environment are not used"
	case veeam.ReasonSecretUnreadable:
		return "run the check as Caddy's user"
	}
	return ""
}
