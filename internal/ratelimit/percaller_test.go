package ratelimit

import (
	"strings"
	"testing"
	"testing/synctest"
)

func TestALimitThatWouldLimitNothingIsAnError(t *testing.T) {
	for limit, ok := range map[PerCaller]bool{
		{}: false, {PerSecond: -1}: false, {PerSecond: 0.001}: false, {PerSecond: 5, Burst: -1}: false,
		{PerSecond: 0.01}: true, {PerSecond: 5, Burst: 1}: true,
	} {
		if err := limit.Check(); ok != (err == nil) || err != nil && !strings.Contains(err.Error(), "rate_limit") {
			t.Errorf("%+v: %v", limit, err)
		}
	}
}

func TestARateIsReadAsItIsWritten(t *testing.T) {
	for text, want := range map[string]PerCaller{
		"5": {PerSecond: 5}, "0.5 3": {PerSecond: 0.5, Burst: 3},
		"": {}, "fast": {}, "0": {}, "NaN": {}, "Inf": {}, "5 0": {}, "5 x": {}, "5 1 1": {},
	} {
		got, err := ParsePerCaller(strings.Fields(text))
		if (want == PerCaller{}) != (err != nil) || err == nil && *got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

func TestWithoutARateTheBurstIsTheRateRoundedUp(t *testing.T) {
	if l := (*PerCaller)(nil).Callers(0); l != nil {
		t.Error("no limit limits")
	}
	synctest.Test(t, func(t *testing.T) {
		l := (&PerCaller{PerSecond: 1.5}).Callers(0)
		for i, want := range []bool{true, true, false} {
			if _, exceeded := l.Enter("a"); want != (exceeded == nil) {
				t.Errorf("request %d: %+v", i, exceeded)
			}
		}
	})
}
