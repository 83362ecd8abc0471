// Several processes over one store as a state machine: random events and random
// faults of the store, properties that always hold.

package tokencache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// upstream is a server whose refresh tokens can be used once.
type upstream struct {
	mu       sync.Mutex
	lifetime time.Duration
	takes    time.Duration
	err      error
	issued   map[string]time.Time // tokens and their ends
	refresh  map[string]bool      // refresh tokens: false when used
	reused   int
	flights  map[string]int // by account
	overlaps int
	n        int
}

func (u *upstream) grantFor(account string, g *gate) GrantFunc {
	return func(ctx context.Context, prev *Token) (*Token, error) {
		g.pass()
		u.mu.Lock()
		if u.flights[account]++; u.flights[account] > 1 {
			u.overlaps++
		}
		takes, requested := u.takes, time.Now()
		u.mu.Unlock()
		defer func() {
			u.mu.Lock()
			u.flights[account]--
			u.mu.Unlock()
		}()
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		u.mu.Lock()
		err := u.err
		if prev != nil && prev.Renewable() && err == nil {
			if good, known := u.refresh[prev.Refresh.Reveal()]; known && !good {
				u.reused++
			}
			u.refresh[prev.Refresh.Reveal()] = false
		}
		u.n++
		tok := &Token{
			Access:    secret.New(fmt.Sprintf("%s-access-%d", account, u.n)),
			Refresh:   secret.New(fmt.Sprintf("%s-refresh-%d", account, u.n)),
			Requested: requested,
			Lifetime:  u.lifetime,
		}
		if err == nil {
			u.issued[tok.Access.Reveal()] = requested.Add(u.lifetime)
			u.refresh[tok.Refresh.Reveal()] = true
		}
		u.mu.Unlock()
		g.pass()
		if err != nil {
			return nil, err
		}
		return tok, nil
	}
}

// gate stops what passes through it, as SIGSTOP does.
type gate struct {
	mu   sync.Mutex
	shut chan struct{}
}

func (g *gate) pass() {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut != nil {
		<-shut
	}
}

func (g *gate) stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut == nil {
		g.shut = make(chan struct{})
	}
}

func (g *gate) resume() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}

// gated is a store as one process sees it.
type gated struct {
	*memory
	gate *gate
}

func (g gated) Load(ctx context.Context, key string) ([]byte, error) {
	g.gate.pass()
	return g.memory.Load(ctx, key)
}

type replica struct {
	sessions map[string]*Session
	gate     *gate
	stopped  bool
}

// replicas is the model.
type replicas struct {
	store      *memory
	keys       *sealed.Keyset
	srv        *upstream
	all        []*replica
	gates      []*gate
	handed     map[string]*Token
	disturbed  bool // something has happened after which two grants at a time are allowed
	background sync.WaitGroup
}

var accounts = []string{"one", "two"}

func (m *replicas) newReplica() *replica {
	r := &replica{sessions: map[string]*Session{}, gate: &gate{}}
	m.gates = append(m.gates, r.gate)
	shared := sealed.New(sealed.Options{Keys: keys(m.keys), Holder: fmt.Sprintf("%p", r)})
	shared.Attach(gated{m.store, r.gate})
	for _, account := range accounts {
		r.sessions[account] = NewSession(Options{Shared: shared, Identity: Identity{Product: "vbr", Account: account}})
	}
	return r
}

func testReplicas(t *testing.T, disturb bool) {
	rapid.Check(t, func(rt *rapid.T) {
		var end any
		synctest.Test(t, func(t *testing.T) {
			m := &replicas{
				store: newMemory(), keys: newKeys(t), handed: map[string]*Token{},
				srv: &upstream{issued: map[string]time.Time{}, refresh: map[string]bool{}, flights: map[string]int{}},
			}
			defer func() {
				end = recover()
				m.store.breakWith(nil)
				m.store.slow(0)
				for _, g := range m.gates {
					g.resume()
				}
				m.background.Wait()
				time.Sleep(5 * time.Minute) // what is left to itself ends
			}()
			m.srv.lifetime = time.Duration(rapid.IntRange(10, 4000).Draw(rt, "lifetime")) * time.Second
			m.srv.takes = time.Duration(rapid.IntRange(0, 12_000).Draw(rt, "takes")) * time.Millisecond
			for range 3 {
				m.all = append(m.all, m.newReplica())
			}
			events := map[string]func(*rapid.T){
				"crowd":   m.crowd,
				"renew":   m.renew,
				"reject":  m.reject,
				"restart": m.restart,
				"sleep":   m.sleep,
				"outcome": m.outcome,
				"":        m.check,
			}
			if disturb {
				events["stop"], events["resume"] = m.stop, m.resume
				events["fault"], events["damage"] = m.fault, m.damage
			}
			rt.Repeat(events)
		})
		if end != nil {
			panic(end)
		}
	})
}

func TestReplicasKeepTheirPromises(t *testing.T)                { testReplicas(t, false) }
func TestReplicasKeepTheirPromisesWhateverHappens(t *testing.T) { testReplicas(t, true) }

func (m *replicas) account(rt *rapid.T) string {
	return rapid.SampledFrom(accounts).Draw(rt, "account")
}

func (m *replicas) replica(rt *rapid.T) *replica {
	return m.all[rapid.IntRange(0, len(m.all)-1).Draw(rt, "replica")]
}

// crowd has callers ask every replica at once.
func (m *replicas) crowd(rt *rapid.T) {
	account, each := m.account(rt), rapid.IntRange(1, 5).Draw(rt, "each")
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		wrong []string
	)
	for _, r := range m.all {
		grant, session := m.srv.grantFor(account, r.gate), r.sessions[account]
		for range each {
			ask := func() {
				tok, err := session.Get(context.Background(), grant)
				mu.Lock()
				defer mu.Unlock()
				var blocked *BlockedError
				switch {
				case err != nil && !errors.As(err, &blocked):
					wrong = append(wrong, err.Error())
				case err != nil:
				case !time.Now().Before(m.end(tok)):
					wrong = append(wrong, "an expired or unknown token: "+tok.Access.Reveal())
				case !strings.HasPrefix(tok.Access.Reveal(), account):
					wrong = append(wrong, "a token of another account")
				default:
					m.handed[tok.Access.Reveal()] = tok
				}
			}
			if r.stopped {
				m.background.Go(func() { _, _ = session.Get(context.Background(), grant) })
			} else {
				wg.Go(ask)
			}
		}
	}
	wg.Wait()
	if len(wrong) > 0 {
		rt.Fatal(wrong)
	}
}

func (m *replicas) end(tok *Token) time.Time {
	m.srv.mu.Lock()
	defer m.srv.mu.Unlock()
	return m.srv.issued[tok.Access.Reveal()]
}

func (m *replicas) renew(rt *rapid.T) {
	account, r := m.account(rt), m.replica(rt)
	if tok, due := r.sessions[account].Current(time.Now()); tok != nil && due {
		r.sessions[account].Renew(context.Background(), m.srv.grantFor(account, r.gate))
	}
}

func (m *replicas) reject(rt *rapid.T) {
	account, r := m.account(rt), m.replica(rt)
	tok, _ := r.sessions[account].Current(time.Now())
	if tok == nil || r.stopped {
		rt.Skip("no token")
	}
	r.sessions[account].Reject(tok)
	next, err := r.sessions[account].Get(timeout(rt), m.srv.grantFor(account, r.gate))
	if err == nil && next.Access.Equal(tok.Access) {
		rt.Fatal("a rejected token came back")
	}
}

func timeout(rt *rapid.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	rt.Cleanup(cancel)
	return ctx
}

// restart replaces a replica. What the old one has under way goes on, as a
// request does that is on the wire when its sender is killed.
func (m *replicas) restart(rt *rapid.T) {
	i := rapid.IntRange(0, len(m.all)-1).Draw(rt, "replica")
	m.all[i] = m.newReplica()
}

func (m *replicas) sleep(rt *rapid.T) {
	time.Sleep(time.Duration(rapid.IntRange(1, 600_000).Draw(rt, "ms")) * time.Millisecond)
}

func (m *replicas) outcome(rt *rapid.T) {
	m.srv.mu.Lock()
	defer m.srv.mu.Unlock()
	m.srv.err = rapid.SampledFrom([]error{nil, nil, nil, nil, errNetwork, refusal{}, throttled(20 * time.Second)}).Draw(rt, "answer")
}

func (m *replicas) stop(rt *rapid.T) {
	m.disturbed = true
	r := m.replica(rt)
	r.gate.stop()
	r.stopped = true
}

func (m *replicas) resume(*rapid.T) {
	for _, r := range m.all {
		r.gate.resume()
		r.stopped = false
	}
}

func (m *replicas) fault(rt *rapid.T) {
	m.disturbed = true
	switch rapid.SampledFrom([]string{"none", "none", "all", "some", "store", "slow", "empty"}).Draw(rt, "fault") {
	case "none":
		m.store.breakWith(nil)
		m.store.slow(0)
	case "all":
		m.store.breakWith(func(string) error { return errStore })
	case "some":
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		var mu sync.Mutex
		m.store.breakWith(func(string) error {
			mu.Lock()
			defer mu.Unlock()
			if random.IntN(4) == 0 {
				return errStore
			}
			return nil
		})
	case "store":
		m.store.breakWith(func(op string) error {
			if op == "store" {
				return errStore
			}
			return nil
		})
	case "slow":
		m.store.slow(time.Duration(rapid.IntRange(1, 5000).Draw(rt, "ms")) * time.Millisecond)
	case "empty":
		m.store.empty()
	}
}

func (m *replicas) damage(rt *rapid.T) {
	m.disturbed = true
	at := rapid.Float64Range(0, 1).Draw(rt, "at")
	cut := rapid.Bool().Draw(rt, "cut")
	m.store.each(func(value []byte) []byte {
		if len(value) == 0 {
			return value
		}
		i := int(at * float64(len(value)-1))
		changed := append([]byte(nil), value...)
		if cut {
			return changed[:i]
		}
		changed[i] ^= 1 << (i % 8)
		return changed
	})
}

func (m *replicas) check(rt *rapid.T) {
	m.srv.mu.Lock()
	defer m.srv.mu.Unlock()
	if m.disturbed {
		return
	}
	if m.srv.overlaps > 0 {
		rt.Fatal("two grants in flight for one account")
	}
	if m.srv.reused > 0 {
		rt.Fatal("a refresh token was used twice")
	}
}
