// The threat model names a test for each threat, and each of them exists.

package test

import (
	"regexp"
	"strings"
	"testing"
)

func TestEachThreatNamesTestsThatExist(t *testing.T) {
	exists := testFunctions(t)
	rows, sections := 0, 0
	for line := range strings.Lines(string(read(t, "docs/threat-model.md"))) {
		switch {
		case strings.HasPrefix(line, "| threat |"):
			sections++
		case strings.HasPrefix(line, "| "):
			rows++
			columns := strings.Split(line, "|")
			tests := testName.FindAllStringSubmatch(columns[len(columns)-2], -1)
			if len(tests) == 0 {
				t.Errorf("no test shows the defence against: %s", columns[1])
			}
			for _, test := range tests {
				if !exists[test[1]] {
					t.Errorf("there is no test %s; the threat:%s", test[1], columns[1])
				}
			}
		}
	}
	if rows < 30 || sections != 6 {
		t.Errorf("%d threats in %d tables", rows, sections)
	}
}

// testName is how pages name tests.
var testName = regexp.MustCompile("`(Test\\w+)`")

// testFunctions are the names of all tests.
func testFunctions(t *testing.T) map[string]bool {
	t.Helper()
	exists := make(map[string]bool)
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
	for name, text := range files(t) {
		if strings.HasSuffix(name, "_test.go") && !strings.Contains(name, "/testdata/") {
			for _, match := range function.FindAllSubmatch(text, -1) {
				exists[string(match[1])] = true
			}
		}
	}
	return exists
}
