// RSA keys in the forms that VSPC deals in: .NET XML, SPKI, PKCS#1, PEM.

package veeamtest

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"encoding/xml"
	"errors"
	"math/big"
)

// KeyForm is the format of the field public_key before it is encoded in Base64.
type KeyForm string

// The forms of a public key.
const (
	KeyAny   KeyForm = ""      // any form of the assigned key
	KeyExact KeyForm = "exact" // the same bytes as assigned
	KeyXML   KeyForm = "xml"   // .NET XML
	KeySPKI  KeyForm = "spki"  // DER SubjectPublicKeyInfo
)

// xmlKey is .NET's RSAKeyValue. The private fields are absent from public keys.
type xmlKey struct {
	XMLName  xml.Name `xml:"RSAKeyValue"`
	Modulus  string
	Exponent string
	P        string `xml:",omitempty"`
	Q        string `xml:",omitempty"`
	DP       string `xml:",omitempty"`
	DQ       string `xml:",omitempty"`
	InverseQ string `xml:",omitempty"`
	D        string `xml:",omitempty"`
}

func (k xmlKey) String() string {
	b, err := xml.Marshal(k)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// PublicKeyXML returns a public key in the XML format of .NET.
func PublicKeyXML(key *rsa.PublicKey) string {
	return xmlKey{Modulus: base64Int(key.N, key.Size()), Exponent: base64Int(big.NewInt(int64(key.E)), 0)}.String()
}

// PrivateKeyXML returns a private key in the XML format of .NET, in which every number
// is padded to its full length.
func PrivateKeyXML(key *rsa.PrivateKey) string {
	size, half := key.Size(), (key.Size()+1)/2
	key.Precompute()
	return xmlKey{
		Modulus: base64Int(key.N, size), Exponent: base64Int(big.NewInt(int64(key.E)), 0),
		P: base64Int(key.Primes[0], half), Q: base64Int(key.Primes[1], half),
		DP: base64Int(key.Precomputed.Dp, half), DQ: base64Int(key.Precomputed.Dq, half),
		InverseQ: base64Int(key.Precomputed.Qinv, half), D: base64Int(key.D, size),
	}.String()
}

func base64Int(n *big.Int, size int) string {
	return base64.StdEncoding.EncodeToString(n.FillBytes(make([]byte, max(size, len(n.Bytes())))))
}

var errNoKey = errors.New("no RSA public key")

// parsePublicKey reads a public key in any form, and says which.
func parsePublicKey(b []byte) (*rsa.PublicKey, KeyForm, error) {
	b = bytes.TrimSpace(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")))
	if bytes.HasPrefix(b, []byte("<")) {
		key, err := parseXML(b)
		return key, KeyXML, err
	}
	if block, _ := pem.Decode(b); block != nil {
		b = block.Bytes
	}
	if key, err := x509.ParsePKIXPublicKey(b); err == nil {
		if key, ok := key.(*rsa.PublicKey); ok {
			return key, KeySPKI, nil
		}
		return nil, "", errNoKey
	}
	key, err := x509.ParsePKCS1PublicKey(b)
	return key, KeyExact, err
}

func parseXML(b []byte) (*rsa.PublicKey, error) {
	var k xmlKey
	if err := xml.Unmarshal(b, &k); err != nil {
		return nil, err
	}
	n, err := base64.StdEncoding.DecodeString(k.Modulus)
	if err != nil {
		return nil, err
	}
	e, err := base64.StdEncoding.DecodeString(k.Exponent)
	if err != nil {
		return nil, err
	}
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	if key.N.BitLen() < 1024 || key.E < 3 {
		return nil, errNoKey
	}
	return key, nil
}
