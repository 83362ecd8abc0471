// The public key grant against every way in which a server may mean it: no
// document settles padding, key form and encoding.

package caddymodule

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/test/harness/certs"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

const keyPassphrase = "key-pass-1"

// container is the test key as PKCS#12.
func container(t *testing.T, passphrase string) []byte {
	t.Helper()
	key := testKey()
	certificate := certs.Sign(nil, &x509.Certificate{Subject: pkix.Name{CommonName: "svc"}}, key)
	pfx, err := pkcs12.Modern.Encode(key, certificate.Leaf, nil, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	return pfx
}

// assigned is the server's option for the test key in a form.
func assigned(t *testing.T, form string) (veeamtest.Option, []byte) {
	t.Helper()
	public := []byte(veeamtest.PublicKeyXML(&testKey().PublicKey))
	if form != "xml" {
		der, err := x509.MarshalPKIXPublicKey(&testKey().PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		public = der
		if form == "pem" {
			public = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		}
	}
	return veeamtest.WithPublicKey(veeamtest.DefaultUser, public, false), public
}

func TestEveryPaddingAgainstEverySetting(t *testing.T) {
	t.Parallel()
	settings := map[string]veeamtest.Padding{
		"pkcs1v15": veeamtest.PKCS1v15, "oaep_sha1": veeamtest.OAEPSHA1, "oaep_sha256": veeamtest.OAEPSHA256,
	}
	option, _ := assigned(t, "xml")
	for server, padding := range settings {
		for _, setting := range []string{"", "auto", "pkcs1v15", "oaep_sha1", "oaep_sha256"} {
			for _, binary := range []bool{false, true} {
				t.Run(fmt.Sprintf("server %s, configured %q, binary %t", server, setting, binary), func(t *testing.T) {
					options := []veeamtest.Option{option, veeamtest.WithPadding(padding)}
					how := "sent as text"
					if binary {
						options = append(options, veeamtest.WithBinaryChallenge())
						how = "sent as Base64"
					}
					inWorld(t, veeamtest.VSPC, options, func(w *world) {
						w.start(&account.Account{Name: "svc", Grant: "public_key", Key: w.file("key", keyPEM(testKey())), Padding: setting})
						if setting == "" || setting == "auto" || setting == server {
							w.demand("200")
							if n := w.wire.grants(); n != 2 {
								t.Errorf("%d requests: a challenge is decrypted in whatever way, and answered once", n)
							}
							if said := w.said(); !strings.Contains(said, "padding "+server) || !strings.Contains(said, how) {
								t.Errorf("the log does not tell the padding and the encoding:\n%s", said)
							}
							return
						}
						got := w.get()
						if setting == "pkcs1v15" && got.String() == "503 credential_refused" {
							// PKCS #1 v1.5 has no check sum: one challenge in 400 looks as if it
							// were padded so. Not two.
							w.tr.close()
							w.start(&account.Account{Name: "svc", Grant: "public_key", Key: w.file("key", keyPEM(testKey())), Padding: setting})
							w.demand("502 unexpected_answer")
							return
						}
						if got.String() != "502 unexpected_answer" {
							t.Fatalf("got %v: %s", got, got.body)
						}
						if n := w.wire.grants(); n != 1 {
							t.Errorf("%d requests: what cannot be decrypted is not answered", n)
						}
						if said := w.said(); !strings.Contains(said, "cannot be decrypted with padding "+setting) {
							t.Errorf("the log does not tell the padding:\n%s", said)
						}
					})
				})
			}
		}
	}
}

func TestEveryFormOfAKeyFile(t *testing.T) {
	t.Parallel()
	pkcs8, err := x509.MarshalPKCS8PrivateKey(testKey())
	if err != nil {
		t.Fatal(err)
	}
	option, _ := assigned(t, "xml")
	for name, tt := range map[string]struct {
		content    []byte
		passphrase string
		refused    bool
	}{
		"PKCS1 PEM":                 {content: keyPEM(testKey())},
		"PKCS8 PEM":                 {content: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})},
		"PKCS12":                    {content: container(t, keyPassphrase), passphrase: keyPassphrase},
		"PKCS12 Base64":             {content: []byte(base64.StdEncoding.EncodeToString(container(t, keyPassphrase))), passphrase: keyPassphrase},
		"PKCS12 without passphrase": {content: container(t, "")},
		"PKCS12 wrong passphrase":   {content: container(t, keyPassphrase), passphrase: "other", refused: true},
		"PKCS12 no passphrase set":  {content: container(t, keyPassphrase), refused: true},
		"XML":                       {content: []byte(veeamtest.PrivateKeyXML(testKey()))},
		"no key":                    {content: []byte("junk"), refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, veeamtest.VSPC, []veeamtest.Option{option}, func(w *world) {
				svc := &account.Account{Name: "svc", Grant: "public_key", Key: w.file("key", tt.content)}
				if tt.passphrase != "" {
					svc.KeyPassphrase = w.secret("passphrase", tt.passphrase)
				}
				w.start(svc)
				if !tt.refused {
					w.demand("200")
					return
				}
				w.demand("503 secret_unreadable")
				if w.wire.grants() != 0 {
					t.Error("something was sent")
				}
				// A key that is mended is used without a reload.
				w.file("key", keyPEM(testKey()))
				w.rest(2 * upstream.ResolveEvery)
				w.demand("200")
			})
		})
	}
}

func TestThePublicKeyIsSentAsItWasAssigned(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"xml", "spki", "pem"} {
		option, public := assigned(t, form)
		for demand, takes := range map[veeamtest.KeyForm][]string{
			veeamtest.KeyAny:   {"xml", "spki", "raw"},
			veeamtest.KeyXML:   {"xml"},
			veeamtest.KeySPKI:  {"spki"},
			veeamtest.KeyExact: {form, "raw"},
		} {
			for _, setting := range []string{"xml", "spki", "raw"} {
				t.Run(fmt.Sprintf("assigned %s, server wants %q, configured %s", form, demand, setting), func(t *testing.T) {
					inWorld(t, veeamtest.VSPC, []veeamtest.Option{option, veeamtest.WithKeyForm(demand)}, func(w *world) {
						svc := &account.Account{Name: "svc", Grant: "public_key", Key: w.file("key", keyPEM(testKey())), PublicKeyFormat: setting}
						if setting == "raw" {
							svc.PublicKey = w.file("public", public)
						}
						w.start(svc)
						sent := setting
						if setting == "raw" && demand != veeamtest.KeyExact && demand != veeamtest.KeyAny {
							sent = strings.Replace(form, "pem", "spki", 1) // raw is whatever was assigned
						}
						if strings.Contains(strings.Join(takes, " "), sent) {
							w.demand("200")
							return
						}
						w.demand("503 credential_refused") // the server knows no such key
						if n := w.wire.grants(); n != 1 {
							t.Errorf("%d requests", n)
						}
					})
				})
			}
		}
	}
}

func TestAChallengeIsAnsweredWithinThirtySecondsOrAnew(t *testing.T) {
	t.Parallel()
	option, _ := assigned(t, "xml")
	inWorld(t, veeamtest.VSPC, []veeamtest.Option{option, veeamtest.WithLatency(40 * time.Second)}, func(w *world) {
		// The answer arrives after the challenge has died.
		w.tr = w.transport(&Transport{
			LoginTimeout: caddy.Duration(time.Minute),
			Accounts:     []*account.Account{{Name: "svc", Grant: "public_key", Key: w.file("key", keyPEM(testKey()))}},
		})
		w.demand("503 credential_refused")
	})
	inWorld(t, veeamtest.VSPC, []veeamtest.Option{option, veeamtest.WithLatency(15 * time.Second)}, func(w *world) {
		w.start(&account.Account{Name: "svc", Grant: "public_key", Key: w.file("key", keyPEM(testKey()))})
		w.demand("200")
	})
}
