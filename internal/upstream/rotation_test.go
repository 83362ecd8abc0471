// The table of the states of a rotation.

package upstream

import "testing"

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
