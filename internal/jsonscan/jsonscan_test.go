// What the scanner comes to, compared with encoding/json, and that parts make no difference.

package jsonscan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// span is a key, a value or the end of a container, and where it stands in the document.
type span struct {
	event      Event
	start, end int
	escaped    bool
	depth      int
}

// spans collects what a scanner says about a document that comes in parts, of which each is
// as long as cut says. The event is Broken, TooDeep, End for a complete document, or More.
func spans(s *Scanner, document []byte, cut func(rest int) int) (all []span, end Event, at int) {
	return spansOf(s, document, cut, nil)
}

// spansOf has take go as far as it can before each event.
func spansOf(s *Scanner, document []byte, cut func(rest int) int, take func(s *Scanner, part []byte, i, base int) ([]span, int)) (all []span, end Event, at int) {
	base := 0
	var open span
	for base < len(document) {
		part := document[base : base+cut(len(document)-base)]
		for i := 0; i < len(part); {
			if take != nil {
				var taken []span
				taken, i = take(s, part, i, base)
				if all = append(all, taken...); i == len(part) {
					break
				}
			}
			event, next := s.Next(part, i)
			whole := false
			switch event {
			case Object, Array:
				open = span{event: event, start: base + next - 1}
			case Key, String, Number, Word:
				open = span{event: event, start: base + s.Start}
				whole = s.Whole
			case Close:
				all = append(all, span{event: Close, start: base + next - 1, end: base + next, depth: s.Depth()})
			case End:
				whole = true
			case Broken, TooDeep:
				return all, event, base + next
			}
			if event == Object || event == Array {
				open.end, open.depth = base+next, s.Depth()-1
				all = append(all, open)
			}
			if whole {
				open.end, open.depth = base+next, s.Depth()
				open.escaped = s.Escaped && (open.event == Key || open.event == String)
				all = append(all, open)
			}
			i = next
		}
		base += len(part)
	}
	if s.EndNumber() {
		open.end, open.depth = base, s.Depth()
		all = append(all, open)
	}
	if s.Complete() {
		return all, End, base
	}
	return all, More, base
}

func atOnce(rest int) int { return rest }

func byBytes(int) int { return 1 }

func atRandom(seed uint64) func(int) int {
	random := rand.New(rand.NewPCG(seed, 0))
	return func(rest int) int { return min(rest, 1+random.IntN(9)) }
}

// reference is what encoding/json says about a valid document.
func reference(t *testing.T, document []byte) (all []span) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(document))
	d.UseNumber()
	type level struct{ object, key bool }
	var levels []level
	for {
		before := d.InputOffset()
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%q: %v", document, err)
		}
		end := int(d.InputOffset())
		start := int(before) + bytes.IndexFunc(document[before:end], func(r rune) bool { return !strings.ContainsRune(" \t\r\n,:", r) })
		found := span{start: start, end: end, depth: len(levels)}
		key := len(levels) > 0 && levels[len(levels)-1].object && levels[len(levels)-1].key
		switch token := token.(type) {
		case json.Delim:
			switch token {
			case '{', '[':
				if found.event = Array; token == '{' {
					found.event = Object
				}
				if len(levels) > 0 {
					levels[len(levels)-1].key = true
				}
				levels = append(levels, level{token == '{', true})
				all = append(all, found)
				continue
			default:
				levels = levels[:len(levels)-1]
				found.event, found.depth = Close, len(levels)
				all = append(all, found)
				continue
			}
		case string:
			if found.event = String; key {
				found.event = Key
			}
			found.escaped = bytes.IndexByte(document[start:end], '\\') >= 0
		case json.Number:
			found.event = Number
		default:
			found.event = Word
		}
		if len(levels) > 0 {
			levels[len(levels)-1].key = !key
		}
		all = append(all, found)
	}
}

// FuzzScanner holds the scanner to encoding/json: it takes the same documents, and finds the
// same keys and values in the same places, however the document comes in.
func FuzzScanner(f *testing.F) {
	for _, seed := range documents {
		f.Add([]byte(seed), uint64(len(seed)))
	}
	f.Fuzz(func(t *testing.T, document []byte, seed uint64) {
		s := Scanner{MaxDepth: 10_000} // as encoding/json
		all, end, at := spans(&s, document, atOnce)
		if valid := json.Valid(document); valid != (end == End) {
			t.Fatalf("%q: valid %v, but the scanner says %d at %d", document, valid, end, at)
		}
		if end == End {
			if want := reference(t, document); !slices.Equal(all, want) {
				t.Fatalf("%q\n got %v\nwant %v", document, all, want)
			}
		}
		for name, cut := range map[string]func(int) int{"bytes": byBytes, "parts": atRandom(seed), "steps": atOnce, "steps in parts": atRandom(seed)} {
			s.Reset()
			take := stepsOf
			if !strings.HasPrefix(name, "steps") {
				take = nil
			}
			again, againEnd, againAt := spansOf(&s, document, cut, take)
			if !slices.Equal(again, all) || againEnd != end || againAt != at {
				t.Fatalf("%q in %s\n got %v %d %d\nwant %v %d %d", document, name, again, againEnd, againAt, all, end, at)
			}
		}
		if n := len(s.objects.far); n > len(document)/64 {
			t.Fatalf("%d words are kept of %d bytes", n, len(document))
		}
	})
}

// TestScanner_AgreesWithEncodingJSON runs documents that are made at random, whole and damaged.
func TestScanner_AgreesWithEncodingJSON(t *testing.T) {
	for seed := range uint64(3000) {
		random := rand.New(rand.NewPCG(seed, 1))
		document := []byte(anyValue(random, 5))
		if seed%3 == 0 {
			const damage = "\"\\{}[]:,0-1.e +u\n\x00tn\xff"
			document[random.IntN(len(document))] = damage[random.IntN(len(damage))]
		}
		var s Scanner
		all, end, at := spans(&s, document, atOnce)
		if valid := json.Valid(document); valid != (end == End) {
			t.Fatalf("%q: valid %v, but the scanner says %d at %d", document, valid, end, at)
		}
		if end == End {
			if want := reference(t, document); !slices.Equal(all, want) {
				t.Fatalf("%q\n got %v\nwant %v", document, all, want)
			}
		}
		s.Reset()
		again, againEnd, againAt := spans(&s, document, atRandom(seed))
		if !slices.Equal(again, all) || againEnd != end || againAt != at {
			t.Fatalf("%q in parts\n got %v %d %d\nwant %v %d %d", document, again, againEnd, againAt, all, end, at)
		}
		for _, cut := range []func(int) int{atOnce, atRandom(seed), atOnce} {
			s.Reset()
			if again, againEnd, againAt := spansOf(&s, document, cut, stepsOf); !slices.Equal(again, all) || againEnd != end || againAt != at {
				t.Fatalf("%q in steps\n got %v %d %d\nwant %v %d %d", document, again, againEnd, againAt, all, end, at)
			}
		}
	}
}

// stepsOf takes steps and values at once, as far as that is possible.
func stepsOf(s *Scanner, part []byte, i, base int) (all []span, at int) {
	for i < len(part) && s.Inner() {
		kind, from, to, next := s.Step(part, i)
		if element := s.Element(part, i); element != i {
			i = element
			continue
		}
		if kind != NoStep {
			if kind == ToRow || kind == Outward {
				all = append(all, span{event: Close, start: base + i, end: base + i + 1, depth: s.Depth() - 1})
			}
			s.Take(kind)
			if kind == ToRow || kind == Inward {
				open := base + i + bytes.IndexByte(part[i:next], '{')
				all = append(all, span{event: Object, start: open, end: open + 1, depth: s.Depth() - 1})
			}
			all = append(all, span{event: Key, start: base + from - 1, end: base + to + 1, depth: s.Depth()})
			i = next
			continue
		}
		if !s.AtValue() {
			break
		}
		value := span{start: base + i, depth: s.Depth()}
		end := SimpleEnd(part, i)
		switch value.event = Number; {
		case end > 0 && part[i] > '9':
			value.event = Word
		case end > 0:
		case part[i] == '"':
			if end = Plain(part, i+1); end == len(part) || part[end] != '"' {
				return all, i
			}
			value.event = String
			end++
		default:
			return all, i
		}
		s.TakeValue()
		value.end = base + end
		all = append(all, value)
		i = end
	}
	return all, i
}

// anyValue writes a document.
func anyValue(random *rand.Rand, depth int) string {
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	space := func() string { return pick("", "", "", " ", "\n\t", "\r\n") }
	text := func() string {
		return `"` + strings.Repeat(pick("", "a", "a longer text", "é", `\n`, `\"`, `\\`, `\u00e9`, `\ud83d\ude00`), random.IntN(4)) + pick("", "x", "123456789") + `"`
	}
	kinds := 4
	if depth > 0 {
		kinds = 8
	}
	switch kind := random.IntN(kinds); {
	case kind < 2:
		return space() + text() + space()
	case kind == 2:
		return space() + pick("0", "-0", "17", "-1.50", "2e10", "0.1E-07", "12345678901234567890.5e+3") + space()
	case kind == 3:
		return space() + pick("true", "false", "null") + space()
	case kind < 6:
		var items []string
		for range random.IntN(4) {
			items = append(items, anyValue(random, depth-1))
		}
		return space() + "[" + space() + strings.Join(items, ",") + "]" + space()
	}
	var fields []string
	for range random.IntN(4) {
		fields = append(fields, space()+text()+space()+":"+anyValue(random, depth-1))
	}
	return space() + "{" + space() + strings.Join(fields, ",") + "}" + space()
}

var documents = []string{
	`{"a":1,"b":[true,false,null,-1.5e+3],"":{"c":"\u00e4\n","a":"x"},"a":2}`, ` [ ] `, `[[[{}]]]`, `"a\\"`, `-0.0`, `17`, "\r\n\"x\"\t", `"é\ud800"`, "[\"\xff\x7f\"]",
	`["0123456789abcdef\"0123456"]`, `{"a":{"b":[{"c":[{}]}]}}`, `1e5`, `[1,2`, `{"a":tru`, `{"a"`, `{"a":`, `["\u00`, `["\`, `-`, `1.`, `1e`, ``, ` `,
	`[NaN]`, `[Infinity]`, `[01]`, `[1.]`, `[.5]`, `[+1]`, `[1,]`, `{"a":1,}`, `{a:1}`, `{'a':1}`, `[1}`, `{]`, `]`, `{} {}`, `"a"b`, `{"a" 1}`, `["a" "b"]`, `[nulL]`, `["\x"]`, `["\u00g0"]`,
	"[\"a\nb\"]", "[\"0123456789\x1f\"]", "{\x00}", `//`, `/**/[]`, "\ufeff{}", "\v[]", "\xa0[]", `{"a":1}x`,
}

func TestScanner_PassesAMarkOnlyAtTheBeginningAndIfAskedFor(t *testing.T) {
	for _, c := range []struct {
		document string
		with     Event
		at       int
	}{
		{"\xef\xbb\xbf{}", End, 5},
		{"\xef\xbb\xbf", More, 3},
		{"\xef\xbb", More, 2},
		{" \xef\xbb\xbf{}", Broken, 1},
		{"\xef \xbb\xbf{}", Broken, 1},
		{"\xef\xbb\xbf\xef\xbb\xbf{}", Broken, 3},
		{"\xef{}", Broken, 1},
		{"{}\xef\xbb\xbf", Broken, 2},
		{"{}", End, 2},
	} {
		for _, cut := range []func(int) int{atOnce, byBytes} {
			s := Scanner{Mark: true}
			if _, end, at := spans(&s, []byte(c.document), cut); end != c.with || at != c.at {
				t.Errorf("%q: %d at %d, want %d at %d", c.document, end, at, c.with, c.at)
			}
		}
		if _, end, at := spans(&Scanner{}, []byte(c.document), atOnce); c.document[0] == mark[0] && (end != Broken || at != 0) {
			t.Errorf("%q without asking for it: %d at %d", c.document, end, at)
		}
	}
}

func TestScanner_TellsNothingFromSomething(t *testing.T) {
	for document, empty := range map[string]bool{"": true, " \n": true, "\xef\xbb\xbf": true, "\xef\xbb\xbf ": true, "\xef\xbb": false, "0": false, "[": false, "[]": false} {
		s := Scanner{Mark: true}
		spans(&s, []byte(document), byBytes)
		if s.Empty() != empty {
			t.Errorf("%q: %v", document, s.Empty())
		}
	}
}

func TestScanner_LimitsDepthIfAskedFor(t *testing.T) {
	s := Scanner{MaxDepth: 3}
	if _, end, at := spans(&s, []byte(`[{"a":[[]]}]`), atOnce); end != TooDeep || at != 7 || s.Depth() != 3 {
		t.Errorf("%d at %d", end, at)
	}
	s.Reset()
	if _, end, _ := spans(&s, []byte(`[{"a":[]},[[]],0]`), atOnce); end != End {
		t.Error(end)
	}
	const deep = 100_000
	document := []byte(strings.Repeat(`[{"":`, deep) + "0" + strings.Repeat("}]", deep))
	if all, end, _ := spans(&Scanner{}, document, atOnce); end != End || len(all) != 2*2*deep+deep+1 {
		t.Errorf("%d after %d", end, len(all))
	}
}

func TestScanner_AllocatesNothing(t *testing.T) {
	document := []byte(strings.Repeat("[", 200) + `{"a":"b\u00e4","c":[1.5e3,true]}` + strings.Repeat("]", 200))
	if n := testing.AllocsPerRun(10, func() {
		var s Scanner
		for i := 0; i < len(document); {
			var event Event
			if event, i = s.Next(document, i); event == Broken {
				t.Fatal(i)
			}
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// A caller may go over a string on its own, and gets every escape.
func TestScanner_GivesEscapesToACallerThatLooksIntoStrings(t *testing.T) {
	document := []byte(`["a\nb\u00E9\ud83d\"\\",17,"c"]`)
	for _, cut := range []func(int) int{atOnce, byBytes, atRandom(1)} {
		var s Scanner
		var got strings.Builder
		inside := false
		for base := 0; base < len(document); {
			part := document[base : base+cut(len(document)-base)]
			base += len(part)
			for i := 0; i < len(part); {
				if !inside {
					var event Event
					event, i = s.Next(part, i)
					if inside = event == String; inside && s.Whole {
						i = s.Reopen()
					}
					continue
				}
				if c := part[i]; !s.InEscape() && !Stops[c] {
					got.WriteByte(c)
					i++
					continue
				}
				var event Event
				switch event, i = s.Inside(part, i); event {
				case Escape:
					raw, r := s.Escape()
					fmt.Fprintf(&got, "<%s %x>", raw, r)
				case End:
					got.WriteByte('|')
					inside = false
				case More:
				default:
					t.Fatalf("%d at %d", event, i)
				}
			}
		}
		if want := `a<\n a>b<\u00E9 e9><\ud83d d83d><\" 22><\\ 5c>|c|`; got.String() != want || !s.Complete() {
			t.Errorf("got %s, want %s", got.String(), want)
		}
	}
}

func TestStringEnd(t *testing.T) {
	for text, want := range map[string]struct {
		event   Event
		end     int
		escaped bool
	}{
		`"`: {End, 1, false}, `abc"d`: {End, 4, false}, `a\"b"`: {End, 5, true}, `\u00`: {More, 4, true}, `abc`: {More, 3, false}, `a\x"`: {Broken, 2, true},
		"12345678901\n\"": {Broken, 11, false}, ``: {More, 0, false},
	} {
		if event, end, escaped := StringEnd([]byte(text), 0); event != want.event || end != want.end || escaped != want.escaped {
			t.Errorf("%q: %d %d %v", text, event, end, escaped)
		}
	}
}

// Every byte in every place among eight that are looked at together.
func TestPlain_StopsAtTheFirstByteThatDoesNotStandForItself(t *testing.T) {
	for c := range 256 {
		for at := range 20 {
			for _, other := range []string{"a", "\xff", "\x80", "!", "#", "[", "]", " ", "\x7f"} {
				text := []byte(strings.Repeat(other, 20))
				text[at] = byte(c)
				want := len(text)
				if Stops[c] {
					want = at
				}
				if got := Plain(text, 0); got != want {
					t.Fatalf("%q: %d, want %d", text, got, want)
				}
				if at < 17 {
					text[at+1], text[at+2] = '"', '\\'
					if got := Plain(text, 0); got != min(want, at+1) {
						t.Fatalf("%q: %d, want %d", text, got, min(want, at+1))
					}
				}
			}
		}
	}
}

func BenchmarkScanner(b *testing.B) {
	for name, document := range map[string]string{
		"list":    `[` + strings.Repeat(`{"id":"6745a759-2205-4cd2-b172-8ec8f7e60ef8","name":"Backup Job 1","isDisabled":false,"sizes":[4096,1.5]},`, 1000) + `0]`,
		"text":    `["` + strings.Repeat("A line of a session log, with words and 17 numbers. ", 2000) + `"]`,
		"numbers": `[` + strings.Repeat("12345.678,", 10_000) + `0]`,
		"escapes": `["` + strings.Repeat(`A path C:\\Backup\\Job and words. `, 2000) + `"]`,
	} {
		part := []byte(document)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(part)))
			b.ReportAllocs()
			for b.Loop() {
				var s Scanner
				for i := 0; i < len(part); {
					_, i = s.Next(part, i)
				}
			}
		})
	}
}

func TestScanner_StepsOnlyWhereNextWould(t *testing.T) {
	for document, c := range map[string]struct {
		at   int
		want Step
	}{
		`[1,"a":2 ]`: {2, NoStep}, `{"a":1,"b":2 }`: {6, ToField}, `{"a":[1,"b":2 ]}`: {7, NoStep}, `[{"a":1},{"b":2 }]`: {7, ToRow},
		`{"a":{"b":1},"c":2 }`: {11, Outward}, `{"a":{"b":1},{"c":2 }}`: {11, NoStep}, `[{"a":1},"b":2 ]`: {7, NoStep}, `[{"a":1 }]`: {1, Inward}, `[1{"a":1 }]`: {2, NoStep},
	} {
		var s Scanner
		for i := 0; i < c.at; {
			_, i = s.Next([]byte(document), i)
		}
		if got, _, _, _ := s.Step([]byte(document), c.at); got != c.want {
			t.Errorf("%s: %d, want %d", document, got, c.want)
		}
	}
	s := Scanner{MaxDepth: 3}
	if _, end, at := spansOf(&s, []byte(`{"x":1,"a":{"b":{"c":{"d":1 }}}}`), atOnce, stepsOf); end != TooDeep || at != 21 || s.Depth() != 3 {
		t.Errorf("%d at %d, depth %d", end, at, s.Depth())
	}
}
