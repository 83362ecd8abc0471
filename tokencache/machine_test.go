// The session as a state machine: random events, properties that always hold.

package tokencache

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// machine is the model: what the session may know, checked after each event.
type machine struct {
	session *Session
	srv     *server
	handed  []*Token
	refused time.Time // of the last refusal, zero if none since the last success
}

func TestTheSessionKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		// rapid ends a run with a panic of its own, which has to leave the
		// bubble of the fake clock before rapid sees it.
		var end any
		synctest.Test(t, func(*testing.T) {
			defer func() {
				end = recover()
				time.Sleep(2 * DefaultGrantTimeout) // background grants end here
			}()
			m := &machine{
				session: NewSession(Options{
					RefreshBefore: time.Duration(rapid.IntRange(1, 120).Draw(rt, "before")) * time.Second,
				}),
				srv: &server{
					takes:    time.Duration(rapid.IntRange(0, 3000).Draw(rt, "takes")) * time.Millisecond,
					lifetime: time.Duration(rapid.IntRange(4, 4000).Draw(rt, "lifetime")) * time.Second,
				},
			}
			rt.Repeat(map[string]func(*rapid.T){
				"get":     m.get,
				"renew":   m.renew,
				"reject":  m.reject,
				"blame":   m.blame,
				"sleep":   m.sleep,
				"outcome": m.outcome,
				"crowd":   m.crowd,
				"":        m.check,
			})
		})
		switch {
		case fmt.Sprintf("%T", end) == "rapid.invalidData":
			panic(end) // on a line of its own: to rapid it is another end than a failure
		case end != nil:
			panic(end)
		}
	})
}

func (m *machine) get(rt *rapid.T) {
	calls := m.srv.calls.Load()
	before, _ := m.session.Current(time.Now())
	tok, err := m.session.Get(context.Background(), m.srv.grant)
	switch {
	case err == nil:
		if !time.Now().Before(tok.expires) {
			rt.Fatalf("handed out a token that expired %v ago", time.Since(tok.expires))
		}
		if before != nil && m.srv.calls.Load() != calls {
			rt.Fatal("a login although there was a valid token")
		}
		m.handed = append(m.handed, tok)
		if m.srv.calls.Load() != calls {
			m.refused = time.Time{}
		}
	case before != nil:
		rt.Fatalf("an error although there was a valid token: %v", err)
	default:
		var blocked *BlockedError
		if !errors.As(err, &blocked) {
			rt.Fatalf("an error without a time: %v", err)
		}
		if blocked.Held && m.srv.calls.Load() != calls {
			if !m.refused.IsZero() && time.Since(m.refused) < DefaultHoldLeast {
				rt.Fatalf("a refused credential was sent again after %v", time.Since(m.refused))
			}
			m.refused = time.Now()
		}
	}
}

func (m *machine) renew(*rapid.T) {
	if _, due := m.session.Current(time.Now()); due {
		m.session.Renew(context.Background(), m.srv.grant)
	}
	synctest.Wait()
}

func (m *machine) crowd(rt *rapid.T) {
	n := rapid.IntRange(2, 20).Draw(rt, "callers")
	done := make(chan *Token, n)
	for range n {
		go func() {
			tok, _ := m.session.Get(context.Background(), m.srv.grant)
			done <- tok
		}()
	}
	for range n {
		if tok := <-done; tok != nil && !time.Now().Before(tok.expires) {
			rt.Fatal("an expired token in the crowd")
		}
	}
}

func (m *machine) reject(rt *rapid.T) {
	if len(m.handed) == 0 {
		rt.Skip("nothing handed out yet")
	}
	victim := rapid.SampledFrom(m.handed).Draw(rt, "victim")
	before, _ := m.session.Current(time.Now())
	m.session.Reject(victim)
	after, _ := m.session.Current(time.Now())
	if before != victim && before != after {
		rt.Fatal("rejecting one token discarded another")
	}
	if before == victim && after == victim {
		rt.Fatal("a rejected token is still current")
	}
}

func (m *machine) blame(rt *rapid.T) {
	if len(m.handed) == 0 {
		rt.Skip("nothing handed out yet")
	}
	victim := rapid.SampledFrom(m.handed).Draw(rt, "victim")
	if rapid.Bool().Draw(rt, "proven") {
		victim.MarkAccepted()
	}
	m.session.Unauthorized(context.Background(), victim, rapid.Uint64Range(0, 5).Draw(rt, "route"))
}

func (m *machine) sleep(rt *rapid.T) {
	time.Sleep(time.Duration(rapid.IntRange(1, 600_000).Draw(rt, "ms")) * time.Millisecond)
}

func (m *machine) outcome(rt *rapid.T) {
	m.srv.fail(rapid.SampledFrom([]error{nil, nil, nil, errNetwork, refusal{}, throttled(20 * time.Second)}).Draw(rt, "answer"))
}

func (m *machine) check(rt *rapid.T) {
	if m.srv.overlaps.Load() != 0 {
		rt.Fatal("two grants in flight for one session")
	}
	if tok, _ := m.session.Current(time.Now()); tok != nil && !time.Now().Before(tok.expires) {
		rt.Fatal("the current token has expired")
	}
	if st := m.session.State(); st.Status == StatusValid && st.ExpiresIn <= 0 {
		rt.Fatalf("state %+v", st)
	}
}
