// Package username validates and normalizes user names.
package username

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// ErrInvisible says that a name contains invisible characters.
var ErrInvisible = errors.New("the name contains an invisible character: a control or format character, or invalid UTF-8")

// Check returns ErrInvisible for a name with invisible characters, which servers treat
// in different ways: Windows ends a name at a NUL and ignores others.
func Check(name string) error {
	if !utf8.ValidString(name) {
		return ErrInvisible
	}
	for _, r := range name {
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp,
			unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector, unicode.Noncharacter_Code_Point) {
			return ErrInvisible
		}
	}
	return nil
}

// plainLetters are letters that Windows treats like others when it ignores accents, and
// that have no decomposition in Unicode.
var plainLetters = strings.NewReplacer(
	"æ", "ae", "œ", "oe", "ø", "o", "đ", "d", "ð", "d", "ħ", "h", "ı", "i", "ł", "l", "ŧ", "t", "þ", "th", "ŋ", "n", "ĸ", "k",
)

// Bare returns a user name without its domain in one spelling, under which the server
// counts wrong passwords. Windows ignores case, accents, width and the kind of kana.
// Different users may have the same bare name, so it may only be used for counting.
func Bare(name string) string {
	name = cases.Fold().String(norm.NFKD.String(name))
	name = plainLetters.Replace(name)
	name = strings.Map(func(r rune) rune {
		switch {
		case unicode.In(r, unicode.Mn, unicode.White_Space):
			return -1
		case r >= 'ァ' && r <= 'ヶ', r >= 'ヽ' && r <= 'ヾ':
			return r - 'ァ' + 'ぁ'
		}
		return r
	}, norm.NFKD.String(name))
	name = name[strings.LastIndexAny(name, `\/`)+1:]
	name, _, _ = strings.Cut(name, "@")
	return strings.TrimRight(name, ".")
}
