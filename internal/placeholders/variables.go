// Variables of the environment in a Caddyfile, {$NAME}: Caddy replaces them before anybody
// reads the line, so an error about it cannot name them.

package placeholders

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

var (
	position = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`, at ([^ ,]+):(\d+)`) })
	variable = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\{\$([A-Za-z_][A-Za-z0-9_]*)(:[^}]*)?\}`) })
)

// WithVariables completes an error about a line of a Caddyfile with the names of the
// variables that the line takes from the environment: of those that have no value and no
// default, otherwise of those that have a value. It reads the line again. An error without a
// line, or about one without variables, is returned as it is.
func WithVariables(err error) error {
	if err == nil {
		return nil
	}
	at := position().FindStringSubmatch(err.Error())
	if at == nil {
		return err
	}
	number, _ := strconv.Atoi(at[2])
	var missing, named []string
	for _, found := range variable().FindAllStringSubmatch(lineOf(at[1], number), -1) {
		name, fallback := found[1], found[2] != ""
		value, set := os.LookupEnv(name)
		switch {
		case slices.Contains(named, name):
		case set && value == "":
			missing = append(missing, name+" is empty")
		case !set && !fallback:
			missing = append(missing, name+" is not set")
		case set:
			named = append(named, name)
		}
	}
	switch {
	case len(missing) > 0:
		return fmt.Errorf("%w; in the environment %s", err, strings.Join(slices.Compact(missing), ", "))
	case len(named) > 0:
		return fmt.Errorf("%w; the line has %s from the environment", err, strings.Join(named, " and "))
	}
	return err
}

// lineOf returns a line of a file, and an empty text if there is none. For the end of a block
// it is the line that begins the block: errors about all of it are reported at its end.
func lineOf(file string, number int) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	begins := map[string]string{} // by what the line is indented with
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
		if number--; number == 0 {
			if strings.TrimSpace(line) == "}" {
				return begins[indent]
			}
			return line
		}
		if strings.HasSuffix(strings.TrimSpace(line), "{") {
			begins[indent] = line
		}
	}
	return ""
}
