// This file holds the frame around each line, and what keeps a value from
// breaking out of it.

package svclog

import (
	"encoding/binary"
	"strconv"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Words of the level column.
const (
	LevelDebug   = "Debug"
	LevelInfo    = "Info"
	LevelWarning = "Warning"
	LevelError   = "Error"
)

// levelWidth is the width of the column that holds the level.
const levelWidth = 13

// AppendFrame appends one line with its newline:
//
//	[03.10.2022 11:48:31.999] <36> Info         message
//
// The time is local, or UTC if utc is set. The thread has at least two digits. The
// result is always one physical line: line ends, NUL and other control characters,
// format characters such as those that change the direction of text, and invalid UTF-8
// are written as \r, \n, \t or \u0000.
func AppendFrame[Text ~string | ~[]byte](
	dst []byte, t time.Time, thread uint32, level string, message Text, utc bool,
) []byte {
	dst = appendPrefix(dst, t, thread, level, utc)
	start := len(dst)
	dst = append(dst, message...)
	dst = cleanTail(dst, start)
	return append(dst, '\n')
}

// appendPrefix appends what stands before the message.
func appendPrefix(dst []byte, t time.Time, thread uint32, level string, utc bool) []byte {
	if utc {
		t = t.UTC()
	} else {
		t = t.Local()
	}
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	dst = append(dst, '[')
	dst = append(appendTwo(dst, day), '.')
	dst = append(appendTwo(dst, int(month)), '.')
	dst = append(appendTwo(appendTwo(dst, max(year, 0)/100), max(year, 0)), ' ')
	dst = append(appendTwo(dst, hour), ':')
	dst = append(appendTwo(dst, minute), ':')
	dst = append(appendTwo(dst, second), '.')
	dst = appendThree(dst, t.Nanosecond()/int(time.Millisecond))
	dst = append(dst, "] <"...)
	if thread < 10 {
		dst = append(dst, '0')
	}
	dst = strconv.AppendUint(dst, uint64(thread), 10)
	dst = append(dst, "> "...)
	return appendLevel(dst, level)
}

// appendTwo and appendThree append the last two or three digits of n.
func appendTwo(dst []byte, n int) []byte {
	return append(dst, byte('0'+n/10%10), byte('0'+n%10))
}

func appendThree(dst []byte, n int) []byte { return appendTwo(append(dst, byte('0'+n/100%10)), n) }

// appendLevel appends a level as a word of its column; at least one blank
// follows it.
func appendLevel(dst []byte, level string) []byte {
	if level == "" {
		level = LevelInfo
	}
	for i := range len(level) {
		c := level[i]
		if c != '_' && !('0' <= c && c <= '9') && !('a' <= c|0x20 && c|0x20 <= 'z') {
			c = '_'
		}
		dst = append(dst, c)
	}
	dst = append(dst, ' ')
	for n := len(level) + 1; n < levelWidth; n++ {
		dst = append(dst, ' ')
	}
	return dst
}

// cleanTail rewrites dst[start:] so that it is printable text on one line. Text
// that is so already, which is nearly all, is only looked at.
func cleanTail(dst []byte, start int) []byte {
	i := start
	for i+8 <= len(dst) && allPrintable(binary.LittleEndian.Uint64(dst[i:])) {
		i += 8
	}
	for ; i < len(dst); i++ {
		if c := dst[i]; c < ' ' || c >= 0x7f {
			tail := string(dst[i:])
			return appendClean(dst[:i], tail)
		}
	}
	return dst
}

// allPrintable reports whether eight bytes at once are printable ASCII.
func allPrintable(eight uint64) bool {
	const ones = 0x0101010101010101
	below := (eight - ones*' ') &^ eight // the high bit of a byte below ' '
	above := eight + ones                // that of 0x7f, and eight has those above
	return (below|above|eight)&(ones*0x80) == 0
}

// appendClean appends s with everything escaped that is not printable.
func appendClean(dst []byte, s string) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		if ' ' <= c && c < 0x7f {
			dst = append(dst, c)
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			dst = appendEscape(dst, rune(c))
		case unicode.IsPrint(r):
			dst = append(dst, s[i:i+size]...)
		default:
			dst = appendEscape(dst, r)
		}
		i += size
	}
	return dst
}

// appendEscape appends a character as JSON would escape it, so that JSON in a
// message stays JSON.
func appendEscape(dst []byte, r rune) []byte {
	switch r {
	case '\r':
		return append(dst, `\r`...)
	case '\n':
		return append(dst, `\n`...)
	case '\t':
		return append(dst, `\t`...)
	}
	if r > 0xffff {
		high, low := utf16.EncodeRune(r)
		return appendEscape(appendEscape(dst, high), low)
	}
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'u', hex[r>>12&0xf], hex[r>>8&0xf], hex[r>>4&0xf], hex[r&0xf])
}
