// Strings that are taken at a stroke come out as if each byte had been looked at.

package filter

import (
	"bytes"
	"flag"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

var strokes = flag.Int("strokes", 5_000, "how many documents are compared with and without a look at each byte")

// closely runs a document through a filter that looks at each byte.
func closely(document io.Reader) ([]byte, error) {
	prepare()
	s := &room{scanner: *newScanner(0)}
	s.scanner.closely = true
	return io.ReadAll(&stream{source: document, room: s})
}

// revealing are texts that are part of secrets, or look like it.
func revealing() []string {
	texts := []string{
		"x", "e", "/", "-", "%", "2", "r ", "bear", "bas", "ic ", "é", " ", "longer words between them ", "@", "host", "//", ":", "=", ">", "<", "password", "token", "Code", "cookie",
		"sig", "\\u0065", "\\u003d", "\\u003a", `\\`, `\"`, `\/`, `\n`, `\t`, `\u00e9`, `\ud83d`, "2022-10-03T11:48:00.123+02:00", "https://", "https://user:pw@host/x",
		"https://host:443/a?b=c", "a=b&token=", "6745a759-2205-4cd2-b172-8ec8f7e60ef8", "abcdefghijklmnopqrstuvwxyz0123456789", "%40", "%3D", "Secret Key", "{", "[", `{\"password\":\"x\"}`,
		`{\"a\":\"b\"}`, "0123456789", "value", "B64", ".", "_",
	}
	for i := range traces {
		text := traces[i].text
		texts = append(texts, text, strings.ToUpper(text), text[1:], text[:len(text)-1], text[len(text)/2:])
	}
	return texts
}

// revealingDocument is a document of such texts.
func revealingDocument(random *rand.Rand, texts []string) []byte {
	var b bytes.Buffer
	text := func(most int) {
		b.WriteByte('"')
		for range random.IntN(most) {
			b.WriteString(texts[random.IntN(len(texts))])
		}
		b.WriteByte('"')
	}
	names := []string{"name", "value", "key", "newValue", "password", "code", "id", "title", "access_token", "p\\u0061ss", "type", "encryptionPasswordId", "description"}
	var value func(depth int)
	value = func(depth int) {
		switch kind := random.IntN(12); {
		case kind < 6 || depth == 0 && kind < 9:
			text(8)
		case kind == 6:
			b.WriteString([]string{"0", "-1.5e3", "123456", "true", "null"}[random.IntN(5)])
		case kind < 9:
			b.WriteByte('[')
			for i := range random.IntN(4) {
				if i > 0 {
					b.WriteString([]string{",", " , "}[random.IntN(2)])
				}
				value(depth - 1)
			}
			b.WriteByte(']')
		default:
			b.WriteByte('{')
			for i := range random.IntN(6) {
				if i > 0 {
					b.WriteByte(',')
				}
				if random.IntN(3) == 0 {
					text(4)
				} else {
					b.WriteString(`"` + names[random.IntN(len(names))] + `"`)
				}
				b.WriteByte(':')
				if depth == 0 {
					text(8)
				} else {
					value(depth - 1)
				}
			}
			b.WriteByte('}')
		}
	}
	value(4)
	if random.IntN(10) == 0 {
		b.Truncate(random.IntN(b.Len()) + 1)
	}
	return b.Bytes()
}

func TestStringsAtAStrokeComeOutAsIfEachByteWasLookedAt(t *testing.T) {
	texts := revealing()
	for seed := range uint64(*strokes) {
		random := rand.New(rand.NewPCG(seed, 0))
		document := revealingDocument(random, texts)
		want, wantErr := closely(bytes.NewReader(document))
		got, err := io.ReadAll(JSON(bytes.NewReader(document)))
		if !bytes.Equal(got, want) || (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
			t.Fatalf("%s\nbecame    %s, %v\nbytewise  %s, %v", document, got, err, want, wantErr)
		}
		again, pieceErr := io.ReadAll(JSONInBulk(&pieces{document, rand.New(rand.NewPCG(seed, 1))}))
		if !bytes.Equal(again, want) || (pieceErr == nil) != (wantErr == nil) {
			t.Fatalf("%s\nin pieces %s, %v\nbytewise  %s, %v", document, again, pieceErr, want, wantErr)
		}
	}
}
