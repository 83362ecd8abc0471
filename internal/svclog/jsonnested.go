// This file holds the look into strings that are JSON themselves, such as
// {"body":"{\"name\":\"password\",\"value\":\"x\"}"}.

package svclog

import "strings"

// nestsSecret reports whether s is JSON, or begins as JSON, with a secret in it. What
// stands in too many strings is taken for one.
func nestsSecret(s string, level int) bool {
	text := strings.TrimLeft(strings.TrimPrefix(s, "\ufeff"), " \t\r\n")
	if text == "" || text[0] != '{' && text[0] != '[' && text[0] != '"' {
		return false
	}
	if level == maxLayers {
		return true
	}
	masked, _ := appendJSON(make([]byte, 0, len(text)), text, level+1)
	return !strings.HasPrefix(text, view(masked))
}
