package approval

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-veeam/veeam-auth/internal/store"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/test/harness/memorystore"
)

// failing is a store that fails at one of its calls, before or after the call is done, or
// hangs there.
type failing struct {
	store.Store

	mu        sync.Mutex // of what follows: a call that hangs may be left behind
	at, calls int        // the number of the call from 1, 0 for none
	late      bool
	hangs     bool
	forGood   bool // and at all that follow
}

var errStore = errors.New("the store fails")

func (f *failing) call(ctx context.Context, do func() error) error {
	f.mu.Lock()
	f.calls++
	fails := f.at > 0 && (f.calls == f.at || f.calls > f.at && f.forGood)
	late, hangs := f.late, f.hangs
	f.mu.Unlock()
	if !fails {
		return do()
	}
	if late {
		if err := do(); err != nil {
			return err
		}
	}
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return errStore
}

// fail has a call fail from now on. It returns how many there were since it was called last.
func (f *failing) fail(at int, late, hangs, forGood bool) (calls int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls = f.calls
	f.calls, f.at, f.late, f.hangs, f.forGood = 0, at, late, hangs, forGood
	return calls
}

func (f *failing) Lock(ctx context.Context, name string) error {
	return f.call(ctx, func() error { return f.Store.Lock(ctx, name) })
}

func (f *failing) Unlock(ctx context.Context, name string) error {
	return f.call(ctx, func() error { return f.Store.Unlock(ctx, name) })
}

func (f *failing) Load(ctx context.Context, key string) (value []byte, err error) {
	err = f.call(ctx, func() error {
		value, err = f.Store.Load(ctx, key)
		return err
	})
	return value, err
}

func (f *failing) Delete(ctx context.Context, key string) error {
	return f.call(ctx, func() error { return f.Store.Delete(ctx, key) })
}

// storing names the method of the embedded interface that has the name of its field.
type storing struct{ *failing }

func (s storing) Store(ctx context.Context, key string, value []byte) error {
	return s.call(ctx, func() error { return s.failing.Store.Store(ctx, key, value) })
}

// Wherever the storage fails or hangs while an approval is used, at most one request passes
// with it, and none where that is not certain.
func TestWhereTheStorageIsBrokenNothingPasses(t *testing.T) {
	t.Parallel()
	for _, mode := range []struct{ late, hangs, forGood bool }{
		{false, false, false}, {true, false, false}, {false, true, false}, {false, false, true}, {true, true, true},
	} {
		for at := 1; ; at++ {
			reached := false
			synctest.Test(t, func(t *testing.T) {
				shared := new(memorystore.Storage)
				f := &failing{Store: shared.Process()}
				s, other := siteOn(storing{f}), siteOn(shared.Process())
				id := s.approved(t, the())
				f.fail(at, mode.late, mode.hangs, mode.forGood)
				passed := 0
				first := s.send(t, the())
				reached = f.fail(0, false, false, false) >= at
				if first.ticket != nil {
					passed++
				} else if first.reason() != veeam.ReasonStorage {
					t.Errorf("call %d, %+v: %+v", at, mode, first.refusal)
				}
				time.Sleep(20 * time.Second) // locks that were left behind are stale
				for range 3 {
					for _, site := range []*Site{other, s} {
						a := the()
						a.header.Set(Header, id)
						if o := site.send(t, a); o.ticket != nil {
							passed++
						}
					}
				}
				if passed > 1 {
					t.Errorf("call %d, %+v: %d passed", at, mode, passed)
				}
			})
			if !reached {
				break
			}
			if at > 100 {
				t.Fatal("it makes too many calls")
			}
		}
	}
	// Where it is broken from the start.
	f := &failing{Store: new(memorystore.Storage).Process(), at: 1, forGood: true}
	s := siteOn(storing{f})
	if o := s.send(t, the()); o.reason() != veeam.ReasonStorage || !strings.Contains(o.refusal.Message, "approval") {
		t.Errorf("%+v", o.refusal)
	}
	if _, err := s.Approvals.List(t.Context()); err == nil {
		t.Error("the list of a store that fails")
	}
	corrupt := new(memorystore.Storage).Process()
	for key, value := range map[string]string{ListPath: "{", IndexPath: `"x"`} {
		if err := corrupt.Store(t.Context(), key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	if o := siteOn(corrupt).send(t, the()); o.reason() != veeam.ReasonStorage {
		t.Errorf("a corrupt list: %+v", o.refusal)
	}
}

// A process that is killed at any write while it uses an approval has used it, or another
// one uses it: never both, if what was recorded came before the end.
func TestAProcessThatEndsWhileItUsesAnApprovalHasUsedIt(t *testing.T) {
	t.Parallel()
	for kill := 1; kill <= 4; kill++ {
		synctest.Test(t, func(t *testing.T) {
			shared := new(memorystore.Storage)
			process := shared.Process()
			dies, survives := siteOn(process), siteOn(shared.Process())
			id := dies.approved(t, the())
			writes := 0
			process.Written = func(key string) {
				if strings.HasPrefix(key, store.HoldersFolder) {
					return
				}
				if writes++; writes == kill {
					process.Kill()
				}
			}
			first := dies.send(t, the()) // the first write is the record of its use
			time.Sleep(time.Minute)
			a := the()
			a.header.Set(Header, id)
			second := survives.send(t, a)
			if second.ticket != nil || second.reason() != veeam.ReasonApprovalUsed {
				t.Errorf("killed at write %d: %+v; the first: %+v", kill, second, first)
			}
			if next := survives.send(t, the()); next.reason() != veeam.ReasonApprovalRequired || next.id == id {
				t.Errorf("killed at write %d, after that: %+v", kill, next.refusal)
			}
		})
	}
}

// A denial counts from when it is in the list, also if the process that has written it ends
// before it tells the others to look.
func TestADenialCountsBeforeOthersAreTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shared := new(memorystore.Storage)
		process := shared.Process()
		dies, survives := siteOn(process), siteOn(shared.Process())
		id := dies.approved(t, the())
		if _, err := survives.Approvals.List(t.Context()); err != nil {
			t.Fatal(err)
		}
		process.Written = func(key string) {
			if key == ListPath {
				process.Kill()
			}
		}
		if _, err := dies.Approvals.Decide(t.Context(), id, false, ""); err == nil {
			t.Error("the process that was killed says that it has denied")
		}
		if o := survives.send(t, the()); o.ticket != nil || o.reason() != veeam.ReasonApprovalDenied {
			t.Errorf("%+v", o)
		}
	})
}

// Somebody who has the lock of an approval and does not give it back stops its use.
func TestALockThatIsHeldStopsTheUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shared := &memorystore.Storage{Fresh: true}
		s, holder := siteOn(shared.Process()), shared.Process()
		id := s.approved(t, the())
		if err := holder.Lock(t.Context(), usedPath(id)); err != nil {
			t.Fatal(err)
		}
		if o := s.send(t, the()); o.reason() != veeam.ReasonStorage {
			t.Errorf("%+v", o)
		}
	})
}

// machine is a model of some requests and what operators decide about them.
type machine struct {
	replicas []*Site
	requests []*asked
	model    map[string]*modelled // by id
	current  []string             // the id of each request
	tickets  map[string]*Ticket
}

type modelled struct {
	request int
	status  Status
	until   time.Time
	passes  int
}

func (m *modelled) standing() Status {
	if (m.status == Waiting || m.status == Approved) && !time.Now().Before(m.until) {
		return Expired
	}
	return m.status
}

// Whatever clients, operators and replicas do, a request passes only while its approval
// stands, once, unless it was given back unsent.
func TestAnApprovalKeepsItsPromises(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var end any
		synctest.Test(t, func(t *testing.T) {
			defer func() { end = recover() }() // rapid's own panic has to leave the bubble
			m := &machine{model: make(map[string]*modelled), tickets: make(map[string]*Ticket)}
			shared := new(memorystore.Storage)
			for range 3 {
				m.replicas = append(m.replicas, siteOn(shared.Process()))
			}
			for i := range 3 {
				a := the()
				a.body = fmt.Sprint(i)
				m.requests, m.current = append(m.requests, a), append(m.current, "")
			}
			rt.Repeat(map[string]func(*rapid.T){
				"send":    func(rt *rapid.T) { m.send(t, rt) },
				"approve": func(rt *rapid.T) { m.decide(t, rt, true) },
				"deny":    func(rt *rapid.T) { m.decide(t, rt, false) },
				"wait": func(rt *rapid.T) {
					time.Sleep(rapid.SampledFrom([]time.Duration{time.Second, time.Minute, DefaultUseWithin - time.Second, DefaultWait}).Draw(rt, "for"))
				},
				"return": func(rt *rapid.T) { m.giveBack(t, rt) },
			})
		})
		if end != nil {
			panic(end)
		}
	})
}

func (m *machine) send(t *testing.T, rt *rapid.T) {
	at := rapid.IntRange(0, len(m.requests)-1).Draw(rt, "request")
	o := m.replicas[rapid.IntRange(0, 2).Draw(rt, "replica")].send(t, m.requests[at])
	known := m.model[o.id]
	if o.ticket != nil {
		if known == nil || known.request != at || known.standing() != Approved || known.passes != 0 {
			rt.Fatalf("request %d passes with %+v", at, known)
		}
		known.status, known.passes = Used, 1
		m.tickets[o.id] = o.ticket
		return
	}
	switch o.reason() {
	case veeam.ReasonApprovalRequired:
		if known == nil {
			if last := m.model[m.current[at]]; last != nil && (last.standing() == Waiting || last.standing() == Approved) {
				rt.Fatalf("%s is forgotten: %+v", m.current[at], last)
			}
			m.model[o.id] = &modelled{request: at, status: Waiting, until: time.Now().Add(DefaultWait)}
			m.current[at] = o.id
			return
		}
		if known.standing() != Waiting || known.request != at {
			rt.Fatalf("%+v is said to wait", known)
		}
	case veeam.ReasonApprovalDenied:
		if known.standing() != Denied {
			rt.Fatalf("%+v is said to be denied", known)
		}
	case veeam.ReasonApprovalExpired:
		if known.standing() != Expired {
			rt.Fatalf("%+v is said to have expired", known)
		}
	default:
		rt.Fatalf("%+v", o.refusal)
	}
}

func (m *machine) decide(t *testing.T, rt *rapid.T, approve bool) {
	id := m.current[rapid.IntRange(0, len(m.requests)-1).Draw(rt, "request")]
	if id == "" {
		rt.Skip()
	}
	known := m.model[id]
	before := known.standing()
	_, err := m.replicas[rapid.IntRange(0, 2).Draw(rt, "replica")].Approvals.Decide(t.Context(), id, approve, "")
	if possible := before == Waiting || before == Approved; (err == nil) != possible {
		rt.Fatalf("%s: %v", before, err)
	}
	switch {
	case err != nil:
	case !approve:
		known.status = Denied
	case before == Waiting:
		known.status, known.until = Approved, time.Now().Truncate(time.Millisecond).Add(DefaultUseWithin)
	}
}

// giveBack has the transport of a request that has passed say that nothing was sent.
func (m *machine) giveBack(t *testing.T, rt *rapid.T) {
	for id, ticket := range m.tickets {
		delete(m.tickets, id)
		r, _ := http.NewRequestWithContext(t.Context(), ticket.request.Sent.Method, "/", strings.NewReader(string(ticket.request.body)))
		r.Header = ticket.request.header.Clone()
		if _, difference := ticket.Bind(r); difference != "" {
			rt.Fatal(difference)
		}
		sent := rapid.Bool().Draw(rt, "sent")
		if sent {
			ticket.Sending()
		}
		ticket.Close(t.Context())
		if known := m.model[id]; !sent && time.Now().Before(known.until) && m.current[known.request] == id {
			known.status, known.passes = Approved, 0
		}
		return
	}
	rt.Skip()
}

// To a process whose clock was put back, what was asked or approved lies ahead. It ends
// then, in place of counting for longer.
func TestNothingPassesLongerBecauseAClockIsPutBack(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		back     time.Duration
		approved bool
		want     veeam.Reason
	}{
		{0, true, ""},
		{mostSkew / 2, true, ""},
		{2 * mostSkew, true, veeam.ReasonApprovalExpired},
		{24 * time.Hour, true, veeam.ReasonApprovalExpired},
		{mostSkew / 2, false, veeam.ReasonApprovalRequired},
		{24 * time.Hour, false, veeam.ReasonApprovalExpired},
	} {
		s := siteOn(new(memorystore.Storage).Process())
		id := s.send(t, the()).id
		if tt.approved {
			s.approved(t, the())
		}
		err := s.Approvals.change(t.Context(), func(b *book, _ time.Time) error {
			rec := b.byID(id)
			rec.Asked, rec.Expires = rec.Asked.Add(tt.back), rec.Expires.Add(tt.back)
			if tt.approved {
				rec.Decided = rec.Decided.Add(tt.back)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Approvals.Decide(t.Context(), id, true, ""); (err == nil) != (tt.want != veeam.ReasonApprovalExpired) {
			t.Errorf("put back by %v, approved %t: it can be approved: %v", tt.back, tt.approved, err)
		} else if err == nil && !tt.approved {
			continue
		}
		if o := s.send(t, the()); o.reason() != tt.want || o.id != id {
			t.Errorf("put back by %v, approved %t: %s %+v", tt.back, tt.approved, o.id, o.refusal)
		}
	}
}
