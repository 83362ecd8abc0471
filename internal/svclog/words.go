// This file holds the words that make the name of a header or a parameter secret. Unlike
// the keys of JSON, which the products describe, such names are made up by clients, proxies
// and identity providers, so no table has them all.

package svclog

import (
	"strings"
	"sync"
)

// wordPlace says where in a name a word counts.
type wordPlace uint8

const (
	// anywhere: hardly another word contains it.
	anywhere wordPlace = iota
	// ending: as a word, or as the end of one, as in functionskey and oauth.
	ending
	// alone: as a word only, not as in spin and design.
	alone
)

// secretWord is a word that makes a name secret.
type secretWord struct {
	text  string // in lower case
	place wordPlace
}

// secretWords holds them by their first letter.
var secretWords = sync.OnceValue(func() *[256][]secretWord {
	var words [256][]secretWord
	for place, texts := range [...]string{
		anywhere: "session sessid token secret password passwd passwort passphrase passcode pwd credential signature cookie authorization bearer jwt csrf xsrf hmac",
		ending:   "key auth pass otp",
		alone:    "code pin sig sas pw psw mfa sess",
	} {
		for text := range strings.FieldsSeq(texts) {
			small, capital := text[0], text[0]-'a'+'A'
			words[small] = append(words[small], secretWord{text, wordPlace(place)})
			words[capital] = words[small]
		}
	}
	return &words
})

// harmlessEndings holds, by its last letter, what a readable name with such a word ends in:
// what tells something about a secret, what is called like one, and words that end so by
// chance.
var harmlessEndings = sync.OnceValue(func() *[256][]string {
	var endings [256][]string
	for text := range strings.FieldsSeq(`
		filter type types name names id ids column count limit size state status mode enabled required version format
		algorithm length hint kind order sort expiration expires date time user users username email group groups role
		roles scope scopes result results path

		errorcode statuscode exitcode resultcode reasoncode countrycode languagecode currencycode regioncode zipcode
		postalcode productcode areacode idempotencykey websocketkey sortkey orderkey groupkey partitionkey hotkey
		bypass compass passthrough allowcredentials

		sessions jobsession backupsession restoresession replicasession replicationsession tasksession copysession
		flrsession mountsession publishsession comparesession managementsession retrievalsession checksession
		retentionsession exportsession browsesession policysession scansession recoverysession migrationsession
		importsession uploadsession automationsession discoverysession verificationsession failoversession agentsession
		tapesession archivesession offloadsession databasesession configurationsession
	`) {
		last := text[len(text)-1]
		endings[last] = append(endings[last], text)
	}
	return &endings
})

// hasSecretWordDecoded is hasSecretWord for a name that may be percent-encoded, which
// judgeDecoded has found readable.
func hasSecretWordDecoded(name string) bool {
	for {
		if hasSecretWord(name) {
			return true
		}
		var wrapped bool
		if name, wrapped = peel(name); !wrapped { // judgeDecoded has seen that this is not far
			return false
		}
	}
}

// hasSecretWord reports whether a name that the table of names does not know for a secret has
// a word that makes it one.
func hasSecretWord(name string) bool {
	if !findsWord(name) {
		return false
	}
	var buf [nameWidth]byte
	normal := normalize(&buf, name)
	for len(normal) > 0 && normal[len(normal)-1] <= '9' {
		normal = normal[:len(normal)-1]
	}
	if len(normal) == 0 {
		return true // a name whose end is nothing but digits
	}
	if _, listed := listedName(normal); listed {
		return false // a look-alike
	}
	text := view(normal)
	for _, id := range [...]string{"guid", "uuid", "uid", "id"} {
		if owner, cut := strings.CutSuffix(text, id); cut && (strings.HasSuffix(owner, "session") || strings.HasSuffix(owner, "sess")) {
			text = owner // whose id is enough to use it
			break
		}
	}
	for _, harmless := range harmlessEndings()[text[len(text)-1]] {
		if strings.HasSuffix(text, harmless) {
			return false
		}
	}
	return true
}

// findsWord reports whether a name contains one of secretWords.
func findsWord(name string) bool {
	words := secretWords()
	plain := true
	for i := range len(name) {
		c := name[i]
		plain = plain && inName[c]
		for _, word := range words[c] {
			if word.at(name, i) {
				return true
			}
		}
	}
	if plain {
		return false
	}
	var buf [nameWidth]byte // some server may drop or fold what is no plain letter
	return findsWord(view(normalize(&buf, name)))
}

// at reports whether the word stands at name[i]. Words begin with a capital, or behind
// another character than a letter.
func (w secretWord) at(name string, i int) bool {
	end := i + len(w.text)
	if end > len(name) || !sameLetters(name[i:end], w.text) {
		return false
	}
	switch w.place {
	case anywhere:
		return true
	case alone:
		return startsWord(name, i) && (end == len(name) || startsWord(name, end))
	}
	return end == len(name) || startsWord(name, end)
}

// sameLetters reports whether text is word, which is in lower case, in any case.
func sameLetters(text, word string) bool {
	for i := range len(word) {
		if text[i]|0x20 != word[i] {
			return false
		}
	}
	return true
}

// startsWord reports whether the character at name[i] does not continue a word.
func startsWord(name string, i int) bool {
	switch {
	case i == 0 || !isLetter(name[i]) || !isLetter(name[i-1]):
		return true
	case !isCapital(name[i]):
		return false
	}
	return !isCapital(name[i-1]) || i+1 < len(name) && isLetter(name[i+1]) && !isCapital(name[i+1]) // the T of JWTToken
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isCapital(c byte) bool { return 'A' <= c && c <= 'Z' }
