// An option of a Caddyfile in the wrong block: the error says where it belongs.

package caddymodule

import (
	"slices"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/approval"
	"github.com/caddy-veeam/veeam-auth/internal/clients"
	"github.com/caddy-veeam/veeam-auth/internal/hidden"
	"github.com/caddy-veeam/veeam-auth/internal/jwtcaller"
)

// optionBlocks are the blocks with their options, and with subdirectives that have an option,
// @, in the block.
var optionBlocks = map[string]struct {
	options []string
	text    string
}{
	"veeam_auth":     {ownNames(), "account svc {env.P}\n@"},
	"account":        {account.Names(), "account svc {env.P} {\n@\n}"},
	"client":         {clients.Options, "account svc {env.P}\nclient grafana {\n@\n}"},
	"key":            {clients.KeyOptions, "account svc {env.P}\nclient grafana {\nkey prod H {\n@\n}\n}"},
	"trust_jwt":      {jwtcaller.Options, "account svc {env.P}\ntrust_jwt {\n@\n}"},
	"approvals":      {approval.Names, "account svc {env.P}\napprovals {\n@\n}"},
	"cache":          {hidden.CacheOptions, "account svc {env.P}\ncache {\n@\n}"},
	"transport http": {hidden.TransportOptions, "account svc {env.P}\ntransport http {\n@\n}"},
}

func TestAnOptionInTheWrongBlockIsToldWhereItBelongs(t *testing.T) {
	t.Parallel()
	const value, hash = "c4n4ry-hunter2", "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	tried := 0
	for in, wrong := range optionBlocks {
		for of, right := range optionBlocks {
			for _, option := range right.options {
				if slices.Contains(wrong.options, option) {
					continue
				}
				tried++
				for _, values := range []string{"", " " + value, " " + value + " " + value, " {\n" + value + "\n}"} {
					text := strings.ReplaceAll(strings.ReplaceAll(wrong.text, "H", hash), "@", option+values)
					said := adaptError("https://127.0.0.1:1", text)
					_, where, found := strings.Cut(said, "; it belongs in ")
					if !found || !strings.Contains(where, of) || !strings.Contains(said, option) {
						t.Errorf("%s in %s says %s", option, in, said)
					}
					if strings.Contains(said, value) || !strings.Contains(said, "Caddyfile:") {
						t.Errorf("%s in %s repeats the value or has no line: %s", option, in, said)
					}
				}
			}
		}
	}
	if tried < 300 {
		t.Errorf("%d options were tried", tried)
	}
}

// The list of options of another module is not out of date.
func TestCaddyKnowsTheOptionsOfTheTransport(t *testing.T) {
	t.Parallel()
	for _, option := range hidden.TransportOptions {
		said := adaptError("https://127.0.0.1:1", "account svc {env.P}\ntransport http {\n"+option+"\n}")
		if strings.Contains(said, "unrecognized") {
			t.Errorf("%s: %s", option, said)
		}
	}
}

// A word that is almost an option is named, and one that may be a secret is not.
func TestAMisspelledOptionIsNamed(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"approvals {\nwaits 5m\n}":                      "unrecognized option waits; allowed: max_body",
		"account svc {\nclientid x\n}":                  "unrecognized option clientid; allowed: assertion, client_id",
		"trust_jwt {\nissuers x\n}":                     "unrecognized option issuers; allowed: account",
		"account svc {\nkey_passphrase x\n}":            "unrecognized option key_passphrase; allowed",
		"account svc {\nhunter2 x\n}":                   "unrecognized option (not shown, it may be a secret); allowed",
		"account svc {env.P}\npreset monitor":           "unrecognized subdirective preset, at Caddyfile:4; it belongs in client, key or a rule (allow, deny, approve)",
		"account svc {env.P}\ntls_insecure_skip_verify": "unrecognized subdirective tls_insecure_skip_verify, at Caddyfile:4; it belongs in transport http",
		"account svc {\ntls_pin AB\n}":                  "account svc: unrecognized option tls_pin; it belongs in veeam_auth",
		"account svc {\npassword tls_pin extra\n}":      "password accepts one value",
	} {
		if said := adaptError("https://127.0.0.1:1", text); !strings.Contains(said, says) {
			t.Errorf("%q says %s", text, said)
		}
	}
}
