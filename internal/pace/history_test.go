package pace

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
)

var dawn = time.Date(2030, 1, 1, 0, 0, 0, 30_000_000, time.UTC)

func TestWhenTheNextTokenRequestMayBeSent(t *testing.T) {
	for _, tt := range []struct {
		name  string
		rates ratelimit.Rates
		sent  []time.Duration // since dawn; the question comes at the last one's time
		want  time.Duration
		slack time.Duration // of the rounding
	}{
		{"nothing was sent", ratelimit.Rates{PerSecond: 1, PerMinute: 5, PerHour: 1500}, nil, 0, 0},
		{"no limit", ratelimit.Rates{}, []time.Duration{0, 0, 0, 0, 0, 0}, 0, 0},
		{"one a second", ratelimit.Rates{PerSecond: 1}, []time.Duration{0}, 1100 * time.Millisecond, 100 * time.Millisecond},
		{"two a second", ratelimit.Rates{PerSecond: 2}, []time.Duration{0}, 0, 0},
		{"the minute is full", ratelimit.Rates{PerSecond: 1, PerMinute: 3}, []time.Duration{0, 2 * time.Second, 4 * time.Second}, 61 * time.Second, time.Second},
		{"the hour is full", ratelimit.Rates{PerHour: 3}, []time.Duration{0, 2 * time.Minute, 4 * time.Minute}, 61 * time.Minute, time.Minute},
		{"one a minute counts as two", ratelimit.Rates{PerMinute: 1}, []time.Duration{0}, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log, now := new(history), dawn
			for _, at := range tt.sent {
				now = dawn.Add(at)
				log.add(now)
			}
			if wait := log.earliest(now, tt.rates).Sub(dawn); wait < max(tt.want, now.Sub(dawn)) || wait > max(tt.want, now.Sub(dawn))+tt.slack {
				t.Errorf("after %v, want %v", wait, tt.want)
			}
		})
	}
}

// However requests come, and whatever is given back, no window has more of them
// than it may have; and nobody waits much longer than has to be.
func TestNoWindowHasMoreTokenRequestsThanTheRatesAllow(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rates := ratelimit.Rates{
			PerSecond: rapid.IntRange(0, 4).Draw(rt, "s"),
			PerMinute: rapid.SampledFrom([]int{0, 2, 3, 5, 20}).Draw(rt, "m"),
			PerHour:   rapid.SampledFrom([]int{0, 2, 50}).Draw(rt, "h"),
		}
		log, now := new(history), dawn
		var sent []time.Time
		for range rapid.IntRange(1, 60).Draw(rt, "n") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 1, 40, 300, 2000, 30_000, 400_000}).Draw(rt, "ms")) * time.Millisecond)
			if rapid.IntRange(0, 9).Draw(rt, "pause") == 0 {
				log.pause(now.Add(20 * time.Second))
			}
			a := &question{rates: rates, longest: 2 * time.Minute, more: rapid.Bool().Draw(rt, "more")}
			if !log.reserve(a, now) {
				continue
			}
			if a.at.Before(log.NotBefore) {
				rt.Fatalf("at %v, not before %v", a.at, log.NotBefore)
			}
			sent = append(sent, a.at)
			if !a.more {
				continue
			}
			if gap := a.second.Sub(a.at); gap < 0 || gap > pairGap {
				rt.Fatalf("the second step comes %v after the first", gap)
			}
			if rapid.Bool().Draw(rt, "given back") {
				log.remove(a.second)
			} else {
				sent = append(sent, a.second)
			}
		}
		for _, limit := range []struct {
			most   int
			window time.Duration
		}{{rates.PerSecond, time.Second}, {rates.PerMinute, time.Minute}, {rates.PerHour, time.Hour}} {
			for _, start := range sent {
				n := 0
				for _, at := range sent {
					if !at.Before(start) && at.Before(start.Add(limit.window)) {
						n++
					}
				}
				if limit.most > 0 && n > limit.most {
					rt.Fatalf("%d in %v, at most %d", n, limit.window, limit.most)
				}
			}
		}
		text, err := json.Marshal(log)
		if err != nil || len(text) > 8<<10 {
			rt.Fatalf("a record of %d bytes, %v", len(text), err)
		}
	})
}

func TestALoginOfTwoStepsBeginsOnlyWhenBothHaveATurn(t *testing.T) {
	log := new(history)
	for range 4 {
		log.add(dawn)
	}
	a := &question{rates: ratelimit.Rates{PerMinute: 5}, more: true, longest: 2 * time.Minute}
	if !log.reserve(a, dawn) || a.second.Sub(dawn) < time.Minute || a.second.Sub(a.at) > pairGap {
		t.Errorf("at %v, second %v", a.at.Sub(dawn), a.second.Sub(dawn))
	}
}

func TestWhatAWrongClockHasNotedDoesNotCount(t *testing.T) {
	log := &history{NotBefore: dawn.Add(1000 * time.Hour)}
	for range 9 {
		log.add(dawn.Add(time.Hour))
	}
	log.prune(dawn)
	if !log.NotBefore.Equal(dawn.Add(maxPause)) {
		t.Errorf("not before %v", log.NotBefore)
	}
	log.NotBefore = time.Time{}
	if !log.empty() {
		t.Errorf("%+v", log)
	}
}
