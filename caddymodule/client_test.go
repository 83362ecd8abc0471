// Who guesses, and what a brake remembers of it.

package caddymodule

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

func TestAskingForManyNamesReleasesNoBrake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newGuessBrake()
		mine := guessesAt("192.0.2.7:4711", "grafana")
		for range guessBurst {
			b.wrong(mine...)
		}
		for i := range 2 * guessMemory {
			b.wait(guessesAt("192.0.2.7:4712", "name "+strconv.Itoa(i))...)
		}
		if b.wait(mine...) == 0 {
			t.Error("the brake was released by asking")
		}
		if b.guesses.Len() != len(mine) {
			t.Errorf("%d counts for one client", b.guesses.Len())
		}
		for i := range 2 * guessMemory { // wrong guesses elsewhere, while the guesser goes on
			b.wrong(guessesAt("198.51.100."+strconv.Itoa(i%256)+":1", "name "+strconv.Itoa(i))...)
			if b.wait(mine...) == 0 {
				t.Fatalf("the brake was released after %d other guesses", i)
			}
		}
		if b.guesses.Len() > guessMemory {
			t.Errorf("%d counts are kept", b.guesses.Len())
		}
		time.Sleep(guessEvery)
		if wait := b.wait(mine...); wait != 0 {
			t.Errorf("still %v to wait", wait)
		}
	})
}
