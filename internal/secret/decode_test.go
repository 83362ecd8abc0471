// Secrets as editors, shells and consoles leave them in files.

package secret

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

func utf16File(order binary.AppendByteOrder, text string) []byte {
	raw := order.AppendUint16(nil, 0xfeff)
	for _, unit := range utf16.Encode([]rune(text)) {
		raw = order.AppendUint16(raw, unit)
	}
	return raw
}

func TestDecodeReadsWhatEditorsWrite(t *testing.T) {
	const word = "pä55-wörd-😀"
	for name, content := range map[string][]byte{
		"plain":                 []byte(word),
		"line feed":             []byte(word + "\n"),
		"carriage return":       []byte(word + "\r\n"),
		"BOM":                   []byte("\ufeff" + word),
		"BOM and line end":      []byte("\ufeff" + word + "\r\n"),
		"UTF-16LE":              utf16File(binary.LittleEndian, word),
		"UTF-16LE and line end": utf16File(binary.LittleEndian, word+"\r\n"),
		"UTF-16BE":              utf16File(binary.BigEndian, word+"\n"),
	} {
		if got, err := Decode(content); got != word || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		} else if doubts := Doubts(got); len(doubts) != 0 {
			t.Errorf("%s: %q", name, doubts)
		}
	}
	for name, tc := range map[string]struct {
		content string
		want    error
	}{
		"half a unit":      {"\xff\xfea", ErrEncoding},
		"half a character": {"\xff\xfe\x3d\xd8", ErrEncoding},
		"a lone half":      {"\xfe\xff\xde\x00\x00a", ErrEncoding},
		"UTF-32LE":         {"\xff\xfe\x00\x00a\x00\x00\x00", ErrUTF32},
		"UTF-32BE":         {"\x00\x00\xfe\xff\x00\x00\x00a", ErrUTF32},
	} {
		if _, err := Decode([]byte(tc.content)); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDoubtsFindWhatNobodySees(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{"good", `Aa0!"§$%&/()=?*+~#-_.:,;<>|^°`, nil},
		{"blanks inside", "correct horse battery", nil},
		{"base64 with padding", "QUJDREVGR0g=", nil},
		{"base64 like a name", "ABC=", nil},
		{"a refresh token", strings.Repeat("aA0_-.", 80), nil},
		{"a password with an equals sign", "x=y", nil},
		{"braces", "a{b}c", nil},
		{"blank at the end", "word ", []string{"ends with white space"}},
		{"tab at the beginning", "\tword", []string{"begins with white space", "contains a control character (U+0009)"}},
		{"two line ends", "word\n", []string{"ends with several line breaks"}},
		{"two lines", "word\nother", []string{"has several lines"}},
		{"zero-width space", "wo\u200brd", []string{"contains an invisible character (U+200B)"}},
		{"BOM inside", "word\ufeff", []string{"contains an invisible character (U+FEFF)"}},
		{"direction mark", "\u200eword", []string{"contains an invisible character (U+200E)"}},
		{"soft hyphen", "wo\u00adrd", []string{"contains an invisible character (U+00AD)"}},
		{"joiner", "wo\u2060rd", []string{"contains an invisible character (U+2060)"}},
		{"filler", "wo\u3164rd", []string{"contains an invisible character (U+3164)"}},
		{"variation selector", "word\ufe0f", []string{"contains an invisible character (U+FE0F)"}},
		{"no-break space", "wo\u00a0rd", []string{"contains a special space (U+00A0)"}},
		{"nul", "w\x00o\x00", []string{"contains a control character (U+0000)"}},
		{"escape", "\x1b[0mword", []string{"contains a control character (U+001B)"}},
		{"replacement", "w\ufffdrd", []string{"contains a replacement character (U+FFFD)"}},
		{"many kinds", "\x01\x02\x03\x04\x05", []string{
			"contains a control character (U+0001)", "contains a control character (U+0002)", "contains a control character (U+0003)", "contains further ones of this kind",
		}},
		{"Latin-1", "p\xe455", []string{"is not valid UTF-8: it was saved in another encoding, or it is binary"}},
		{"long", strings.Repeat("a", 513), []string{"is longer than 512 bytes"}},
		{"quoted", `"word"`, []string{"is in quotation marks, which are sent as part of it"}},
		{"single quotes", `'word'`, []string{"is in quotation marks, which are sent as part of it"}},
		{"assignment", "VBR_PASSWORD=word", []string{"looks like an assignment such as NAME=value, and is sent as a whole"}},
		{"exported", "export VBR_PASSWORD=word", []string{"looks like an assignment such as NAME=value, and is sent as a whole"}},
		{"YAML", "password: word", []string{"looks like an assignment such as NAME=value, and is sent as a whole"}},
		{"placeholder", "{env.VBR_PASSWORD}", []string{"looks like a placeholder or a variable that was not replaced"}},
		{"template", "{{ vbr_password }}", []string{"looks like a placeholder or a variable that was not replaced"}},
		{"shell", "$VBR_PASSWORD", []string{"looks like a placeholder or a variable that was not replaced"}},
		{"cmd", "%VBR_PASSWORD%", []string{"looks like a placeholder or a variable that was not replaced"}},
		{"vault", "$ANSIBLE_VAULT;1.1;AES256 62", []string{"is encrypted with Ansible Vault"}},
	} {
		if got := Doubts(tc.text); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// FuzzDecode: what is decoded has no byte order mark of its own kind left, decoding
// never fails for content without one, and neither errors nor doubts repeat the
// secret.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{"word", "word\r\n", "\ufeffword\n", "\xff\xfew\x00", "\xfe\xff\x00w", "\xff\xfe\x00\x00", "NAME_X=word", "{env.X}", "\u200b"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		const canary = "canaryQ7"
		text, err := Decode(content)
		if err != nil {
			if len(content) < 2 || content[0] != 0xff && content[0] != 0xfe && content[0] != 0 {
				t.Fatalf("%q: %v", content, err)
			}
			return
		}
		if !strings.HasPrefix(string(content), "\ufeff") && content != nil && len(content) > 1 && content[0] != 0xff && content[0] != 0xfe &&
			strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r") != text {
			t.Fatalf("%q became %q", content, text)
		}
		for _, marked := range []string{text, text + canary, canary + text, "NAME_X=" + text + canary} {
			for _, doubt := range Doubts(marked) {
				if strings.Contains(doubt, canary) {
					t.Fatalf("%q: %q", marked, doubt)
				}
			}
		}
	})
}
