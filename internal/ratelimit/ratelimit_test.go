package ratelimit

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

var (
	perName   = Rate{Burst: 5, Every: 12 * time.Second}
	perSource = Rate{Burst: 30, Every: 2 * time.Second}
)

func counts(source, name string) []Count {
	return []Count{{KeyOf("source", source), perSource}, {KeyOf("name", source, name), perName}}
}

func TestAskingForManyNamesReleasesNoBrake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const memory = 1024
		l := New(memory)
		mine := counts("192.0.2.7", "grafana")
		for range perName.Burst {
			l.Add(mine...)
		}
		for i := range 2 * memory {
			l.Wait(counts("192.0.2.7", "name "+strconv.Itoa(i))...)
		}
		if l.Wait(mine...) == 0 {
			t.Error("the brake was released by asking")
		}
		if l.Len() != len(mine) {
			t.Errorf("%d counts for one name", l.Len())
		}
		for i := range 2 * memory { // failures elsewhere, while this one goes on
			l.Add(counts("198.51.100."+strconv.Itoa(i%256), "name "+strconv.Itoa(i))...)
			if l.Wait(mine...) == 0 {
				t.Fatalf("the brake was released after %d other failures", i)
			}
		}
		if l.Len() > memory {
			t.Errorf("%d counts are kept", l.Len())
		}
		time.Sleep(perName.Every)
		if wait := l.Wait(mine...); wait != 0 {
			t.Errorf("still %v to wait", wait)
		}
	})
}

func TestWhatIsUnderWayCountsUntilItIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(10)
		mine := counts("192.0.2.7", "grafana")
		var ends []func(bool)
		for i := range perName.Burst {
			done, wait := l.Try(mine...)
			if wait != 0 {
				t.Fatalf("try %d has to wait %v", i, wait)
			}
			ends = append(ends, done)
		}
		if _, wait := l.Try(mine...); wait == 0 {
			t.Error("one more is under way than may fail")
		}
		if l.Wait(mine[0]) != 0 {
			t.Error("what was not tried was counted")
		}
		for i, done := range ends {
			done(i == 0)
		}
		for i := range perName.Burst - 1 {
			if !l.Allow(mine[1]) {
				t.Errorf("%d: those that did not fail still count", i)
			}
		}
		if l.Allow(mine[1]) {
			t.Error("the one that failed does not count")
		}
		time.Sleep(time.Hour)
		done, _ := l.Try(mine...)
		if done(false); l.Failed(mine[0]) || l.Failed(mine[1]) {
			t.Error("what did not fail is kept as a failure")
		}
	})
}

func TestASourceIsAnAddressOrAnIPv6Network(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7:4711":             "192.0.2.7",
		"192.0.2.7":                  "192.0.2.7",
		"[::ffff:192.0.2.7]:1":       "192.0.2.7",
		"[2001:db8:1:2:3:4:5:6]:443": "2001:db8:1:2::/64",
		"2001:db8:1:2::9":            "2001:db8:1:2::/64",
		"[fe80::1%eth0]:80":          "fe80::/64",
		"[::1]:80":                   "::/64",
		"@":                          "@",
		"":                           "",
	} {
		if got := Source(address); got != want {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
}

func TestABucketWaitsForWhatIsNotFree(t *testing.T) {
	now := time.Now()
	var b Bucket
	if wait := b.Wait(now, perName); wait != 0 {
		t.Errorf("a new one: %v", wait)
	}
	for range 2 * perName.Burst {
		b.Add(now, perName)
	}
	if wait := b.Wait(now, perName); wait != perName.Every {
		t.Errorf("after more than are free: %v", wait)
	}
	if wait := b.Wait(now.Add(time.Second), perName); wait != perName.Every-time.Second {
		t.Errorf("a second later: %v", wait)
	}
	if b.Return(perName); b.Wait(now, perName) != 0 {
		t.Error("after one was returned")
	}
}

func TestPartsOfAKeyAreToldApart(t *testing.T) {
	if KeyOf("a", "bc") == KeyOf("ab", "c") || KeyOf("a") == KeyOf("a", "") {
		t.Error("different parts have one key")
	}
}
