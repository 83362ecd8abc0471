// The lock-out budget against a model of the server, of its clients and of what befalls them:
// kills, requests without an answer, a store that fails, clocks that differ.

package lockout

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/test/harness/memorystore"
)

// budgetStep is one event of a run. Only some of its numbers have a meaning for it.
type budgetStep struct{ kind, process, secret, number int }

// budgetWorld are the processes and the server, which counts for itself.
type budgetWorld struct {
	limit   Limit
	storage memorystore.Storage
	members []*budgetMember
	ended   map[string]bool // processes; nil if nobody can know
	started int
	busy    bool // the server
	flights []*budgetFlight
	log     []string

	right    string          // what the server accepts
	refusals []budgetRefusal // of the server, since the last success
	past     []*budgetFlight // all that were begun
	good     map[string]bool // what a client was told to be right, and nobody to be wrong since
	maybe    map[string]bool // what a process may think that of
	differ   time.Duration   // how much clocks differ
}

type budgetRefusal struct {
	at     time.Time
	flight *budgetFlight
}

// budgetMember is a process with its clock.
type budgetMember struct {
	name   string
	tries  *Tries
	shared *sealed.Store
	store  *memorystore.Process
	clock  *behind
	fails  int             // 0: the store works; 1: it cannot be written; 2: not at all
	failed time.Time       // when the store has failed last, and
	read   time.Time       // the record was read last, and
	writes int             // how often it was written
	good   map[string]bool // what it alone was told to be right
	slack  time.Duration   // by how much it may have dated a try too early
}

// budgetFlight is a login from its begin to what the client hears of it.
type budgetFlight struct {
	knew     time.Time // when its process has read the record before
	member   *budgetMember
	try      *Try
	secret   string
	begun    time.Time
	ended    time.Time
	forced   bool
	blind    bool // it was begun without the store
	handled  bool // by the server
	accepted bool // by the server
	stored   bool // its end is in the store
	refused  bool // and the client has heard of it
	harmless bool // no client counts it any more
	unheard  bool // the client has heard nothing of a good one
}

func (w *budgetWorld) start(clock *behind) *budgetMember {
	w.started++
	m := &budgetMember{name: fmt.Sprint("process ", w.started), tries: tries(), store: w.storage.Process(), clock: clock, good: map[string]bool{}}
	m.shared = sealed.New(sealed.Options{
		Keys:    func() (sealed.Sealer, error) { return *m.clock, nil },
		Process: m.name, Ended: func(process string) bool { return w.ended[process] },
	})
	m.shared.Attach(m.store)
	m.store.Break(func(call, key string) error {
		ours := strings.HasPrefix(key, "veeam_auth/tries/")
		switch {
		case m.fails == 2 || m.fails == 1 && call == "Store" && ours:
			m.failed = time.Now()
			return errBroken
		case ours && call == "Load":
			m.read = time.Now()
		case ours && call == "Store":
			m.writes++
		}
		return nil
	})
	return m
}

func (w *budgetWorld) options(m *budgetMember, secret string) TryOptions {
	return TryOptions{Limit: w.limit, Credential: secret, Shared: m.shared}
}

// works reports whether the store does for a process that has not just noticed the contrary.
func (m *budgetMember) works() bool {
	return m.fails == 0 && (m.failed.IsZero() || time.Since(m.failed) > awayFor)
}

// handle has the server decide about a login.
func (w *budgetWorld) handle(f *budgetFlight) {
	switch {
	case f.handled:
	case f.secret == w.right:
		f.accepted, w.refusals = true, nil
	default:
		w.refusals = append(w.refusals, budgetRefusal{at: time.Now(), flight: f})
	}
	f.handled = true
}

// check compares the refusals that the server has counted with the budget: for each of them,
// those that were to be known when it was begun.
func (w *budgetWorld) check() error {
	for _, last := range w.refusals {
		g, n, perSecret := last.flight, 0, map[string]int{}
		for _, r := range w.refusals {
			f := r.flight
			delay := time.Duration(0) // nobody knows when the server counts what has no answer
			if !f.refused {
				delay = max(r.at.Sub(f.begun), 0)
			}
			unknown := f.member != g.member && (f.blind || f.begun.After(g.knew))
			if unknown || f.begun.After(g.begun) || f.forced || f.unheard || !f.refused && w.maybe[f.secret] ||
				g.begun.Sub(r.at) >= w.limit.Window-g.member.slack-delay {
				continue
			}
			n++
			perSecret[f.secret]++
		}
		if n > w.limit.Tries+1 {
			return fmt.Errorf("the server has counted %d refusals of %d", n, w.limit.Tries)
		}
		for secret, n := range perSecret {
			if n > w.limit.Tries {
				return fmt.Errorf("%s was refused %d times of %d", secret, n, w.limit.Tries)
			}
		}
	}
	return nil
}

// free reports whether nothing may keep a process from sending a secret.
func (w *budgetWorld) free(m *budgetMember, secret string) bool {
	if !m.works() || w.differ > 0 {
		return false
	}
	knows := func(secret string) bool { return w.good[secret] || m.good[secret] }
	return knows(secret) && !slices.ContainsFunc(w.past, func(f *budgetFlight) bool {
		gone := w.ended[f.member.name] || f.stored || time.Since(f.begun) >= sendingFor
		return !f.harmless && (f.refused || !knows(f.secret) || !gone)
	})
}

func (w *budgetWorld) begin(m *budgetMember, secret string, force bool) error {
	free := w.free(m, secret)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if !m.read.IsZero() {
		m.slack = max(m.slack, min(w.differ, time.Since(m.read)))
	}
	writes := m.writes
	began, options := time.Now(), w.options(m, secret)
	options.Force = force
	y, err := m.tries.Begin(ctx, options)
	blind := m.writes == writes
	if free && (err != nil || time.Since(began) > 0) {
		return fmt.Errorf("%s has to wait %v for %s, which is right: %w", m.name, time.Since(began), secret, err)
	}
	if err != nil {
		w.note("%s: %s is not sent: %v", m.name, secret, err)
		return nil
	}
	f := &budgetFlight{member: m, try: y, secret: secret, begun: time.Now(), forced: force, blind: blind, knew: m.read}
	w.flights, w.past = append(w.flights, f), append(w.past, f)
	w.note("%s: %s is sent, blind %t", m.name, secret, blind)
	return nil
}

// finish has a client hear of a login: its result, that there is none, or that the server
// was too busy to look at it.
func (w *budgetWorld) finish(f *budgetFlight, answered, handled bool) {
	m := f.member
	outcome := OutcomeUnknown
	switch {
	case answered:
		if w.handle(f); f.accepted {
			outcome = OutcomeAccepted
			break
		}
		outcome, f.refused = OutcomeRefused, true
	case handled:
		w.handle(f)
	case !f.handled && w.busy:
		outcome = OutcomeUncounted
	}
	writes := m.writes
	f.try.End(context.Background(), outcome)
	f.ended, f.stored = time.Now(), m.writes > writes
	w.note("%s: outcome %v of %s, stored: %t", m.name, outcome, f.secret, f.stored)
	w.flights = slices.DeleteFunc(w.flights, func(other *budgetFlight) bool { return other == f })
	switch outcome {
	case OutcomeUncounted:
		f.harmless = f.stored
	case OutcomeUnknown:
		f.unheard = w.maybe[f.secret]
	case OutcomeAccepted:
		f.harmless = f.stored
		for _, other := range w.past { // what was over before it was begun
			over := !other.ended.IsZero() && other.ended.Before(f.begun) || !other.refused && other.secret == f.secret && !slices.Contains(w.flights, other)
			other.harmless = other.harmless || f.stored && over
		}
		w.maybe[f.secret], m.good[f.secret] = true, true
		if f.stored {
			w.good[f.secret] = true
		}
	case OutcomeRefused:
		delete(w.good, f.secret)
		alone := f.stored // nobody else thinks that it is good
		for _, other := range w.members {
			alone = alone && (other == m || !other.good[f.secret])
			delete(other.good, f.secret)
		}
		if alone {
			delete(w.maybe, f.secret)
		}
	}
}

func (w *budgetWorld) kill(i int, handled bool) {
	m := w.members[i]
	m.store.Kill()
	if w.ended != nil {
		w.ended[m.name] = true
	}
	for _, f := range slices.Clone(w.flights) {
		if f.member != m {
			continue
		}
		if handled {
			w.handle(f)
		}
		f.unheard, f.ended = w.maybe[f.secret], time.Now()
		w.flights = slices.DeleteFunc(w.flights, func(other *budgetFlight) bool { return other == f })
	}
	w.members[i] = w.start(m.clock)
	w.note("%s is killed, its requests reach the server: %t; now %s", m.name, handled, w.members[i].name)
}

// putBack has the clock of a process show less from now on: what it remembers is ahead.
func (w *budgetWorld) putBack(m *budgetMember, by time.Duration) {
	t := m.tries
	t.mu.Lock()
	defer t.mu.Unlock()
	m.clock.by += by
	for _, list := range [][]try{t.own, t.seen} {
		for i := range list {
			list[i].At = list[i].At.Add(by)
		}
	}
	if !t.reset.IsZero() {
		t.reset = t.reset.Add(by)
	}
	if !t.looked.IsZero() {
		t.looked = t.looked.Add(by)
	}
	if len(w.members) > 1 {
		w.differ = max(w.differ, by) + by
	}
	w.note("the clock of %s is put back by %v", m.name, by)
}

func (w *budgetWorld) note(format string, args ...any) {
	w.log = append(w.log, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

func (w *budgetWorld) step(s budgetStep) error {
	m := w.members[s.process%len(w.members)]
	secret := fmt.Sprint("secret ", s.secret%3)
	switch s.kind {
	case 0:
		if w.differ == 0 {
			w.kill(s.process%len(w.members), s.number%2 == 0)
		}
	case 1:
		d := time.Duration(s.number*s.number) * time.Second
		for _, f := range slices.Clone(w.flights) {
			if time.Since(f.begun)+d > 30*time.Second { // no request takes longer
				w.finish(f, false, s.secret == 0)
			}
		}
		time.Sleep(d)
	case 2:
		if w.right != secret {
			w.right = secret
			w.note("%s is right now", secret)
		}
	case 3:
		m.fails = (s.number % 6) / 2
		w.note("the store of %s fails: %d", m.name, m.fails)
	case 4:
		w.busy = s.number%2 == 0
		if s.number%4 == 0 {
			w.putBack(m, []time.Duration{time.Second, time.Minute, 20 * time.Minute}[s.secret%3])
		}
	case 5, 6, 7:
		if err := w.begin(m, secret, s.kind == 5 && s.number%8 == 0); err != nil {
			return err
		}
	case 8:
		if len(w.flights) > 0 {
			f := w.flights[s.number%len(w.flights)]
			w.note("the server decides about %s of %s", f.secret, f.member.name)
			w.handle(f)
		}
	default:
		if len(w.flights) > 0 {
			w.finish(w.flights[s.number%len(w.flights)], s.kind > 9, s.secret == 0)
		}
	}
	_ = m.tries.Budget(w.limit, secret)
	return w.check()
}

func TestBudget_Model(t *testing.T) {
	steps := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) budgetStep {
		return budgetStep{
			kind: rapid.IntRange(0, 13).Draw(rt, "kind"), process: rapid.IntRange(0, 2).Draw(rt, "process"),
			secret: rapid.IntRange(0, 2).Draw(rt, "secret"), number: rapid.IntRange(0, 40).Draw(rt, "number"),
		}
	}), 1, 60)
	rapid.Check(t, func(rt *rapid.T) {
		limit := Limit{Tries: rapid.IntRange(1, 3).Draw(rt, "tries"), Window: 15 * time.Minute}
		processes := rapid.IntRange(1, 3).Draw(rt, "processes")
		apart := rapid.SampledFrom([]time.Duration{0, 0, 0, time.Second, -time.Second, 20 * time.Minute, -20 * time.Minute, 3 * time.Hour, -3 * time.Hour}).Draw(rt, "apart")
		known := rapid.Bool().Draw(rt, "known")
		run := steps.Draw(rt, "steps")
		var failed error
		var log []string
		synctest.Test(t, func(*testing.T) {
			w := &budgetWorld{limit: limit, good: map[string]bool{}, maybe: map[string]bool{}, right: "secret 0"}
			defer func() { log = w.log }()
			if known {
				w.ended = map[string]bool{}
			}
			for i := range processes {
				clock := new(behind)
				if i == 0 && processes > 1 {
					clock.by, w.differ = apart, apart.Abs()
				}
				w.members = append(w.members, w.start(clock))
				m := w.members[i]
				if failed = w.begin(m, "secret 0", false); failed != nil {
					return
				}
				w.finish(w.flights[0], true, true)
			}
			time.Sleep(time.Second)
			for _, s := range run {
				if failed = w.step(s); failed != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		if failed != nil {
			for _, line := range log {
				rt.Log(line)
			}
			rt.Fatal(failed)
		}
	})
}
