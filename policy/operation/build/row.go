// Package build makes the index files of package operation from lists of operations,
// one for each product and version, and from the rules that assign a class to each
// operation.
package build

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Row is an operation of an API description.
type Row struct {
	Method, Path, Name, Group string

	// Anonymous reports whether the operation is documented to work without a token,
	// Stream whether a response is not JSON. Both are false if the description does not
	// say so.
	Anonymous, Stream bool

	// Fields are the names of response fields that look like those of secrets.
	Fields []string
}

const header = "# method\tpath\toperation\tgroup\tanonymous\tstream\tresponse fields whose name looks secret\n"

// ReadRows reads a list written by WriteRows.
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

// WriteRows writes a list with one line for each operation and tabs between columns.
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
