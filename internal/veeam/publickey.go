// The public key grant of VSPC: the server encrypts a code with the public key that the
// user has registered; the client decrypts it. Only the fields of this grant are
// documented; padding and encodings are options of the Key.

package veeam

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

var (
	errBadChallenge = errors.New("the encrypted code is not Base64")
	errDecryption   = errors.New("the encrypted code cannot be decrypted with the account's key")
)

// publicKey asks for a challenge and redeems its decrypted code, for which the
// server allows 30 seconds.
func (c *Client) publicKey(ctx context.Context, a *Account) (*Token, error) {
	if a.Key == nil {
		return nil, c.fail(KindAccount, GrantPublicKey, "the account has no key")
	}
	f := c.Product.newForm(GrantPublicKey)
	f.write(c.Product.Fields.PublicKey, a.Key.public)
	c.addOptions(f, a)
	f.pace, f.guarded = ratelimit.StepFirst, true
	c.log("The public key is sent as it was assigned (" + a.Key.format() + ").")
	r, err := c.ask(ctx, GrantPublicKey, f)
	if err != nil {
		return nil, err
	}
	if r.challenge.IsZero() {
		return c.finish(ctx, a, GrantPublicKey, r)
	}
	code, how, err := a.Key.answer(r.challenge, c.Product.legacy != nil)
	c.log("The server has sent an encrypted code. " + how)
	if err != nil {
		return nil, &Error{
			Kind: KindMalformed, Product: c.Product.Name, Grant: GrantPublicKey, Err: err,
			Hint: "check the padding, and that the registered public key belongs to the private key",
		}
	}
	t, err := c.redeem(ctx, a, code, ratelimit.StepNext)
	if err != nil {
		return nil, err
	}
	if t.Grant == GrantAuthorizationCode {
		t.Grant = GrantPublicKey // the code was a step of it
	}
	return t, nil
}

// answer decrypts a challenge. The code is sent as text if it is text, otherwise
// as Base64, or as bytes. how is a sentence about the encoding.
func (k *Key) answer(challenge secret.Value, asBytes bool) (code secret.Value, how string, err error) {
	ciphertext, err := readBase64(challenge.Reveal())
	if err != nil {
		return secret.Value{}, "It is not Base64.", errBadChallenge
	}
	plain, padding, err := k.decrypt(ciphertext)
	if err != nil || len(plain) == 0 {
		return secret.Value{}, fmt.Sprintf("Its %d bytes cannot be decrypted with padding %s.", len(ciphertext), k.padding), errDecryption
	}
	how = fmt.Sprintf("Its %d bytes were decrypted with padding %s. ", len(ciphertext), padding)
	if asBytes {
		return secret.New(string(plain)), how + "The code is sent as bytes.", nil
	}
	if text := string(plain); utf8.ValidString(text) && strings.IndexFunc(text, unprintable) < 0 {
		return secret.New(text), how + "The code is sent as text.", nil
	}
	return secret.New(base64.StdEncoding.EncodeToString(plain)), how + "The code is not text and is sent as Base64.", nil
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// readBase64 reads either alphabet, with or without padding and line ends.
func readBase64(text string) ([]byte, error) {
	text = strings.Map(func(r rune) rune {
		switch r {
		case ' ', '\t', '\r', '\n', '=':
			return -1
		case '-':
			return '+'
		case '_':
			return '/'
		}
		return r
	}, text)
	return base64.RawStdEncoding.DecodeString(text)
}
