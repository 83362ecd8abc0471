// The names and public keys of client certificates.

package tlspin

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"

	"github.com/caddy-veeam/veeam-auth/internal/username"
)

// errSeveral says that the text of a subject is not all of it.
var errSeveral = errors.New("its subject has several common names or serial numbers")

// ClientSubject returns the subject of a verified client certificate as text, empty without one.
// The error says why a subject identifies nobody: the text of another one may be, or look,
// the same.
func ClientSubject(state *tls.ConnectionState) (string, error) {
	if state == nil || len(state.VerifiedChains) == 0 {
		return "", nil
	}
	subject := state.VerifiedChains[0][0].Subject
	if twice(subject, asn1.ObjectIdentifier{2, 5, 4, 3}) || twice(subject, asn1.ObjectIdentifier{2, 5, 4, 5}) { // of which the text has the last one
		return "", errSeveral
	}
	text := subject.String()
	if username.Check(text) != nil {
		return "", errors.New("its subject contains an invisible character")
	}
	return text, nil
}

// twice reports whether a name has an attribute more than once.
func twice(name pkix.Name, attribute asn1.ObjectIdentifier) bool {
	n := 0
	for _, a := range name.Names {
		if a.Type.Equal(attribute) {
			n++
		}
	}
	return n > 1
}

// SPKI returns the SHA-256 of the public key of a verified client certificate, in hex:
// of the whole SubjectPublicKeyInfo, as for pins (RFC 7469).
func SPKI(state *tls.ConnectionState) string {
	if state == nil || len(state.VerifiedChains) == 0 {
		return ""
	}
	sum := sha256.Sum256(state.VerifiedChains[0][0].RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}
