// From the bytes of a file or a variable to a secret text, and what about such a
// text is likely a mistake.

package secret

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Errors of Plain and Decode.
var (
	ErrEncoding = errors.New("it has the byte order mark of UTF-16, but is not valid UTF-16")
	ErrUTF32    = errors.New("it is UTF-32; save it as UTF-8")
)

var (
	bomUTF8    = []byte{0xef, 0xbb, 0xbf}
	bomUTF16LE = []byte{0xff, 0xfe}
	bomUTF16BE = []byte{0xfe, 0xff}
	bomUTF32LE = []byte{0xff, 0xfe, 0, 0}
	bomUTF32BE = []byte{0, 0, 0xfe, 0xff}
)

// Plain returns content as UTF-8 without a byte order mark. UTF-16 with a byte order
// mark, as Windows PowerShell and Notepad write it, is converted. Other content, also
// binary, is returned unchanged. The errors are ErrEncoding and ErrUTF32 and do not
// repeat the content.
func Plain(content []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(content, bomUTF8):
		return content[len(bomUTF8):], nil
	case bytes.HasPrefix(content, bomUTF32LE), bytes.HasPrefix(content, bomUTF32BE):
		return nil, ErrUTF32
	case bytes.HasPrefix(content, bomUTF16LE):
		return fromUTF16(content[2:], binary.LittleEndian)
	case bytes.HasPrefix(content, bomUTF16BE):
		return fromUTF16(content[2:], binary.BigEndian)
	}
	return content, nil
}

func fromUTF16(content []byte, order binary.ByteOrder) ([]byte, error) {
	if len(content)%2 != 0 {
		return nil, ErrEncoding
	}
	units := make([]uint16, len(content)/2)
	for i := range units {
		units[i] = order.Uint16(content[2*i:])
	}
	for i := 0; i < len(units); i++ {
		if !utf16.IsSurrogate(rune(units[i])) {
			continue
		}
		if i+1 == len(units) || utf16.DecodeRune(rune(units[i]), rune(units[i+1])) == unicode.ReplacementChar {
			return nil, ErrEncoding
		}
		i++
	}
	return []byte(string(utf16.Decode(units))), nil
}

// Decode returns content as a secret text: as Plain does, without one line end at the
// end.
func Decode(content []byte) (string, error) {
	content, err := Plain(content)
	if err != nil {
		return "", err
	}
	content = bytes.TrimSuffix(content, []byte("\n"))
	return string(bytes.TrimSuffix(content, []byte("\r"))), nil
}

// longSecret is more than any password of a Veeam product has.
const longSecret = 512

var (
	assignment = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^(?:export +)?(?:[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|(?i:password|passwd|secret|token|api[_-]?key)) *[=:] *\S`)
	})
	placeholder = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^(?:\$?\{+[^{}]*\}+|\$\([^()]*\)|%[A-Z_]+%|\$[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)$`)
	})
)

// Doubts returns what about a secret is probably a mistake, in words that follow "the
// value". They repeat nothing of the text but the name of an invisible character. The
// secret may be right nevertheless.
func Doubts(text string) (doubts []string) {
	doubt := func(is bool, words string) {
		if is {
			doubts = append(doubts, words)
		}
	}
	if !utf8.ValidString(text) {
		doubts = append(doubts, "is not valid UTF-8: it was saved in another encoding, or it is binary")
		text = strings.ToValidUTF8(text, "")
	}
	first, _ := utf8.DecodeRuneInString(text)
	last, _ := utf8.DecodeLastRuneInString(text)
	inner := strings.TrimRight(text, "\r\n")
	doubt(text != "" && unicode.IsSpace(first), "begins with white space")
	switch {
	case inner != text:
		doubts = append(doubts, "ends with several line breaks")
	case text != "" && unicode.IsSpace(last):
		doubts = append(doubts, "ends with white space")
	}
	doubt(strings.ContainsAny(inner, "\r\n"), "has several lines")
	for _, seen := range invisible(inner) {
		doubts = append(doubts, "contains "+seen)
	}
	doubt(len(text) > longSecret, fmt.Sprintf("is longer than %d bytes", longSecret))
	bare := strings.TrimSpace(text)
	quoted := len(bare) > 1 && (bare[0] == '"' || bare[0] == '\'') && bare[0] == bare[len(bare)-1]
	doubt(quoted, "is in quotation marks, which are sent as part of it")
	doubt(assignment().MatchString(strings.Trim(bare, `"'`)), "looks like an assignment such as NAME=value, and is sent as a whole")
	doubt(placeholder().MatchString(bare), "looks like a placeholder or a variable that was not replaced")
	for mark, words := range map[string]string{
		"$ANSIBLE_VAULT;":             "is encrypted with Ansible Vault",
		"age-encryption.org/":         "is encrypted with age",
		"-----BEGIN AGE ENCRYPTED":    "is encrypted with age",
		"-----BEGIN PGP MESSAGE-----": "is encrypted with PGP",
		"ENC[AES256_GCM,":             "is encrypted with SOPS",
		"<!DOCTYPE html":              "is a web page",
	} {
		doubt(strings.HasPrefix(bare, mark), words)
	}
	return doubts
}

// invisible names the characters of a text that nobody sees, each once.
func invisible(text string) (found []string) {
	seen := map[rune]bool{}
	for _, r := range text {
		var kind string
		switch {
		case r == '\r', r == '\n', r == ' ':
			continue
		case r == unicode.ReplacementChar:
			kind = "a replacement character"
		case unicode.IsControl(r):
			kind = "a control character"
		case unicode.Is(unicode.Cf, r), unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r), unicode.Is(unicode.Variation_Selector, r):
			kind = "an invisible character"
		case unicode.IsSpace(r):
			kind = "a special space"
		default:
			continue
		}
		if !seen[r] {
			seen[r] = true
			found = append(found, fmt.Sprintf("%s (%U)", kind, r))
		}
	}
	const most = 3
	if len(found) > most {
		found = append(found[:most:most], "further ones of this kind")
	}
	return found
}
