// This file holds the fuzz targets; what they once stumbled over is kept in
// testdata/fuzz.

package svclog

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/zap/zapcore"
)

// canary cannot arise from anything but itself.
const canary = "c4n4ry"

// harmless drops inputs that a canary could be mistaken in.
func harmless(t *testing.T, inputs ...string) {
	t.Helper()
	for _, in := range inputs {
		if strings.Contains(strings.ToLower(in), "4n4") {
			t.Skip("has the canary in it already")
		}
	}
}

// A secret field is masked whatever stands around it and whatever it holds, as
// long as the value is encoded as it should be.
func FuzzMaskForm(f *testing.F) {
	for _, seed := range [][3]string{
		{"grant_type=password&username=benyoung", "", "&use_short_term_refresh=true"},
		{"&&&", "&=+%", "&&&&"},
		{"password=a&b", "\xff\x00", "&c=d"},
		{"a=%7B%22token%22%3A1%7D", "x", "&%"},
		{"a", "%2570", "b"},
		{"otpauth://totp/a?secret=b", "", "&eyJhbGciOiJub25lIn0.e30."},
	} {
		f.Add(seed[0], seed[1], seed[2], uint8(len(seed[0])))
	}
	f.Fuzz(func(t *testing.T, before, value, after string, pick uint8) {
		harmless(t, before, value, after)
		name := documented[int(pick)%len(documented)]
		for _, spelled := range spellings(name) {
			form := before + "&" + spelled + "=" + url.QueryEscape(value+canary+value) + "&" + after
			for kind, got := range map[string][]byte{
				"form":  MaskForm(nil, []byte(form)),
				"query": MaskQuery(nil, form),
				"path":  MaskPath(nil, "/?"+form),
				"body":  MaskBody(nil, formType, "", []byte(form), pick%2 == 0),
			} {
				if bytes.Contains(got, []byte(canary)) {
					t.Errorf("%s\ngave as a %s %s", form, kind, got)
				}
			}
		}
		plain := MaskForm(nil, []byte(before))
		if again := MaskForm(nil, plain); !bytes.Equal(again, plain) {
			t.Errorf("%q, then %q, then %q", before, plain, again)
		}
	})
}

// Valid JSON stays valid, keeps its keys, and loses every secret; what is not
// valid is cut where it stops to be.
func FuzzMaskJSON(f *testing.F) {
	for _, seed := range []string{
		`{"errorCode":"AccessDenied","message":"Authentication failed","resourceId":null}`,
		`{"access_token":"a","n":[{"pass\u0077ord":{"a":[1,null,true,1.5e-3]}}],"x":"\ud83d\ude00"}`,
		`{"a":"Bearer x","b":"otpauth:\/\/totp","c":"{\"token\":1}"}`, `[[[[]]]]`, `{"a":1,"passw`, `{"a":"\u00`, `"`, ``, "\xff",
		`{"password":[}`, `{a:1}`, `-`, `1e`, `[1,`, `{"":{"":""}}`, " {\r\n} ", `{"a":1}{}`, `nul`, `{"Bearer a":1}`,
	} {
		f.Add(seed, uint8(len(seed)))
	}
	f.Fuzz(func(t *testing.T, text string, pick uint8) {
		got := MaskJSON(nil, []byte(text))
		if json.Valid([]byte(text)) != json.Valid(got) {
			t.Errorf("%q was valid: %v\ngave %q", text, json.Valid([]byte(text)), got)
		}
		if again := MaskJSON(nil, got); json.Valid(got) && !bytes.Equal(again, got) {
			t.Errorf("%q, then %q, then %q", text, got, again)
		}
		if !json.Valid([]byte(text)) {
			return
		}
		harmless(t, text)
		name := documented[int(pick)%len(documented)]
		for _, spelled := range append(spellings(name), escapeAll(name)) {
			quoted, err := json.Marshal(canary + text)
			if err != nil {
				t.Fatal(err)
			}
			for _, value := range []string{string(quoted), `["` + canary + `",` + text + `]`, `{"a":` + text + `,"b":"` + canary + `"}`} {
				in := `{"before":` + text + `,"` + spelled + `":` + value + `,"after":` + text + `}`
				got := MaskJSON(nil, []byte(in))
				if bytes.Contains(got, []byte(canary)) || !json.Valid(got) {
					t.Errorf("%s\ngave %s", in, got)
				}
				if cut := MaskJSON(nil, []byte(in[:len(in)-1-int(pick)%len(in)])); bytes.Contains(cut, []byte(canary)) {
					t.Errorf("%s, cut\ngave %s", in, cut)
				}
			}
		}
	})
}

// Running text keeps what is around a secret from hiding it.
func FuzzMaskText(f *testing.F) {
	for _, seed := range [][2]string{
		{"", ""},
		{"a ", " b"},
		{`{"x":"`, `"}`},
		{"https://h/?", "&x=1"},
		{"%20", "%"},
		{`\"`, `\"`},
		{"password=", "\n"},
		{"-----BEGIN X-----", "-----END X-----"},
		{"<a>", "</a>"},
		{"\xff", "\x00"},
		{`\u0070`, "é"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		harmless(t, before, after)
		for _, secret := range []string{
			" Bearer " + canary, " otpauth://totp/" + canary, ` {"password":"` + canary + `"}`, "&refresh_token=" + canary,
			" eyJhbGciOiJub25lIn0." + canary, " -----BEGIN KEY-----" + canary, "\nAuthorization: " + canary,
		} {
			if got := MaskText(nil, before+secret+after); bytes.Contains(got, []byte(canary)) {
				t.Errorf("%q + %q + %q\ngave %q", before, secret, after, got)
			}
		}
		once := MaskText(nil, before)
		if twice := MaskText(nil, string(once)); !bytes.Equal(once, twice) {
			t.Errorf("%q, then %q, then %q", before, once, twice)
		}
	})
}

// The header list is read as it was written and holds no secret.
func FuzzHeaders(f *testing.F) {
	for _, seed := range [][2]string{
		{"Accept", "*/*"},
		{"X-A", "b; Host: c"},
		{"Parameters", "]; Parameters: [a: b; ]."},
		{"Content-Type", "a/b; charset=c"},
		{"", ""},
		{"x y", "\x00"},
		{"Cookie", "a=b; c=d"},
		{"X-Forwarded-Authorization", "Basic YTpi"},
		{"Host", "[::1]:1"},
	} {
		f.Add(seed[0], seed[1], seed[1], seed[0])
	}
	f.Fuzz(func(t *testing.T, name, value, second, other string) {
		harmless(t, name, value, second, other)
		r := &Request{Method: "GET", Path: "/", Header: http.Header{
			name: {value, second}, other: {second}, "Authorization": {value + canary}, "X-Api-Key": {canary},
			"Referer": {"https://h/?token=" + canary},
		}}
		line := AppendRequest(nil, r)
		if bytes.Contains(line, []byte(canary)) {
			t.Errorf("%s", line)
		}
		m := acceptRequest.FindSubmatch(line)
		if m == nil || !utf8.Valid(line) {
			t.Fatalf("not accepted: %q", line)
		}
		names, _ := printedHeaders(r)
		var got []string
		for name := range entriesOf(string(m[5])) {
			got = append(got, name)
		}
		if strings.Join(got, " ") != strings.Join(names, " ") {
			t.Errorf("%s\nread as %q, not %q", line, got, names)
		}
	})
}

// Whatever a file holds, it is read to its end, and every record can be printed.
func FuzzRead(f *testing.F) {
	for _, line := range seedLines(f) {
		f.Add([]byte(line))
		f.Add([]byte("\ufeff" + line[:len(line)/2] + "\r\n" + line + "\r\n\r\n   at A.B()\n"))
	}
	f.Add([]byte("[32.13.2022 25:61:61] <1> a b"))
	f.Add([]byte("[01.02.2019 10:00:00] <99999999999> Error    at A.B in c:1"))
	f.Add([]byte("[01.02.2019 10:00:00.123] <12> Info         [GET /a]: [200] [Request-id: b]"))
	f.Fuzz(func(t *testing.T, file []byte) {
		lines := 0
		err := Read(context.Background(), bytes.NewReader(file), Filter{Zone: time.UTC}, func(r Record) error {
			lines++
			if r.Kind == "" || !json.Valid([]byte(asJSON(r))) {
				t.Errorf("%+v", r)
			}
			return nil
		})
		if err != nil || lines > bytes.Count(file, []byte("\n"))+1 {
			t.Errorf("%d records, error %v", lines, err)
		}
	})
}

// What is written is one line, and is read as what it was.
func FuzzWriteAndRead(f *testing.F) {
	f.Add("Anonymous", "POST", "/api/oauth2/token", "grant_type=password&password=x", "Host", "h", 401)
	f.Add(`LAB\u`, "x", "/]\n", "{\"a\":\"]; Parameters: [\"}", "Parameters", "]; Parameters: [", -5)
	f.Add("]", "", "", "<cut after 1 bytes>", "; ", "\r\n[User: a]", 1000)
	f.Fuzz(func(t *testing.T, user, method, path, body, name, value string, status int) {
		r := &Request{
			User: user, Method: method, Path: path, Header: http.Header{name: {value}}, Thread: Thread(path),
			Body: MaskBody(nil, formType, "", []byte(body), false),
		}
		a := &Response{Method: method, Path: path, Status: status, Body: r.Body, Thread: r.Thread}
		var l Renderer
		file := l.AppendRequest(nil, noon, zapcore.InfoLevel, r)
		file = l.AppendSentence(file, noon, zapcore.ErrorLevel, r.Thread, value, nil)
		file = l.AppendResponse(file, noon, zapcore.InfoLevel, a)
		file = AppendFrame(file, noon, 1, body, value, false)
		if !utf8.Valid(file) || bytes.Count(file, []byte("\n")) != 4 {
			t.Fatalf("not four lines: %q", file)
		}
		var got []Record
		if err := Read(context.Background(), bytes.NewReader(file), Filter{}, func(r Record) error {
			got = append(got, r)
			return nil
		}); err != nil || len(got) != 4 {
			t.Fatalf("%d records, error %v, from %q", len(got), err, file)
		}
		if got[0].Kind != KindRequest || got[2].Kind != KindResponse || got[2].User != got[0].User ||
			got[0].Thread != r.Thread || got[2].Path != got[0].Path || !got[0].Time.Equal(noon) {
			t.Errorf("%+v from\n%s", got, file)
		}
		if got[1].Kind == KindRequest || got[1].Kind == KindResponse || got[3].Kind == KindUnframed {
			t.Errorf("%+v from\n%s", got, file)
		}
	})
}
