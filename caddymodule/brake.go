// The brake on clients that repeat a refused token request without a pause.

package caddymodule

import (
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Refused token requests from one address that are answered as what they are; the
// others are told to wait. Good requests are never braked, because all clients
// of one machine share an address.
const (
	brakeBurst  = 20
	brakeEvery  = time.Second
	brakeRetry  = 5 * time.Second
	brakeMemory = 4096 // addresses
)

type brake struct {
	mu    sync.Mutex
	peers map[string]*rate.Limiter
}

// allow counts a refused request from an address and reports whether it is to be
// answered as what it is.
func (b *brake) allow(remoteAddr string) bool {
	host, _, err := net.SplitHostPort(remoteAddr)
	if err != nil {
		host = remoteAddr
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	limiter := b.peers[host]
	if limiter == nil {
		if b.peers == nil || len(b.peers) >= brakeMemory {
			b.peers = make(map[string]*rate.Limiter)
		}
		limiter = rate.NewLimiter(rate.Every(brakeEvery), brakeBurst)
		b.peers[host] = limiter
	}
	return limiter.Allow()
}
