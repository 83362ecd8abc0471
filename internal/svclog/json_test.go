// This file holds the tests of the masking of JSON.

package svclog

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestMaskJSON(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"empty object":       {`{}`, `{}`},
		"empty array":        {` [ ] `, ` [ ] `},
		"scalar":             {`42`, `42`},
		"token answer":       {`{"access_token":"a","token_type":"bearer","refresh_token":"b","expires_in":900}`, `{"access_token":"****","token_type":"bearer","refresh_token":"****","expires_in":900}`},
		"the seed's answer":  {`{"errorCode":"AccessDenied","message":"Authentication failed","resourceId":null}`, `{"errorCode":"AccessDenied","message":"Authentication failed","resourceId":null}`},
		"white space kept":   {"{\r\n\t\"user\" : \"u\" ,\n \"password\" : \"p\"\n}\n", "{\r\n\t\"user\" : \"u\" ,\n \"password\" : \"****\"\n}\n"},
		"numbers kept":       {`[1.50,-0,1E+5,0.1e-2,12345678901234567890]`, `[1.50,-0,1E+5,0.1e-2,12345678901234567890]`},
		"number":             {`{"code":123456,"a":1}`, `{"code":"****","a":1}`},
		"bool and null":      {`{"secret":true,"token":false,"mfa_token":null,"z":null}`, `{"secret":"****","token":"****","mfa_token":"****","z":null}`},
		"array":              {`{"scratchCodes":["1","2"],"a":[]}`, `{"scratchCodes":"****","a":[]}`},
		"object":             {`{"secret":{"a":{"b":"c"}},"d":1}`, `{"secret":"****","d":1}`},
		"brackets in string": {`{"secret":["]",{"x":"}"}],"d":1}`, `{"secret":"****","d":1}`},
		"any depth":          {`{"a":[{"b":{"Password":"x"}}]}`, `{"a":[{"b":{"Password":"****"}}]}`},
		"duplicate keys":     {`{"password":"a","password":"b","x":1,"x":2}`, `{"password":"****","password":"****","x":1,"x":2}`},
		"escaped key":        {`{"pass\u0077ord":"a","\u0050ASS\u0057ORD":"b"}`, `{"pass\u0077ord":"****","\u0050ASS\u0057ORD":"****"}`},
		"percent key":        {`{"pass%77ord":"a"}`, `{"pass%77ord":"****"}`},
		"escaped quote":      {`{"password":"a\"b","x":"c\"d"}`, `{"password":"****","x":"c\"d"}`},
		"backslash at end":   {`{"password":"a\\","user":"b\\"}`, `{"password":"****","user":"b\\"}`},
		"same word as value": {`{"grant_type":"password","name":"token"}`, `{"grant_type":"password","name":"token"}`},
		"look-alikes":        {`{"encryptionPasswordId":"1","passwordHint":"h"}`, `{"encryptionPasswordId":"1","passwordHint":"h"}`},
		"broken UTF-8":       {"{\"password\":\"\xff\",\"a\":\"\xfe\"}", "{\"password\":\"****\",\"a\":\"\xfe\"}"},
		"domain user":        {`{"username":"LAB\\svc"}`, `{"username":"LAB\\svc"}`},
		"several secrets":    {`[{"token":1},{"token":{}},{"token":[[]]}]`, `[{"token":"****"},{"token":"****"},{"token":"****"}]`},

		// a name and its value side by side
		"JSON Patch":         {`[{"op":"replace","path":"/password","value":"x"},{"op":"add","path":"/name","value":"y"}]`, `[{"op":"replace","path":"/password","value":"****"},{"op":"add","path":"/name","value":"y"}]`},
		"value first":        {`{"value":{"a":"x"},"path":"\/cred\/0\/pass\u0077ord\/","op":"add"}`, `{"value":"****","path":"\/cred\/0\/pass\u0077ord\/","op":"add"}`},
		"name and value":     {`{"Name":"client.secret","Value":["x"],"newValue":1}`, `{"Name":"client.secret","Value":"****","newValue":"****"}`},
		"other object":       {`{"name":"a","value":"b","c":{"name":"token"}}`, `{"name":"a","value":"b","c":{"name":"token"}}`},
		"inner object":       {`{"name":"a","c":{"value":"b","name":"token"},"value":"d"}`, `{"name":"a","c":{"value":"****","name":"token"},"value":"d"}`},
		"value, cut":         {`{"path":"/password","value":"hunt`, `{"path":"/password","value":"****"<incomplete>`},
		"path, cut":          {`{"value":"a","path":"/passw`, `{"value":"****","path":<incomplete>`},
		"array after object": {`[{"name":"token"},["x"],{"value":"a"}]`, `[{"name":"token"},["x"],{"value":"a"}]`},

		// secrets inside strings
		"bearer":            {`{"m":"Bearer abc is wrong"}`, `{"m":"Bearer **** is wrong"}`},
		"bearer, escaped":   {`{"m":"said \"Bearer abc\""}`, `{"m":"****"}`},
		"otpauth":           {`{"u":"otpauth://totp/a?secret=B&issuer=c"}`, `{"u":"otpauth://****"}`},
		"otpauth, escaped":  {`{"u":"otpauth:\/\/totp\/a?secret=B"}`, `{"u":"****"}`},
		"PEM":               {`{"k":"-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n"}`, `{"k":"****"}`},
		"JWT":               {`["eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.c2ln"]`, `["****"]`},
		"JSON in a string":  {`{"body":"{\"password\":\"x\"}"}`, `{"body":"****"}`},
		"twice in a string": {`{"body":"{\"b\":\"{\\\"password\\\":\\\"x\\\"}\"}"}`, `{"body":"****"}`},
		"escaped twice":     {`{"body":"{\"p\\u0061ssword\":\"x\"}"}`, `{"body":"****"}`},
		"form in a string":  {`{"body":"username=u&password=x&a=b"}`, `{"body":"username=u&password=****&a=b"}`},
		"encoded form":      {`{"body":"a%3D1%26password%3Dx"}`, `{"body":"****"}`},
		"URL":               {`{"url":"https://h/a?token=x"}`, `{"url":"https://h/a?token=****"}`},
		"secret in a key":   {`{"Bearer abc":1}`, `{"****":"****"}`},
		"RSA key as XML":    {`{"k":"<RSAKeyValue><Modulus>a</Modulus><D>b</D></RSAKeyValue>"}`, `{"k":"<RSAKeyValue>****</RSAKeyValue>"}`},

		// JSON that ends too early
		"no end":              {`{"a":1`, `{"a":1<incomplete>`},
		"in a key":            {`{"a":1,"passw`, `{"a":1,<incomplete>`},
		"in a string":         {`{"a":"hunter2`, `{"a":<incomplete>`},
		"in a secret":         {`{"password":"hunter2`, `{"password":"****"<incomplete>`},
		"in a secret escape":  {`{"password":"hun\u00`, `{"password":"****"<incomplete>`},
		"in a secret list":    {`{"scratchCodes":["1","2`, `{"scratchCodes":"****"<incomplete>`},
		"before a value":      {`{"password":`, `{"password":<incomplete>`},
		"in a word":           {`{"secret":tru`, `{"secret":"****"<incomplete>`},
		"nothing":             {``, `<incomplete>`},
		"in a number":         {`{"a":-`, `{"a":<incomplete>`},
		"behind nested":       {`{"a":{"token":[1]}`, `{"a":{"token":"****"}<incomplete>`},
		"escape at the end":   {`["\`, `[<incomplete>`},
		"exponent at the end": {`[1e`, `[<incomplete>`},

		// what is not JSON, though some parser may take it
		"unquoted key":   {`{password:"hunter2"}`, `<20 bytes, not shown>`},
		"single quotes":  {`{'password':'hunter2'}`, `<22 bytes, not shown>`},
		"comment":        {`{/**/"password":"a"}`, `<20 bytes, not shown>`},
		"trailing comma": {`{"password":"a",}`, `<17 bytes, not shown>`},
		"two documents":  {`{"a":1}{"password":"x"}`, `<23 bytes, not shown>`},
		"wrong bracket":  {`{"password":["a"}]`, `<18 bytes, not shown>`},
		"raw newline":    {"{\"a\":\"x\ny\"}", `<11 bytes, not shown>`},
		"leading zero":   {`[01]`, `<4 bytes, not shown>`},
		"bad escape":     {`["\x41"]`, `<8 bytes, not shown>`},
		"bad unicode":    {`["\u00zz"]`, `<10 bytes, not shown>`},
		"no colon":       {`{"password" "x"}`, `<16 bytes, not shown>`},
		"no comma":       {`["a" "b"]`, `<9 bytes, not shown>`},
		"value expected": {`[,]`, `<3 bytes, not shown>`},
		"early end":      {`]`, `<1 bytes, not shown>`},
		"bad word":       {`[nul]`, `<5 bytes, not shown>`},
		"lone minus":     {`[-]`, `<3 bytes, not shown>`},
		"no fraction":    {`[1.]`, `<4 bytes, not shown>`},
		"number and eof": {`{"a":1.`, `{"a":<incomplete>`},
	} {
		t.Run(name, func(t *testing.T) {
			got := string(MaskJSON([]byte("kept "), []byte(c.in)))
			if got != "kept "+c.want {
				t.Errorf("%s\n got %s\nwant kept %s", c.in, got, c.want)
			}
			if json.Valid([]byte(c.in)) != json.Valid([]byte(c.want)) {
				t.Error("validity changed")
			}
		})
	}
}

func TestEverySecretKeyIsMaskedWhateverItsValue(t *testing.T) {
	for _, name := range documented {
		for _, value := range []string{
			`"c4n4ry"`, `"a\"c4n4ry"`, `{"x":"c4n4ry"}`, `["c4n4ry",{"a":["c4n4ry"]}]`, `"\u0063\u0034n4ry c4n4ry"`,
		} {
			for _, spelled := range []string{name, strings.ToUpper(name), snake(name), escapeAll(name)} {
				in := `{"a":[{"` + spelled + `" : ` + value + `,"b":1}]}`
				got := MaskJSON(nil, []byte(in))
				if strings.Contains(string(got), "4n4ry") || !json.Valid(got) || !strings.HasSuffix(string(got), `,"b":1}]}`) {
					t.Errorf("%s\n got %s", in, got)
				}
			}
		}
	}
}

// escapeAll writes each letter as \u00xx.
func escapeAll(text string) string {
	var b []byte
	for i := range len(text) {
		b = appendEscape(b, rune(text[i]))
	}
	return string(b)
}

func TestLookalikeKeysKeepTheirValues(t *testing.T) {
	for _, name := range lookalikes {
		in := `{"` + name + `":{"x":[1.0, "a"]}}`
		if got := string(MaskJSON(nil, []byte(in))); got != in {
			t.Errorf("%s: %s", in, got)
		}
	}
}

func TestValuesDeepInsideAreMaskedWithoutALook(t *testing.T) {
	wrap := func(inside string) string {
		return strings.Repeat("[", pairDepth) + inside + strings.Repeat("]", pairDepth)
	}
	if got := string(MaskJSON(nil, []byte(wrap(`{"value":"a","b":"c"}`)))); got != wrap(`{"value":"****","b":"c"}`) {
		t.Error(got)
	}
}

func TestDepthCostsNoStackAndKeepsTheDocumentValid(t *testing.T) {
	const deep = 9000 // encoding/json calls nothing valid that is deeper than 10000
	for _, c := range []struct{ open, inside, end string }{
		{`[`, `{"password":"hunter2"}`, `]`},
		{`{"a":`, `{"password":["hunter2"]}`, `}`},
		{`{"password":`, `"hunter2"`, `}`},
		{`[{"a":[`, `{"token":"hunter2"}`, `]}]`},
	} {
		n := deep / (strings.Count(c.open, "[") + strings.Count(c.open, "{"))
		in := strings.Repeat(c.open, n) + c.inside + strings.Repeat(c.end, n)
		got := MaskJSON(nil, []byte(in))
		if !json.Valid([]byte(in)) || !json.Valid(got) || strings.Contains(string(got), "hunter2") {
			t.Errorf("%s…: %.80s…", c.open, got)
		}
	}
	bottomless := []byte(strings.Repeat(`[{"a":`, 1<<20))
	if got := MaskJSON(nil, bottomless); !strings.HasSuffix(string(got), incomplete) {
		t.Errorf("a document without end gave …%s", got[len(got)-20:])
	}
}
