// Tests of the arithmetic behind the figures.

package main

import (
	"errors"
	"net"
	"net/url"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestPercentile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for _, tt := range []struct {
		values []float64
		p      float64
		want   float64
	}{
		{nil, 50, 0},
		{[]float64{7}, 1, 7},
		{[]float64{7}, 100, 7},
		{[]float64{3, 1, 2}, 50, 2},
		{[]float64{4, 3, 1, 2}, 50, 2},
		{hundred, 0, 1},
		{hundred, 50, 50},
		{hundred, 99, 99},
		{hundred, 99.5, 100},
		{hundred, 100, 100},
	} {
		before := slices.Clone(tt.values)
		if got := percentile(tt.values, tt.p); got != tt.want {
			t.Errorf("percentile %v of %d values is %v, want %v", tt.p, len(tt.values), got, tt.want)
		}
		if !slices.Equal(before, tt.values) {
			t.Error("the values were put in another order")
		}
	}
}

func TestTheBoundsOfAMedian(t *testing.T) {
	// The ranks are those of any table for the sign test at 5 %.
	for n, rank := range map[int]int{1: 1, 5: 1, 6: 1, 8: 1, 9: 2, 12: 3, 20: 6, 25: 8} {
		values := make([]float64, n)
		for i := range values {
			values[i] = float64(n - i)
		}
		got := estimateOf(values)
		want := estimate{low: float64(rank), median: float64(n+1) / 2, high: float64(n + 1 - rank)}
		if got != want {
			t.Errorf("of 1 … %d: got %+v, want %+v", n, got, want)
		}
	}
	if got := estimateOf(nil); got != (estimate{}) {
		t.Errorf("of nothing: got %+v", got)
	}
}

func TestProcessorTimeIsThatOfTheProcess(t *testing.T) {
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	var usage unix.Rusage
	for sum := 0; ; sum++ { // until the process has used some
		after, err := cpuTime(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
			t.Fatal(err)
		}
		all := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
		if after < before {
			t.Fatalf("%v after %v", after, before)
		}
		if after-before > 10*time.Millisecond {
			if difference := (all - after).Abs(); difference > 5*time.Second {
				t.Errorf("%v, getrusage says %v", after, all)
			}
			return
		}
	}
}

func TestProcessorTimeOfNoProcessIsAnError(t *testing.T) {
	if used, err := cpuTime(1 << 22); err == nil { // above any process id
		t.Errorf("got %v", used)
	}
}

func TestFailuresAreCountedByKind(t *testing.T) {
	broken := func(port string) error {
		return &url.Error{Op: "Get", URL: "http://127.0.0.1:" + port, Err: &net.OpError{Op: "read", Err: errors.New("reset")}}
	}
	tl := new(tally)
	if got := tl.failures(); got != "0 of 0" {
		t.Errorf("got %q", got)
	}
	tl.add(200, nil, 0)
	tl.add(401, nil, 0)
	tl.add(0, broken("1"), 0)
	tl.add(0, broken("2"), 0)
	if got, want := tl.failures(), "3 of 4: 1 × 200, 1 × 401, 2 × read: reset"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if tl.unanswered != 2 || tl.count(401) != 1 {
		t.Errorf("%d without an answer, %d answered 401", tl.unanswered, tl.count(401))
	}
}
