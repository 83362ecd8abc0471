// Logins with a token that another party has issued: VB for Azure, VB for
// Microsoft 365, and the platform token of VBR.

package veeam

import "context"

// federated logs in with the account's SAML response, assertion, SSO token, updater
// token or platform token. Where the latter three come from is not documented; they
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
		GrantJWTBearer:    c.Product.Fields.Assertion,
		GrantOperator:     c.Product.Fields.Assertion,
	}
	f := c.Product.newForm(g)
	f.add(c.Product.Fields.ClientID, a.ClientID)
	f.add(fields[g], a.Password.Reveal())
	c.addOptions(f, a)
	f.pace, f.guarded = c.firstStep(a), true
	r, err := c.ask(ctx, g, f)
	if err != nil {
		return nil, err
	}
	return c.finish(ctx, a, g, r)
}
