package answer

import "testing"

func TestANameOfATokenIsFoundWhereAClientWouldFindIt(t *testing.T) {
	t.Parallel()
	for text, found := range map[string]bool{
		`{"access_token":1}`:                         true,
		"\ufeff \n{\"x\":{}, \"Refresh-Token\" : 1}": true,
		`{"\u0061ccess\u005fToken":1}`:               true,
		`{"data":{"x":1,"accessToken":1}}`:           true,
		`{"x":1}{"access_token":1}`:                  true,
		"{\x00\"\x00a\x00":                           true,

		`{"x":{"access_token":1}}`:                   false,
		`{"data":[{"access_token":1}]}`:              false,
		`{"data":{"x":{"access_token":1}}}`:          false,
		`{"x":"access_token","y":["refresh_token"]}`: false,
		`{"my_access_token":1,"access_tokens":1}`:    false,
		`[{"access_token":1}]`:                       false,
		`"access_token":1`:                           false,
		"":                                           false,

		// Objects that some readers accept, and that are no JSON.
		`{"x":NaN,"access_token":1}`:             true,
		`{"x":1,,"data":{"accessToken":1}}`:      true,
		`{"x":[1},"access_token":1}`:             true,
		`{'access_token':1}`:                     true,
		`{access_token:1}`:                       true,
		"{\"x\":\"a\tb\",\"access_token\":1}":    true,
		`{"x":"\q","access_token":1}`:            true,
		`{"x":NaN,"\u0061ccess_token":1}`:        true,
		`{"access_token" 1}`:                     true,
		`{"x":{"y":"access_token":1}}`:           true,
		`{"x":NaN,"y":1,}`:                       false,
		"{\"x\":\"a\tb\",\"token of access\":1}": false,
		`{ some text }`:                          false,
	} {
		if got := new(tokenNames).find([]byte(text)); got != found {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func FuzzNamesOfTokens(f *testing.F) {
	f.Add(`{"access_token":1}`, 3)
	f.Add(`{"data":{"\u0061ccessToken":1}}`, 1)
	f.Add(`{"a":"\\","b":[{"access_token":1}],"access_token":1}`, 7)
	f.Add(`{"a":NaN,"\"access_token":1}`, 11)
	f.Fuzz(func(t *testing.T, text string, cut int) {
		var whole, parts tokenNames
		found := whole.find([]byte(text))
		cut = max(0, min(cut, len(text)))
		if pieces := parts.find([]byte(text[:cut])) || parts.find([]byte(text[cut:])); pieces != found {
			t.Fatalf("%q: %v as a whole, %v in pieces", text, found, pieces)
		}
		// A name in front is found whatever follows.
		if !new(tokenNames).find([]byte(`{"access_token":` + text)) {
			t.Fatalf("%q hides a name", text)
		}
	})
}
