// Logins with something that somebody else has issued: VB for Azure, and the
// platform token of VBR.

package veeam

import "context"

// federated logs in with the account's SAML response, SSO token, updater token
// or platform token. Where the latter three come from is not documented; they
// are sent as configured.
func (c *Client) federated(ctx context.Context, a *Account) (*Token, error) {
	g := a.grant()
	if a.Password.IsZero() {
		return nil, c.fail(KindAccount, g, "the account has no secret")
	}
	fields := map[Grant]string{
		GrantSAML:         c.Product.Fields.SAML,
		GrantSSOToken:     c.Product.Fields.SSOToken,
		GrantUpdaterToken: c.Product.Fields.UpdaterToken,
		GrantVBRToken:     c.Product.Fields.VBRToken,
	}
	f := c.Product.newForm(g)
	f.add(fields[g], a.Password.Reveal())
	c.addOptions(f, a)
	f.pace, f.guarded = c.firstStep(a), true
	r, err := c.ask(ctx, g, f)
	if err != nil {
		return nil, err
	}
	return c.finish(ctx, a, g, r)
}
