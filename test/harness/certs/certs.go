// Package certs makes certificates for tests.
package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// Authority returns the certificate of a new authority.
func Authority(name string) *tls.Certificate {
	return Issue(nil, &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true})
}

// Issue is Sign with a new key on P-256.
func Issue(issuer *tls.Certificate, template *x509.Certificate) *tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return Sign(issuer, template, key)
}

// Sign returns a certificate for a key. Without an issuer, it signs itself. What the
// template leaves out has these defaults: a serial number that no other one has, valid
// from two hours ago for a day, for signatures of clients and servers, or, if it is an
// authority, of certificates. The template stays as it is.
func Sign(issuer *tls.Certificate, template *x509.Certificate, key crypto.Signer) *tls.Certificate {
	c := *template
	if c.SerialNumber == nil {
		serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
		if err != nil {
			panic(err)
		}
		c.SerialNumber = serial
	}
	if c.NotBefore.IsZero() {
		c.NotBefore = time.Now().Add(-2 * time.Hour)
	}
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(24 * time.Hour)
	}
	c.BasicConstraintsValid = true
	switch {
	case c.KeyUsage != 0:
	case c.IsCA:
		c.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	default:
		c.KeyUsage = x509.KeyUsageDigitalSignature
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	}
	parent, signer := &c, crypto.PrivateKey(key)
	if issuer != nil {
		parent, signer = issuer.Leaf, issuer.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, &c, parent, key.Public(), signer)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// PEM returns a certificate in PEM, without its key.
func PEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// KeyPEM returns the key of a certificate in PEM.
func KeyPEM(c *tls.Certificate) []byte {
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
}

// Write writes a certificate to name.pem and its key to name.key, both in PEM.
func Write(dir, name string, c *tls.Certificate) error {
	return errors.Join(
		os.WriteFile(filepath.Join(dir, name+".pem"), PEM(c.Leaf), 0o600),
		os.WriteFile(filepath.Join(dir, name+".key"), KeyPEM(c), 0o600))
}
