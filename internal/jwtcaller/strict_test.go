// What counts in its strict form only.

package jwtcaller

import (
	"strings"
	"testing"
)

// The last character of a coordinate has two bits that belong to nothing.
func TestCoordinatesInASecondSpellingAreRefused(t *testing.T) {
	t.Parallel()
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for _, name := range []string{"x", "y"} {
		fields := jwk(t, "p256", testKeys().p256, nil)
		if _, err := parseKey(fields); err != nil {
			t.Fatal(err)
		}
		text := fields[name].(string)
		last := strings.IndexByte(alphabet, text[len(text)-1])
		fields[name] = text[:len(text)-1] + alphabet[last+1:last+2]
		if _, err := parseKey(fields); err == nil {
			t.Errorf("%s: %s counts as %s", name, fields[name], text)
		}
	}
}

func TestAnAudienceIsATextOrAListOfTexts(t *testing.T) {
	t.Parallel()
	p := &provider{Config: &Config{Audience: []string{"one", "two"}}}
	for _, tt := range []struct {
		audience any
		serves   bool
	}{
		{"one", true},
		{"two", true},
		{"three", false},
		{"", false},
		{[]any{"three", "two"}, true},
		{[]any{"three"}, false},
		{[]any{}, false},
		{[]any{"one", 1}, false},
		{[]any{1, "one"}, false},
		{[]any{[]any{"one"}}, false},
		{map[string]any{"one": true}, false},
		{true, false},
		{1, false},
		{nil, false},
	} {
		if got := p.serves(tt.audience); got != tt.serves {
			t.Errorf("%v: %v", tt.audience, got)
		}
	}
}

func TestAProviderHasOneName(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		name string
	}{{nil, defaultName}, {[]string{"k8s"}, "k8s"}, {[]string{"a", "b"}, ""}} {
		c := new(Config)
		if err := c.SetName(tt.args); (err == nil) != (tt.name != "") || c.Name != tt.name {
			t.Errorf("%v: %q %v", tt.args, c.Name, err)
		}
	}
}
