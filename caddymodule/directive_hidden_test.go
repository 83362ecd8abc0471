// A secret in the wrong place of a Caddyfile: the error does not repeat it.

package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-veeam/veeam-auth/internal/account"
)

// secretPlaces are subdirectives with @ where a secret is or may have slipped to.
var secretPlaces = []string{
	"account svc @", "account svc @ @", "account svc {env.P} @", "account svc {env.P} more @ {\n}", "account svc {\n@\n}", "account svc {\n@ x\n}",
	"account svc {\npassword @\n}", "account svc {\npassword @ x\n}", "account svc {\npassword x @\n}", "account svc @ {\npassword @\n}",
	"account svc {\nnext_password @ @\n}", "account svc {env.P} {\ntotp_secret @\n}", "product aws\naccount svc {env.P} {\ntotp_secret @\n}",
	"product azure\naccount svc {env.P} {\ncode @\ntotp_secret @\n}", "account svc {env.P} {\nkey /k @ @\n}", "account svc {env.P} {\nkey /k @\n}",
	"account svc {env.P} {\nkey_passphrase @\n}", "account svc {env.P} {\nread_only @\n}", "account svc {env.P} {\nread_only {\n@\n}\n}",
	"account svc {env.P} {\ngrant password @\n}", "account svc {env.P} {\ngrant {\n@\n}\n}", "account svc {env.P} {\nusername x @\n}",
	"account svc {\npassword {\n@\n}\n}", "account svc {env.P}\n@", "account svc {env.P}\n@ @", "account svc {env.P}\npassword @", "account svc\n@",
	"account svc {env.P}\naccount svc @", "account {\n@\n}", "account svc {env.P} {\npassword\n@\n}", "account svc {env.P} {\npasword @\n}",
	"account svc {env.P}\nclient grafana @", "account svc {env.P}\nclient grafana @ svc", "account svc {env.P}\nclient grafana @ @ @",
	"account svc {env.P}\nclient grafana H @", "account svc {env.P}\nclient grafana H svc @", "account svc {env.P}\nclient grafana H {\n@\n}",
	"account svc {env.P}\ncache @", "account svc {env.P}\ncache {\nencryption_key @\n}", "account svc {env.P}\ncache {\nencryption_key @ @\n}",
	"account svc {env.P}\ncache {\n@\n}", "account svc {env.P}\ncache {\nencryption_key @\nencryption_key @\n}",
	"account svc {env.P}\ncache {\nencryption_key x\nstorage file_system {\n@\n}\n}", "account svc {env.P}\ncache {\nencryption_key x\nstorage file_system /x @\n}",
	"account svc {env.P}\npassthrough @\nlb_policy nonsense", "account svc @\nlb_policy nonsense", "account svc @\nproduct nonsense",
	"account svc @\nhold x", "account svc @\nallow operation nonsense", "account svc @\ntransport nonsense", "account svc @\nact_as nobody",
	"account svc {env.P}\n@ x\n@ y", "account svc @ {\ngrant as\nparent nobody\n}", "product vspc\naccount svc {\ngrant api_key\n}\naccount b @ {\ngrant public_key\n}",
}

// adaptError adapts a site with these subdirectives and returns what it says.
func adaptError(upstream, subdirectives string) string {
	adapter := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}
	config := ":0 {\nveeam_auth " + upstream + " {\n" + subdirectives + "\n}\n}\n"
	_, warnings, err := adapter.Adapt([]byte(config), map[string]any{"filename": "Caddyfile"})
	return fmt.Sprint(err, warnings)
}

func TestNoErrorOfACaddyfileRepeatsASecret(t *testing.T) {
	t.Parallel()
	const hash = "$2a$04$5d2nWtEjyWQ9mIV1rm4gcuBRlV6ybBFKCyyPqKmOSI3gQmpF0KqaO"
	failed := 0
	for _, canary := range []string{"canary", "Passw0rd", "canary_hunter", "c4n:ry;&%/", `"can ary"`, "`can\"ary`", "canary@vbr", "$canary!", "CANARY-1.2", "@c4nary"} {
		plain := strings.Trim(canary, "\"`")
		for _, place := range secretPlaces {
			text := strings.ReplaceAll(strings.ReplaceAll(place, "H", hash), "@", canary)
			said := adaptError("https://127.0.0.1:1", text)
			if said != "<nil> []" {
				failed++
			}
			if strings.Contains(said, plain) || strings.Contains(said, strings.ReplaceAll(plain, `"`, `\"`)) {
				t.Errorf("%q says %s", text, said)
			}
		}
		if strings.ContainsAny(canary, "\"` ") {
			continue
		}
		for _, upstream := range []string{"https://u:@@vbr01.lab.local:x", "http://u:@@vbr01.lab.local:1", "ftp://@@vbr01.lab.local", "https://u:@@h/p https://h"} {
			said := adaptError(strings.Replace(upstream, "@", canary, 1), "account svc {env.P}")
			if strings.Contains(said, canary) {
				t.Errorf("%s says %s", upstream, said)
			}
		}
	}
	if failed < 200 {
		t.Errorf("only %d configurations are wrong: nothing was tried", failed)
	}
	// The control: what is no secret is named.
	if said := adaptError("https://127.0.0.1:1", "account svc {env.P}\nproduct nonsense"); !strings.Contains(said, "nonsense") {
		t.Error(said)
	}
	if said := adaptError("https://127.0.0.1:1", "account svc {env.P} {\npasword x\n}"); !strings.Contains(said, "pasword") {
		t.Error(said)
	}
}

func TestAnErrorSaysWhatToWriteInstead(t *testing.T) {
	t.Parallel()
	for upstream, want := range map[string]string{
		"https://":               "has no host: write it as in https://vbr01.lab.local:9419, at Caddyfile:2",
		"https://{$NOT_SET}:1":   "has no host",
		"/api/* :9419":           "has no host",
		"/api https://u:p@vbr01": "has a user: write user and password as account <name> <password>, at Caddyfile:2",
	} {
		if said := adaptError(upstream, "account svc {env.P}"); !strings.Contains(said, want) {
			t.Errorf("%s says %s", upstream, said)
		}
	}
	if said := adaptError("", "account svc {env.P}\nto https://u:p@vbr01"); !strings.Contains(said, "has a user") || !strings.Contains(said, "Caddyfile:4") {
		t.Errorf("to says %s", said)
	}
	const others = "; write preset, operation, during, until, or a matcher of Caddy such as path or method"
	for rule, want := range map[string]string{
		"allow pathh /api": others, "deny shadoww preset monitor": others, "allow {\npathh /api\n}": others,
		"allow client jenkins":                "; write vars {http.veeam_auth.client} <name>",
		"deny {\naccount svc\nmethod POST\n}": "; write vars {http.veeam_auth.account} <name>",
	} {
		if said := adaptError("https://127.0.0.1:1", "account svc {env.P}\n"+rule); !strings.Contains(said, want) || !strings.Contains(said, "at Caddyfile:") {
			t.Errorf("%s says %s", rule, said)
		}
	}
	if said := adaptError("https://127.0.0.1:1", "account svc {env.P}\nallow vars {http.veeam_auth.client} jenkins"); !strings.HasPrefix(said, "<nil>") {
		t.Errorf("vars says %s", said)
	}
	if said := adaptError("https://127.0.0.1:1", "account {env.P} svc"); !strings.Contains(said, "takes no placeholder") || !strings.Contains(said, "Caddyfile:3") {
		t.Errorf("account says %s", said)
	}
}

// FuzzDirective puts a canary behind every word of an account's block, and breaks
// lines and blocks anywhere.
func FuzzDirective(f *testing.F) {
	f.Add("hunter2-canary", uint64(1))
	f.Add("Zß canary)", uint64(2))
	f.Fuzz(func(t *testing.T, canary string, seed uint64) {
		if len(canary) < 6 || strings.ContainsAny(canary, "`{}\\\r\n\x00") || mayBeQuoted(canary) {
			return // nothing to look for
		}
		random := rand.New(rand.NewPCG(seed, 0))
		words := []string{"password", "code", "key /k", "read_only", "totp_secret", "{\n", "\n}", "\n", "`" + canary + "`", "`" + canary + "`", "next_password"}
		// Several at a time: to look at the coverage of all of Caddy costs as much as
		// ten of them.
		for n := range 24 {
			var b strings.Builder
			b.WriteString("account svc")
			for range 1 + random.IntN(8) {
				b.WriteString(" " + words[random.IntN(len(words))])
			}
			text := b.String() + []string{"\n", "\n}\n", "\n}\n}\n"}[n%3] + "client g `" + canary + "`"
			// Only what gets to the directive: the rest is Caddy's own parser.
			if said := adaptError("https://127.0.0.1:1", text); strings.Contains(said, "for 'veeam_auth'") && strings.Contains(said, canary) && !strings.Contains("Caddyfile an argument", canary) {
				t.Errorf("%q says %s", text, said)
			}
		}
	})
}

func TestNoErrorOfJSONRepeatsASecret(t *testing.T) {
	t.Parallel()
	for _, config := range []string{
		`{"name":"svc","password":31415926535}`, `{"name":"svc","password":{"31415926535":1}}`, `{"name":"svc","password":["31415926535"]}`,
		`{"name":"svc","totp_secret":31415926535.5}`, `{"name":"svc","password":"31415926535"`, `{"name":"svc","password":"31415926535" "x"}`,
		`{"name":"svc","password":31415926535e999999}`, `{"name":"svc","code":true,"password":"31415926535","x":1}`, `{"name":"svc","password":"31415926535\q"}`,
	} {
		for _, decode := range []func([]byte, any) error{json.Unmarshal, caddy.StrictUnmarshalJSON} {
			if err := decode([]byte(config), new(account.Account)); err == nil && !strings.Contains(config, `"x":1`) || err != nil && strings.Contains(err.Error(), "31415926535") {
				t.Errorf("%s: %v", config, err)
			}
		}
	}
}

// A secret may contain what ends the word in Caddy's error.
func TestAnUnknownWordIsRepeatedInNoPart(t *testing.T) {
	t.Parallel()
	for _, says := range []string{"unrecognized subdirective s3cret, at h0me, at Caddyfile:4", "unrecognized subdirective s3cret h0me"} {
		got := new(directiveParser).withOwnNames(errors.New(says)).Error()
		if strings.Contains(got, "s3cret") || strings.Contains(got, "h0me") || strings.Contains(says, "Caddyfile:4") != strings.Contains(got, "at Caddyfile:4") {
			t.Errorf("%q became %q", says, got)
		}
	}
}
