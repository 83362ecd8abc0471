package keys

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAKeyIsRandomPrefixedAndChecked(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^vak_[0-9A-Za-z]{36}$`)
	seen, used := make(map[string]bool), make(map[rune]bool)
	for range 10_000 {
		text := Make()
		if !form.MatchString(text) || seen[text] {
			t.Fatalf("%q", text)
		}
		if seen[text] = true; !Looks(text) {
			t.Errorf("%q does not look like a key", text)
		}
		for _, c := range text[len(Prefix):checkedSize] {
			used[c] = true
		}
	}
	if len(used) != len(digits) {
		t.Errorf("%d digits are used", len(used))
	}
	// The checksum of other implementations: CRC-32 of prefix and digits, in base 62.
	if got, want := string(appendCheck([]byte("vak_012345678901234567890123456789"))), "vak_0123456789012345678901234567890VZhXu"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// A scanner recognizes each key, and each single mistake is seen without a lookup.
func TestAMistypedKeyIsRefusedWithoutALookup(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := Make()
		hash, err := Read(text)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Read(text); err != nil || again != hash {
			t.Fatal("the hash of a key is not always the same")
		}
		at := rapid.IntRange(0, textSize-1).Draw(t, "at")
		other := rapid.Byte().Draw(t, "other")
		for _, wrong := range []string{
			text[:at] + string([]byte{other}) + text[at+1:], text[:at] + text[at+1:], text[:at] + string([]byte{other}) + text[at:],
			text[:at], strings.ToLower(text), strings.ToUpper(text), " " + text, text + "\n",
		} {
			if _, err := Read(wrong); err == nil && wrong != text {
				t.Fatalf("%q is read like %q", wrong, text)
			}
		}
		if at+1 < textSize && text[at] != text[at+1] {
			swapped := text[:at] + text[at+1:at+2] + text[at:at+1] + text[at+2:]
			if _, err := Read(swapped); err == nil {
				t.Fatalf("%q is read like %q", swapped, text)
			}
		}
	})
	if _, err := Read(string(appendCheck([]byte("vak_" + strings.Repeat("-", randomSize))))); err == nil {
		t.Error("digits of no key are accepted with their checksum")
	}
}

func TestTheTextOfAHashIsReadBack(t *testing.T) {
	t.Parallel()
	text := Make()
	hash, err := Read(text)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ParseHash(hash.String()); err != nil || again != hash {
		t.Errorf("%v, %v", again, err)
	}
	for _, wrong := range []string{"", text, "sha256:", hash.String()[:70], hash.String() + "0", "sha512:" + hash.String()[7:], "sha256:" + strings.Repeat("g", 64)} {
		if _, err := ParseHash(wrong); err == nil || strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	if id := hash.ID(); len(id) != 20 || strings.Contains(hash.String(), id[:8]) {
		t.Errorf("the ID %q is a part of %s", id, hash)
	}
	written, err := json.Marshal(hash)
	var read Hash
	if err != nil || json.Unmarshal(written, &read) != nil || read != hash {
		t.Errorf("%s, %v", written, err)
	}
}

func TestAKeyIsPresentedInTwoHeaders(t *testing.T) {
	t.Parallel()
	const key, other = "vak_a", "vak_b"
	for name, tt := range map[string]struct {
		authorization, header, want string
	}{
		"none":                  {"", "", ""},
		"bearer":                {"Bearer " + key, "", key},
		"bearer, any case":      {"bEARER   " + key + " ", "", key},
		"header":                {"", " " + key, key},
		"both":                  {"Bearer " + key, other, key},
		"beside a token":        {"Bearer eyJ", key, key},
		"beside Basic":          {"Basic dmFrX2E6", key, key},
		"a token":               {"Bearer eyJ", "", ""},
		"another key of others": {"", "sk_live_x", ""},
		"basic":                 {"Basic " + key, "", ""},
		"no scheme":             {key, "", ""},
	} {
		h := http.Header{}
		if tt.authorization != "" {
			h.Set("Authorization", tt.authorization)
		}
		if tt.header != "" {
			h.Set("X-Api-Key", tt.header)
		}
		if got := Presented(h); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestAKeyInAnAddressIsRecognized(t *testing.T) {
	t.Parallel()
	key := Make()
	for address, want := range map[string]bool{
		"key=" + key: true, "a=b&x=" + key + "&c": true, "/api/v1/jobs/" + key: true, "x=%76ak_" + key[4:]: true, "x=vak%5F" + key[4:]: true, "x=vak_vak_" + key: true,
		"x=" + key + "%zz": true, "x=" + key + "0": true, key[:39] + "0": true,
		"": false, "name=vak_srv01": false, "x=" + key[:39]: false, "x=" + strings.ToUpper(key): false, "vak_": false, "x=vak_" + key[5:20] + "-" + key[20:]: false,
	} {
		if InAddress(address) != want {
			t.Errorf("%q: %t", address, !want)
		}
	}
}

func TestAHashCostsNoAllocation(t *testing.T) {
	plain := "skip=0&limit=200&nameFilter=*vak_srv01*"
	if n := testing.AllocsPerRun(100, func() { InAddress(plain) }); n > 0 {
		t.Errorf("an address: %v allocations", n)
	}
	text := Make()
	if n := testing.AllocsPerRun(100, func() { _, _ = Read(text) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(Make())
	f.Add("vak_")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := Read(text); err == nil && (!Looks(text) || len(text) != textSize) {
			t.Errorf("%q is a key", text)
		}
	})
}
