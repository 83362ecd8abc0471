package sealed

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

func TestAKeysetSurvivesItsText(t *testing.T) {
	k := newKeys(t)
	text, err := k.Text()
	if err != nil || strings.ContainsAny(text, "\n{} ") {
		t.Fatalf("%q, %v", text, err)
	}
	json, _ := base64.StdEncoding.DecodeString(text)
	sealed, _ := k.Encrypt([]byte("plain"), []byte("a"))
	for _, form := range []string{text, "\n" + text + "\n", string(json)} {
		read, err := ReadKeyset(form)
		if err != nil {
			t.Fatal(err)
		}
		if plain, err := read.Decrypt(sealed, []byte("a")); err != nil || string(plain) != "plain" {
			t.Error("does not open what was sealed")
		}
		if read.Name("x", "y") != k.Name("x", "y") || read.Name("x", "y") == read.Name("xy") || read.Name("x", "y") == newKeys(t).Name("x", "y") {
			t.Error("names differ, or do not")
		}
	}
}

func TestARotatedKeysetOpensOldAndSealsNew(t *testing.T) {
	old := newKeys(t)
	sealed, _ := old.Encrypt([]byte("plain"), nil)
	next, err := old.Rotate()
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := next.Decrypt(sealed, nil); err != nil || string(plain) != "plain" {
		t.Error("the old key does not open")
	}
	resealed, _ := next.Encrypt([]byte("plain"), nil)
	if _, err := old.Decrypt(resealed, nil); err == nil {
		t.Error("the old key seals")
	}
	if next.Name("a") != old.Name("a") || next.Keys() != 2 {
		t.Error("records are not found again")
	}
}

func TestWhatIsNoKeysetSaysSoAndNoMore(t *testing.T) {
	for _, text := range []string{"", "hunter2", "{}", "{", base64.StdEncoding.EncodeToString([]byte(`{"names":"AAAA","seal":{}}`)), strings.Repeat("A", 400)} {
		if _, err := ReadKeyset(text); err != ErrKeyset { //nolint:errorlint // the very error
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAKeysetPrintsNothing(t *testing.T) {
	k := newKeys(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if got := fmt.Sprintf(verb, k); got != "keyset of 1" {
			t.Errorf("%s: %s", verb, got)
		}
	}
}

func FuzzReadKeyset(f *testing.F) {
	k := newKeys(f)
	text, _ := k.Text()
	json, _ := base64.StdEncoding.DecodeString(text)
	f.Add(text)
	f.Add(string(json))
	f.Add("{}")
	f.Fuzz(func(t *testing.T, text string) {
		if read, err := ReadKeyset(text); err == nil {
			if _, err := read.Encrypt(nil, nil); err != nil {
				t.Error(err)
			}
		}
	})
}

func FuzzOpenRecord(f *testing.F) {
	at := keyOf(newKeys(f), "a")
	sealed, _ := at.Seal(&value{3})
	f.Add(sealed)
	f.Fuzz(func(t *testing.T, text []byte) {
		if at.Open(text, new(value)) == nil && string(text) != string(sealed) {
			t.Error("something else opens")
		}
	})
}
