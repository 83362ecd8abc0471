package process

import (
	"runtime/debug"
	"testing"
)

func TestTheCollectorIsCalmUnlessTheUserSaysOtherwise(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	for gogc, want := range map[string]int{"": CalmPercent, "100": 100, "off": 100} {
		t.Setenv("GOGC", gogc)
		debug.SetGCPercent(100) // as it would be without CalmGC; off cannot be read here
		CalmGC()
		if got := debug.SetGCPercent(100); got != want {
			t.Errorf("GOGC=%q: %d, want %d", gogc, got, want)
		}
	}
}
