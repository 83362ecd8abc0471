package crash

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

var rounds = flag.Int("rounds", 20, "how many processes are killed at random moments")

// named finds the product whose name a scene's name begins with.
func named(scene string) product {
	for _, p := range products {
		if first, _, _ := strings.Cut(scene, " "); p.name == first {
			return p
		}
	}
	panic("no product: " + scene)
}

func TestKilledBetweenRequestsThereIsOneLoginAndOneSession(t *testing.T) {
	t.Parallel()
	scenes := map[string]func(*world){}
	for _, p := range products {
		scenes[p.name] = func(w *world) {
			for round := range 6 {
				w.must(fmt.Sprint("round ", round))
				w.left(fmt.Sprint("round ", round), 1, 1)
				if !w.restart() {
					return
				}
			}
		}
	}
	worlds(t, scenes, func(name string) (product, []veeamtest.Option) { return named(name), nil })
}

// A session whose token was never stored is known to nobody: it cannot be logged
// out, and ends by itself.
func TestKilledDuringALoginCostsOneMore(t *testing.T) {
	t.Parallel()
	scenes := map[string]func(*world){}
	var fastest atomic.Int64
	fastest.Store(int64(time.Hour))
	for _, p := range products {
		for when, s := range map[string]struct {
			kills int
			done  bool // the server has logged in, its answer is on the way
			lost  int  // sessions that nobody knows
		}{
			"before the server has it": {1, false, 0},
			"after the server has it":  {1, true, 1},
			"twice":                    {2, true, 2},
		} {
			scenes[p.name+" "+when] = func(w *world) {
				hang := veeamtest.Fault{Kind: veeamtest.FaultHang, After: s.done, Count: s.kills}
				w.server.SetFault(hang)
				for kill := range s.kills {
					go w.ask()
					if !w.eventually("a login has begun", func() bool {
						c := w.server.Counters()
						return c.TokenRequests > int64(kill) && (!s.done || c.Logins > int64(kill))
					}) || !w.restart() {
						return
					}
				}
				took := w.must("afterwards")
				if s.kills == 1 {
					fastest.Store(min(fastest.Load(), int64(took)))
				}
				w.left("afterwards", s.lost+1, s.lost+1)
				if w.restart() {
					w.must("killed between requests")
					w.left("killed between requests", s.lost+1, s.lost+1)
				}
			}
		}
	}
	worlds(t, scenes, func(name string) (product, []veeamtest.Option) { return named(name), nil })
	// The fastest of many, because a busy machine delays some.
	if took := time.Duration(fastest.Load()); runtime.GOOS == "linux" && took > tokencache.Lease/2 {
		t.Errorf("taken over after %v", took)
	}
}

// A password that the server has accepted is not what kills a process, however often.
func TestKilledDuringLoginsWithAGoodPasswordLeavesTheBudget(t *testing.T) {
	t.Parallel()
	const kills = 4 // more than any budget has
	scenes := map[string]func(*world){}
	for _, p := range products {
		for _, kept := range []string{"", alone} {
			scenes[p.name+budgeted+kept] = func(w *world) {
				w.must("before")
				before := w.server.Counters().TokenRequests
				w.server.RevokeAll()
				w.server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultHang, Count: kills})
				for kill := range int64(kills) {
					if !w.restart() {
						return
					}
					go w.ask()
					if !w.eventually(fmt.Sprintf("login %d has begun", kill), func() bool { return w.server.Counters().TokenRequests > before+kill }) {
						return
					}
				}
				if w.restart() {
					w.must("afterwards")
				}
			}
		}
	}
	worlds(t, scenes, func(name string) (product, []veeamtest.Option) { return named(name), nil })
}

// The refresh token is spent and the new pair is lost: the next start logs in,
// and logs out with the old access token what is left of the old session.
func TestKilledDuringARenewalTheSessionIsReplaced(t *testing.T) {
	t.Parallel()
	scenes := map[string]func(*world){}
	for _, p := range products {
		if !p.refresh {
			continue
		}
		scenes[p.name] = func(w *world) {
			w.must("at first")
			w.server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultHang, After: true, Count: 1})
			if !w.eventually("a renewal has begun", func() bool {
				go w.ask() // it may be the one that waits for the renewal
				return w.server.Counters().Refreshes == 1
			}) || !w.restart() {
				return
			}
			live := 1
			if !w.product.logout {
				live = 2
			}
			w.eventually("one login more, the old session gone where it can be", func() bool {
				w.must("afterwards")
				c, alone := w.server.Counters(), w.alone()
				return c.Logins >= 2 && c.LiveSessions >= live && c.LiveSessions <= live+alone
			})
			if c, alone := w.server.Counters(), w.alone(); c.Logins < 2 || c.Logins > int64(2+alone) {
				w.errorf("%d logins; the storage was too slow %d times", c.Logins, alone)
			}
		}
	}
	worlds(t, scenes, func(name string) (product, []veeamtest.Option) {
		return named(name), []veeamtest.Option{veeamtest.WithExpiresInAs("6")}
	})
}

func TestKilledAtARandomMomentCostsOneLoginAtMost(t *testing.T) {
	t.Parallel()
	const latency, within = 100 * time.Millisecond, 300 * time.Millisecond
	scenes := map[string]func(*world){}
	for round := range *rounds {
		p := products[round%len(products)]
		scenes[fmt.Sprint(p.name, " round ", round)] = func(w *world) {
			answered := make(chan int, 1)
			go func() { answered <- w.ask() }()
			time.Sleep(rand.N(within))
			if !w.restart() {
				return
			}
			before := <-answered
			took := w.must("afterwards")
			c := w.server.Counters()
			alone := int64(w.alone())
			if before == http.StatusOK && c.Logins > 1+alone || c.Logins > 2+alone {
				w.errorf("%d logins, the first request had status %d; the storage was too slow %d times", c.Logins, before, alone)
			}
			w.left("afterwards", int(c.Logins), int(c.Logins))
			if w.restart() {
				w.must("killed between requests")
				w.left("killed between requests", int(c.Logins), int(c.Logins))
			}
			if took > time.Second {
				w.t.Logf("%s: %v, %d logins", w.name, took, c.Logins)
			}
		}
	}
	worlds(t, scenes, func(name string) (product, []veeamtest.Option) {
		return named(name), []veeamtest.Option{veeamtest.WithLatency(latency)}
	})
}

// Without a cache: the next start knows of every session that lives at the server. It logs
// out those whose tokens are recorded, where the product can, and says of each other one
// that there may be one.
func TestKilledWithoutACacheNoSessionIsLeftThatNobodyKnows(t *testing.T) {
	t.Parallel()
	const latency, within = 40 * time.Millisecond, 250 * time.Millisecond
	scenes := map[string]func(*world){}
	var loggedOut, unknown, sessions atomic.Int64
	for i, p := range products {
		scenes[p.name+alone] = func(w *world) {
			kills, told := *rounds/len(products), 0
			if i < *rounds%len(products) {
				kills++
			}
			for kill := range kills {
				switch kill % 4 {
				case 0: // in the middle of a login
					go w.ask()
				case 1: // with a session, or renewing it
					w.must("before it is killed")
					for range 4 {
						go w.ask()
					}
				case 2: // while it stops
					go w.ask()
					time.Sleep(rand.N(within))
					go w.Caddy.Stop()
				case 3: // while it ends what others have left
					go w.ask()
					time.Sleep(rand.N(within))
					if !w.restart() {
						return
					}
				}
				time.Sleep(rand.N(within))
				before := w.server.Counters().LiveSessions
				if !w.restart() {
					return
				}
				var recorded, expire int
				recorded, told, expire = w.known()
				after := w.server.Counters().LiveSessions
				if after > recorded+told+expire {
					w.errorf("kill %d: %d sessions live; %d are recorded, %d may live and %d expire, says the log", kill, after, recorded, told, expire)
					return
				}
				loggedOut.Add(int64(max(0, before-after)))
			}
			unknown.Add(int64(told))
			sessions.Add(w.server.Counters().Logins)
		}
	}
	worlds(t, scenes, func(name string) (product, []veeamtest.Option) {
		return named(name), []veeamtest.Option{veeamtest.WithLatency(latency), veeamtest.WithExpiresInAs("6")}
	})
	t.Logf("%d processes were killed: %d logins; %d sessions were logged out later, of %d may be some that nobody can log out", *rounds, sessions.Load(), loggedOut.Load(), unknown.Load())
}
