// Who logs in: an account with every secret resolved.

package veeam

import (
	"cmp"
	"context"
	"net/url"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// Account is an identity at a Veeam server. It is not changed after it was given
// to a Client.
type Account struct {
	// Name is the account's name in the configuration. Required.
	Name string

	// Username is the user to log in, for VSPC and VBR often DOMAIN\user.
	// Default: Name.
	Username string

	// Grant is how the account gets its token. Default: GrantPassword.
	Grant Grant

	// Password is the account's secret, whatever its grant calls it: password,
	// refresh token, authorization or verification code, API key, SAML response, assertion,
	// SSO token, updater token or platform token. Not used by GrantPublicKey and GrantAs.
	Password secret.Value

	// ClientID names the application that an assertion was issued to. Required by
	// GrantJWTBearer and GrantOperator.
	ClientID string

	// TOTP makes the verification codes that the server asks for. Default: none, and a
	// server that asks for a code is an error of KindMFARequired.
	TOTP *TOTP

	// ScratchCode replaces TOTP for one login. It is called when the server asks for a
	// code, and its result is sent once. The server accepts a scratch code once, so
	// ScratchCode must record that it is used before it returns. Default: TOTP is used.
	ScratchCode func(ctx context.Context) (secret.Value, error)

	// EnteredCode replaces TOTP for one login: it is sent once if the server asks for a
	// code. Default: TOTP is used.
	EnteredCode secret.Value

	// ReturnMFAChallenge makes a login end with a *MFAChallengeError if the server asks for
	// a code, the product accepts codes, and the account has none. Its Token and a code
	// complete the login with GrantMFA. Default: an *Error of KindMFARequired.
	ReturnMFAChallenge bool

	// MFAToken is the mfa_token of the server's challenge. Required by GrantMFA, with the
	// code as Password.
	MFAToken secret.Value

	// ReadOnly asks VSPC for a token that can change nothing, with every grant.
	ReadOnly bool

	// ShortLived asks VBR and Azure for a refresh token that lives little longer
	// than the access token.
	ShortLived bool

	// Confirm is called right before a secret of the account is sent, after all
	// waiting. Its error ends the login and is returned as it is; nothing was sent
	// then. Not called before a verification code, which the server has asked for,
	// nor for renewals. Default: nothing is asked.
	Confirm func(ctx context.Context) error

	// UserUID is the UUID of the user to act as. Required by GrantAs.
	UserUID string

	// Key is the key pair of GrantPublicKey. Required there.
	Key *Key

	// Parent hands over a session of another account: GrantAs gives its refresh
	// token away for one of UserUID, GrantAuthorizationCode has it create the
	// code. refused is nil, or the session that Parent gave last and that the
	// server did not take; Parent then has to get another one, or to return
	// ErrNoOtherSession. That is no rare case: a refresh token can probably be
	// given away only once, so this should not be a session that serves requests.
	// Required by GrantAs; optional for GrantAuthorizationCode, whose code is
	// Password without it.
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

// secrets are the texts that no error may repeat.
func (a *Account) secrets() []string {
	return []string{a.Password.Reveal(), url.QueryEscape(a.Password.Reveal())}
}

// User is the name that the account logs in as: its user name, or else its own name.
func (a *Account) User() string { return cmp.Or(a.Username, a.Name) }
