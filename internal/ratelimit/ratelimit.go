// Package ratelimit limits the rate of events. A Limiter counts failures by key in
// bounded memory. Callers limits the requests of each caller. Rates are the limits of
// requests to a server.
package ratelimit

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Rate is a burst, at least one, and the time after which another event is free. Both
// are required.
type Rate struct {
	Burst int
	Every time.Duration
}

// Bucket is the count of one key at a Rate. The zero value is full: the whole burst is
// free.
type Bucket struct { //nolint:recvcheck // a value is asked, a variable counts
	// Full is the time at which the whole burst is free.
	Full time.Time `json:"full"`
}

// Wait returns the time until the next event is free; zero if one is free now.
func (b Bucket) Wait(now time.Time, r Rate) time.Duration {
	if !b.Full.After(now) {
		return 0 // the zero time is too long ago for a difference
	}
	return max(b.Full.Sub(now)-time.Duration(r.Burst-1)*r.Every, 0)
}

// Add counts an event. However many were counted, the next one is free after r.Every.
func (b *Bucket) Add(now time.Time, r Rate) {
	if b.Full.Before(now) {
		b.Full = now
	}
	b.Full = b.Full.Add(r.Every)
	if most := now.Add(time.Duration(r.Burst) * r.Every); b.Full.After(most) {
		b.Full = most
	}
}

// Return undoes the count of an event.
func (b *Bucket) Return(r Rate) { b.Full = b.Full.Add(-r.Every) }

// Key identifies a count. Its size does not depend on the parts that it was made of.
type Key [sha256.Size]byte

// KeyOf makes the key of some parts. Different parts have different keys.
func KeyOf(parts ...string) Key {
	h := sha256.New()
	for _, part := range parts {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:])
		h.Write([]byte(part))
	}
	var key Key
	h.Sum(key[:0])
	return key
}

// Source returns the origin of a network address, with or without a port: an IPv4
// address, or the /64 network of an IPv6 address, because one machine can use any
// address of it. Other text is returned unchanged.
func Source(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		withPort, err := netip.ParseAddrPort(address)
		if err != nil {
			return address
		}
		ip = withPort.Addr()
	}
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		return ip.String()
	}
	network, err := ip.Prefix(64)
	if err != nil {
		return address
	}
	return network.String()
}

// Count is a count to which an event belongs.
type Count struct {
	Key  Key
	Rate Rate
}

// Limiter keeps the counts of many keys. If there are too many, it forgets the least
// recently used. Only events add keys, not queries.
type Limiter struct {
	mu      sync.Mutex
	buckets *lru.Cache[Key, *Bucket]
}

// New returns a Limiter for at most size keys.
func New(size int) *Limiter {
	buckets, err := lru.New[Key, *Bucket](size)
	if err != nil {
		panic(err) // the size is not positive
	}
	return &Limiter{buckets: buckets}
}

// Wait returns the time until an event is free by all counts; zero if it is free now.
func (l *Limiter) Wait(counts ...Count) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wait(counts)
}

func (l *Limiter) wait(counts []Count) (longest time.Duration) {
	now := time.Now()
	for _, c := range counts {
		if b, ok := l.buckets.Get(c.Key); ok {
			longest = max(longest, b.Wait(now, c.Rate))
		}
	}
	return longest
}

// Add counts an event, whether or not it is free.
func (l *Limiter) Add(counts ...Count) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(counts)
}

func (l *Limiter) add(counts []Count) {
	now := time.Now()
	for _, c := range counts {
		b, ok := l.buckets.Get(c.Key)
		if !ok {
			b = new(Bucket)
			l.buckets.Add(c.Key, b)
		}
		b.Add(now, c.Rate)
	}
}

// Try counts an event in all counts if it is free by all of them; otherwise it returns
// the time until then and counts nothing. An event counts from its start, so that no
// more are in progress than may fail. Call done at its end: it undoes the count unless
// the event failed.
func (l *Limiter) Try(counts ...Count) (done func(failed bool), wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if wait := l.wait(counts); wait > 0 {
		return nil, wait
	}
	l.add(counts)
	return func(failed bool) {
		if !failed {
			l.take(counts)
		}
	}, 0
}

// take takes an event back.
func (l *Limiter) take(counts []Count) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for _, c := range counts {
		b, ok := l.buckets.Peek(c.Key)
		if !ok {
			continue
		}
		if b.Return(c.Rate); !b.Full.After(now) {
			l.buckets.Remove(c.Key)
		}
	}
}

// Allow counts an event if it is free, and reports whether it is.
func (l *Limiter) Allow(counts ...Count) bool {
	_, wait := l.Try(counts...)
	return wait == 0
}

// Failed reports whether an event of this count is not free again yet.
func (l *Limiter) Failed(c Count) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.buckets.Peek(c.Key)
	return ok && b.Full.After(time.Now())
}

// Forget removes a count.
func (l *Limiter) Forget(key Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buckets.Remove(key)
}

// Len returns the number of keys.
func (l *Limiter) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buckets.Len()
}
