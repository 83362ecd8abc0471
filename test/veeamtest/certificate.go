// The authority of this process, which signs the certificate of every emulated server.

package veeamtest

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"sync"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness/certs"
)

var ca = sync.OnceValue(func() *tls.Certificate {
	return certs.Issue(nil, &x509.Certificate{
		Subject:  pkix.Name{CommonName: "Veeam emulator CA", Organization: []string{"veeamtest"}},
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:     true,
		NotAfter: inTenYears(),
	})
})

func inTenYears() time.Time { return time.Now().AddDate(10, 0, 0) }

// CA returns the certificate that every emulated server of this process chains to.
func CA() *x509.Certificate { return ca().Leaf }

// CAPEM returns CA in PEM.
func CAPEM() []byte {
	return certs.PEM(CA())
}

// SetCertificateEnd gives the server a new certificate, which ends at that time, at its next
// Start. Default: in ten years.
func (s *Server) SetCertificateEnd(end time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cert = serverCertificate(s.cfg.names, end)
}

func serverCertificate(names []string, end time.Time) tls.Certificate {
	if end.IsZero() {
		end = inTenYears()
	}
	return *certs.Issue(ca(), &x509.Certificate{
		Subject:     pkix.Name{CommonName: "localhost"},
		NotAfter:    end,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    append([]string{"localhost"}, names...),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	})
}
