// What counts as a fingerprint, what a pin accepts, and how addresses are read.

package tlspin

import (
	"crypto/tls"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

func TestVerify_AcceptsPinnedCertificatesOnly(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	other := otherPin(t)
	cert := server.Certificate()
	for name, c := range map[string]struct {
		pins []Fingerprint
		ok   bool
	}{
		"SHA-1":     {[]Fingerprint{SHA1(cert)}, true},
		"SHA-256":   {[]Fingerprint{SHA256(cert)}, true},
		"one of":    {[]Fingerprint{other, SHA1(cert)}, true},
		"another":   {[]Fingerprint{other}, false},
		"no pins":   {nil, false},
		"truncated": {[]Fingerprint{SHA256(cert)[:20]}, false},
	} {
		conn, err := tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{
			InsecureSkipVerify: true, VerifyConnection: Verify(c.pins),
		})
		if err == nil {
			_ = conn.Close()
		}
		mismatch, ok := errors.AsType[*MismatchError](err)
		if (err == nil) != c.ok || !c.ok && (!ok || veeam.ReasonOf(mismatch) != veeam.ReasonPin || !strings.Contains(err.Error(), SHA256(cert).String())) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func otherPin(t *testing.T) Fingerprint {
	t.Helper()
	other, err := Parse(strings.Repeat("ab", 32))
	if err != nil {
		t.Fatal(err)
	}
	return other
}

func TestParse_ReadsWhatPeopleWrite(t *testing.T) {
	const want = "0123456789ABCDEF0123456789ABCDEF01234567"
	for _, text := range []string{
		want, strings.ToLower(want), "sha1=" + want, "SHA1/" + want, "\u200e" + want,
		"01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67", "01 23 45 67 89 ab cd ef 01 23 45 67 89 ab cd ef 01-23-45-67",
	} {
		got, err := Parse(text)
		if err != nil || got.String() != want {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
	for _, text := range []string{"", "sha1=", want + "00", want[1:], want[2:], "hunter2", "md5=" + want} {
		if got, err := Parse(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestAddress_ReadsHostsAndURLs(t *testing.T) {
	for text, want := range map[string]string{
		"vbr01.lab.local:9419": "vbr01.lab.local:9419", "https://vbr01.lab.local:9419/api": "vbr01.lab.local:9419",
		"vbr01.lab.local": "vbr01.lab.local:443", "[::1]": "[::1]:443", "[::1]:9419": "[::1]:9419",
		"": "", "a/b": "", "a:0": "", "a:65536": "", "user@a": "",
	} {
		got, err := Address(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q %v", text, got, err)
		}
	}
}
