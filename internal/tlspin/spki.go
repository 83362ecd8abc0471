// The public keys of client certificates.

package tlspin

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
)

// SPKI returns the SHA-256 of the public key of a verified client certificate, in hex:
// of the whole SubjectPublicKeyInfo, as for pins (RFC 7469).
func SPKI(state *tls.ConnectionState) string {
	if state == nil || len(state.VerifiedChains) == 0 {
		return ""
	}
	sum := sha256.Sum256(state.VerifiedChains[0][0].RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}
