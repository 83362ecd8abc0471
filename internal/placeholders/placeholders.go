// Package placeholders checks the Caddy placeholders of the configuration, so that
// those that can never have a value are reported before a login needs them.
package placeholders

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// spellings are how people write what they mean by a placeholder.
type spellings struct{ colon, shell, template, caddyfile, bare, source *regexp.Regexp }

var written = sync.OnceValue(func() *spellings {
	return &spellings{
		colon:     regexp.MustCompile(`\{\$?(env|file|ENV|FILE)[:=/ ]`),
		shell:     regexp.MustCompile(`\$\{`),
		template:  regexp.MustCompile(`\{\{`),
		caddyfile: regexp.MustCompile(`\{\$`),
		bare:      regexp.MustCompile(`^\$?\{+\$?(?:env[:=./ ])?\s*([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)\s*\}+$`),
		source:    regexp.MustCompile(`^(?:exec\.[^{}\s][^{}]*|vault\.[^{}\s#?]+#[^{}#]+)$`),
	}
})

// system have the same value in all requests, and outside of them.
var system = []string{"system.hostname", "system.slash", "system.os", "system.arch", "system.wd"}

// Check refuses the text of an option with a placeholder that has no value when an
// account logs in, and says how to write what it means. The error begins with the
// name of the option. It repeats no more of the text than the name of a variable:
// the rest may be part of a password.
func Check(option, text string) error {
	keys, closed := keysOf(text)
	for _, key := range keys {
		path, file := strings.CutPrefix(key, "file.")
		switch {
		case file && path != "" && !strings.ContainsAny(path, "{}"),
			isVariable(key), written().source.MatchString(key), slices.Contains(system, key):
			continue
		}
		return fmt.Errorf("%s %s", option, spelling(text, key))
	}
	if !closed {
		return fmt.Errorf(`%s has an opening brace without a closing one: write {env.NAME} or {file./path}, and \{ for a brace that belongs to the secret`, option)
	}
	return nil
}

// isVariable reports whether a key is that of a variable of the environment.
func isVariable(key string) bool {
	name, is := strings.CutPrefix(key, "env.")
	return is && name != "" && !strings.ContainsAny(name, "{}:=$ \t\n\f\r")
}

// keysOf returns the keys of the placeholders that Caddy finds in a text. closed is false if
// a placeholder of a secret has no closing brace.
func keysOf(text string) (keys []string, closed bool) {
	for i := 0; i < len(text); i++ {
		if text[i] != '{' || i > 0 && text[i-1] == '\\' {
			continue
		}
		length := strings.IndexByte(text[i:], '}')
		if length < 0 {
			return keys, !slices.ContainsFunc([]string{"{env.", "{file.", "{exec.", "{vault."}, func(kind string) bool { return strings.HasPrefix(text[i:], kind) })
		}
		end := i + length
		for text[end-1] == '\\' && end < len(text)-1 { // as Caddy's replacer looks for it
			next := strings.IndexByte(text[end+1:], '}')
			if next < 0 {
				return keys, true
			}
			end += next + 1
		}
		keys = append(keys, text[i+1:end])
		i = end
	}
	return keys, true
}

// spelling says how to write what a text with a wrong placeholder means.
func spelling(text, key string) string {
	name := "NAME"
	if found := written().bare.FindStringSubmatch(text); found != nil {
		name = found[1]
	}
	const brace = `; write \{ for a brace that belongs to the secret`
	switch {
	case strings.HasPrefix(key, "http."), strings.HasPrefix(key, "vars."):
		return "has a placeholder of a request, which has no value when the account logs in; a file requires its path, as in {file./run/secrets/name} or {file../name}"
	case strings.HasPrefix(key, "time."):
		return "has a placeholder of the time, which differs at each login; write {env.NAME} or {file./path}"
	case written().template.MatchString(text):
		return fmt.Sprintf("has doubled braces; write a placeholder with one brace on each side: {env.%s} or {file./path}", name) + brace
	case written().colon.MatchString(text):
		return fmt.Sprintf("has a misspelled placeholder: write a dot after env and file, as in {env.%s} and {file./run/secrets/name}", name) + brace
	case written().shell.MatchString(text):
		return fmt.Sprintf("has a shell variable; write {env.%s}", name) + brace
	case written().caddyfile.MatchString(text):
		return fmt.Sprintf("has a Caddyfile variable, which is replaced only when the Caddyfile is adapted; write {env.%s}, which is read when the account logs in", name) + brace
	case strings.HasPrefix(key, "env.") && strings.Contains(key, "{"), strings.HasPrefix(key, "file.") && strings.Contains(key, "{"):
		return "has a nested placeholder, which Caddy does not replace; write the whole name or path in one: {env.NAME} or {file./path}"
	case strings.HasPrefix(key, "vault."):
		return "has a placeholder of vault without a field; write {vault.mount/data/path#field}, or {vault.mount/path#field} for version 1 of KV"
	case strings.HasPrefix(key, "exec."):
		return "has a placeholder of exec without a program; write {exec./path/of/program argument}"
	case key == "env." || key == "file.":
		return "has a placeholder without a name; write {env.NAME} or {file./path}"
	}
	return fmt.Sprintf("has a placeholder that has no value when the account logs in; write {env.%s} for a variable of the environment, or {file./path} for a file", name) + brace
}
