// What is known of the token requests that a server was sent lately, and when it
// may be sent the next one.

package pace

import (
	"cmp"
	"slices"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
)

// mostOf are the rates in the order of units.
func mostOf(r ratelimit.Rates) [3]int {
	atLeastTwo := func(n int) int {
		if n == 1 {
			return 2
		}
		return n
	}
	return [3]int{r.PerSecond, atLeastTwo(r.PerMinute), atLeastTwo(r.PerHour)}
}

// unit is how requests are counted over one stretch of time: in slots, so that
// thousands of requests an hour take little room.
type unit struct {
	slot time.Duration
	span int64 // in slots
}

// The spans are two slots longer than what they stand for. One is for the rounding
// of a request to its slot. The other is for the network: two requests may take
// differently long to the server.
var units = [3]unit{
	{slot: 100 * time.Millisecond, span: 10 + 2},
	{slot: time.Second, span: 60 + 2},
	{slot: time.Minute, span: 60 + 2},
}

// at is the slot of a moment. A slot has its end, and not its start.
func (u unit) at(t time.Time) int64 {
	return (t.UnixNano() + int64(u.slot) - 1) / int64(u.slot)
}

// start is the first moment of a slot.
func (u unit) start(at int64) time.Time { return time.Unix(0, (at-1)*int64(u.slot)+1) }

const (
	// Times further ahead than this were recorded by a wrong clock.
	maxAhead = 2 * time.Minute

	// The second step of a login follows the first within this time at most, because the
	// server's answer to the first expires soon.
	pairGap = 10 * time.Second
)

// history is what is known of one server. Times are by the wall clock, the only
// one that processes share.
type history struct {
	// Sent counts requests by their slot, in order, for each unit.
	Sent [3]counts `json:"sent"`

	// NotBefore is when the server wants to hear of us again.
	NotBefore time.Time `json:"not_before,omitzero"`
}

// counts are pairs of a slot and the requests in it.
type counts [][2]int64

func bySlot(pair [2]int64, at int64) int { return cmp.Compare(pair[0], at) }

func (l *history) clone() *history {
	c := &history{NotBefore: l.NotBefore}
	for i, counts := range l.Sent {
		c.Sent[i] = slices.Clone(counts)
	}
	return c
}

func (l *history) empty() bool {
	return l.NotBefore.IsZero() && len(l.Sent[0])+len(l.Sent[1])+len(l.Sent[2]) == 0
}

// add counts a request, remove takes it out again.
func (l *history) add(t time.Time) { l.count(t, 1) }

func (l *history) remove(t time.Time) {
	if !t.IsZero() {
		l.count(t, -1)
	}
}

func (l *history) count(t time.Time, n int64) {
	for i, u := range units {
		l.Sent[i].count(u.at(t), n)
	}
}

func (c *counts) count(at, n int64) {
	i, found := slices.BinarySearchFunc(*c, at, bySlot)
	switch {
	case !found && n > 0:
		*c = slices.Insert(*c, i, [2]int64{at, n})
	case found:
		if (*c)[i][1] += n; (*c)[i][1] <= 0 {
			*c = slices.Delete(*c, i, i+1)
		}
	}
}

// join adds what another history knows.
func (l *history) join(other *history) {
	for i, counts := range other.Sent {
		for _, pair := range counts {
			l.Sent[i].count(pair[0], pair[1])
		}
	}
	l.pause(other.NotBefore)
}

// pause has nothing sent before t.
func (l *history) pause(t time.Time) {
	if t.After(l.NotBefore) {
		l.NotBefore = t
	}
}

// prune forgets what does not count any more, and what only a wrong clock can have
// noted.
func (l *history) prune(now time.Time) {
	for i, u := range units {
		oldest, newest := u.at(now)-u.span, u.at(now.Add(maxAhead))
		l.Sent[i] = slices.DeleteFunc(l.Sent[i], func(pair [2]int64) bool {
			return pair[0] <= oldest || pair[0] > newest
		})
	}
	if longest := now.Add(maxPause); l.NotBefore.After(longest) {
		l.NotBefore = longest
	}
	if !l.NotBefore.After(now) {
		l.NotBefore = time.Time{}
	}
}

// earliest is when a request may be sent, from a moment on.
func (l *history) earliest(from time.Time, rates ratelimit.Rates) time.Time {
	t := from
	if l.NotBefore.After(t) {
		t = l.NotBefore
	}
	most := mostOf(rates)
	for again := true; again; {
		again = false
		for i, u := range units {
			if free := u.earliest(l.Sent[i], t, int64(most[i])); free.After(t) {
				t, again = free, true
			}
		}
	}
	return t
}

func (u unit) earliest(sent counts, t time.Time, most int64) time.Time {
	if most == 0 {
		return t
	}
	first := u.at(t)
	at := first
	for !u.room(sent, at, most) {
		// Room is made only where a request ceases to count.
		i, _ := slices.BinarySearchFunc(sent, at-u.span+1, bySlot)
		at = sent[i][0] + u.span
	}
	if at == first {
		return t
	}
	return u.start(at)
}

// room reports whether one more request in a slot leaves every span with as many
// as may be. Some of those that are counted may be sent only later.
func (u unit) room(sent counts, at, most int64) bool {
	fits := func(start int64) bool {
		n := int64(1)
		i, _ := slices.BinarySearchFunc(sent, start, bySlot)
		for ; i < len(sent) && sent[i][0] < start+u.span; i++ {
			n += sent[i][1]
		}
		return n <= most
	}
	i, _ := slices.BinarySearchFunc(sent, at-u.span+1, bySlot)
	for ; i < len(sent) && sent[i][0] < at; i++ {
		if !fits(sent[i][0]) {
			return false
		}
	}
	return fits(at)
}

// reserve finds the moments for a request, and for the one that follows it if one
// does, and counts them. It returns false if that would take longer than the
// longest wait: then wait says how long.
func (l *history) reserve(a *question, now time.Time) bool {
	l.prune(now)
	for _, given := range a.back {
		l.remove(given)
	}
	a.at, a.second, a.wait = l.earliest(now, a.rates), time.Time{}, 0
	last := a.at
	for a.more {
		l.add(a.at)
		last = l.earliest(a.at, a.rates)
		l.remove(a.at)
		if last.Sub(a.at) <= pairGap {
			a.second = last
			break
		}
		a.at = l.earliest(last.Add(-pairGap), a.rates)
	}
	wait, longest := last.Sub(now), a.longest
	if a.soon {
		wait, longest = a.at.Sub(now), 0
	}
	if wait > longest {
		a.wait, a.paused = wait, l.NotBefore.After(now)
		return false
	}
	l.add(a.at)
	if a.more {
		l.add(a.second)
	}
	return true
}
