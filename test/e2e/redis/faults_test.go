// What happens to Redis, and what requests notice of it: nothing.

package redis

import (
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

const (
	saysGone = harness.SaysAlone
	saysBack = "the storage works again: sessions are shared"
)

func TestWithRedisGoneSessionsGoOnInMemoryAndAreSharedAgainLater(t *testing.T) {
	t.Parallel() // they wait more than they work
	redis := startRedis(t)
	c := newCluster(t, 2, redis.block())
	c.must(0)
	c.must(1)
	c.sharedLogins(1)
	logins, gone := c.server.Counters().TokenRequests, []int{c.said(0, saysGone), c.said(1, saysGone)}
	redis.stop()
	c.must(0) // a token at hand needs no storage
	if c.said(0, saysGone) != gone[0] {
		t.Error("the storage was used although there was a token")
	}
	c.server.RevokeAll()
	for range 3 {
		for i := range 2 {
			began := time.Now()
			c.must(i)
			t.Logf("node %d has answered after %v", i, time.Since(began).Round(time.Millisecond))
		}
	}
	c.logins(logins + 2)
	for i := range 2 {
		if n := c.said(i, saysGone); n < 1 || n > gone[i]+1 {
			t.Errorf("node %d warned %d times, %d of them before", i, n, gone[i])
		}
	}
	c.kill(1)
	c.start(1) // a storage that is away does not keep Caddy from starting
	c.must(1)
	c.logins(logins + 3)

	redis.start() // empty
	harness.Eventually(t, "both nodes use the storage again", func() bool {
		time.Sleep(time.Second) // a login each
		c.server.RevokeAll()
		c.must(0)
		c.must(1)
		return c.said(0, saysBack) > 0 && c.said(1, saysBack) > 0
	})
	logins = c.server.Counters().TokenRequests
	alone := c.alone()
	c.server.RevokeAll()
	c.must(0)
	c.must(1)
	if got := c.server.Counters().TokenRequests - logins; got < 1 || got > 1+c.alone()-alone {
		t.Errorf("%d logins of two nodes with one storage", got)
	}
}

func TestARedisThatHangsDelaysALoginAndNothingElse(t *testing.T) {
	t.Parallel() // they wait more than they work
	redis := startRedis(t)
	c := newCluster(t, 1, redis.block())
	c.must(0)
	redis.pause()
	defer redis.resume()
	began := time.Now()
	c.must(0)
	t.Logf("a request with a token waited %v for the storage", time.Since(began).Round(time.Millisecond))
	c.server.RevokeAll()
	began = time.Now()
	c.must(0)
	t.Logf("a login waited %v", time.Since(began).Round(time.Millisecond))
	c.logins(2)
}

func TestARedisThatFailsDuringALoginDoesNotFailTheRequest(t *testing.T) {
	for name, fail := range map[string]func(*redisServer){
		"stops":             (*redisServer).stop,
		"hangs":             (*redisServer).pause,
		"is replaced":       func(r *redisServer) { r.stop(); r.start() },
		"hangs for a while": func(r *redisServer) { r.pause(); time.Sleep(2 * time.Second); r.resume() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			redis := startRedis(t)
			c := newCluster(t, 1, redis.block(), veeamtest.WithLatency(time.Second))
			done := make(chan struct{})
			go func() {
				defer close(done)
				c.must(0)
			}()
			harness.Eventually(t, "a login has begun", func() bool { return c.server.Counters().TokenRequests == 1 })
			fail(redis)
			began := time.Now()
			<-done
			t.Logf("took %v", time.Since(began).Round(time.Millisecond))
			c.must(0)
			c.logins(1)
			if redis.cmd != nil {
				redis.resume()
			}
		})
	}
}

func TestASlowRedisIsWaitedFor(t *testing.T) {
	t.Parallel() // they wait more than they work
	redis := startRedis(t)
	c := newCluster(t, 2, redis.block())
	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() { // some 100 ms for each exchange
		defer close(stopped)
		for {
			redis.pause()
			time.Sleep(100 * time.Millisecond)
			redis.resume()
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	c.crowd(20, 0, 1)
	close(stop)
	<-stopped
	c.sharedLogins(1)
}
