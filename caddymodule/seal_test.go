// Tests of sealed texts: they open in their place only, and tell nothing.

package caddymodule

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func newKeys(t testing.TB) *sealed.Keyset {
	t.Helper()
	keys, err := sealed.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func sealedText(t testing.TB, s account.Seal, keys sealed.Sealer, purpose, text string) string {
	t.Helper()
	sealed, err := s.Seal(keys, purpose, text)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func TestASealedTextOpensInItsPlaceOnly(t *testing.T) {
	t.Parallel()
	keys := newKeys(t)
	place := account.Seal{Product: "azure", Account: "svc"}
	value := sealedText(t, place, keys, "totp_secret", veeamtest.DefaultTOTPSecret)
	rotated, err := keys.Rotate()
	if err != nil {
		t.Fatal(err)
	}
	end := len(value) - 6
	cases := []struct {
		name, account, product, purpose, text string
		keys                                  sealed.Sealer
		opens                                 bool
	}{
		{"its place", "svc", "azure", "totp_secret", value, keys, true},
		{"with an end of line", "svc", "azure", "totp_secret", " " + value + "\r\n", keys, true},
		{"rotated keys", "svc", "azure", "totp_secret", value, rotated, true},
		{"other keys", "svc", "azure", "totp_secret", value, newKeys(t), false},
		{"another account", "svc2", "azure", "totp_secret", value, keys, false},
		{"another product", "svc", "aws", "totp_secret", value, keys, false},
		{"another option", "svc", "azure", "password", value, keys, false},
		{"another purpose", "svc", "azure", account.ScratchPurpose, value, keys, false},
		{"the parts shifted", "svc 11:totp_secret", "azure", "", value, keys, false},
		{"cut", "svc", "azure", "totp_secret", value[:end], keys, false},
		{"altered", "svc", "azure", "totp_secret", value[:end] + "AAAA" + value[end+4:], keys, false},
		{"no base64", "svc", "azure", "totp_secret", account.SealedPrefix + "?", keys, false},
		{"nothing", "svc", "azure", "totp_secret", account.SealedPrefix, keys, false},
		{"an empty text", "svc", "azure", "totp_secret", sealedText(t, place, keys, "totp_secret", ""), keys, false},
	}
	for _, c := range cases {
		got, err := account.Seal{Product: c.product, Account: c.account}.Open(c.keys, c.purpose, c.text)
		if c.opens && (err != nil || got != veeamtest.DefaultTOTPSecret) || !c.opens && (!errors.Is(err, account.ErrNotOpened) || got != "") {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

func TestASealedTextIsOneLineAndTellsNothing(t *testing.T) {
	t.Parallel()
	const text = "12345678\n87654321\nJBSWY3DPEHPK3PXP\n"
	keys := newKeys(t)
	seen := map[string]bool{}
	for range 100 {
		sealed := sealedText(t, account.Seal{Product: "azure", Account: "svc"}, keys, account.ScratchPurpose, text)
		if seen[sealed] || !account.IsSealed(sealed) || strings.ContainsAny(sealed, " \t\r\n{}") {
			t.Fatalf("%q", sealed)
		}
		seen[sealed] = true
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sealed, account.SealedPrefix))
		if err != nil {
			t.Fatal(err)
		}
		for part := range strings.FieldsSeq(text) {
			for _, form := range []string{part, hex.EncodeToString([]byte(part)), base64.StdEncoding.EncodeToString([]byte(part))[:8]} {
				if strings.Contains(sealed, form) || strings.Contains(string(raw), form) {
					t.Errorf("%q shows %q", sealed, part)
				}
			}
		}
	}
}
