// Keys for tests, in every form in which they are kept and assigned.

package caddymodule

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"sync"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// plain is a secret.
func plain(text string) secret.Value { return secret.New(text) }

func newKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

var (
	testKey  = sync.OnceValue(newKey) // assigned to a user
	otherKey = sync.OnceValue(newKey) // assigned to nobody
)

func keyPEM(key *rsa.PrivateKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
}
