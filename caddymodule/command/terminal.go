// What servers, the admin endpoint and logs say, as it may stand in a terminal: an escape
// sequence in it could change its title, hide lines or pretend others.

package command

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
)

// printable is a name as it may stand in a terminal.
func printable(name string) string {
	if quoted := strconv.Quote(name); quoted[1:len(quoted)-1] != name {
		return quoted
	}
	return name
}

// printableLines is a text for a terminal: what is not printable in its lines is escaped,
// because names and errors come from elsewhere.
func printableLines(text string) string {
	return escaped(text, func(r rune) string { return strings.Trim(strconv.QuoteRuneToASCII(r), "'") })
}

// printableJSON is a document in JSON for a terminal. What is not printable is in its texts
// only, and is escaped as JSON does.
func printableJSON(text string) string {
	return escaped(text, func(r rune) (units string) {
		for _, unit := range utf16.Encode([]rune{r}) {
			units += fmt.Sprintf(`\u%04x`, unit)
		}
		return units
	})
}

// escaped has everything but line ends and what is printable replaced.
func escaped(text string, escape func(rune) string) string {
	unseen := func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }
	if strings.IndexFunc(text, unseen) < 0 {
		return strings.ToValidUTF8(text, "\ufffd")
	}
	var b strings.Builder
	for _, r := range text {
		if unseen(r) {
			b.WriteString(escape(r))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// printing is an output that has each text made printable.
type printing struct {
	out  io.Writer
	text func(string) string
}

// Write implements io.Writer.
func (w *printing) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.out, w.text(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// linesTo is an output for lines that people read.
func linesTo(out io.Writer) io.Writer { return &printing{out, printableLines} }

// printableError is an error whose text may stand in a terminal.
type printableError struct{ error }

func (e printableError) Error() string { return printableLines(e.error.Error()) }
func (e printableError) Unwrap() error { return e.error }
