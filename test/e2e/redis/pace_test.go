package redis

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// Three processes, twelve accounts, of which each process needs all, and two token
// requests in a second. On a busy machine a request that was sent in time may arrive at
// any time later, so the server counts none: that the last one was not sent earlier
// shows that there was one pace. Exact counts, minutes and hours are shown on a fake
// clock, in internal/pace.
func TestThreeProcessesKeepThePaceOfTheServerTogether(t *testing.T) {
	const accounts, perSecond = 12, 2
	onEachStorage(t, func(t *testing.T, block string) {
		more := []string{fmt.Sprintf("pace %d/s", perSecond), "act_as {header.X-Account}"}
		var options []veeamtest.Option
		for i := range accounts {
			more = append(more, fmt.Sprintf("account user-%d right", i))
			options = append(options, veeamtest.WithAccount(veeamtest.Account{Username: fmt.Sprint("user-", i), Password: "right"}))
		}
		c := newClusterWith(t, 3, block, strings.Join(more, "\n\t\t"), options...)
		began := time.Now()
		var wg sync.WaitGroup
		for node := range 3 {
			for i := range accounts {
				wg.Go(func() { c.untilServed(node, fmt.Sprint("user-", i)) })
			}
		}
		wg.Wait()
		took, least := time.Since(began), (accounts/perSecond-1)*time.Second
		if took < least && c.alone() == 0 {
			t.Errorf("%d logins took %v, at the pace of all they take %v", accounts, took, least)
		}
		t.Logf("%d logins after %v", accounts, took.Round(time.Second))
		c.sharedLogins(accounts)
	})
}

// untilServed asks as a client does that obeys Retry-After.
func (c *cluster) untilServed(node int, account string) {
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); {
		req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.nodes[node].Sites[0].URL()+"/api/v1/serverInfo", http.NoBody)
		if err != nil {
			c.t.Error(err)
			return
		}
		req.Header.Set("X-Account", account)
		res, err := c.client.Do(req)
		if err != nil {
			c.t.Error(err)
			return
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode == http.StatusOK {
			return
		}
		wait, err := strconv.Atoi(res.Header.Get("Retry-After"))
		if res.StatusCode != http.StatusTooManyRequests || err != nil {
			c.t.Errorf("%s: status %d, Retry-After %q", account, res.StatusCode, res.Header.Get("Retry-After"))
			return
		}
		time.Sleep(time.Duration(wait) * time.Second)
	}
	c.t.Errorf("%s was not served", account)
}
