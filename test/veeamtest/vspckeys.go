// VSPC's key services: RSA pairs, PKCS#12 containers, TOTP secrets.

package veeamtest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/url"
	"strconv"

	"software.sslmate.com/src/go-pkcs12"
)

type rsaKeyPair struct {
	PrivateKey string `json:"privateKey"`
	PublicKey  string `json:"publicKey"`
}

// newKey makes a key of ?keySize bits, or answers that it cannot.
func (x *exchange) newKey() *rsa.PrivateKey {
	size := 2048
	if v := x.query("keySize"); v != "" {
		size, _ = strconv.Atoi(v)
	}
	if size < 1024 || size > 4096 || size%8 != 0 {
		x.refuse(badRequest)
		return nil
	}
	key, err := rsa.GenerateKey(rand.Reader, size)
	if err != nil {
		x.refuse(serverFault)
		return nil
	}
	return key
}

func serveRSA(x *exchange) {
	if key := x.newKey(); key != nil {
		x.data(x.secret(rsaKeyPair{PrivateKeyXML(key), PublicKeyXML(&key.PublicKey)}))
	}
}

// secret remembers the private half of a key pair as issued.
func (x *exchange) secret(pair rsaKeyPair) rsaKeyPair {
	x.s.mu.Lock()
	x.s.issued = append(x.s.issued, pair.PrivateKey)
	x.s.mu.Unlock()
	return pair
}

func servePKCS12(x *exchange) {
	subject := x.query("subject")
	if subject == "" {
		x.refuse(badRequest)
		return
	}
	key := x.newKey()
	if key == nil {
		return
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(x.s.now().UnixNano()), Subject: pkix.Name{CommonName: subject},
		NotBefore: x.s.now(), NotAfter: x.s.now().AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		x.refuse(serverFault)
		return
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		x.refuse(serverFault)
		return
	}
	x.containers(pkcs12.Modern, key, cert, x.query("password"))
}

// containers answers with two PKCS#12 containers: one holds key and certificate, the other the certificate.
func (x *exchange) containers(enc *pkcs12.Encoder, key any, cert *x509.Certificate, password string) {
	private, err := enc.Encode(key, cert, nil, password)
	if err != nil {
		x.refuse(serverFault)
		return
	}
	public, err := enc.EncodeTrustStore([]*x509.Certificate{cert}, password)
	if err != nil {
		x.refuse(serverFault)
		return
	}
	x.queue(func() any {
		return x.secret(rsaKeyPair{base64.StdEncoding.EncodeToString(private), base64.StdEncoding.EncodeToString(public)})
	})
}

func serveDecryptPKCS12(x *exchange) {
	var body struct{ CertificateContent, Password string }
	raw, whole := x.readAll(maxForm)
	if !whole || json.Unmarshal(raw, &body) != nil {
		x.refuse(badRequest)
		return
	}
	container, err := base64.StdEncoding.DecodeString(body.CertificateContent)
	if err != nil {
		x.refuse(badRequest)
		return
	}
	key, cert, err := pkcs12.Decode(container, body.Password)
	if err != nil {
		if _, err := pkcs12.DecodeTrustStore(container, body.Password); err == nil {
			x.refuse(noPrivateKey)
			return
		}
		x.refuse(badRequest)
		return
	}
	x.containers(pkcs12.Passwordless, key, cert, "")
}

func serveTOTPSecret(x *exchange) {
	x.queue(func() any {
		secret := newSecret()
		x.s.mu.Lock()
		x.s.issued = append(x.s.issued, secret)
		x.s.mu.Unlock()
		secretURL := "otpauth://totp/" + url.PathEscape(x.subject()) + "?secret=" + secret + "&issuer=My%20Company%20Portal" + x.s.unusual()
		return map[string]string{"secret": secret, "secretUrl": secretURL}
	})
}
