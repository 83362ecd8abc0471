// Tests of key files.

package veeam

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/test/harness/certs"
)

var testRSA = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// privateXML writes a key the way .NET's ToXmlString(true) does.
func privateXML(k *rsa.PrivateKey) string {
	var b strings.Builder
	b.WriteString("<RSAKeyValue>")
	for _, e := range []struct {
		name string
		n    *big.Int
	}{
		{"Modulus", k.N},
		{"Exponent", big.NewInt(int64(k.E))},
		{"P", k.Primes[0]},
		{"Q", k.Primes[1]},
		{"DP", k.Precomputed.Dp},
		{"DQ", k.Precomputed.Dq},
		{"InverseQ", k.Precomputed.Qinv},
		{"D", k.D},
	} {
		fmt.Fprintf(&b, "<%s>%s</%[1]s>", e.name, base64.StdEncoding.EncodeToString(e.n.Bytes()))
	}
	return b.String() + "</RSAKeyValue>"
}

func pemKey(t *testing.T, key any, kind string) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if private, ok := key.(*rsa.PrivateKey); ok && kind == "RSA PRIVATE KEY" {
		der = x509.MarshalPKCS1PrivateKey(private)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func container(t *testing.T, key crypto.Signer, encoder *pkcs12.Encoder) []byte {
	t.Helper()
	certificate := certs.Sign(nil, &x509.Certificate{Subject: pkix.Name{CommonName: "key"}}, key)
	pfx, err := encoder.Encode(key, certificate.Leaf, nil, "passphrase-canary")
	if err != nil {
		t.Fatal(err)
	}
	return pfx
}

func TestKeysInEveryForm(t *testing.T) {
	key := testRSA()
	modern := container(t, key, pkcs12.Modern)
	legacy := container(t, key, pkcs12.LegacyDES)
	other := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})
	spki, _ := x509.MarshalPKIXPublicKey(key.Public())
	xml := privateXML(key)
	for name, data := range map[string][]byte{
		"PKCS#8":                 pemKey(t, key, "PRIVATE KEY"),
		"PKCS#1":                 pemKey(t, key, "RSA PRIVATE KEY"),
		"PEM after another":      append(other, pemKey(t, key, "PRIVATE KEY")...),
		"DER":                    x509.MarshalPKCS1PrivateKey(key),
		"XML":                    []byte(xml),
		"XML with a declaration": []byte("\xef\xbb\xbf<?xml version=\"1.0\"?>\r\n" + strings.ReplaceAll(xml, "><", ">\n  <") + "\n<!-- end -->\n"),
		"PKCS#12":                modern,
		"PKCS#12 of old":         legacy,
		"PKCS#12 in Base64":      []byte(base64.StdEncoding.EncodeToString(modern)),
	} {
		k, err := ReadKey(data, KeyOptions{Passphrase: secret.New("passphrase-canary")})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !k.private.Equal(key) || k.padding != PaddingAuto {
			t.Errorf("%s: got another key", name)
		}
		sent, _ := base64.StdEncoding.DecodeString(k.public)
		modulus := base64.StdEncoding.EncodeToString(key.N.Bytes())
		if string(sent) != "<RSAKeyValue><Modulus>"+modulus+"</Modulus><Exponent>AQAB</Exponent></RSAKeyValue>" {
			t.Errorf("%s: sends %s", name, sent)
		}
	}
	for _, tt := range []struct {
		o    KeyOptions
		want string
	}{
		{KeyOptions{Format: PublicKeySPKI}, base64.StdEncoding.EncodeToString(spki)},
		{KeyOptions{Format: PublicKeyRaw, Public: []byte("as registered")}, "YXMgcmVnaXN0ZXJlZA=="},
	} {
		if k, err := ReadKey([]byte(xml), tt.o); err != nil || k.public != tt.want {
			t.Errorf("%+v: got %v", tt.o, err)
		}
	}
	k, _ := ReadKey([]byte(xml), KeyOptions{})
	if text := fmt.Sprintf("%v %+v %#v %+v", k, k, k, &Account{Key: k}); strings.Contains(text, key.D.String()) || strings.Contains(text, k.public) {
		t.Error("the key is printed")
	}
}

// DER is binary: its last byte, here of the number of iterations, may be that of
// a blank or of a line end.
func TestContainersThatEndInSpace(t *testing.T) {
	key := testRSA()
	for _, end := range []int{'\t', '\n', '\v', '\f', '\r', ' '} {
		pfx := container(t, key, pkcs12.Modern.WithIterations(0x0800+end))
		if last := int(pfx[len(pfx)-1]); last != end {
			t.Fatalf("the container ends in %#x, want %#x", last, end)
		}
		if _, err := ReadKey(pfx, KeyOptions{Passphrase: secret.New("passphrase-canary")}); err != nil {
			t.Errorf("container that ends in %#x: %v", end, err)
		}
	}
}

func TestKeysThatAreNone(t *testing.T) {
	key := testRSA()
	xml := privateXML(key)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	element := func(name, value string) string { // xml with another value
		before, rest, _ := strings.Cut(xml, "<"+name+">")
		_, after, _ := strings.Cut(rest, "</"+name+">")
		return before + "<" + name + ">" + value + "</" + name + ">" + after
	}
	encrypted := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")})
	old := pem.EncodeToMemory(&pem.Block{
		Type: "RSA PRIVATE KEY", Headers: map[string]string{"DEK-Info": "AES-256-CBC,00"}, Bytes: []byte("x"),
	})
	for name, tt := range map[string]struct {
		data string
		o    KeyOptions
	}{
		"empty":                     {"", KeyOptions{}},
		"text":                      {"canary-passphrase", KeyOptions{}},
		"large":                     {strings.Repeat(" ", maxKeyFile+1), KeyOptions{}},
		"a public PEM key":          {"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", KeyOptions{}},
		"half a PEM key":            {string(pemKey(t, key, "PRIVATE KEY")[:200]), KeyOptions{}},
		"an elliptic key":           {string(pemKey(t, curve, "PRIVATE KEY")), KeyOptions{}},
		"elliptic PKCS#12":          {string(container(t, curve, pkcs12.Modern)), KeyOptions{Passphrase: secret.New("passphrase-canary")}},
		"encrypted PEM":             {string(encrypted), KeyOptions{}},
		"encrypted PEM of old":      {string(old), KeyOptions{}},
		"wrong passphrase":          {string(container(t, key, pkcs12.Modern)), KeyOptions{Passphrase: secret.New("wrong")}},
		"broken DER":                {"0\x82\x01\x00", KeyOptions{}},
		"public XML":                {string(appendPublicXML(nil, &key.PublicKey)), KeyOptions{}},
		"XML of another kind":       {"<DSAKeyValue></DSAKeyValue>", KeyOptions{}},
		"XML cut off":               {xml[:len(xml)-9], KeyOptions{}},
		"two XML keys":              {xml + xml, KeyOptions{}},
		"text after XML":            {xml + "x", KeyOptions{}},
		"bad XML after XML":         {xml + "<", KeyOptions{}},
		"bad Base64":                {element("D", "%%%"), KeyOptions{}},
		"empty number":              {element("P", ""), KeyOptions{}},
		"wrong P":                   {element("P", "Aw=="), KeyOptions{}},
		"wrong D":                   {element("D", "Aw=="), KeyOptions{}},
		"small modulus":             {element("Modulus", "Dw=="), KeyOptions{}},
		"large exponent":            {element("Exponent", "/////////w=="), KeyOptions{}},
		"unknown padding":           {xml, KeyOptions{Padding: "none"}},
		"unknown public key format": {xml, KeyOptions{Format: "pem"}},
		"raw without a key":         {xml, KeyOptions{Format: PublicKeyRaw}},
	} {
		k, err := ReadKey([]byte(tt.data), tt.o)
		if err == nil {
			t.Errorf("%s became %v", name, k)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzKey(f *testing.F) {
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(privateXML(key)))
	f.Add(appendPublicXML(nil, &key.PublicKey))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	f.Add([]byte("<RSAKeyValue><Modulus>AA==</Modulus><Exponent>AQAB</Exponent></RSAKeyValue>"))
	f.Add([]byte("0\x80"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.HasPrefix(data, []byte{0x30}) && len(data) > 2000 {
			return // a container may ask for any amount of work
		}
		k, err := ReadKey(data, KeyOptions{})
		if err != nil {
			return
		}
		again, err := ReadKey([]byte(privateXML(k.private)), KeyOptions{})
		if err != nil || !again.private.Equal(k.private) || again.public != k.public {
			t.Fatalf("the key does not survive .NET XML: %v", err)
		}
	})
}
