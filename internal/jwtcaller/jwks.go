// The keys of an identity provider (RFC 7517, RFC 8037).

package jwtcaller

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/golang-jwt/jwt/v5"
)

const (
	maxDocument = 256 << 10 // of a key set, in bytes
	maxKeys     = 100
	maxKeyID    = 256

	leastRSA, mostRSA = 2048, 8192 // bits
	mostExponent      = 1<<31 - 1
)

// algorithms are the signatures that count: none with a shared secret, and never `none`.
var algorithms = []string{
	jwt.SigningMethodRS256.Alg(), jwt.SigningMethodRS384.Alg(), jwt.SigningMethodRS512.Alg(),
	jwt.SigningMethodPS256.Alg(), jwt.SigningMethodPS384.Alg(), jwt.SigningMethodPS512.Alg(),
	jwt.SigningMethodES256.Alg(), jwt.SigningMethodES384.Alg(), jwt.SigningMethodES512.Alg(),
	jwt.SigningMethodEdDSA.Alg(),
}

// key is a public key for signatures.
type key struct {
	id         string
	public     crypto.PublicKey
	algorithms []string // for which it may be used
}

// keySet are the keys of a provider.
type keySet struct {
	keys    []key
	leftOut []error           // why others of the document do not count
	sum     [sha256.Size]byte // of the document
}

var (
	errKeyMissing = errors.New("the token names no key (kid), and the provider has several")
	errKeyUnknown = errors.New("the token names a key (kid) that the provider does not have")
	errKeyMisused = errors.New("the algorithm of the token (alg) does not match the key")
)

// find returns the key of a token.
func (s *keySet) find(id, algorithm string) (crypto.PublicKey, error) {
	var found *key
	switch {
	case id != "":
		i := slices.IndexFunc(s.keys, func(k key) bool { return k.id == id })
		if i < 0 {
			return nil, errKeyUnknown
		}
		found = &s.keys[i]
	case len(s.keys) != 1:
		return nil, errKeyMissing
	default:
		found = &s.keys[0]
	}
	if !slices.Contains(found.algorithms, algorithm) {
		return nil, errKeyMisused
	}
	return found.public, nil
}

// parseKeys reads a key set. Keys that are for something else, too weak or unreadable are
// left out; without a usable one, or with two of one name, the set is an error.
func parseKeys(document []byte) (*keySet, error) {
	if len(document) > maxDocument {
		return nil, fmt.Errorf("the key set exceeds %d KiB", maxDocument>>10)
	}
	object, err := decode(document)
	if err != nil {
		return nil, fmt.Errorf("the key set cannot be read: %w", err)
	}
	list, ok := object["keys"].([]any)
	if !ok || len(list) > maxKeys {
		return nil, fmt.Errorf("the key set has no list of keys, or more than %d", maxKeys)
	}
	set := &keySet{sum: sha256.Sum256(document)}
	for _, one := range list {
		fields, _ := one.(map[string]any)
		k, err := parseKey(fields)
		if err != nil {
			set.leftOut = append(set.leftOut, err)
			continue
		}
		if slices.ContainsFunc(set.keys, func(other key) bool { return other.id == k.id }) {
			return nil, errors.New("the key set has two keys with one name (kid), or without one")
		}
		set.keys = append(set.keys, k)
	}
	if len(set.keys) == 0 {
		unusable := errors.New("it is empty")
		if n := len(set.leftOut); n > 0 {
			unusable = set.leftOut[n-1]
		}
		return nil, fmt.Errorf("the key set has no usable key: %w", unusable)
	}
	return set, nil
}

// private are the fields that tell a private or secret key (RFC 7518, section 6). One prime
// of an RSA key is enough to compute the others.
var private = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

func parseKey(fields map[string]any) (k key, err error) {
	text := func(name string) string {
		value, _ := fields[name].(string)
		return value
	}
	if k.id = text("kid"); len(k.id) > maxKeyID || fields["kid"] != nil && k.id == "" {
		return k, errors.New("the name of a key (kid) is not a string, is empty or too long")
	}
	if use, given := fields["use"]; given && use != "sig" {
		return k, errors.New("a key is not for signatures (use)")
	}
	if ops, given := fields["key_ops"]; given {
		if list, ok := ops.([]any); !ok || !slices.Contains(list, any("verify")) {
			return k, errors.New("a key is not for verification (key_ops)")
		}
	}
	for _, name := range private {
		if _, given := fields[name]; given {
			return k, errors.New("a key is a private or secret key: only public keys are allowed")
		}
	}
	switch text("kty") {
	case "RSA":
		k.public, k.algorithms, err = rsaKey(text("n"), text("e"))
	case "EC":
		k.public, k.algorithms, err = ecKey(text("crv"), text("x"), text("y"))
	case "OKP":
		k.public, k.algorithms, err = edKey(text("crv"), text("x"))
	default:
		err = errors.New("the type of a key (kty) is not one of RSA, EC, OKP")
	}
	if err != nil {
		return k, err
	}
	if alg, given := fields["alg"]; given {
		name, _ := alg.(string)
		if !slices.Contains(k.algorithms, name) {
			return k, errors.New("the algorithm of a key (alg) does not match its type, or is not supported")
		}
		k.algorithms = []string{name}
	}
	return k, nil
}

func rsaKey(modulus, exponent string) (crypto.PublicKey, []string, error) {
	n, err := number(modulus)
	e, errE := number(exponent)
	if err != nil || errE != nil {
		return nil, nil, errors.New("an RSA key cannot be read")
	}
	if bits := n.BitLen(); bits < leastRSA || bits > mostRSA {
		return nil, nil, fmt.Errorf("an RSA key has %d bits; %d to %d are allowed", bits, leastRSA, mostRSA)
	}
	if !e.IsInt64() || e.Int64() < 3 || e.Int64() > mostExponent || e.Bit(0) == 0 || n.Bit(0) == 0 {
		return nil, nil, errors.New("the exponent or modulus of an RSA key is not allowed")
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}, algorithms[:6], nil
}

func ecKey(curve, x, y string) (crypto.PublicKey, []string, error) {
	for _, c := range []struct {
		name      string
		curve     elliptic.Curve
		algorithm jwt.SigningMethod
	}{
		{"P-256", elliptic.P256(), jwt.SigningMethodES256},
		{"P-384", elliptic.P384(), jwt.SigningMethodES384},
		{"P-521", elliptic.P521(), jwt.SigningMethodES512},
	} {
		if c.name != curve {
			continue
		}
		size := (c.curve.Params().BitSize + 7) / 8
		rawX, errX := decodeSegment(x)
		rawY, errY := decodeSegment(y)
		if errX != nil || errY != nil || len(rawX) != size || len(rawY) != size {
			return nil, nil, errors.New("an EC key cannot be read")
		}
		public, err := ecdsa.ParseUncompressedPublicKey(c.curve, slices.Concat([]byte{4}, rawX, rawY))
		if err != nil {
			return nil, nil, errors.New("an EC key is not on its curve")
		}
		return public, []string{c.algorithm.Alg()}, nil
	}
	return nil, nil, errors.New("the curve of an EC key is not one of P-256, P-384, P-521")
}

func edKey(curve, x string) (crypto.PublicKey, []string, error) {
	raw, err := decodeSegment(x)
	if err != nil || curve != "Ed25519" || len(raw) != ed25519.PublicKeySize {
		return nil, nil, errors.New("an OKP key is not an Ed25519 key")
	}
	return ed25519.PublicKey(raw), []string{jwt.SigningMethodEdDSA.Alg()}, nil
}

func number(text string) (*big.Int, error) {
	raw, err := decodeSegment(text)
	if err != nil || len(raw) == 0 || len(raw) > mostRSA/8+1 {
		return nil, errNotJSON
	}
	return new(big.Int).SetBytes(raw), nil
}

func decodeSegment(text string) ([]byte, error) {
	return base64.RawURLEncoding.Strict().DecodeString(text)
}
