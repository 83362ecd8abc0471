package username

import (
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"
)

// Spellings that Windows takes for one user have one count.
func TestSpellingsOfAUserAreOneUser(t *testing.T) {
	for want, spellings := range map[string][]string{
		"svcbackup": {
			"svcbackup", "SVCBACKUP", `LAB\SvcBackup`, "svcbackup@lab.local", `.\svcbackup`, `lab.local\svcbackup@x`, "LAB/svcbackup",
			"ｓｖｃｂａｃｋｕｐ", "ＳＶＣｂａｃｋｕｐ＠lab", "LAB＼svcbackup", "svcbackúp", "svcbacku\u0301p", "ſvcbac\u212Aup", " svcbackup ", "svc backup",
			"svcbackup.", "svc\u00A0backup", "𝐬𝐯𝐜backup", "ⓢvcbackup",
		},
		"strasse": {"straße", "STRASSE", "STRAẞE", "strasse"},
		"jorgen":  {"jørgen", "JØRGEN", "jörgen", "jo\u0338rgen"},
		"aesir":   {"æsir", "ÆSIR", "aesir"},
		"lukasz":  {"łukasz", "ŁUKASZ", "Lukasz"},
		"isil":    {"ışıl", "IŞIL", "İşil", "isil"},
		"たなか":     {"タナカ", "ﾀﾅｶ", "たなか"},
		"σοφοσ":   {"ΣΟΦΟΣ", "σοφος", "Σοφός"},
	} {
		for _, spelling := range spellings {
			if got := Bare(spelling); got != want {
				t.Errorf("%+q: %+q, want %+q", spelling, got, want)
			}
		}
	}
	if Bare("operator") == Bare("operator2") {
		t.Error("two users are one")
	}
}

func TestNoSpellingOfAUserChangesItsCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z0-9._-]{0,20}[a-z]`).Draw(t, "name")
		spelled := []rune(name)
		for i, r := range spelled {
			switch rapid.IntRange(0, 4).Draw(t, "spelling") {
			case 1:
				spelled[i] = unicode.ToUpper(r)
			case 2:
				spelled[i] = r - '!' + '！' // full width
			case 3:
				if r == 'k' {
					spelled[i] = '\u212A'
				}
			}
		}
		text := string(spelled)
		if rapid.Bool().Draw(t, "accent") {
			text += "\u0308"
		}
		text = rapid.SampledFrom([]string{"", `LAB\`, `.\`, `a.b.c\`, "LAB＼"}).Draw(t, "before") + text + rapid.SampledFrom([]string{"", "@lab.local", "＠x"}).Draw(t, "behind")
		if Check(text) != nil {
			t.Errorf("%+q is refused", text)
		}
		if got, want := Bare(text), Bare(name); got != want {
			t.Errorf("%+q: %q, want %q", text, got, want)
		}
	})
}

func TestInvisibleCharactersInANameAreRefused(t *testing.T) {
	for _, bad := range []string{
		"\x00", "\n", "\t", "\x7f", "\u0085", "\u00ad", "\u200b", "\u200d", "\u202e", "\u2028", "\u2029", "\u2060", "\u3164", "\uffa0", "\u115f",
		"\u034f", "\ufe0f", "\U000e0100", "\ufeff", "\ue000", "\uffff", "\xff", "\xed\xa0\x80", "\u180e", "\U000e0041",
	} {
		for _, name := range []string{bad, "svc" + bad, bad + "svc", "s" + bad + "vc"} {
			if Check(name) == nil {
				t.Errorf("%+q is taken", name)
			}
		}
	}
	for _, good := range []string{"", "svc", `LAB\svc-1`, "svc@lab.local", "Jörg Müller", "田中", "ｓｖｃ", "o'neil", "नमस्ते"} {
		if err := Check(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
}

func FuzzBare(f *testing.F) {
	for _, seed := range []string{"svc", `LAB\svc`, "ﬀ", "ŉ", "İ", "\u1e9e", "ＡＢ＠c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		bare := Bare(name)
		if strings.ContainsAny(bare, "\\@/ ") {
			t.Errorf("%+q: %+q has a domain", name, bare)
		}
		if Check(name) == nil && Bare(strings.ToUpper(bare)) != Bare(bare) {
			t.Errorf("%+q: case makes %+q and %+q", name, Bare(strings.ToUpper(bare)), Bare(bare))
		}
	})
}
