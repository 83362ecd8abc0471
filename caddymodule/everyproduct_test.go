// The products that the tables of tests run over. They are taken from the table of
// products, so that a test has a new product as soon as it has a row.

package caddymodule

import (
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// profiles are an emulated server of every product.
var profiles = which(func(*veeam.Product) bool { return true })

// refreshable are those whose sessions have refresh tokens and tell their lifetimes.
var refreshable = which(func(p *veeam.Product) bool { return p.Values[veeam.GrantRefreshToken] != "" })

// endable are those that can end one session.
var endable = which(func(p *veeam.Product) bool { return p.SessionLogout != nil })

// withCodes are those that ask for verification codes.
var withCodes = which(func(p *veeam.Product) bool { return p.Values[veeam.GrantMFA] != "" })

// withShortLife are those with a field that asks for a short refresh token.
var withShortLife = which(func(p *veeam.Product) bool { return p.Fields.ShortLived != "" })

// which are those of the products for which has is true.
func which(has func(p *veeam.Product) bool) []veeamtest.Profile {
	return slices.DeleteFunc(veeamtest.Newest(), func(profile veeamtest.Profile) bool {
		p, ok := veeam.Lookup(profile.Product())
		return ok && !has(p) // TestEveryProductHasAnEmulatedServer reports the others
	})
}

func TestEveryProductHasAnEmulatedServer(t *testing.T) {
	t.Parallel()
	emulated := make([]string, len(profiles))
	for i, profile := range profiles {
		emulated[i] = profile.Product()
	}
	if named := veeam.Names(); !slices.Equal(emulated, named) {
		t.Errorf("the tests run over %q, the table has %q", emulated, named)
	}
}

func TestAThousandColdCallersOfAnyProductCauseOneLogin(t *testing.T) {
	t.Parallel()
	for _, profile := range profiles {
		t.Run(profile.Product(), func(t *testing.T) {
			t.Parallel()
			inWorld(t, profile, []veeamtest.Option{veeamtest.WithLatency(200 * time.Millisecond)}, func(w *world) {
				w.start(unwatched())
				var wg sync.WaitGroup
				for range 1000 {
					wg.Go(func() {
						if got := w.get(); got.status != http.StatusOK {
							t.Errorf("%v: %s", got, got.body)
						}
					})
				}
				wg.Wait()
				if c := w.server.Counters(); c.Logins != 1 || c.TokenRequests != 1 || w.wire.grants() != 1 {
					t.Errorf("%d logins, %d token requests", c.Logins, c.TokenRequests)
				}
			})
		})
	}
}
