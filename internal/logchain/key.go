// The keys that sign checkpoints.

package logchain

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

var (
	errNoPrivateKey = errors.New("it is not an Ed25519 private key in PEM (PKCS #8), as `caddy veeam-auth log keygen` writes it")
	errNoPublicKey  = errors.New("it is neither an Ed25519 key in PEM nor a public key as `caddy veeam-auth log keygen` prints it")
)

// NewKey returns a new private key in PEM (PKCS #8), and its public key as a text.
func NewKey() (private, public string, err error) {
	publicKey, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), PublicText(publicKey), nil
}

// ReadKey reads the private key in a file: PEM (PKCS #8), as `openssl genpkey -algorithm
// ed25519` writes it, too. The error names the file and repeats nothing of it.
func ReadKey(file string) (ed25519.PrivateKey, error) {
	content, err := secret.ReadKeyMaterial(file)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(content); block != nil {
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if key, ok := parsed.(ed25519.PrivateKey); ok && err == nil {
			return key, nil
		}
	}
	return nil, fmt.Errorf("%s: %w", file, errNoPrivateKey)
}

// PublicText is a public key as a text of 43 characters: Base64 for URLs.
func PublicText(key ed25519.PublicKey) string { return encoding.EncodeToString(key) }

// ParsePublic parses such a text.
func ParsePublic(text string) (ed25519.PublicKey, error) {
	key := make(ed25519.PublicKey, ed25519.PublicKeySize)
	if !decode(key, strings.TrimSpace(text)) {
		return nil, errNoPublicKey
	}
	return key, nil
}

// ReadPublic returns the public key that a text is, or that the file with this name has:
// as text or PEM, also that of a private key.
func ReadPublic(textOrFile string) (ed25519.PublicKey, error) {
	if key, err := ParsePublic(textOrFile); err == nil {
		return key, nil
	}
	content, err := secret.ReadKeyMaterial(textOrFile)
	if err != nil {
		return nil, err
	}
	if key, err := ParsePublic(string(content)); err == nil {
		return key, nil
	}
	if block, _ := pem.Decode(content); block != nil {
		if parsed, err := x509.ParsePKIXPublicKey(block.Bytes); err == nil {
			if key, ok := parsed.(ed25519.PublicKey); ok {
				return key, nil
			}
		}
		if parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if key, ok := parsed.(ed25519.PrivateKey); ok {
				return key.Public().(ed25519.PublicKey), nil
			}
		}
	}
	return nil, fmt.Errorf("%s: %w", textOrFile, errNoPublicKey)
}
