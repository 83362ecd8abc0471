// Errors of the directive that would repeat a secret: what an error may quote of a
// Caddyfile.

package caddymodule

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-veeam/veeam-auth/internal/account"
)

// private collects the words of a directive that may be secrets. Errors are checked
// for them where they leave the directive, whoever made them: the module, Caddy's
// dispenser, reverse_proxy or a storage module.
type private map[string]bool

// plainOptions are the options of an account whose value is no secret.
var plainOptions = []string{"grant", "username", "padding", "public_key_format", "public_key", "key", "user_uid", "parent"}

var privateWords = map[string][]string{
	"account": slices.Concat([]string{"account", "{", "}", "read_only", "short_lived"}, plainOptions, account.SecretOptions),
	"client":  {"client", "{", "}"},
	"cache":   {"cache", "{", "}", "encryption_key", "storage"},
}

// plainBefore are the words behind which one word is no secret.
var plainBefore = map[string][]string{
	"account": slices.Concat([]string{"account"}, plainOptions), "client": {"client"}, "cache": {"storage"},
}

// addSegment adds the words of one subdirective. Only what is known to be none counts
// as no secret: what stands in the wrong place may be one.
func (p private) addSegment(tokens []caddyfile.Token) {
	if len(tokens) == 0 {
		return
	}
	name := tokens[0].Text
	words, own := privateWords[name]
	if !own {
		// A secret that begins with @ and has slipped out of its line is read as the
		// definition of a response matcher.
		if strings.HasPrefix(name, "@") {
			for _, token := range tokens {
				if strings.HasPrefix(token.Text, "@") {
					p.add(token.Text)
				}
			}
		}
		for _, token := range tokens[1:] {
			if strings.Contains(token.Text, "://") && strings.Contains(token.Text, "@") || slices.Contains(account.SecretOptions, name) {
				p.add(token.Text)
			}
		}
		return
	}
	for i, token := range tokens {
		switch {
		case slices.Contains(words, token.Text) && (i == 0 || !slices.Contains(account.SecretOptions, tokens[i-1].Text)):
		case i > 0 && slices.Contains(plainBefore[name], tokens[i-1].Text):
		default:
			p.addUnknown(token.Text)
		}
	}
}

// addArguments adds the upstreams that have a password in them.
func (p private) addArguments(tokens []caddyfile.Token) {
	for _, token := range tokens {
		if token.Text == "{" {
			return
		}
		if _, rest, found := strings.Cut(token.Text, "://"); found && strings.Contains(rest, "@") {
			p.add(token.Text)
			p.add(rest)
			p.add(rest[:strings.LastIndexByte(rest, '@')])
		}
	}
}

// placeholderText is what stands for a secret and is none.
var placeholderText = regexp.MustCompile(`^[$]?\{[^"{}]*\}$`)

func (p private) add(word string) {
	if word != "" && !placeholderText.MatchString(word) {
		p[word] = true
	}
}

// addUnknown adds a word unless it is a known one that is misspelled.
func (p private) addUnknown(word string) {
	if !mayBeQuoted(word) {
		p.add(word)
	}
}

// mayBeQuoted reports whether a word that nobody knows looks like one of ours.
func mayBeQuoted(word string) bool {
	return slices.ContainsFunc(slices.Concat(once, often, privateWords["account"], privateWords["cache"]), func(known string) bool { return misspelled(word, known) })
}

var lowerWord = regexp.MustCompile(`^[a-z_]{4,}$`)

// misspelled reports whether word is known but for one letter.
func misspelled(word, known string) bool {
	if !lowerWord.MatchString(word) || len(known) < 4 {
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
var errPrivate = errors.New("an argument is wrong, missing or in the wrong place. It may be a secret and is not shown; write: account <name> <password>, with quotes around values that have blanks, and options on lines of their own")

var sourceLine = regexp.MustCompile(`, at ([^ ,]*:\d+)`)

// check returns err, or another error if the words of err may be a secret.
func (p private) check(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for word := range p {
		if len(word) < 3 || !p.repeats(text, word) {
			continue // a word of two letters is part of others
		}
		if line := sourceLine.FindStringSubmatch(text); line != nil && !strings.Contains(line[1], word) {
			return fmt.Errorf("%w, at %s", errPrivate, line[1])
		}
		return errPrivate
	}
	return err
}

// repeats reports whether the text has the word in it, as it is or quoted.
func (private) repeats(text, word string) bool {
	quoted := fmt.Sprintf("%q", word)
	return strings.Contains(text, word) || strings.Contains(text, quoted[1:len(quoted)-1])
}
