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

// ErrInvisible says that a name has characters that nobody sees.
var ErrInvisible = errors.New("the name contains an invisible character: a control or format character, or invalid UTF-8")

// Check returns ErrInvisible for a name with characters that nobody sees and that servers read
// differently: Windows ends a name at a NUL, and passes over others.
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

// plainLetters are letters that Windows takes for others where it passes over accents,
// and that have no decomposition in Unicode.
var plainLetters = strings.NewReplacer(
	"æ", "ae", "œ", "oe", "ø", "o", "đ", "d", "ð", "d", "ħ", "h", "ı", "i", "ł", "l", "ŧ", "t", "þ", "th", "ŋ", "n", "ĸ", "k",
)

// Bare returns a user without its domain in one spelling: however a user is written,
// the server counts wrong passwords for the same one. Windows compares names without
// regard to case, accents, width and kind of kana. Different users may have one
// bare name, so it is good for nothing but counting.
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
