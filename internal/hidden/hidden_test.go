// Errors about a Caddyfile repeat no word that may be a secret, and all others.

package hidden

import (
	"errors"
	"strconv"
	"strings"
	"testing"
)

const canary = "c4n4ry-s3cret"

func TestErrorsRepeatNoWordThatMayBeASecret(t *testing.T) {
	for segment, secret := range map[string]string{
		"account svc " + canary:                       canary,
		"account svc { password " + canary + " }":     canary,
		"account svc { next_password " + canary:       canary,
		"account svc { totp_secret " + canary:         canary,
		"account svc { key_passphrase " + canary:      canary,
		"account svc { next_password password":        "", // it cannot be told from the option
		"account svc { pasword " + canary:             canary,
		"account svc grant password " + canary:        canary,
		"account svc { grant " + canary + " x":        "", // the word behind grant is none
		"client grafana " + canary:                    canary,
		"cache { encryption_key " + canary + " }":     canary,
		"cache { storage redis " + canary:             canary,
		"password " + canary:                          canary,
		"product vbr " + "https://u:" + canary + "@h": "https://u:" + canary + "@h",
		"@" + canary + " status 200":                  "@" + canary,
		"product " + canary:                           "", // no secret stands there
	} {
		words := New("product", "account", "client", "cache")
		words.Segment(strings.Fields(segment))
		word := canary
		if secret != "" {
			word = secret
		}
		for name, err := range map[string]error{
			"as it is": errors.New("unrecognized subdirective " + word + ", at Caddyfile:7"),
			"quoted":   errors.New("wrong argument count after " + strconv.Quote(word) + ", at Caddyfile:7"),
		} {
			got := words.Check(err).Error()
			switch {
			case secret == "" && got != err.Error():
				t.Errorf("%s, %s: hidden without need: %s", segment, name, got)
			case secret != "" && strings.Contains(got, canary):
				t.Errorf("%s, %s: %s", segment, name, got)
			case secret != "" && !strings.HasSuffix(got, ", at Caddyfile:7"):
				t.Errorf("%s, %s: the line is gone: %s", segment, name, got)
			}
		}
	}
}

// An address without a scheme has a user, too, and Caddy repeats the last of too many words.
func TestErrorsRepeatNoWordOfReverseProxyThatMayBeASecret(t *testing.T) {
	for segment, hides := range map[string]bool{
		"to u:" + canary + "@h:1": true, "to " + canary + "@h:1": true, "to https:/u:" + canary + "@h": true, "hosts u:" + canary + "@h": true,
		"header_up X-Api-Key a b " + canary: true, "header_down X-Api-Key a b " + canary: true, "lb_policy cookie lb " + canary + " x": true,
		"header_up X-Proto " + canary: false, "to " + canary: false, "lb_policy cookie lb " + canary: false, "lb_policy first { fallback " + canary: false,
		"header_up": false, "lb_policy {": false,
	} {
		words := New("product")
		words.Segment(strings.Fields(segment))
		word := canary
		for field := range strings.FieldsSeq(segment) {
			if strings.Contains(field, canary) {
				word = field
			}
		}
		err := errors.New("wrong argument count after '" + word + "', at Caddyfile:7")
		if got := words.Check(err).Error(); strings.Contains(got, canary) == hides {
			t.Errorf("%s: %s", segment, got)
		}
	}
}

func TestErrorsRepeatWhatIsNoSecret(t *testing.T) {
	words := New("product", "account")
	words.Segment([]string{"account", "svc", canary, "{", "grant", "password", "usernme", "x"})
	words.Segment([]string{"account", "{env.USER}", "{$PASSWORD}"})
	words.Segment(nil)
	for _, text := range []string{
		"unrecognized option grant", "svc has no password", "{$PASSWORD} has no value", "usernme: did you mean username?", "product is missing",
	} {
		if err := errors.New(text); !errors.Is(words.Check(err), err) {
			t.Errorf("%q is hidden", text)
		}
	}
	if words.Check(nil) != nil {
		t.Error("an error of nothing")
	}
}

// A line number is shown unless the name of the file is the secret.
func TestTheLineIsShownUnlessItRepeatsTheSecret(t *testing.T) {
	words := New()
	words.Segment([]string{"account", "svc", canary})
	if got := words.Check(errors.New("wrong: " + canary + ", at /etc/" + canary + ":3")).Error(); strings.Contains(got, canary) {
		t.Error(got)
	}
	if got := words.Check(errors.New("wrong: " + canary)).Error(); strings.Contains(got, canary) {
		t.Error(got)
	}
}

// What cannot be printed is quoted with escapes, which is no way around the search.
func TestASecretIsFoundInItsQuotedForm(t *testing.T) {
	const odd = "c4n4ry\t\"x\\"
	words := New()
	words.Segment([]string{"client", "grafana", odd})
	if got := words.Check(errors.New("wrong: " + strconv.Quote(odd))).Error(); strings.Contains(got, "c4n4ry") {
		t.Error(got)
	}
}

func TestTheUserPartOfAnUpstreamIsHidden(t *testing.T) {
	for _, c := range []struct{ upstream, text string }{
		{"https://u:" + canary + "@h:1", "dial https://u:" + canary + "@h:1"},
		{"https://u:" + canary + "@h:1", "dial u:" + canary + "@h:1"},
		{"https://u:" + canary + "@h:1", "user u:" + canary},
		{"https://u:" + canary + "@x@h:1", "user u:" + canary + "@x"},
		{"u:" + canary + "@h:1", "parsing upstream 'u:" + canary + "@h:1'"},
		{"https:/u:" + canary + "@h", "user https:/u:" + canary},
	} {
		words := New()
		words.Arguments([]string{"https://other", c.upstream, "{", "https://a:b@c"})
		if got := words.Check(errors.New(c.text)).Error(); strings.Contains(got, canary) {
			t.Errorf("%s: %s", c.upstream, got)
		}
		for _, plain := range []string{"https://other is down", "https://a:b@c"} {
			if err := errors.New(plain); !errors.Is(words.Check(err), err) {
				t.Errorf("%q is hidden", plain)
			}
		}
	}
}

func TestAMisspelledOptionMayBeQuotedAndNothingElse(t *testing.T) {
	for word, want := range map[string]bool{
		"pasword": true, "passwordd": true, "passwrod": true, "padsword": true, "storag": true, "produtc": true,
		"password": false, "secretword": false, "Pasword": false, "p4sword": false, "pas": false, "": false, "passwordxx": false, "drowssap": false,
	} {
		if got := MayBeQuoted(word, []string{"product"}); got != want {
			t.Errorf("%q: %v", word, got)
		}
	}
}
