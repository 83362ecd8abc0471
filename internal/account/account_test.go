package account

import (
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

const uuid = "5A1F6B2E-0c5d-4d59-9df4-0a1f3a6d2c11"

func TestWhichAccountARequestGets(t *testing.T) {
	t.Parallel()
	first, second := &Account{Name: "svc"}, &Account{Name: "backup"}
	fixed := &Account{Name: "fixed", Grant: "as", Parent: "svc", UserUID: uuid}
	template := &Account{Name: "tenant", Grant: "as", Parent: "svc"}
	all := []*Account{first, second, fixed, template}
	for _, c := range []struct {
		accounts []*Account
		name     string
		chosen   *Account
		user     string
	}{
		{all, "", first, ""},
		{all, "svc", first, ""},
		{all, "backup", second, ""},
		{all, "Backup", nil, ""},
		{all, "fixed", fixed, ""},
		{all, uuid, template, strings.ToLower(uuid)},
		{all[:3], uuid, nil, ""}, // an account with a user of its own acts as no other
		{all, uuid + "0", nil, ""},
		{nil, "", nil, ""},
	} {
		if chosen, user := Choose(c.accounts, c.name); chosen != c.chosen || user != c.user {
			t.Errorf("%q of %d: %+v as %q", c.name, len(c.accounts), chosen, user)
		}
	}
}

func TestAnAccountIsRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	for says, c := range map[string]struct {
		product string
		account Account
	}{
		"":                           {"vbr", Account{Name: "svc", Password: "{env.P}", ShortLived: true}},
		"an account requires a name": {"vbr", Account{Password: "{env.P}"}},
		"the name of an account takes no placeholder: write account <name> <password>": {"vbr", Account{Name: "{env.P}", Password: "svc"}},
		"password is missing":                                    {"vbr", Account{Name: "svc"}},
		`grant "public_key" is not supported by vbr`:             {"vbr", Account{Name: "svc", Grant: "public_key", Key: "/k"}},
		"grant public_key requires key":                          {"vspc", Account{Name: "svc", Grant: "public_key"}},
		"grant as requires parent":                               {"vspc", Account{Name: "svc", Grant: "as"}},
		"is not a UUID":                                          {"vspc", Account{Name: "svc", Grant: "as", Parent: "p", UserUID: "7"}},
		"does not support verification codes":                    {"vbr", Account{Name: "svc", Password: "p", TOTPSecret: "{env.T}"}},
		"totp_secret: ":                                          {"azure", Account{Name: "svc", Password: "p", TOTPSecret: "!"}},
		"does not support read_only tokens":                      {"vbr", Account{Name: "svc", Password: "p", ReadOnly: true}},
		"does not support short_lived refresh tokens":            {"vspc", Account{Name: "svc", Password: "p", ShortLived: true}},
		"grant authorization_code accepts either code or parent": {"aws", Account{Name: "svc", Grant: "authorization_code", Code: "c", Parent: "p"}},
		"padding": {"vspc", Account{Name: "svc", Grant: "public_key", Key: "/k", Padding: "none"}},
		"parent":  {"vbr", Account{Name: "svc", Password: "p", Parent: "other"}}, // it would be ignored
	} {
		product, ok := veeam.Lookup(c.product)
		if !ok {
			t.Fatal(c.product)
		}
		err := c.account.Validate(product)
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%q: %v", says, err)
		}
	}
}

func TestWhichSecretsAreInClearText(t *testing.T) {
	t.Parallel()
	a := Account{Name: "svc", Password: "hunter2", NextPassword: "{env.P}", TOTPSecret: SealedPrefix + "x", KeyPassphrase: "open"}
	if got := strings.Join(a.PlainSecrets(), " "); got != "password key_passphrase" {
		t.Error(got)
	}
}

type onlyExec struct{}

func (onlyExec) Reads(source string) bool { return source == "exec" }

func TestSecretsThatNothingReadsAreRefused(t *testing.T) {
	t.Parallel()
	for text, c := range map[string]struct{ without, with bool }{ // whether it is accepted without sources, and with exec
		"{env.P}":                              {true, true},
		"{exec./usr/bin/pass show x}":          {false, true},
		"{vault.secret/data/x#p}":              {false, false},
		`\{exec.x\}literal`:                    {true, true},
		`\{exec.x\} {exec./usr/bin/pass x}`:    {false, true},
		"before {vault.secret/data/x#p} after": {false, false},
	} {
		accounts := []*Account{{Name: "first", Password: "p"}, {Name: "svc", Password: text}}
		for secrets, want := range map[any]bool{nil: c.without, struct{}{}: c.without, onlyExec{}: c.with} {
			err := CheckSources(accounts, secrets)
			if (err == nil) != want || err != nil && !strings.HasPrefix(err.Error(), "account svc: password has a placeholder of ") {
				t.Errorf("%s with %T: %v", text, secrets, err)
			}
		}
	}
}
