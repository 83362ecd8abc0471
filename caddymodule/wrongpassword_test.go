// A wrong password, seen from the server: how often it is sent, whatever the
// clients do.

package caddymodule

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestTwoHundredClientsSendAWrongPasswordThreeTimesInFiveMinutes(t *testing.T) {
	t.Parallel()
	for _, profile := range profiles {
		t.Run(profile.Product(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := veeamtest.New(profile, veeamtest.WithLatency(50*time.Millisecond))
				tr := provisionInMemory(t, &Transport{
					Product:  profile.Product(),
					Accounts: []*account.Account{{Name: veeamtest.DefaultUser, Password: "wrong"}},
				}, server.Transport())
				core, logs := observer.New(zapcore.WarnLevel)
				tr.logger = zap.New(core)
				requests := hammer(t, tr, 200, 5*time.Minute)
				synctest.Wait()
				_ = tr.Cleanup()

				if n := server.Counters().TokenRequests; n < 2 || n > 3 {
					t.Errorf("%d token requests for %d requests of clients", n, requests)
				}
				// One line in ten seconds at most, and one more for each hold.
				if n := logs.FilterMessageSnippet("No login is tried").Len(); n < 5 || n > 34 {
					t.Errorf("%d lines say why, for %d requests", n, requests)
				}
			})
		})
	}
}

// hammer has clients ask every twenty seconds each, one after the other, and checks that
// every answer says when to come back.
func hammer(t *testing.T, tr *Transport, clients int, during time.Duration) (requests int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), during)
	defer cancel()
	var asked atomic.Int64
	var wg sync.WaitGroup
	const every = 20 * time.Second
	for client := range clients {
		wg.Go(func() {
			time.Sleep(every * time.Duration(client/2) / time.Duration(clients)) // two at a time
			for ; ctx.Err() == nil; time.Sleep(every) {
				res, err := tr.RoundTrip(proxied(ctx, &requestState{route: veeam.RouteProtected, journal: journal.Unasked(tr.logger)}))
				if ctx.Err() != nil {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				asked.Add(1)
				seconds, err := strconv.Atoi(res.Header.Get("Retry-After"))
				if res.StatusCode != http.StatusServiceUnavailable || err != nil || seconds < 1 {
					t.Errorf("status %d, Retry-After %q", res.StatusCode, res.Header.Get("Retry-After"))
					return
				}
			}
		})
	}
	wg.Wait()
	return asked.Load()
}
