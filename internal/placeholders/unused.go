// Variables of the environment that a Caddyfile does not use although somebody has set them.

package placeholders

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// ourPrefix begins the names of the variables of the image.
const ourPrefix = "VEEAM_AUTH_"

// ofTheProgram are variables that the program reads itself.
var ofTheProgram = []string{"VEEAM_AUTH_FORWARD"}

var (
	// choice is the head of a snippet that is named by a variable and its value, as
	// (MODE=loud) or (MODE=loud/bind), whose import names the variable.
	choice = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^\(([A-Z_][A-Z0-9_]*)=([^ )/]*)[^)]*\)\s*\{`) })
	chosen = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`\bimport ([A-Z_][A-Z0-9_]*)=\{\$([A-Z_][A-Z0-9_]*)(?::([^}]*))?\}`)
	})
	// link is what Kubernetes sets for a Service.
	link = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`(_SERVICE_HOST|_SERVICE_PORT(_\w+)?|_PORT|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)$`)
	})
)

// use is where a Caddyfile uses a variable: in a snippet for that value of that variable, or
// outside of such snippets, where both are empty.
type use struct{ variable, value string }

// WarnUnused calls warn with a sentence for each variable of the environment that has no effect in the
// Caddyfile of this name: one that only snippets for another value of a variable use, and one
// with the prefix of the image that it never mentions. Files that the image itself names do
// not count. A Caddyfile without such snippets is not looked at. The sentences contain no values.
func WarnUnused(file string, warn func(...any)) {
	for _, sentence := range unused(file) {
		warn(sentence)
	}
}

// unused returns what WarnUnused says.
func unused(file string) (sentences []string) {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	const most = 1 << 20
	data, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil
	}
	text := string(data)
	uses, defaults := usesOf(text)
	if uses == nil {
		return nil
	}
	known := make([]string, 0, len(uses))
	for name := range uses {
		known = append(known, name)
	}
	slices.Sort(known)
	for _, name := range known {
		value := os.Getenv(name)
		ofTheImage := strings.HasSuffix(name, "_FILE") && value == defaults[name]
		if value == "" || ofTheImage || slices.ContainsFunc(uses[name], active(defaults)) {
			continue
		}
		var ways []string
		for _, u := range uses[name] {
			if way := u.variable + "=" + u.value; !slices.Contains(ways, way) {
				ways = append(ways, way)
			}
		}
		sentences = append(sentences, fmt.Sprintf("the variable %s has no effect: it is used only with %s", name, strings.Join(ways, " or ")))
	}
	for _, variable := range os.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		if value == "" || !strings.HasPrefix(name, ourPrefix) || mentions(text, name) || link().MatchString(name) || slices.Contains(ofTheProgram, name) {
			continue
		}
		sentences = append(sentences, fmt.Sprintf("the variable %s has no effect: %s does not use it%s", name, file, nearest(name, known)))
	}
	return sentences
}

// mentions reports whether a text has the name as a word.
func mentions(text, name string) bool {
	return regexp.MustCompile(`\b` + regexp.QuoteMeta(name) + `\b`).MatchString(text)
}

// active returns whether a use counts with the environment as it is.
func active(defaults map[string]string) func(use) bool {
	return func(u use) bool {
		value, set := os.LookupEnv(u.variable)
		if !set {
			value = defaults[u.variable]
		}
		return u.variable == "" || u.value == value
	}
}

// usesOf finds the variables of a Caddyfile and their defaults. Without snippets that are
// named by variables there are none.
func usesOf(text string) (uses map[string][]use, defaults map[string]string) {
	uses, defaults = map[string][]use{}, map[string]string{}
	var inside use
	choices := 0
	for line := range strings.Lines(text) {
		if head := choice().FindStringSubmatch(line); head != nil {
			inside = use{head[1], head[2]}
			choices++
		}
		for _, found := range variable().FindAllStringSubmatch(line, -1) {
			uses[found[1]] = append(uses[found[1]], inside)
			if found[2] != "" {
				defaults[found[1]] = found[2][1:]
			}
		}
		if found := chosen().FindStringSubmatch(line); found != nil && found[1] == found[2] {
			defaults[found[2]] = found[3]
		}
		if strings.HasPrefix(line, "}") {
			inside = use{}
		}
	}
	if choices == 0 {
		return nil, nil
	}
	return uses, defaults
}

// nearest names the variable that somebody has probably meant.
func nearest(name string, known []string) string {
	for _, k := range known {
		if strings.HasPrefix(k, name) || strings.HasPrefix(name, k) {
			return "; did you mean " + k + "?"
		}
	}
	return ""
}
