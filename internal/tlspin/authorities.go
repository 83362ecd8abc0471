// The files of authorities that certificates of servers are verified with.

package tlspin

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

var (
	errNoCertificate = errors.New("the file contains no PEM certificate")
	errDER           = errors.New("the file is a certificate in DER; convert it to PEM by openssl x509 -inform der")
	errPrivateKey    = errors.New("a private key is in the file, and no certificate")
)

// CheckAuthorities returns an error for a file of a trust pool without a certificate: Caddy
// takes it for a pool that trusts nobody. The pool is the configuration of a module of the
// namespace tls.ca_pool.source; others than `file` are not looked at. A file that cannot be
// read is left to Caddy. The error names the variable of the environment that names the file.
func CheckAuthorities(pool json.RawMessage) error {
	var options struct {
		Provider string   `json:"provider"`
		Files    []string `json:"pem_files"`
	}
	if len(pool) == 0 || json.Unmarshal(pool, &options) != nil || options.Provider != "file" {
		return nil //nolint:nilerr // Caddy says what is wrong with the JSON
	}
	for _, file := range options.Files {
		content, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if err := HasCertificate(content); err != nil {
			return secret.WithVariable(fmt.Errorf("tls_trust_pool: reading %s: %w", file, err))
		}
	}
	return nil
}

// HasCertificate returns an error that says what is in a file instead of a certificate in
// PEM.
func HasCertificate(content []byte) error {
	key := false
	for rest := content; ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		switch {
		case block == nil && key:
			return errPrivateKey
		case block == nil:
			if _, err := x509.ParseCertificate(content); err == nil {
				return errDER
			}
			return errNoCertificate
		case block.Type == "CERTIFICATE":
			return nil // Caddy parses it
		}
		key = key || strings.HasSuffix(block.Type, "PRIVATE KEY")
	}
}
