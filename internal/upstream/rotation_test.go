// The table of the states of a rotation.

package upstream

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

func TestEveryStateOfARotationCanBeReachedAndLeft(t *testing.T) {
	reached := map[phase]bool{phaseUnread: true}
	for range phases {
		for from := range phases {
			for _, next := range transitions[from] {
				reached[next.to] = reached[next.to] || reached[from]
			}
		}
	}
	for p := range phases {
		if !reached[p] {
			t.Errorf("nothing leads to state %d", p)
		}
		if leaves := transitions[p]; leaves[eventReadAlone].to != phaseSteady {
			t.Errorf("in state %d another user's secret is not used", p)
		} else if _, begins := leaves[eventBegun]; begins != (p == phaseUntried || p == phaseNextUntried) {
			t.Errorf("in state %d a login in the background: %v", p, begins)
		}
	}
}

func TestARotationLeavesASessionInUseForAnAcceptedOneOnly(t *testing.T) {
	for p := range phases {
		for e, next := range transitions[p] {
			switches := next.do == actionUse || next.do == actionUseNext
			switch e {
			case eventAccepted, eventNextAccepted, eventReadCurrent, eventReadAlone, eventLost:
				if !switches {
					t.Errorf("state %d, event %d: the session is not used", p, e)
				}
			default:
				if switches {
					t.Errorf("state %d, event %d: another session is used", p, e)
				}
			}
			if steady := next.to == phaseSteady; steady != (next.do == actionUse) {
				t.Errorf("state %d, event %d: requests use what is configured: %v, in state %d", p, e, next.do == actionUse, next.to)
			}
		}
	}
}

func TestNextPasswordIsAskedForByItselfOnceItIsInUse(t *testing.T) {
	for p := range phases {
		want := orderInUseLast
		switch p {
		case phaseUnread, phaseSteady:
			want = orderConfigured
		case phaseRefused, phaseNext, phaseNextUntried, phaseNextTrying:
			want = orderInUse
		}
		if orders[p] != want {
			t.Errorf("state %d: order %d", p, orders[p])
		}
	}
}

// scripted is what a rotation requires, without a server: one session for each fingerprint.
type scripted struct {
	state   *State
	old     []*candidate
	may     bool
	dropped []*candidate
}

func (s *scripted) open(c *account.Secrets, next bool) *candidate {
	return &candidate{session: s.state.acquire(sessionKey{fingerprint: c.Fingerprint}, tokencache.Options{}), credentials: c, next: next}
}
func (s *scripted) inherited(string) []*candidate { return s.old }
func (s *scripted) mayTry(*candidate) bool        { return s.may }
func (s *scripted) drop(l *candidate)             { s.dropped = append(s.dropped, l) }
func (*scripted) dropInherited(*candidate)        {}
func (*scripted) try(*candidate)                  {}
func (*scripted) watch()                          {}
func (*scripted) switched(_, _ *candidate)        {}
func (*scripted) inUse(*candidate)                {}

// secretsOf are those of one user, told apart by a fingerprint.
func secretsOf(user, fingerprint string) *account.Secrets {
	return &account.Secrets{Identity: user, Fingerprint: fingerprint}
}

// at returns a rotation in a phase. Requests use a session with a token.
func (s *scripted) at(t *testing.T, p phase) *rotation {
	r := &rotation{sessions: s, phase: p}
	used := s.open(secretsOf("user", "used"), p >= phaseNext)
	if _, err := used.session.Get(t.Context(), func(context.Context, *tokencache.Token) (*tokencache.Token, error) {
		return &tokencache.Token{Access: secret.New("token"), Requested: time.Now(), Lifetime: time.Hour}, nil
	}); err != nil {
		t.Fatal(err)
	}
	switch p {
	case phaseUnread:
		s.old = []*candidate{used}
		return r
	case phaseSteady:
		r.configured = used
	default:
		r.configured = s.open(secretsOf("user", "configured"), false)
	}
	r.current.Store(used)
	if r.next = used; p < phaseNext {
		r.next = s.open(secretsOf("user", "next"), true)
	}
	return r
}

// happen makes an event happen as a source does.
func (s *scripted) happen(r *rotation, e event) {
	switch e {
	case eventReadCurrent:
		r.configure(secretsOf("user", "used"), nil)
	case eventReadOther, eventAdopted:
		r.configure(secretsOf("user", "another"), nil)
	case eventReadAlone:
		r.configure(secretsOf("other user", "another"), nil)
	case eventAdoptedNext:
		r.configure(secretsOf("user", "another"), secretsOf("user", "used"))
	case eventBegun:
		s.may = true
		r.goOn()
	case eventEnded:
		r.ended(r.configured, time.Time{})
	case eventAccepted:
		r.judged(r.configured, true)
	case eventRefused:
		r.judged(r.configured, false)
	case eventNextAccepted:
		r.judged(r.next, true)
	case eventLost:
		r.lost(r.current.Load())
	}
}

func TestEveryTransitionOfARotationIsTakenByWhatCausesIt(t *testing.T) {
	for p := range phases {
		for e, want := range transitions[p] {
			synctest.Test(t, func(t *testing.T) {
				s := &scripted{state: NewState()}
				r := s.at(t, p)
				before, next := r.current.Load(), r.next
				s.happen(r, e)
				if r.phase != want.to {
					t.Errorf("state %d, event %d: state %d, want %d", p, e, r.phase, want.to)
				}
				now := r.current.Load()
				switch want.do {
				case actionUse:
					if now != r.configured {
						t.Errorf("state %d, event %d: the configured secret is not used", p, e)
					}
				case actionUseNext:
					if now != next {
						t.Errorf("state %d, event %d: next_password is not used", p, e)
					}
				case actionKeep:
					if !now.kept.Load() {
						t.Errorf("state %d, event %d: the secret of the session in use may be sent", p, e)
					}
				default:
					if before != nil && now != before {
						t.Errorf("state %d, event %d: another session is used", p, e)
					}
				}
			})
		}
	}
}

type refusal struct{}

func (refusal) Error() string           { return "refused" }
func (refusal) CredentialRefused() bool { return true }

// A wrong secret that was corrected says nothing of the account any more, once its hold has
// ended: the metrics would call it refused for as long as the process lives.
func TestARefusedSecretOfThePastIsForgottenAfterItsHold(t *testing.T) {
	for _, closed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := &scripted{state: NewState()}
			r := s.at(t, phaseRefused)
			wrong := r.configured
			if _, err := wrong.session.Get(t.Context(), func(context.Context, *tokencache.Token) (*tokencache.Token, error) {
				return nil, refusal{}
			}); err == nil || !wrong.onHold() {
				t.Fatal("the wrong secret is not on hold")
			}
			// What a timer changes, it changes under the lock.
			seen := func() (dropped, past []*candidate) {
				r.mu.Lock()
				defer r.mu.Unlock()
				return slices.Clone(s.dropped), slices.Clone(r.past)
			}
			s.happen(r, eventReadCurrent)
			time.Sleep(wrong.session.State().HeldFor / 2)
			dropped, past := seen()
			if len(dropped) != 0 || len(past) != 1 {
				t.Error("the hold is not remembered")
			}
			want := []*candidate{wrong}
			if closed {
				r.close()
				want, _ = seen()
			}
			time.Sleep(time.Hour)
			if dropped, past = seen(); !slices.Equal(dropped, want) || !closed && len(past) != 0 {
				t.Errorf("closed %v: dropped are %d, remembered %d", closed, len(dropped), len(past))
			}
		})
	}
}
