// The search that passes by the automaton finds what the automaton finds.

package filter

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/internal/jsonscan"
)

func TestSeekFindsWhatTheAutomatonFinds(t *testing.T) {
	prepare()
	pieces := []string{"x", "e", "/", "-", "%", "2", "r ", "bear", "bas", "ic ", "otpauth", "putty-user-key-", "private key", "%3", "a", "<", "p", "é", " ", "longer words between them "}
	for _, trace := range traces {
		pieces = append(pieces, trace.text, strings.ToUpper(trace.text), trace.text[1:], trace.text[:len(trace.text)-1], trace.text[len(trace.text)/2:])
	}
	for seed := range uint64(20_000) {
		random := rand.New(rand.NewPCG(seed, 0))
		var b bytes.Buffer
		for range random.IntN(12) {
			b.WriteString(pieces[random.IntN(len(pieces))])
		}
		whole := b.Bytes()

		var want, got []int
		at := begin
		for i, c := range whole {
			if at = next[at][c]; at <= lastFound {
				want = append(want, i)
			}
		}
		last := at
		s := text{automaton: begin}
		for base := 0; base < len(whole); {
			part := whole[base : base+1+random.IntN(len(whole)-base)]
			for i := 0; i < len(part); {
				if i = s.search(part, i); i < len(part) {
					got = append(got, base+i)
					s.automaton = next[s.automaton][part[i]]
					i++
				}
			}
			base += len(part)
		}
		if !slices.Equal(got, want) || s.automaton != last {
			t.Fatalf("%q\nfound   %v, then %d\nnot     %v, then %d", whole, got, s.automaton, want, last)
		}
	}
	for c := range 256 {
		if s := (text{automaton: begin}); jsonscan.Stops[c] && s.search([]byte{'a', byte(c), 'a'}, 0) != 1 {
			t.Errorf("passed %q", byte(c))
		}
	}
}
