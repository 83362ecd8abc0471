// Account: an account with all secrets resolved.

package veeam

import (
	"cmp"
	"context"
	"net/url"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/totp"
)

// Account is an identity at a Veeam server. It must not be changed after it was passed
// to a Client.
type Account struct {
	// Name is the name of the account in the configuration. Required.
	Name string

	// Username is the user to log in as, for VSPC and VBR often DOMAIN\user. Default:
	// Name.
	Username string

	// Grant is the grant with which the account logs in. Default: GrantPassword.
	Grant Grant

	// Password is the secret of the account for its grant: password, refresh token,
	// authorization code, verification code, API key, SAML response, assertion, SSO
	// token, updater token or platform token. GrantPublicKey and GrantAs do not use it.
	Password secret.Value

	// ClientID is the application to which an assertion was issued. Required by
	// GrantJWTBearer and GrantOperator.
	ClientID string

	// TOTP is the secret of the verification codes that the server requires. Default:
	// none; a server that requires a code is an error of KindMFARequired.
	TOTP *totp.Secret

	// ScratchCode replaces TOTP for one login. It is called when the server requires a
	// code, and its result is sent once. The server accepts a scratch code once, so
	// ScratchCode must record that it is used before it returns. Default: TOTP is used.
	ScratchCode func(ctx context.Context) (secret.Value, error)

	// EnteredCode replaces TOTP for one login. It is sent once if the server requires a
	// code. Default: TOTP is used.
	EnteredCode secret.Value

	// ReturnMFAChallenge makes Login return a *MFAChallengeError if the server requires
	// a code, the product accepts codes, and the account has none. The Token of the
	// error and a code complete the login with GrantMFA. Default: Login returns an
	// *Error of KindMFARequired.
	ReturnMFAChallenge bool

	// MFAToken is the mfa_token of the server's challenge. Required by GrantMFA, with the
	// code as Password.
	MFAToken secret.Value

	// ReadOnly requests a token that cannot change anything, with every grant. Only
	// VSPC supports it.
	ReadOnly bool

	// ShortLived requests a refresh token that lives little longer than the access
	// token. Only VBR and Azure support it.
	ShortLived bool

	// Confirm is called immediately before a secret of the account is sent, after all
	// waiting. If it returns an error, nothing is sent and Login returns that error. It
	// is not called for verification codes, which the server has requested, or for
	// renewals. Default: not called.
	Confirm func(ctx context.Context) error

	// UserUID is the UUID of the user to act as. Required by GrantAs.
	UserUID string

	// Key is the key pair for GrantPublicKey, which requires it.
	Key *Key

	// Parent returns a session of another account. GrantAs exchanges its refresh token
	// for a session of UserUID; GrantAuthorizationCode uses it to create the code.
	// refused is nil, or the session that Parent returned before and that the server
	// refused. Parent must then return another session, or ErrNoOtherSession. This is a
	// normal case, because a refresh token can probably be exchanged only once; so
	// Parent should not return a session that serves requests. Required by GrantAs.
	// Optional for GrantAuthorizationCode, which uses Password as the code without it.
	Parent func(ctx context.Context, refused *Token) (*Token, error)
}

func (a *Account) username() string {
	if a.Username != "" {
		return a.Username
	}
	return a.Name
}

func (a *Account) grant() Grant {
	if a.Grant != "" {
		return a.Grant
	}
	return GrantPassword
}

// secrets returns the texts that errors must not contain.
func (a *Account) secrets() []string {
	return []string{a.Password.Reveal(), url.QueryEscape(a.Password.Reveal())}
}

// User returns the name with which the account logs in: Username, or Name if it is
// empty.
func (a *Account) User() string { return cmp.Or(a.Username, a.Name) }
