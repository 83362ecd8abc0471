package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/adminapi"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/metrics"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// program is another program that logs in as the user of the default account.
type program struct {
	*world
	client *veeam.Client
	token  *veeam.Token
	logins int
}

func (w *world) program() *program {
	product, _ := veeam.Lookup("vspc")
	return &program{world: w, client: &veeam.Client{Product: product, Transport: w.server.Transport(), BaseURL: "https://vspc01"}}
}

// ask logs in again after a 401, as clients do.
func (p *program) ask() {
	p.Helper()
	for range 2 {
		if p.token != nil {
			req, err := http.NewRequestWithContext(p.Context(), http.MethodGet, "https://vspc01"+p.server.Base()+"/echo", http.NoBody)
			if err != nil {
				p.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+p.token.Access.Reveal())
			res, err := p.server.Transport().RoundTrip(req)
			if err != nil {
				p.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		var err error
		p.token, err = p.client.Login(p.Context(), &veeam.Account{Username: veeamtest.DefaultUser, Password: secret.New(veeamtest.DefaultPassword)})
		if err != nil {
			p.Fatal(err)
		}
		p.logins++
	}
}

func (w *world) lost(reason string) float64 {
	return float64(w.metrics.Lost.WithLabelValues("vspc", veeamtest.DefaultUser, reason).Load())
}

func TestAnotherProgramWithTheSameUserIsRecognised(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VSPC, []veeamtest.Option{veeamtest.WithSingleSession()}, func(w *world) {
		w.start(&account.Account{Name: veeamtest.DefaultUser, Password: veeamtest.DefaultPassword})
		other := w.program()
		w.demand("200")
		for i := range 3 {
			w.rest(20 * time.Second)
			other.ask()
			w.rest(time.Second)
			w.demand("200")
			if said := strings.Contains(w.said(), "Interference: "); said != (i == 2) {
				t.Errorf("after %d losses: said %v", i+1, said)
			}
		}
		if w.lost(metrics.LostRevoked) != 2 || w.lost(metrics.LostInterference) != 1 {
			t.Error("counted wrongly")
		}
		want := "has ended the session of user '" + veeamtest.DefaultUser + "' 3 times in a row, the last one 21s after its login. " +
			"Another program seems to log in as the same user, for which the server ends this session: give veeam-auth its own user."
		if !strings.Contains(w.said(), want) {
			t.Errorf("the log says %s", w.said())
		}
		for _, r := range w.State.Rows(context.Background()) {
			if state := adminapi.Describe(r); state.LostEarly != 3 || state.LastError != "" {
				t.Errorf("%+v", state)
			}
		}
	})
}

func TestALoginWarIsSlowedDownAndEveryRequestAnswered(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VSPC, []veeamtest.Option{veeamtest.WithSingleSession()}, func(w *world) {
		w.start(&account.Account{Name: veeamtest.DefaultUser, Password: veeamtest.DefaultPassword})
		other := w.program()
		longest := time.Duration(0)
		began := time.Now()
		for time.Since(began) < 10*time.Minute {
			asked := time.Now()
			w.demand("200")
			longest = max(longest, time.Since(asked))
			time.Sleep(50 * time.Millisecond)
			other.ask()
			time.Sleep(50 * time.Millisecond)
		}
		if n := w.wire.grants(); n > 80 {
			t.Errorf("%d logins in ten minutes", n)
		}
		if longest > time.Minute {
			t.Errorf("a request took %v", longest)
		}
	})
}

func TestWhatIsNoInterference(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*world){
		"the server restarts": func(w *world) {
			w.rest(20 * time.Second)
			w.server.RevokeAll()
			for range 20 {
				w.demand("200")
				w.rest(10 * time.Second)
			}
		},
		"once a day": func(w *world) {
			for range 7 {
				w.rest(24 * time.Hour)
				w.demand("200")
				w.rest(time.Minute)
				w.server.RevokeAll()
				w.demand("200")
			}
		},
		"tokens end": func(w *world) {
			for range 12 {
				w.rest(61 * time.Minute)
				w.demand("200")
			}
		},
		"a logout of the operator's": func(w *world) {
			for range 5 {
				for _, s := range w.State.Find("", "", "") {
					if err := s.Login(w.Context(), true); err != nil {
						w.Error(err)
					}
				}
				w.demand("200")
			}
		},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			inWorld(t, veeamtest.VSPC, nil, func(w *world) {
				before := w.lost(metrics.LostInterference)
				w.start(&account.Account{Name: veeamtest.DefaultUser, Password: veeamtest.DefaultPassword})
				w.demand("200")
				test(w)
				if got := fmt.Sprint(w.lost(metrics.LostInterference)-before, " ", strings.Contains(w.said(), "Interference")); got != "0 false" {
					t.Error(got)
				}
			})
		})
	}
}

func TestTwentyToolsShareTheOneSessionOfTheirUser(t *testing.T) {
	t.Parallel()
	for _, profile := range which(func(p *veeam.Product) bool { return p.OneSession }) {
		t.Run(string(profile), func(t *testing.T) {
			t.Parallel()
			options := []veeamtest.Option{veeamtest.WithSingleSession(), veeamtest.WithAccessLifetime(20 * time.Second)}
			inWorld(t, profile, options, func(w *world) {
				w.start(unwatched())
				w.demand("200")
				before := w.server.Counters() // with what showed the version
				var asked atomic.Int64
				var wg sync.WaitGroup
				for i := range 20 {
					wg.Go(func() {
						time.Sleep(time.Duration(i) * 53 * time.Millisecond)
						for range 5 * 60 { // five minutes
							asked.Add(1)
							if got := w.get(); got.status != http.StatusOK {
								t.Errorf("%v: %s", got, got.body)
							}
							time.Sleep(time.Second)
						}
					})
				}
				wg.Wait()
				c := w.server.Counters()
				if c.Logins != 1 || c.Unauthorized != before.Unauthorized || c.Refreshes < 10 {
					t.Errorf("%d logins, %d renewals, %d requests with a token that was not valid", c.Logins, c.Refreshes, c.Unauthorized-before.Unauthorized)
				}
				t.Logf("%d requests, %d logins, %d renewals", asked.Load(), c.Logins, c.Refreshes)
			})
		})
	}
}
