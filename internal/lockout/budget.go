// Package lockout counts the tries with a wrong credential that a user has at a server which
// locks users after so many wrong logins, whoever sends them and whatever is restarted.
package lockout

import (
	"fmt"
	"time"
)

// MaxWindow is the longest window of a Limit.
const MaxWindow = 24 * time.Hour

// Limit is how many tries a user has within any period of the length Window.
type Limit struct {
	Tries  int
	Window time.Duration
}

// Budget is the remaining tries of a user.
type Budget struct {
	// Left of Of tries may be made now. Of is 0 if tries are not counted.
	Left, Of int

	// Window is how long a try counts.
	Window time.Duration

	// Until is when Left increases. It is zero if no try was used.
	Until time.Time
}

// String returns the budget for people, such as "2 of 3 tries left until 14:05", in
// local time.
func (b Budget) String() string {
	text := fmt.Sprintf("%d of %d tries left", b.Left, b.Of)
	if b.Until.IsZero() {
		return text
	}
	return text + " until " + b.Until.Format("15:04")
}

// BudgetError says that a credential is not sent because one more refusal could lock
// the user at the server.
type BudgetError struct {
	Budget

	// Sending tells that other tries are being sent. If the server accepts one of them,
	// this one may be sent, too.
	Sending bool
}

// Error returns the reason and when the next try is available.
func (e *BudgetError) Error() string {
	if e.Sending {
		return "the lock-out budget of the user allows no more concurrent logins"
	}
	return "the lock-out budget of the user is used up: " + e.Budget.String()
}

// budget is what is left of a limit. A secret that was not tried has one try more.
func budget(counted []try, limit Limit, isNew bool) Budget {
	b := Budget{Left: max(limit.Tries-len(counted), 0), Of: limit.Tries, Window: limit.Window}
	if b.Left == 0 && isNew && len(counted) <= limit.Tries {
		b.Left = 1
	}
	switch over := len(counted) - limit.Tries; {
	case len(counted) == 0:
	case over >= 0:
		b.Until = counted[over].At.Add(limit.Window)
	default:
		b.Until = counted[0].At.Add(limit.Window)
	}
	return b
}
