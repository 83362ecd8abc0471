// Tests of reading JSON objects and of comparing names.

package veeam

import (
	"encoding/json"
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
