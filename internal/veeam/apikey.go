// The simple API key of VSPC, which is a bearer token as it is.

package veeam

import "time"

// apiKey makes a session of an API key without a request. The expiry of the key is not
// known and it cannot be renewed: the session is created again every MaxLifetime.
func (c *Client) apiKey(a *Account) (*Token, error) {
	if a.Password.IsZero() || !bearerSafe(a.Password.Reveal()) {
		return nil, c.fail(KindAccount, GrantAPIKey, "the account has no API key, or one with characters that are not allowed in a header")
	}
	return &Token{
		Access: a.Password, Requested: time.Now(), Lifetime: MaxLifetime, Grant: GrantAPIKey,
	}, nil
}
