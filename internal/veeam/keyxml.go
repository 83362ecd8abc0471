// RSA keys in the XML of .NET, the form in which VSPC issues them.

package veeam

import (
	"bytes"
	"crypto/rsa"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"math/big"
)

var errKeyXML = errors.New("the .NET XML key is not a complete RSAKeyValue with a private key")

// Limits of accepted keys.
const minKeyBits, maxKeyBits = 1024, 8192

// rsaKeyValue is the document. Each value is a Base64 number, most significant
// byte first.
type rsaKeyValue struct {
	XMLName                    xml.Name `xml:"RSAKeyValue"`
	Modulus, Exponent, P, Q, D string
}

// readPrivateXML reads a private key. DP, DQ and InverseQ follow from the others
// and are computed.
func readPrivateXML(data []byte) (*rsa.PrivateKey, error) {
	dec := xml.NewDecoder(bytes.NewReader(data))
	var doc rsaKeyValue
	if err := dec.Decode(&doc); err != nil {
		return nil, errKeyXML
	}
	for { // nothing but space and comments may follow
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, errKeyXML
		}
		switch token := token.(type) {
		case xml.Comment:
		case xml.CharData:
			if len(bytes.TrimSpace(token)) > 0 {
				return nil, errKeyXML
			}
		default:
			return nil, errKeyXML
		}
	}
	var n [5]*big.Int
	for i, text := range []string{doc.Modulus, doc.Exponent, doc.P, doc.Q, doc.D} {
		raw, err := readBase64(text)
		if err != nil || len(raw) == 0 || len(raw) > maxKeyBits/8+1 {
			return nil, errKeyXML
		}
		n[i] = new(big.Int).SetBytes(raw)
	}
	modulus, exponent, p, q, d := n[0], n[1], n[2], n[3], n[4]
	if bits := modulus.BitLen(); bits < minKeyBits || bits > maxKeyBits || exponent.BitLen() > 31 {
		return nil, errKeyXML
	}
	key := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: modulus, E: int(exponent.Int64())},
		D:         d,
		Primes:    []*big.Int{p, q},
	}
	if key.Validate() != nil {
		return nil, errKeyXML
	}
	key.Precompute()
	return key, nil
}

// appendPublicXML writes a public key the way .NET does.
func appendPublicXML(dst []byte, key *rsa.PublicKey) []byte {
	dst = append(dst, "<RSAKeyValue><Modulus>"...)
	dst = base64.StdEncoding.AppendEncode(dst, key.N.Bytes())
	dst = append(dst, "</Modulus><Exponent>"...)
	dst = base64.StdEncoding.AppendEncode(dst, big.NewInt(int64(key.E)).Bytes())
	return append(dst, "</Exponent></RSAKeyValue>"...)
}
