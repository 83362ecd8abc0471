// Tests of reading JSON objects and of comparing names.

package veeam

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestObjectsKeepTheirOrder(t *testing.T) {
	o, err := readObject([]byte("\xef\xbb\xbf\r\n" + ` {"b":1,"a":{"x":[2,"}"]},"B":null,"":true} `))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range o {
		got = append(got, m.Key+"="+string(m.Value))
	}
	if want := `b=1 a={"x":[2,"}"]} B=null =true`; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTextsThatAreNoObject(t *testing.T) {
	for _, text := range []string{
		"", " ", "null", "[]", `"{}"`, "{", "}", `{"a":1}{"b":2}`, `{"a":1} x`, `{a:1}`, `{"a":}`, "{\"a\":1,}",
		"\xff\xfe{\x00}\x00", "<html>", "\xef\xbb\xbf", strings.Repeat("[", 20000), `{"a":` + strings.Repeat("[", 20000),
	} {
		if o, err := readObject([]byte(text)); err == nil {
			t.Errorf("%.40q became %v", text, o)
		}
	}
}

func TestMembersAreFoundInAnySpelling(t *testing.T) {
	for _, tt := range []struct{ text, key, raw, value string }{
		{`{"access_token":"a"}`, "accesstoken", `"a"`, "a"},
		{`{"accessToken":"a"}`, "accesstoken", `"a"`, "a"},
		{`{"ACCESS-TOKEN":"a"}`, "accesstoken", `"a"`, "a"},
		{`{".issued":"x"}`, "issued", `"x"`, "x"},
		{`{"a":"1","A":"2"}`, "a", `"2"`, "2"},
		{`{"a":"1","A":null}`, "a", `"1"`, "1"},
		{`{"a":null}`, "a", "", ""},
		{`{"a":7}`, "a", "7", ""},
		{`{"a":"\u0041\n"}`, "a", `"\u0041\n"`, "A\n"},
		{`{"ab":"1"}`, "a", "", ""},
	} {
		o, err := readObject([]byte(tt.text))
		if err != nil {
			t.Fatal(err)
		}
		if raw := string(o.get(tt.key)); raw != tt.raw {
			t.Errorf("%s: got %s, want %s", tt.text, raw, tt.raw)
		}
		if value := o.text(tt.key); value != tt.value {
			t.Errorf("%s: got %q, want %q", tt.text, value, tt.value)
		}
	}
	if object(nil).get("a") != nil || object(nil).text("a") != "" {
		t.Error("no object has members")
	}
}

func TestFold(t *testing.T) {
	for name, want := range map[string]string{
		"grant_type": "granttype", "GrantType": "granttype", ".issued": "issued", "Refresh-Token ": "refreshtoken",
		"userUid": "useruid", "Straße": "straße", "": "",
	} {
		if got := fold(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
		if got := fold(fold(name)); got != want {
			t.Errorf("%q: folding twice gives %q", name, got)
		}
	}
}

func TestNumbers(t *testing.T) {
	for text, want := range map[string]float64{
		"0": 0, "-1.5": -1.5, "1e3": 1000, `"42"`: 42, `" 42 "`: 42, `"+7"`: 7,
	} {
		if got, ok := readNumber(json.RawMessage(text)); !ok || got != want {
			t.Errorf("%s: got %v, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "null", "true", `""`, `"`, `"1,5"`, `"1 5"`, `"--1"`, `"e"`, `"inf"`, `"\u0031x"`, "{}", "[1]"} {
		if got, ok := readNumber(json.RawMessage(text)); ok {
			t.Errorf("%s: got %v", text, got)
		}
	}
}

func TestOwnFormsKeepOrderAndLeaveOutWhatIsEmpty(t *testing.T) {
	f := lookup(t, "vspc").newForm(GrantPassword)
	f.add("username", "ü b")
	f.add("", "no such field")
	f.add("password", "")
	f.add("code", "a&b=c+d%")
	f.flag("readOnly", true)
	f.flag("short", false)
	f.flag("", true)
	if want := "grant_type=password&username=%C3%BC+b&code=a%26b%3Dc%2Bd%25&readOnly=true"; f.body.String() != want {
		t.Errorf("got %s, want %s", f.body.String(), want)
	}
	for _, s := range []string{"ü b", "%C3%BC+b", "a&b=c+d%", "a%26b%3Dc%2Bd%25"} {
		if !repeats("x"+s+"y", f.secrets) {
			t.Errorf("%q is not kept out of errors", s)
		}
	}
	if repeats("true no such field", f.secrets) {
		t.Error("what was not sent is kept out of errors")
	}
}

func TestObjectsMayBeAsDeepAsForEncodingJSON(t *testing.T) {
	for _, depth := range []int{maxDepth - 1, maxDepth} {
		text := []byte(`{"a":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + `}`)
		if _, err := readObject(text); (err == nil) != json.Valid(text) {
			t.Errorf("%d below the object: %v", depth, err)
		}
	}
}

// readDecoded is readObject by encoding/json.
func readDecoded(data []byte) (found object, ok bool) {
	data = bytes.TrimSpace(bytes.TrimPrefix(data, byteOrderMark))
	if len(data) == 0 || data[0] != '{' || !json.Valid(data) {
		return nil, false
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	_, err := decoder.Token()
	for err == nil && decoder.More() {
		var key json.Token
		var value json.RawMessage
		if key, err = decoder.Token(); err == nil {
			err = decoder.Decode(&value)
		}
		found = append(found, member{key.(string), value})
	}
	return found, err == nil
}

// FuzzObjects compares the members of objects, and their texts, with those that encoding/json
// finds.
func FuzzObjects(f *testing.F) {
	for _, text := range []string{
		"\xef\xbb\xbf\r\n" + ` {"b":1,"a":{"x":[2,"}"]},"B":null,"":true} `, `{}`, `{"a":{}}`, `{"a":[],"a":[[{"b":[]}]]}`, `{"a\u0041\"":"\n\ud83d\ude00","":-1.5e+3}`,
		"{\"a\xff\":\"\xff\",\"\xc3\xa4\":\"\xc3\xa4\"}", `{"a":1}{"b":2}`, `{"a":1,}`, `{"a":}`, `{"a"}`, `{"a":"x`, `{"a":01}`, `{"a":1} x`, `{"a":tru}`, `{"a":"` + "\x01" + `"}`, `[{"a":1}]`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		got, err := readObject(data)
		want, ok := readDecoded(data)
		if (err == nil) != ok {
			t.Fatalf("%q: %v, encoding/json: %t", data, err, ok)
		}
		if !slices.EqualFunc(got, want, func(a, b member) bool { return a.Key == b.Key && bytes.Equal(a.Value, b.Value) }) {
			t.Fatalf("%q became %q, encoding/json: %q", data, got, want)
		}
		for _, m := range got {
			var want string
			_ = json.Unmarshal(m.Value, &want)
			if got := text(m.Value); got != want {
				t.Errorf("%q is the text %q, encoding/json: %q", m.Value, got, want)
			}
			_ = append(m.Value, "more"...)
		}
		if !bytes.Equal(data, before) {
			t.Errorf("%q has become %q", before, data)
		}
	})
}
