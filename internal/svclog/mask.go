// This file holds the mask itself and the notes that stand for what is not
// printed at all.

package svclog

import "strconv"

// Mask is written in place of a secret, regardless of its length or type.
const Mask = "****"

// masking is off only in control runs, which show that the tests for leaks can
// fail: in this package's own tests, and in programs built with the tag
// svclog_unmasked. No configuration reaches it.
var masking = true

// appendMask appends the mask in place of secret.
func appendMask(dst []byte, secret string) []byte {
	if !masking {
		return append(dst, secret...)
	}
	return append(dst, Mask...)
}

// appendMaskJSON appends the mask as a JSON string in place of a JSON value.
func appendMaskJSON(dst []byte, secret string) []byte {
	if !masking {
		return append(dst, secret...)
	}
	return append(dst, `"`+Mask+`"`...)
}

// appendNotShown appends the note that stands for a body that is not printed.
func appendNotShown(dst []byte, body string) []byte {
	if !masking {
		return append(dst, body...)
	}
	dst = append(dst, '<')
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	return append(dst, notShown...)
}

// NotShown is what is printed of a body of which nothing was read. A negative length is not
// known.
func NotShown(length int64) []byte {
	if length < 0 {
		return []byte("<not shown>")
	}
	return append(strconv.AppendInt([]byte{'<'}, length, 10), notShown...)
}

// The notes that end in a body's place. They begin with "<", which no form or
// JSON body begins with.
const (
	notShown   = " bytes, not shown>"
	incomplete = "<incomplete>"
)

// appendCut appends the note that a text went on after its first shown bytes.
func appendCut(dst []byte, shown int) []byte {
	dst = append(dst, "<cut after "...)
	dst = strconv.AppendInt(dst, int64(shown), 10)
	return append(dst, " bytes>"...)
}
