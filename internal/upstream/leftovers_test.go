// Sessions of a process that was killed, at the next one.

package upstream

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/events"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/metrics"
	"github.com/caddy-veeam/veeam-auth/test/harness/memorystore"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// machine has processes that share a storage, and one server.
type machine struct {
	*testing.T
	server  *veeamtest.Server
	storage memorystore.Storage
	gone    sync.Map // names of processes that have ended
	all     []*booted

	mu     sync.Mutex
	raised []events.Event
}

func (m *machine) raise(e events.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.raised = append(m.raised, e)
}

// told are the events so far.
func (m *machine) told() []events.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.raised)
}

// booted is a process of a machine.
type booted struct {
	m     *machine
	name  string
	store *memorystore.Process
	*Server
	at   Place
	logs *observer.ObservedLogs
}

func onMachine(t *testing.T, profile veeamtest.Profile, options []veeamtest.Option, test func(m *machine)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := &machine{T: t, server: veeamtest.New(profile, append(options, veeamtest.WithTokenLimits(0, 0, 0), veeamtest.WithParallelSessions())...)}
		test(m)
		for _, p := range m.all {
			p.Close()
			p.State.Settle()
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
	})
}

func (m *machine) ended(process string) bool {
	_, ended := m.gone.Load(process)
	return ended
}

// boot starts a process.
func (m *machine) boot(name string, change ...func(*ServerOptions)) *booted {
	m.Helper()
	p := &booted{m: m, name: name, store: m.storage.Process()}
	shared := sealed.New(sealed.Options{
		Keys: func() (sealed.Sealer, error) { return PlainSealer{}, nil }, Process: name, Ended: m.ended,
	})
	attached := shared.Attach(p.store)
	m.Cleanup(attached)
	core, logs := observer.New(zapcore.InfoLevel)
	p.logs = logs
	product, _ := veeam.Lookup(m.server.Profile().Product())
	own := &account.Account{Name: veeamtest.DefaultUser, Password: veeamtest.DefaultPassword}
	own.Prepare(account.Env{Product: product.Name, Expand: func(text string, _ func(string) (any, bool)) (string, error) { return text, nil }})
	options := ServerOptions{
		Product: product, Transport: m.server.Transport(), Accounts: []*account.Account{own}, Tries: shared, State: NewState(),
		Metrics: metrics.New(func() []metrics.Session { return nil }), Log: zap.New(core),
	}
	queue := events.NewQueue(func(events.Event) {})
	queue.Open(m.raise)
	options.State.Events.Use(queue)
	for _, c := range change {
		c(&options)
	}
	p.Server = NewServer(options)
	address := Address{"tcp", "veeam01:9419"}
	p.at = Place{Address: address, Origin: "https tcp veeam01:9419", BaseURL: "https://veeam01:9419", Host: "veeam01:9419"}
	m.all = append(m.all, p)
	return p
}

// begin puts the configuration of a process in force.
func (p *booted) begin() *booted {
	p.Begin([]Fixed{{p.at, context.Background()}}, false, journal.Journal{})
	synctest.Wait()
	return p
}

func (p *booted) source() *Source {
	s, err := p.Source(p.at.Address, veeamtest.DefaultUser, func() Place { return p.at })
	if err != nil {
		p.m.Fatal(err)
	}
	return s
}

func (p *booted) ask() error {
	_, _, err := p.source().Token(p.m.Context(), Request{Values: func(context.Context) context.Context { return context.Background() }})
	return err
}

func (p *booted) mustAsk() {
	p.m.Helper()
	if err := p.ask(); err != nil {
		p.m.Fatal(err)
	}
}

// kill ends a process as SIGKILL does: nothing of what it does from now on happens.
func (p *booted) kill() {
	p.store.Kill()
	p.m.gone.Store(p.name, true)
	p.State.exiting.Store(true)
}

func (p *booted) said() string {
	var b strings.Builder
	for _, entry := range p.logs.All() {
		b.WriteString(entry.Message + "\n")
	}
	return b.String()
}

// records are how many records the storage has of open sessions.
func (m *machine) records() int {
	keys, err := m.storage.Process().List(m.Context(), tokencache.BookFolder, false)
	if err != nil {
		m.Fatal(err)
	}
	return len(keys)
}

func (m *machine) live(want int, when string) {
	m.Helper()
	if c := m.server.Counters(); c.LiveSessions != want {
		m.Errorf("%s: %d sessions live, want %d; %d logouts, %d of them of dead ones", when, c.LiveSessions, want, c.Logouts, c.DeadLogouts)
	}
}

func TestWhatAKilledProcessHasLeftIsLoggedOutAtTheNextStart(t *testing.T) {
	for _, profile := range []veeamtest.Profile{veeamtest.VBR13, veeamtest.Azure, veeamtest.AWS, veeamtest.GCP, veeamtest.VB365, veeamtest.ONE, veeamtest.EM13} {
		for _, after := range []time.Duration{0, 2 * time.Hour} { // then the access token is expired
			onMachine(t, profile, []veeamtest.Option{veeamtest.WithRefreshLifetime(24 * time.Hour)}, func(m *machine) {
				first := m.boot("first").begin()
				first.mustAsk()
				m.live(1, "at first")
				first.kill()
				time.Sleep(after)
				if m.server.Counters().LiveSessions == 0 {
					return // sessions that end when they are idle
				}
				next := m.boot("next").begin()
				time.Sleep(time.Second)
				m.live(0, profile.Product()+" after the next start")
				if !strings.Contains(next.said(), saidEnded) || m.records() != 0 {
					m.Errorf("%d records, the log is %s", m.records(), next.said())
				}
				next.mustAsk()
				m.live(1, "afterwards")
			})
		}
	}
}

func TestASessionThatCannotBeLoggedOutIsTold(t *testing.T) {
	onMachine(t, veeamtest.VSPC, nil, func(m *machine) {
		first := m.boot("first").begin()
		first.mustAsk()
		first.kill()
		next := m.boot("next").begin()
		time.Sleep(time.Second)
		if !strings.Contains(next.said(), saidAlone) || m.records() != 0 || len(m.told()) != 0 {
			t.Errorf("%d records, events %v, the log is %s", m.records(), m.told(), next.said())
		}
	})
}

func TestARenewalThatAKillHasInterruptedIsToldBesideASessionThatExpires(t *testing.T) {
	for name, c := range map[string]struct {
		how            ending
		renewing       bool
		alone, unknown bool
	}{
		"cannot be logged out":              {endingNever, false, true, false},
		"cannot be logged out, in renewal":  {endingNever, true, true, true},
		"not known any more":                {endingGone, false, false, false},
		"not known any more, after renewal": {endingGone, true, false, true},
		"logged out":                        {endingDone, true, false, false},
	} {
		onMachine(t, veeamtest.VSPC, nil, func(m *machine) {
			p, l := m.boot("next").begin(), &tokencache.Left{About: tokencache.About{Product: "vspc"}}
			if c.renewing {
				l.Began = time.Now()
			}
			p.Server.said(l, c.how)
			if said := p.said(); strings.Contains(said, saidAlone) != c.alone || strings.Contains(said, saidUnknown) != c.unknown || strings.Contains(said, saidEnded) != (!c.alone && !c.unknown) {
				t.Errorf("%s: %s", name, said)
			}
		})
	}
}

func TestASessionThatIsNotUsedAnyMoreAndCannotBeLoggedOutIsTold(t *testing.T) {
	onMachine(t, veeamtest.VSPC, nil, func(m *machine) {
		p := m.boot("first").begin()
		p.mustAsk()
		p.Close()
		p.State.Settle()
		if m.records() != 0 || strings.Count(p.said(), saidExpires) != 1 {
			t.Errorf("%d records, the log is %s", m.records(), p.said())
		}
	})
}

func TestALoginThatAKillHasInterruptedIsToldOf(t *testing.T) {
	onMachine(t, veeamtest.VBR13, nil, func(m *machine) {
		m.server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultHang, After: true, Count: 1})
		first := m.boot("first").begin()
		go func() { _ = first.ask() }()
		time.Sleep(time.Second)
		began := time.Now()
		first.kill()
		next := m.boot("next").begin()
		time.Sleep(time.Second)
		if !strings.Contains(next.said(), saidUnknown) || m.records() != 0 || len(m.told()) != 1 {
			t.Fatalf("%d records, events %v, the log is %s", m.records(), m.told(), next.said())
		}
		until, err := time.Parse(time.RFC3339, m.told()[0].Data()["until"].(string))
		if left := until.Sub(began); err != nil || m.told()[0].Name() != events.SessionLeft || left < 13*24*time.Hour || left > 15*24*time.Hour {
			t.Errorf("%v %v %v", m.told()[0].Name(), m.told()[0].Data(), err)
		}
	})
}

// The new tokens are lost: the old access token ends the session as long as it is good, and
// otherwise somebody has to know.
func TestARenewalThatAKillHasInterruptedIsEndedOrToldOf(t *testing.T) {
	for name, expired := range map[string]bool{"at once": false, "after an hour": true} {
		onMachine(t, veeamtest.VBR13, nil, func(m *machine) {
			first := m.boot("first").begin()
			first.mustAsk()
			m.server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultHang, After: true, Count: 1})
			time.Sleep(14*time.Minute + 30*time.Second) // it is due
			first.mustAsk()
			time.Sleep(time.Second)
			if m.server.Counters().Refreshes != 1 {
				t.Fatal("no renewal")
			}
			first.kill()
			if expired {
				time.Sleep(time.Hour)
			}
			next := m.boot("next").begin()
			time.Sleep(time.Second)
			if told := strings.Contains(next.said(), saidUnknown); told != expired || len(m.told()) > 1 || m.records() != 0 {
				t.Errorf("%s: %d records, the log is %s", name, m.records(), next.said())
			}
			if !expired {
				m.live(0, name)
			}
		})
	}
}

func TestNothingIsSentToAServerThatIsNotConfiguredAnyMore(t *testing.T) {
	for _, origin := range []string{"https tcp other01:9419", "http tcp veeam01:9419", "https tcp veeam01:9419 /base"} {
		onMachine(t, veeamtest.VBR13, nil, func(m *machine) {
			first := m.boot("first").begin()
			first.mustAsk()
			first.kill()
			seen := len(m.server.Seen())
			next := m.boot("next")
			next.at.Origin = origin
			next.begin()
			time.Sleep(unknownFor / 2)
			if m.records() == 0 {
				t.Error("dropped before all configurations have started")
			}
			time.Sleep(3 * unknownFor)
			if !strings.Contains(next.said(), saidDropped) || m.records() != 0 || len(m.server.Seen()) != seen {
				t.Errorf("%s: %d records, %d requests, the log is %s", origin, m.records(), len(m.server.Seen())-seen, next.said())
			}
		})
	}
}

func TestALogoutThatFailsAtTheNextStartIsTriedUntilTheSessionExpires(t *testing.T) {
	for name, comes := range map[string]bool{"the server comes back": true, "it does not": false} {
		onMachine(t, veeamtest.VBR13, nil, func(m *machine) {
			first := m.boot("first").begin()
			first.mustAsk()
			first.kill()
			m.server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultStatus, Status: 503, On: veeamtest.OnToken | veeamtest.OnProtected | veeamtest.OnAnonymous})
			next := m.boot("next").begin()
			time.Sleep(time.Hour)
			m.live(1, name)
			seen := len(m.server.Seen())
			time.Sleep(time.Hour)
			if n := len(m.server.Seen()) - seen; n == 0 || n > 60 {
				t.Errorf("%d requests in an hour", n)
			}
			if comes {
				m.server.ClearFault()
				time.Sleep(10 * time.Minute)
				m.live(0, name)
			} else {
				time.Sleep(15 * 24 * time.Hour)
			}
			if m.records() != 0 || strings.Contains(next.said(), saidAlone) == comes {
				t.Errorf("%s: %d records, the log is %s", name, m.records(), next.said())
			}
		})
	}
}

func TestWhatAProcessLogsOutIsStruckOut(t *testing.T) {
	onMachine(t, veeamtest.VBR13, nil, func(m *machine) {
		p := m.boot("first").begin()
		p.mustAsk()
		for range 3 { // each time another login
			if err := p.source().rotation.current.Load().session.Login(m.Context(), false); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * LateFor)
		}
		m.live(1, "after logins")
		keys, err := m.storage.Process().List(m.Context(), tokencache.BookFolder+"/"+bookOf(m), false)
		if err != nil || len(keys) != 2 {
			t.Errorf("%q, %v: want an owner and one session", keys, err)
		}
		// The next configuration takes the session over.
		options := p.ServerOptions
		after := NewServer(options)
		after.Begin([]Fixed{{p.at, context.Background()}}, false, journal.Journal{})
		p.Close()
		time.Sleep(InheritFor / 2)
		m.live(1, "after a reload")
		after.Close()
		p.State.Settle()
		m.live(0, "at the end")
		if m.records() != 0 {
			t.Errorf("%d records are left", m.records())
		}
	})
}

// bookOf is the folder of the only book.
func bookOf(m *machine) string {
	m.Helper()
	keys, err := m.storage.Process().List(m.Context(), tokencache.BookFolder, false)
	if err != nil || len(keys) != 1 {
		m.Fatalf("%q %v", keys, err)
	}
	return strings.TrimPrefix(keys[0], tokencache.BookFolder+"/")
}

func TestSessionRecordsOffWritesNothingDown(t *testing.T) {
	onMachine(t, veeamtest.VBR13, nil, func(m *machine) {
		m.boot("first").begin().mustAsk()
		if m.records() != 1 {
			t.Error("on: nothing was written down")
		}
	})
	onMachine(t, veeamtest.VBR13, nil, func(m *machine) {
		m.boot("first", func(o *ServerOptions) { o.NoRecords = true }).begin().mustAsk()
		if m.records() != 0 {
			t.Error("off: something was written down")
		}
	})
}

// In a cache the lease of the login is what the next process finds.
func TestWithACacheALoginThatAKillHasInterruptedIsToldOf(t *testing.T) {
	onMachine(t, veeamtest.VBR13, nil, func(m *machine) {
		keys, err := sealed.NewKeyset()
		if err != nil {
			t.Fatal(err)
		}
		cached := func(o *ServerOptions) {
			shared := sealed.New(sealed.Options{Keys: func() (sealed.Sealer, error) { return keys, nil }, Process: "cached", Ended: func(string) bool { return true }})
			m.Cleanup(shared.Attach(m.storage.Process()))
			o.Cache, o.Tries = &Cache{Store: shared, ID: "c"}, shared
		}
		m.server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultHang, After: true, Count: 1})
		first := m.boot("first", cached).begin()
		go func() { _ = first.ask() }()
		time.Sleep(time.Second)
		next := m.boot("next", cached).begin()
		next.mustAsk()
		if !strings.Contains(next.said(), saidUnknown) || len(m.told()) != 1 {
			t.Errorf("events %v, the log is %s", m.told(), next.said())
		}
	})
}
