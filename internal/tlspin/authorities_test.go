package tlspin

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestAFileOfAuthoritiesHoldsACertificate(t *testing.T) {
	good := veeamtest.CAPEM()
	block, _ := pem.Decode(good)
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("canary")})
	for name, tt := range map[string]struct {
		content []byte
		want    error
	}{
		"a certificate":            {good, nil},
		"text before it":           {append([]byte("subject=CN\n"), good...), nil},
		"a key before it":          {append(key, good...), nil},
		"with the ends of DOS":     {pemWithCR(good), nil},
		"nothing":                  {nil, errNoCertificate},
		"something else":           {[]byte("garbage\n"), errNoCertificate},
		"half a certificate":       {good[:len(good)/2], errNoCertificate},
		"DER":                      {block.Bytes, errDER},
		"a private key":            {key, errPrivateKey},
		"a request to an issuer":   {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte("x")}), errNoCertificate},
		"a certificate of openpgp": {[]byte("-----BEGIN PGP MESSAGE-----\n"), errNoCertificate},
	} {
		file := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(file, tt.content, 0o600); err != nil {
			t.Fatal(err)
		}
		pool, err := json.Marshal(map[string]any{"provider": "file", "pem_files": []string{file}})
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckAuthorities(pool); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	for _, pool := range []string{"", "{}", "[", `{"provider":"file","pem_files":["/nowhere"]}`, `{"provider":"inline","trusted_ca_certs":["x"]}`} {
		if err := CheckAuthorities(json.RawMessage(pool)); err != nil {
			t.Errorf("%s: %v", pool, err)
		}
	}
}

// pemWithCR is a text with lines as Windows ends them.
func pemWithCR(text []byte) (out []byte) {
	for _, b := range text {
		if b == '\n' {
			out = append(out, '\r')
		}
		out = append(out, b)
	}
	return out
}
