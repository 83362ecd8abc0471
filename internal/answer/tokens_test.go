package answer

import "testing"

func FuzzNamesOfTokens(f *testing.F) {
	f.Add(`{"access_token":1}`, 3)
	f.Add(`{"data":{"\u0061ccessToken":1}}`, 1)
	f.Add(`{"a":"\\","b":[{"access_token":1}],"access_token":1}`, 7)
	f.Fuzz(func(t *testing.T, text string, cut int) {
		var whole, parts jsonNames
		found := whole.find([]byte(text))
		cut = max(0, min(cut, len(text)))
		if pieces := parts.find([]byte(text[:cut])) || parts.find([]byte(text[cut:])); pieces != found {
			t.Fatalf("%q: %v as a whole, %v in pieces", text, found, pieces)
		}
	})
}
