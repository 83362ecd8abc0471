// What is told of the certificates of servers: each of them once, although many accounts
// and connections see it.

package upstream

import (
	"crypto/x509"
	"errors"
	"sync"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/events"
	"github.com/caddy-veeam/veeam-auth/internal/tlspin"
)

// certificates is what was told, by product and origin.
type certificates struct {
	mu    sync.Mutex
	known map[[2]string]*toldCertificates
}

// toldCertificates is what was told of the certificates of one server.
type toldCertificates struct {
	mismatch string // the fingerprint of one that no pin has; empty after one that is trusted

	expiring *x509.Certificate // near its end
	stages   int               // of expiryStages that it has passed
}

// at returns what was told of a server. c.mu is held.
func (c *certificates) at(product, origin string) *toldCertificates {
	key := [2]string{product, origin}
	if known := c.known[key]; known != nil {
		return known
	}
	if c.known == nil || len(c.known) >= maxOrigins {
		c.known = make(map[[2]string]*toldCertificates)
	}
	added := new(toldCertificates)
	c.known[key] = added
	return added
}

// expiryStages are how long before the end of a certificate that is told, the longest
// first.
var expiryStages = []time.Duration{21 * 24 * time.Hour, 7 * 24 * time.Hour, 24 * time.Hour, 0}

// expires is told which certificate a server has, unless it is not trusted for another
// reason than its end.
func (s *State) expires(product, origin string, leaf *x509.Certificate, now time.Time) {
	passed := 0
	for passed < len(expiryStages) && !now.Before(leaf.NotAfter.Add(-expiryStages[passed])) {
		passed++
	}
	s.certificates.mu.Lock()
	defer s.certificates.mu.Unlock()
	told := s.certificates.at(product, origin)
	if told.expiring == nil || !told.expiring.Equal(leaf) {
		told.expiring, told.stages = leaf, 0
	}
	if passed > told.stages {
		told.stages = passed
		s.Events.Emit(events.CertificateExpires(product, origin, tlspin.SHA256(leaf).String(), leaf.NotAfter, now))
	}
}

// dialed is told how a connection to a server has ended: with an error, or with nil if the
// server has answered.
func (s *State) dialed(product, origin string, err error) {
	mismatch, ok := errors.AsType[*tlspin.MismatchError](err)
	if err != nil && !ok {
		return
	}
	fingerprint := ""
	if ok {
		fingerprint = mismatch.Presented().String()
	}
	s.certificates.mu.Lock()
	defer s.certificates.mu.Unlock()
	told := s.certificates.at(product, origin)
	if told.mismatch == fingerprint {
		return
	}
	told.mismatch = fingerprint
	if ok {
		s.Events.Emit(events.PinMismatched(product, origin, fingerprint))
	}
}
