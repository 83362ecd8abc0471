// What is remembered of logins, in bounded memory: who was cut off, which logins
// have ended, and which refresh tokens were used.

package issuer

import (
	"cmp"
	"hash/fnv"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// segments is how many parts the ledger has, by caller.
const segments = 32

// skew is how far the clocks of two replicas may differ.
const skew = 5 * time.Second

// limits bound what is remembered. What exceeds them is forgotten, and what was
// forgotten is refused, see floors.
type limits struct {
	// renewed and ended are how many logins are remembered of each caller whose refresh
	// tokens were used, and that have ended.
	renewed, ended int

	// families bounds the logins of a segment. The caller that has the most makes room.
	families int

	// callers bounds the callers of a segment.
	callers int
}

var usual = limits{renewed: 2_000, ended: 1_000, families: 4_000, callers: 500}

// record is what is remembered of one family, the tokens of one login.
type record struct {
	// Used is the number of the refresh token that was used last, counted from 1.
	Used int64 `json:"n,omitempty"`

	// At is when that was or, if later, when the family ended, in milliseconds since
	// 1970. No token of the family that was used, or is not to be used, was made later.
	At int64 `json:"at"`

	Ended bool `json:"ended,omitempty"`
}

func (r record) and(other record) record {
	return record{Used: max(r.Used, other.Used), At: max(r.At, other.At), Ended: r.Ended || other.Ended}
}

// floors say what was forgotten, in milliseconds since 1970: families that ended,
// and families of which a refresh token was used, until then. A token that was made
// later is none of theirs. One that was made before is refused unless its family is
// remembered, because nobody knows whether it is one of theirs.
type floors struct {
	Ended int64 `json:"ended,omitempty"`
	Used  int64 `json:"used,omitempty"`
}

func (f floors) and(other floors) floors {
	return floors{Ended: max(f.Ended, other.Ended), Used: max(f.Used, other.Used)}
}

// share is what is remembered of one caller.
type share struct {
	floors

	// Revoked is a time. Tokens issued until then are revoked.
	Revoked int64 `json:"revoked,omitempty"`

	Families map[string]record `json:"families,omitempty"`
}

// segment is what is remembered of the callers whose names have the same hash.
type segment struct {
	Callers map[string]*share `json:"callers,omitempty"`

	// Others are the floors of callers that were forgotten.
	Others floors `json:"others,omitzero"`
}

func (s *segment) share(client string) *share {
	if s.Callers == nil {
		s.Callers = make(map[string]*share)
	}
	found := s.Callers[client]
	if found == nil {
		found = &share{}
		s.Callers[client] = found
	}
	if found.Families == nil {
		found.Families = make(map[string]record)
	}
	return found
}

// absorb adds what another segment knows. Each of the two may have forgotten what the
// other remembers in an older state, which then does not count any more.
func (s *segment) absorb(other *segment) {
	if other.Others != (floors{}) {
		for _, mine := range s.Callers {
			maps.DeleteFunc(mine.Families, func(_ string, r record) bool { return other.Others.forgot(r) })
		}
	}
	for client, theirs := range other.Callers {
		mine := s.share(client)
		maps.DeleteFunc(mine.Families, func(_ string, r record) bool { return theirs.forgot(r) })
		below := s.Others.and(mine.floors)
		for family, r := range theirs.Families {
			known, remembered := mine.Families[family]
			if remembered || !below.forgot(r) {
				mine.Families[family] = known.and(r)
			}
		}
		mine.floors, mine.Revoked = mine.floors.and(theirs.floors), max(mine.Revoked, theirs.Revoked)
	}
	s.Others = s.Others.and(other.Others)
}

// forgot reports whether something newer than r may have been forgotten.
func (f floors) forgot(r record) bool { return r.At <= max(f.Ended, f.Used) && !r.Ended }

func (s *segment) clone() *segment {
	c := &segment{Others: s.Others, Callers: make(map[string]*share, len(s.Callers))}
	for client, sh := range s.Callers {
		c.Callers[client] = &share{floors: sh.floors, Revoked: sh.Revoked, Families: maps.Clone(sh.Families)}
	}
	return c
}

// without takes out what another segment has in the same state.
func (s *segment) without(other *segment) {
	if s.Others == other.Others {
		s.Others = floors{}
	}
	for client, theirs := range other.Callers {
		mine := s.Callers[client]
		if mine == nil {
			continue
		}
		if mine.floors == theirs.floors {
			mine.floors = floors{}
		}
		if mine.Revoked == theirs.Revoked {
			mine.Revoked = 0
		}
		maps.DeleteFunc(mine.Families, func(family string, r record) bool { return theirs.Families[family] == r })
		if mine.empty() {
			delete(s.Callers, client)
		}
	}
}

func (s *share) empty() bool { return s.floors == floors{} && s.Revoked == 0 && len(s.Families) == 0 }

func (s *segment) empty() bool { return len(s.Callers) == 0 && s.Others == floors{} }

// tidy forgets what no living token descends from, and the oldest of too much.
func (s *segment) tidy(now time.Time, most limits) {
	over := now.Add(-RefreshLifetime - skew).UnixMilli()
	past := func(at int64) int64 {
		if at < over {
			return 0
		}
		return at
	}
	s.Others = floors{Ended: past(s.Others.Ended), Used: past(s.Others.Used)}
	total := 0
	for client, sh := range s.Callers {
		sh.floors, sh.Revoked = floors{Ended: past(sh.Ended), Used: past(sh.Used)}, past(sh.Revoked)
		maps.DeleteFunc(sh.Families, func(_ string, r record) bool { return r.At < over })
		sh.forget(func(r record) bool { return r.Ended }, most.ended)
		sh.forget(func(r record) bool { return !r.Ended }, most.renewed)
		if sh.empty() {
			delete(s.Callers, client)
		}
		total += len(sh.Families)
	}
	for total > most.families {
		sh := s.Callers[s.extreme(func(sh *share) int64 { return -int64(len(sh.Families)) })]
		before := len(sh.Families)
		sh.forget(func(record) bool { return true }, before-before/4-1)
		total -= before - len(sh.Families)
	}
	for len(s.Callers) > most.callers {
		client := s.extreme((*share).latest)
		sh := s.Callers[client]
		sh.forget(func(record) bool { return true }, 0)
		s.Others = s.Others.and(sh.floors).and(floors{Ended: sh.Revoked})
		delete(s.Callers, client)
	}
}

// extreme is the caller with the least of something.
func (s *segment) extreme(of func(*share) int64) (client string) {
	least, found := int64(0), false
	for name, sh := range s.Callers {
		if n := of(sh); !found || n < least || n == least && name < client {
			client, least, found = name, n, true
		}
	}
	return client
}

// latest is the last time of which something is known.
func (s *share) latest() int64 {
	at := max(s.Ended, s.Used, s.Revoked)
	for _, r := range s.Families {
		at = max(at, r.At)
	}
	return at
}

// forget keeps the latest records of a kind.
func (s *share) forget(kind func(record) bool, keep int) {
	if len(s.Families) <= keep {
		return
	}
	var families []string
	for family, r := range s.Families {
		if kind(r) {
			families = append(families, family)
		}
	}
	if len(families) <= keep {
		return
	}
	slices.SortFunc(families, func(a, b string) int {
		return cmp.Or(cmp.Compare(s.Families[a].At, s.Families[b].At), cmp.Compare(a, b))
	})
	for _, family := range families[:len(families)-keep] {
		r := s.Families[family]
		if r.Ended {
			s.Ended = max(s.Ended, r.At)
		} else {
			s.Used = max(s.Used, r.At)
		}
		delete(s.Families, family)
	}
}

// ledger is what this process knows: what the store had when it was read last, and
// what has happened here since.
type ledger struct {
	limits limits
	now    func() time.Time

	// changed counts the changes that may make an access token bad.
	changed atomic.Uint64

	mu      sync.RWMutex
	stored  [segments]segment
	pending [segments]segment
	noted   [segments]int // in pending, since it was tidied
}

func segmentOf(client string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(client)) // never fails, see hash.Hash
	return int(h.Sum32() % segments)
}

// findings are what is remembered of a family.
type findings struct {
	record
	remembered bool

	own, others floors // for a family that is not remembered: its caller's, and of callers that were forgotten
	revoked     int64  // the time up to which no token of the caller counts
}

// find returns what is remembered of a family.
func (l *ledger) find(client, family string) (m findings) {
	n := segmentOf(client)
	stored, pending := &l.stored[n], &l.pending[n]
	above, below := stored.Others, pending.Others
	m.others = above.and(below)
	s, p := stored.Callers[client], pending.Callers[client]
	if s != nil {
		above, m.own, m.revoked = above.and(s.floors), s.floors, s.Revoked
		m.record, m.remembered = s.Families[family]
	}
	if p != nil {
		below, m.own, m.revoked = below.and(p.floors), m.own.and(p.floors), max(m.revoked, p.Revoked)
	}
	// As absorb does it.
	if m.remembered && below.forgot(m.record) {
		m.record, m.remembered = record{}, false
	}
	if p != nil {
		if own, ok := p.Families[family]; ok && (m.remembered || !above.forgot(own)) {
			m.record, m.remembered = m.and(own), true
		}
	}
	return m
}

// judge reports whether a token was revoked, or its login has ended or is forgotten.
func (l *ledger) judge(c *claims) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	_, err := l.judgeLocked(c)
	return err
}

func (l *ledger) judgeLocked(c *claims) (record, error) {
	m := l.find(c.Subject, c.Family)
	switch {
	case c.Made <= m.revoked, m.Ended:
		return m.record, ErrEnded
	case m.remembered, c.Family == "":
		return m.record, nil
	case c.Made <= m.others.Ended, max(c.Made, c.Known) <= m.own.Ended, c.Use == useRefresh && c.Made <= m.own.and(m.others).Used:
		return m.record, ErrForgotten
	}
	return m.record, nil
}

// check is judge for a refresh token, which must not have been used before, or just
// a moment ago.
func (l *ledger) check(c *claims) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.checkLocked(c)
}

func (l *ledger) checkLocked(c *claims) error {
	r, err := l.judgeLocked(c)
	if err == nil && (c.Number < r.Used || c.Number == r.Used && !l.justNow(r.At)) {
		return ErrReused
	}
	return err
}

// justNow reports whether a use was within Grace. One that lies ahead was not, if no clock of
// a replica explains it: the clock here was put back.
func (l *ledger) justNow(at int64) bool {
	since := l.now().Sub(time.UnixMilli(at))
	return since < Grace && since > -2*skew
}

// use notes that a refresh token was used, if it still may be. A second use within
// Grace does not prolong it.
func (l *ledger) use(c *claims, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.checkLocked(c); err != nil {
		return err
	}
	if c.Number > l.find(c.Subject, c.Family).Used {
		l.note(c.Subject, c.Family, record{Used: c.Number, At: max(now.UnixMilli(), c.Made)})
	}
	return nil
}

// end notes that a family has ended.
func (l *ledger) end(client, family string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.find(client, family).record
	if r.Ended {
		return
	}
	// A replica whose clock is ahead may have made a token of it.
	r.Ended, r.At = true, max(r.At, l.now().Add(skew).UnixMilli())
	l.note(client, family, r)
	l.changed.Add(1)
}

func (l *ledger) note(client, family string, r record) {
	n := segmentOf(client)
	p := &l.pending[n]
	mine := p.share(client)
	mine.Families[family] = mine.Families[family].and(r)
	if l.noted[n]++; l.noted[n] > l.limits.families { // only while the store does not take it
		p.tidy(l.now(), l.limits)
		l.noted[n] = 0
		l.changed.Add(1)
	}
}

// revoke notes that no token that the caller has got so far counts, also from a replica whose
// clock is ahead.
func (l *ledger) revoke(client string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	mine := l.pending[segmentOf(client)].share(client)
	mine.Revoked = max(mine.Revoked, l.now().Add(skew).UnixMilli())
	l.changed.Add(1)
}

// next is when a token is made that the caller gets now: after its revocation, which reaches
// beyond now.
func (l *ledger) next(client string) time.Time {
	l.mu.RLock()
	defer l.mu.RUnlock()
	now, revoked := l.now(), time.UnixMilli(l.find(client, "").revoked+1)
	if revoked.After(now) {
		return revoked
	}
	return now
}

// unpublished returns what the store does not have yet, by segment.
func (l *ledger) unpublished() map[int]*segment {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var found map[int]*segment
	for n := range l.pending {
		if !l.pending[n].empty() {
			if found == nil {
				found = make(map[int]*segment)
			}
			found[n] = l.pending[n].clone()
		}
	}
	return found
}

// published takes over what the store has now, of which own, if not nil, came from
// here.
func (l *ledger) published(n int, now *segment, own *segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stored[n] = *now
	if own != nil {
		l.pending[n].without(own)
		l.noted[n] = 0
	}
	l.changed.Add(1)
}
