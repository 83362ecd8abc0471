// The canaries: secrets of every kind, and the forms in which one could get out.

package taint

import (
	"bytes"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
)

// canary is one secret.
type canary struct {
	kind, text string
}

// newCanary makes a secret that occurs nowhere else. It has characters that every
// encoding changes.
func newCanary(kind string) canary {
	return canary{kind, fmt.Sprintf("cnry+%s/%012x ü&\"%06x=", strings.ToUpper(kind[:3]), rand.Uint64()&0xffffffffffff, rand.Uint32()&0xffffff)}
}

// newToken is for secrets that may have no special characters.
func newToken(kind string) canary {
	return canary{kind, fmt.Sprintf("cnry%s%016X%016x", kind[:3], rand.Uint64(), rand.Uint64())}
}

// newSeed is for TOTP seeds.
func newSeed(kind string) canary {
	raw := make([]byte, 20)
	for i := range raw {
		raw[i] = byte(rand.Uint32())
	}
	return canary{kind, base32.StdEncoding.EncodeToString(raw)}
}

// forms are the encodings to look for.
func (c canary) forms() map[string]string {
	jsonText, _ := json.Marshal(c.text)
	var htmlSafe bytes.Buffer
	enc := json.NewEncoder(&htmlSafe)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(c.text)
	raw := []byte(c.text)
	return map[string]string{
		"plain":              c.text,
		"percent":            url.PathEscape(c.text),
		"form":               url.QueryEscape(c.text),
		"form, lower":        lowerEscapes(url.QueryEscape(c.text)),
		"JSON":               strings.Trim(string(jsonText), `"`),
		"JSON, not for HTML": strings.Trim(strings.TrimSpace(htmlSafe.String()), `"`),
		"JSON in JSON":       strings.ReplaceAll(strings.Trim(string(jsonText), `"`), `\`, `\\`),
		"base64":             strings.TrimRight(base64.StdEncoding.EncodeToString(raw), "="),
		"base64url":          base64.RawURLEncoding.EncodeToString(raw),
		"base64 after user:": inner64("user:", raw),
		"base64 after name:": inner64("svc-monitor:", raw),
		"hex":                hex.EncodeToString(raw),
		"HEX":                strings.ToUpper(hex.EncodeToString(raw)),
		"lower case":         strings.ToLower(c.text),
		"upper case":         strings.ToUpper(c.text),
	}
}

// inner64 is the part of base64(prefix+secret) that does not depend on what
// follows, without the first group, which the prefix shares.
func inner64(prefix string, secret []byte) string {
	whole := base64.StdEncoding.EncodeToString(append([]byte(prefix), secret...))
	start := (len(prefix) + 2) / 3 * 4
	return strings.TrimRight(whole[start:len(whole)-4], "=")
}

func lowerEscapes(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			b.WriteString(strings.ToLower(s[i : i+3]))
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// leastForm is the length of the shortest form that is looked for: shorter ones are
// anywhere by chance.
const leastForm = 12

// search returns what of the canaries is in the text. It reads the text once, however
// many forms there are.
func search(canaries []canary, text string) (hits []string) {
	type form struct {
		of         int // number of the canary
		name, text string
	}
	byStart := make(map[[leastForm]byte][]form)
	for i, c := range canaries {
		for name, text := range c.forms() {
			if len(text) >= leastForm {
				start := [leastForm]byte([]byte(text[:leastForm]))
				byStart[start] = append(byStart[start], form{i, name, text})
			}
		}
	}
	found := make(map[int]bool)
	raw := []byte(text)
	for at := 0; at+leastForm <= len(raw); at++ {
		for _, f := range byStart[[leastForm]byte(raw[at:])] {
			if !found[f.of] && strings.HasPrefix(text[at:], f.text) {
				found[f.of] = true
				hits = append(hits, canaries[f.of].kind+" ("+f.name+")")
			}
		}
	}
	return hits
}
