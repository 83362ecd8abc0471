// The authority of this process, which signs the certificate of every emulated server.

package veeamtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"sync"
	"time"
)

type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

var ca = sync.OnceValue(func() authority {
	key := ecKey()
	cert := certificate(&x509.Certificate{
		Subject:               pkix.Name{CommonName: "Veeam emulator CA", Organization: []string{"veeamtest"}},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}, nil, key, key)
	return authority{key, cert}
})

// CA returns the certificate that every emulated server of this process chains to.
func CA() *x509.Certificate { return ca().cert }

// CAPEM returns CA in PEM.
func CAPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: CA().Raw})
}

// SetCertificateEnd gives the server a new certificate, which ends at that time, at its next
// Start. Default: in ten years.
func (s *Server) SetCertificateEnd(end time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cert = serverCertificate(s.cfg.names, end)
}

func serverCertificate(names []string, end time.Time) tls.Certificate {
	key := ecKey()
	cert := certificate(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "localhost"},
		NotAfter:    end,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    append([]string{"localhost"}, names...),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}, CA(), ca().key, key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// certificate makes a certificate for key, self-signed when parent is nil.
func certificate(template, parent *x509.Certificate, signer, key *ecdsa.PrivateKey) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err)
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-time.Hour)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().AddDate(10, 0, 0)
	}
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return cert
}

func ecKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}
