// Limits of each caller, and what one gets who is over them.

package access

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/harness"
)

func itoa(n int) string { return strconv.Itoa(n) }

func TestWhoSendsTooFastIsToldToWaitAndNobodyElse(t *testing.T) {
	w := here(t)
	for _, product := range products {
		c := w.client(t, "rate "+product) // three at once, then one in 100 seconds; a login counts
		echo := w.servers[product].Base() + "/echo"
		mine, theirs := c.tokens("grafana", password), c.tokens("nightly", password)
		for range 2 {
			c.get(echo, bearer(mine.Access)).want(http.StatusOK)
		}
		before := w.servers[product].Counters().Protected
		a := c.get(echo, bearer(mine.Access)).refused(product, http.StatusTooManyRequests)
		if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || seconds < 20 || seconds > 101 {
			t.Errorf("%s: Retry-After %q", product, a.header.Get("Retry-After"))
		}
		c.renew(mine, "grafana", password).refused(atToken(product), http.StatusTooManyRequests)
		if after := w.servers[product].Counters().Protected; after != before {
			t.Errorf("%s: the server was asked", product)
		}
		c.get(echo, bearer(theirs.Access)).want(http.StatusOK)
		c.get(echo).want(http.StatusOK) // a caller without a name of its own
	}
}

func TestWhoAsksForTooMuchAtOnceIsToldToWait(t *testing.T) {
	w := here(t)
	c := w.client(t, "parallel")
	c.get("/api/v1/serverInfo").want(http.StatusOK)
	busy := w.servers["vbr"].Counters().Protected + 2
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/api/v1/slow?ms=600000", nil)
			if err != nil {
				t.Error(err)
				return
			}
			for _, e := range c.edits {
				e(req)
			}
			if res, err := c.http.Do(req); err == nil {
				_ = res.Body.Close()
				t.Errorf("status %d for a request that takes ten minutes", res.StatusCode)
			}
		})
	}
	harness.Eventually(t, "two requests are under way", func() bool { return w.servers["vbr"].Counters().Protected >= busy })
	c.get("/api/v1/serverInfo").refused("vbr", http.StatusTooManyRequests)
	leave()
	wg.Wait()
	harness.Eventually(t, "there is room again", func() bool { return c.get("/api/v1/serverInfo").status == http.StatusOK })
}
