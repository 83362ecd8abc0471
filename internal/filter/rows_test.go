// Rows that are taken at a stroke come out as if each byte had been looked at.

package filter

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode"

	"github.com/caddy-veeam/veeam-auth/internal/jsonscan"
)

// atOnce runs a document through a filter whose parts are of these sizes, one after the
// other.
func atOnce(document []byte, sizes func() int) ([]byte, error) {
	return io.ReadAll(JSON(&sized{document, sizes}))
}

type sized struct {
	rest  []byte
	sizes func() int
}

func (s *sized) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.rest[:min(len(s.rest), s.sizes())])
	s.rest = s.rest[n:]
	return n, nil
}

// same holds a document to what comes of it when each byte is looked at.
func same(tb testing.TB, document []byte, random *rand.Rand) {
	tb.Helper()
	want, wantErr := closely(bytes.NewReader(document))
	for _, most := range []int{1 << 20, 300, 40} {
		got, err := atOnce(document, func() int { return 1 + most/2 + random.IntN(most) })
		if !bytes.Equal(got, want) || (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
			tb.Fatalf("%s\nbecame    %s, %v\nbytewise  %s, %v", document, got, err, want, wantErr)
		}
	}
}

// rowsOf is a list of rows that have the same form, with damage to some bytes.
func rowsOf(random *rand.Rand, texts []string) []byte {
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	text := func() string {
		var b strings.Builder
		for range random.IntN(5) {
			b.WriteString(texts[random.IntN(len(texts))])
		}
		return b.String()
	}
	number := func() string { return pick("0", "7", "-1", "1.5", "2e3", "1234567890123", "00", "1.", "-", "1e") }
	names := []string{
		"id", "name", "value", "type", "size", "key", "password", "code", "newValue", "access_token", "p\\u0061ss", "description", "encryptionPasswordId",
		"x", "", "eyJ", "a:b", "a name that is longer than what is remembered of it", "lastRun", "é", "usn",
	}
	space := pick("", "", " ", "\n    ", "\r\n\t")
	var form []func(b *bytes.Buffer)
	var fields func(depth int)
	write := func(s string) { form = append(form, func(b *bytes.Buffer) { b.WriteString(s) }) }
	fields = func(depth int) {
		write("{")
		for i := range 1 + random.IntN(5) {
			if i > 0 {
				write("," + space)
			}
			write(`"` + names[random.IntN(len(names))] + `":` + pick("", " "))
			switch kind := random.IntN(12); {
			case kind < 6:
				form = append(form, func(b *bytes.Buffer) { b.WriteString(`"` + text() + `"`) })
			case kind < 8:
				form = append(form, func(b *bytes.Buffer) { b.WriteString(number()) })
			case kind == 8:
				form = append(form, func(b *bytes.Buffer) {
					b.WriteString(pick("true", "false", "null", "tru", "{}", "[]", "[{}]", `["a", "b"]`, `[1,2]`, `[{"id":1},{"id":"eyJ"}]`))
				})
			case depth > 0:
				fields(depth - 1)
			default:
				write(`"2022-10-03T11:48:00Z"`)
			}
		}
		write(space + "}")
	}
	fields(3)
	var b bytes.Buffer
	b.WriteString(pick(`{"data":[`, `[`, `{"rows":{"a":[`))
	for i := range 2 + random.IntN(8) {
		if i > 0 {
			b.WriteString("," + space)
		}
		for _, part := range form {
			if random.IntN(200) > 0 {
				part(&b)
			}
		}
	}
	b.WriteString(pick(`]}`, `]`, `]}}`))
	const damage = "\"\\{}[]:,0-1.e +u\n\x00tn\xff_=%>y"
	document := b.Bytes()
	for range random.IntN(3) {
		document[random.IntN(len(document))] = damage[random.IntN(len(damage))]
	}
	return document
}

func TestRowsComeOutAsIfEachByteWasLookedAt(t *testing.T) {
	texts := revealing()
	for seed := range uint64(*strokes) {
		random := rand.New(rand.NewPCG(seed, 2))
		same(t, rowsOf(random, texts), random)
	}
}

func FuzzRows(f *testing.F) {
	texts := revealing()
	for seed := range uint64(50) {
		f.Add(rowsOf(rand.New(rand.NewPCG(seed, 3)), texts), seed)
	}
	f.Fuzz(func(t *testing.T, document []byte, seed uint64) { same(t, document, rand.New(rand.NewPCG(seed, 4))) })
}

// TestAStringIsQuietIfAndOnlyIfEachByteIs places every trace, in every mixture of upper and
// lower case, at each place of the eight bytes that are looked at together.
func TestAStringIsQuietIfAndOnlyIfEachByteIs(t *testing.T) {
	prepare()
	hold := func(text string) {
		t.Helper()
		part := []byte(`["a","` + text + `","and some more of it"]`)
		start := len(`["a","`)
		end := start + len(text)
		want := 0
		if jsonscan.Plain([]byte(text), 0) == len(text) && quiet(part[start:end], part[start:end]) {
			want = end
		}
		if got := quietEnd(part, start); got != want && jsonscan.Plain([]byte(text), 0) == len(text) || want == 0 && got == end {
			t.Fatalf("%q: %d, want %d", text, got, want)
		}
	}
	random := rand.New(rand.NewPCG(1, 5))
	mixed := func(text string) string {
		return strings.Map(func(r rune) rune {
			if random.IntN(2) == 0 {
				return unicode.ToUpper(r)
			}
			return r
		}, text)
	}
	for i := range traces {
		for before := range 20 {
			for _, filler := range []string{"x", "-", " ", "password", "!", "a", "\xff", "\x80", "e", "9 ", "R"} {
				lead := strings.Repeat(filler, before)
				for _, text := range []string{traces[i].text, strings.ToUpper(traces[i].text), mixed(traces[i].text)} {
					for _, tail := range []string{"", "x", " ", "eyJ", strings.Repeat("y", 20)} {
						hold(lead + text + tail)
						hold("password" + lead + text + tail)
					}
				}
			}
		}
	}
	texts := revealing()
	for range 200_000 {
		var b strings.Builder
		for range random.IntN(7) {
			b.WriteString(texts[random.IntN(len(texts))])
		}
		hold(b.String())
	}
	for c := range 256 {
		for before := range 12 {
			hold(strings.Repeat("x", before) + string([]byte{byte(c)}) + "xx")
			hold(strings.Repeat("x", before) + string([]byte{byte(c), '"', ' '}))
		}
	}
}
