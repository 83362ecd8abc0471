// The key pair of the public key grant: reading its file, decrypting with it.

package veeam

import (
	"bytes"
	"cmp"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// Padding is the RSA padding with which the server encrypts the code. It is not
// documented.
type Padding string

// The paddings.
const (
	// PaddingAuto tries the others on the same challenge, beginning with OAEP, which
	// fails reliably if the server used another padding.
	PaddingAuto       Padding = "auto"
	PaddingPKCS1v15   Padding = "pkcs1v15"
	PaddingOAEPSHA1   Padding = "oaep_sha1"
	PaddingOAEPSHA256 Padding = "oaep_sha256"
)

// PublicKeyFormat is the format of the public_key field before it is encoded in Base64.
// Only the Base64 is documented; the content should be the key as registered.
type PublicKeyFormat string

// The formats.
const (
	PublicKeyXML  PublicKeyFormat = "xml"  // RSAKeyValue, as issued by VSPC
	PublicKeySPKI PublicKeyFormat = "spki" // DER of a SubjectPublicKeyInfo
	PublicKeyRaw  PublicKeyFormat = "raw"  // KeyOptions.Public unchanged
)

// KeyOptions are the options of a Key.
type KeyOptions struct {
	// Passphrase is the passphrase of a PKCS#12 container.
	Passphrase secret.Value

	// Padding is the padding of the server. Default: PaddingAuto.
	Padding Padding

	// Format is the format in which the public key is sent. Default: PublicKeyXML.
	Format PublicKeyFormat

	// Public is the public key as registered. Required by PublicKeyRaw.
	Public []byte
}

// Key is an RSA key pair with its options. It is immutable; ReadKey makes it.
type Key struct {
	private *rsa.PrivateKey
	public  string // as sent
	form    PublicKeyFormat
	padding Padding
}

func (k *Key) format() string { return string(cmp.Or(k.form, PublicKeyXML)) }

// maxKeyFile is the maximum size of a key file in bytes.
const maxKeyFile = 64 << 10

var (
	errKeyFormat    = errors.New("the key is neither PEM nor PKCS#12 nor .NET XML")
	errKeyNotRSA    = errors.New("the key is not an RSA private key")
	errKeyEncrypted = errors.New("the PEM key is encrypted: use a PKCS#12 container for a key with a passphrase")
	errKeyTooLarge  = errors.New("the key file exceeds 64 KiB")
	errPKCS12       = errors.New("the PKCS#12 container cannot be opened with this passphrase")
)

// ReadKey reads a private key: PEM (PKCS#8 or PKCS#1, not encrypted), a PKCS#12
// container (binary or Base64, as issued by VSPC) or .NET XML, of at most 64 KiB.
// Errors contain no part of it.
func ReadKey(data []byte, o KeyOptions) (*Key, error) {
	if len(data) > maxKeyFile {
		return nil, errKeyTooLarge
	}
	private, err := readPrivateKey(data, o.Passphrase)
	if err != nil {
		return nil, err
	}
	k := &Key{private: private, form: o.Format, padding: o.Padding}
	switch o.Padding {
	case "":
		k.padding = PaddingAuto
	case PaddingAuto, PaddingPKCS1v15, PaddingOAEPSHA1, PaddingOAEPSHA256:
	default:
		return nil, fmt.Errorf("unknown padding %q", o.Padding)
	}
	public := o.Public
	switch o.Format {
	case "", PublicKeyXML:
		public = appendPublicXML(nil, &private.PublicKey)
	case PublicKeySPKI:
		if public, err = x509.MarshalPKIXPublicKey(&private.PublicKey); err != nil {
			return nil, errKeyNotRSA
		}
	case PublicKeyRaw:
		if len(public) == 0 {
			return nil, errors.New("the raw format requires the public key as registered")
		}
	default:
		return nil, fmt.Errorf("unknown public key format %q", o.Format)
	}
	k.public = base64.StdEncoding.EncodeToString(public)
	return k, nil
}

// String returns a text without the key.
func (k *Key) String() string { return "key " + secret.Mask }

// GoString returns a text without the key.
func (k *Key) GoString() string { return k.String() }

func readPrivateKey(data []byte, passphrase secret.Value) (*rsa.PrivateKey, error) {
	const sequence = 0x30 // the first byte of DER, whose last may look like space
	if len(data) > 0 && data[0] == sequence {
		return readDER(data, passphrase)
	}
	text := bytes.TrimSpace(bytes.TrimPrefix(data, byteOrderMark))
	switch {
	case bytes.HasPrefix(text, []byte("<")):
		return readPrivateXML(text)
	case bytes.Contains(text, []byte("-----BEGIN ")):
		return readPEM(text)
	}
	if der, err := readBase64(string(text)); err == nil && len(der) > 0 && der[0] == sequence {
		return readDER(der, passphrase)
	}
	return nil, errKeyFormat
}

func readPEM(data []byte) (*rsa.PrivateKey, error) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return nil, errKeyNotRSA
		}
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY", block.Headers["DEK-Info"] != "":
			return nil, errKeyEncrypted
		case block.Type == "PRIVATE KEY", block.Type == "RSA PRIVATE KEY":
			return readBareDER(block.Bytes)
		}
	}
}

// readDER reads a PKCS#12 container or a bare key.
func readDER(der []byte, passphrase secret.Value) (*rsa.PrivateKey, error) {
	if private, err := readBareDER(der); err == nil {
		return private, nil
	}
	private, _, _, err := pkcs12.DecodeChain(der, passphrase.Reveal())
	if err != nil {
		return nil, errPKCS12
	}
	return onlyRSA(private)
}

func readBareDER(der []byte) (*rsa.PrivateKey, error) {
	if private, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return private, nil
	}
	private, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errKeyNotRSA
	}
	return onlyRSA(private)
}

func onlyRSA(private any) (*rsa.PrivateKey, error) {
	if key, ok := private.(*rsa.PrivateKey); ok {
		return key, nil
	}
	return nil, errKeyNotRSA
}

// decrypt decrypts a challenge and returns its padding.
func (k *Key) decrypt(ciphertext []byte) (plain []byte, used Padding, err error) {
	paddings := []Padding{k.padding}
	if k.padding == PaddingAuto {
		paddings = []Padding{PaddingOAEPSHA1, PaddingOAEPSHA256, PaddingPKCS1v15}
	}
	for _, padding := range paddings {
		switch padding {
		case PaddingOAEPSHA1:
			plain, err = rsa.DecryptOAEP(sha1.New(), nil, k.private, ciphertext, nil)
		case PaddingOAEPSHA256:
			plain, err = rsa.DecryptOAEP(sha256.New(), nil, k.private, ciphertext, nil)
		default:
			plain, err = rsa.DecryptPKCS1v15(nil, k.private, ciphertext) //nolint:staticcheck // one of the two that .NET has
		}
		if err == nil {
			return plain, padding, nil
		}
	}
	return nil, "", errDecryption
}
