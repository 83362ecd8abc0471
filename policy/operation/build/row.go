// Package build makes the index of operations: from lists of what the API
// descriptions say, one for each product and version, and from the rules that
// give each operation its class.
package build

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Row is an operation as a description lists it.
type Row struct {
	Method, Path, Name, Group string

	// Anonymous: documented to work without a token. Stream: an answer is other
	// than JSON. Both are false where the description does not say.
	Anonymous, Stream bool

	// Fields are the fields of answers whose name looks like that of a secret.
	Fields []string
}

const header = "# method\tpath\toperation\tgroup\tanonymous\tstream\tresponse fields whose name looks secret\n"

// ReadRows reads a list in the form of WriteRows.
func ReadRows(r io.Reader) ([]Row, error) {
	var rows []Row
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 7 || f[0] != strings.ToUpper(f[0]) || !strings.HasPrefix(f[1], "/") {
			return nil, fmt.Errorf("line %q is not a row of an operation list", line)
		}
		row := Row{Method: f[0], Path: f[1], Name: f[2], Group: f[3], Anonymous: f[4] == "anonymous", Stream: f[5] == "stream"}
		if f[6] != "-" && f[6] != "?" {
			row.Fields = strings.Split(f[6], ",")
		}
		rows = append(rows, row)
	}
	return rows, lines.Err()
}

// WriteRows writes a list: a line for each operation, columns between tabs.
func WriteRows(w io.Writer, rows []Row) error {
	var b strings.Builder
	b.WriteString(header)
	for _, row := range rows {
		fields := []string{
			row.Method, row.Path, row.Name, row.Group,
			mark(row.Anonymous, "anonymous"), mark(row.Stream, "stream"), cmp.Or(strings.Join(row.Fields, ","), "-"),
		}
		b.WriteString(strings.Join(fields, "\t") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func mark(set bool, word string) string {
	if set {
		return word
	}
	return "-"
}

func sortRows(rows []Row) {
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Method, b.Method))
	})
}
