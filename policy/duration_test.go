package policy

import (
	"testing"
	"time"
)

func TestDurationsAreRead(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "1h30m": 90 * time.Minute, "14d": 14 * day, "1d12h": 36 * time.Hour, "1.5d": 36 * time.Hour, ".5d": 12 * time.Hour, "-1d": -day, "0": 0,
		"1d1d": 2 * day,
	} {
		got, err := ParseDuration(text)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "1", "1x", "d1", "1 d", "1dd", "99999999999999999999d", "1e3d"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestADurationThatIsTooShortIsRefusedWithWhatToWrite(t *testing.T) {
	for _, c := range []struct {
		value, least time.Duration
		says         string
	}{
		{0, time.Second, ""},
		{time.Second, time.Second, ""},
		{90, time.Second, `hold is 90ns; it must be at least 1s; write "90s"`},
		{90, 2 * time.Minute, `hold is 90ns; it must be at least 2m0s; write "2m0s"`},
		{300_000, time.Second, `hold is 300µs; it must be at least 1s; write "1s"`},
		{999 * time.Millisecond, time.Second, `hold is 999ms; it must be at least 1s; write "1s"`},
		{-90, time.Second, `hold is -90ns; it must be at least 1s; write "1s"`},
	} {
		said := ""
		if err := CheckLeast("hold", c.value, c.least); err != nil {
			said = err.Error()
		}
		if said != c.says {
			t.Errorf("%v of at least %v says %q, not %q", c.value, c.least, said, c.says)
		}
	}
}
