// Records that are not encrypted.

package upstream

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/caddy-veeam/veeam-auth/internal/sealed"
)

// PlainSealer names records without a key and does not encrypt them. It is for the
// records of tries of transports without a cache: each has a time and eight bits of a
// hash.
type PlainSealer struct{}

// Encrypt implements sealed.Sealer.
func (PlainSealer) Encrypt(plaintext, _ []byte) ([]byte, error) { return plaintext, nil }

// Decrypt implements sealed.Sealer.
func (PlainSealer) Decrypt(ciphertext, _ []byte) ([]byte, error) { return ciphertext, nil }

// Name implements sealed.Sealer.
func (PlainSealer) Name(parts ...string) string {
	sum := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(sum, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Interface guard
var _ sealed.Sealer = PlainSealer{}
