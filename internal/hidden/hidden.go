// Package hidden removes words that may be secrets from errors about a Caddyfile.
package hidden

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/caddy-veeam/veeam-auth/internal/account"
)

// Words are those of a directive that may be secrets. Errors are checked for them where
// they leave the directive, whoever made them: the module, Caddy's dispenser,
// reverse_proxy or a storage module.
type Words struct {
	known []string
	words map[string]bool
}

// New returns no words yet. known are the names of subdirectives.
func New(known ...string) *Words { return &Words{known, make(map[string]bool)} }

// plainOptions are the options of an account whose value is no secret.
var plainOptions = []string{"grant", "username", "padding", "public_key_format", "public_key", "key", "user_uid", "parent", "required"}

// limitsOfClient are the options of a client and of its keys whose values are no secrets.
var limitsOfClient = []string{"account", "preset", "token_lifetime", "until", "hours", "rate_limit", "from"}

var privateWords = map[string][]string{
	"account": slices.Concat([]string{"account", "{", "}", "read_only", "short_lived"}, plainOptions, account.SecretOptions),
	"client":  slices.Concat([]string{"client", "{", "}", "key"}, limitsOfClient),
	"cache":   {"cache", "{", "}", "encryption_key", "storage"},
}

// plainBefore are the words behind which one word is no secret.
var plainBefore = map[string][]string{
	"account": slices.Concat([]string{"account"}, plainOptions), "client": {"client", "key"}, "cache": {"storage"},
}

// mostWords are the options of reverse_proxy whose last argument may be a secret, with how many
// words they have. Of more Caddy repeats one.
var mostWords = map[string]int{"header_up": 4, "header_down": 4, "lb_policy": 4}

// Segment adds the words of one subdirective. Only what is known to be none counts
// as no secret: what stands in the wrong place may be one.
func (w *Words) Segment(tokens []string) {
	if len(tokens) == 0 {
		return
	}
	name := tokens[0]
	words, own := privateWords[name]
	if !own {
		// A secret that begins with @ and has slipped out of its line is read as the
		// definition of a response matcher.
		if strings.HasPrefix(name, "@") {
			for _, token := range tokens {
				if strings.HasPrefix(token, "@") {
					w.add(token)
				}
			}
		}
		if name == "to" {
			w.Arguments(tokens[1:])
		}
		for _, token := range tokens[1:] {
			user, _, found := strings.Cut(token, "@")
			if found && strings.Contains(user, ":") || slices.Contains(account.SecretOptions, name) {
				w.add(token)
			}
		}
		line := tokens
		if block := slices.Index(tokens, "{"); block > 0 {
			line = tokens[:block]
		}
		if most, counted := mostWords[name]; counted && len(line) > most {
			for _, token := range line[2:] {
				w.add(token)
			}
		}
		return
	}
	plain := false // up to the next option
	for i, token := range tokens {
		option := slices.Contains(words, token) || isOption(token, w.known)
		if option {
			plain = name == "client" && slices.Contains(limitsOfClient, token)
		}
		switch {
		case plain:
		case option && (i == 0 || !slices.Contains(account.SecretOptions, tokens[i-1])): //nolint:gosec // i-1 is checked
		case i > 0 && slices.Contains(plainBefore[name], tokens[i-1]): //nolint:gosec // i-1 is checked
		default:
			w.addUnknown(token)
		}
	}
}

// Arguments adds the upstreams that have a user in them, with a scheme or without.
func (w *Words) Arguments(tokens []string) {
	for _, token := range tokens {
		if token == "{" {
			return
		}
		at := strings.LastIndexByte(token, '@')
		if at <= 0 { // a matcher begins with it
			continue
		}
		w.add(token)
		w.add(token[:at])
		if _, rest, found := strings.Cut(token, "://"); found {
			w.add(rest)
			w.add(strings.TrimSuffix(rest, token[at:]))
		}
	}
}

// isPlaceholder reports whether a word stands for a secret and is none: {name} or ${name}.
func isPlaceholder(word string) bool {
	name, opened := strings.CutPrefix(strings.TrimPrefix(word, "$"), "{")
	name, closed := strings.CutSuffix(name, "}")
	return opened && closed && !strings.ContainsAny(name, `"{}`)
}

func (w *Words) add(word string) {
	if word != "" && !isPlaceholder(word) {
		w.words[word] = true
	}
}

// addUnknown adds a word unless it is a known one that is misspelled.
func (w *Words) addUnknown(word string) {
	if !MayBeQuoted(word, w.known) {
		w.add(word)
	}
}

// MayBeQuoted reports whether a word that nobody knows looks like one of the options, or
// of the known words.
func MayBeQuoted(word string, known []string) bool {
	if !isLowerWord(word) {
		return false // most words, which are compared with nothing
	}
	like := func(option string) bool { return misspelled(word, option) }
	return slices.ContainsFunc(known, like) || slices.ContainsFunc(privateWords["account"], like) ||
		slices.ContainsFunc(blocks, func(b block) bool { return slices.ContainsFunc(b.options, like) })
}

// isLowerWord reports whether a word has lower-case letters and underscores only, at least
// four of them.
func isLowerWord(word string) bool {
	return len(word) >= 4 && strings.Trim(word, "abcdefghijklmnopqrstuvwxyz_") == ""
}

// misspelled reports whether word is known but for one letter.
func misspelled(word, known string) bool {
	if !isLowerWord(word) || len(known) < 4 {
		return false
	}
	same := 0
	for same < min(len(word), len(known)) && word[same] == known[same] {
		same++
	}
	a, b := word[same:], known[same:]
	switch {
	case len(a) == len(b)+1:
		return a[1:] == b
	case len(b) == len(a)+1:
		return b[1:] == a
	}
	return len(a) == len(b) && len(a) > 0 && (a[1:] == b[1:] || len(a) > 1 && a[0] == b[1] && a[1] == b[0] && a[2:] == b[2:])
}

// errPrivate stands in place of an error that repeats what may be a secret.
var errPrivate = errors.New("an argument is invalid, missing or in the wrong place. It may be a secret and is not shown. Write: account <name> <password>, with quotes around values that have blanks, and options on lines of their own")

var sourceLine = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`, at ([^ ,]*:\d+)`) })

// Check returns err, or another error if the words of err may be a secret.
func (w *Words) Check(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for word := range w.words {
		if len(word) < 3 || !repeats(text, word) {
			continue // a word of two letters is part of others
		}
		if line := sourceLine().FindStringSubmatch(text); line != nil && !strings.Contains(line[1], word) {
			return fmt.Errorf("%w, at %s", errPrivate, line[1])
		}
		return errPrivate
	}
	return err
}

// repeats reports whether the text has the word in it, as it is or quoted.
func repeats(text, word string) bool {
	quoted := fmt.Sprintf("%q", word)
	return strings.Contains(text, word) || strings.Contains(text, quoted[1:len(quoted)-1])
}
