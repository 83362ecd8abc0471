package ratelimit

import (
	"strings"
	"testing"
)

func TestWhatIsWrongWithAPaceIsSaid(t *testing.T) {
	for want, pace := range map[string]*Pace{
		"":                        nil,
		"requires a limit":        {},
		"does not accept limits":  {Off: true, PerHour: 5},
		"-1/s is too low":         {PerSecond: -1},
		"1/m is too low":          {PerSecond: 5, PerMinute: 1},
		"1/h is too low":          {PerHour: 1},
		"9999999/m is not a limi": {PerMinute: 9_999_999},
	} {
		err := pace.Check()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v: %v, want %s", pace, err, want)
		}
	}
}

func TestAPaceIsReadAsItIsWritten(t *testing.T) {
	for text, want := range map[string]Pace{
		"off":          {Off: true},
		"5/m":          {PerMinute: 5},
		"1500/h 2/s":   {PerSecond: 2, PerHour: 1500},
		"":             {},
		"5":            {},
		"x/s":          {},
		"0/s":          {},
		"5/d":          {},
		"5/m 6/m":      {},
		"1/m":          {},
		"off 5/m":      {},
		"5/m forever":  {},
		"1.5/s":        {},
		"1/s 2/m 3/h ": {PerSecond: 1, PerMinute: 2, PerHour: 3},
	} {
		got, err := ParsePace(strings.Fields(text))
		if (want == Pace{}) != (err != nil) || err == nil && *got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

func TestTheProductsPaceIsTheDefault(t *testing.T) {
	product := Rates{PerSecond: 20, PerMinute: 900}
	for _, tt := range []struct {
		pace *Pace
		want Rates
	}{
		{nil, product},
		{&Pace{Off: true}, Rates{}},
		{&Pace{PerMinute: 5}, Rates{PerMinute: 5}},
	} {
		if got := tt.pace.Rates(product); got != tt.want {
			t.Errorf("%+v: %v, want %v", tt.pace, got, tt.want)
		}
	}
}
