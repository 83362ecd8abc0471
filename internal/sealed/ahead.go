// Moments in records that clocks of other processes have noted.

package sealed

import "time"

// Ahead is a stored moment that is further ahead than anything lasts: a clock that is wrong
// has noted it. It is over when the longest time has passed since it was seen first.
type Ahead struct{ until, over time.Time }

// Left returns how long it is until a stored moment. a is what was ahead so far, or nil, and
// the Ahead that is returned is what is now.
func (a *Ahead) Left(until, now time.Time, longest time.Duration) (*Ahead, time.Duration) {
	if a == nil || !a.until.Equal(until) {
		left := until.Sub(now.Round(0))
		if left <= longest {
			return nil, left
		}
		a = &Ahead{until: until, over: now.Add(longest)}
	}
	return a, a.over.Sub(now)
}
