// This file holds the tests of what is shown of bodies.

package svclog

import (
	"bytes"
	"compress/gzip"
	"mime/multipart"
	"strings"
	"testing"
	"unicode/utf16"
)

const (
	formType = "application/x-www-form-urlencoded"
	jsonType = "application/json; charset=utf-8"
)

func TestMaskBody(t *testing.T) {
	for name, c := range map[string]struct {
		kind, encoding, in string
		cut                bool
		want               string
	}{
		"nothing":              {formType, "", "", false, ""},
		"form":                 {formType, "", "a=b&password=c", false, "a=b&password=****"},
		"JSON":                 {jsonType, "", `{"password":"c"}`, false, `{"password":"****"}`},
		"JSON as form":         {formType, "", `{"password":"c=d"}`, false, `{"password":"****"}`},
		"form as JSON":         {jsonType, "", "a=b&password=c", false, "a=b&password=****"},
		"no type":              {"", "", "a=b&password=c", false, "a=b&password=****"},
		"any type":             {"*/*", "", `[{"token":1}]`, false, `[{"token":"****"}]`},
		"problem":              {"application/problem+json", "", `{"title":"t","code":1}`, false, `{"title":"t","code":"****"}`},
		"upper-case type":      {"APPLICATION/JSON", "identity", `{"a":1}`, false, `{"a":1}`},
		"plain text":           {"text/plain", "", "hunter2", false, "<7 bytes, not shown>"},
		"word as form":         {formType, "", "hunter2", false, "<7 bytes, not shown>"},
		"text with equals":     {formType, "", "my key = hunter2", false, "<16 bytes, not shown>"},
		"equals first":         {formType, "", "=hunter2", false, "<8 bytes, not shown>"},
		"scalar JSON":          {jsonType, "", `"hunter2"`, false, "<9 bytes, not shown>"},
		"broken JSON":          {jsonType, "", `{"password":hunter2}`, false, "<20 bytes, not shown>"},
		"octet stream":         {"application/octet-stream", "", "a=b", false, "<3 bytes, not shown>"},
		"XML":                  {"text/xml", "", "<a>b</a>", false, "<8 bytes, not shown>"},
		"XML as form":          {formType, "", `<a password="x"/>`, false, "<17 bytes, not shown>"},
		"byte order mark":      {jsonType, "", "\ufeff{\"token\":1}", false, `{"token":"****"}`},
		"mark before form":     {formType, "", "\ufeffpassword=x", false, "password=****"},
		"UTF-16 named":         {"application/json; charset=\"UTF-16\"", "", "{\"a\":1}", false, "<7 bytes, not shown>"},
		"UTF-16":               {jsonType, "", wide(`{"password":"hunter2"}`, true), false, "<46 bytes, not shown>"},
		"UTF-16, no mark":      {formType, "", wide("password=hunter2", false), false, "<32 bytes, not shown>"},
		"UTF-7":                {"text/plain;charset=utf-7", "", "a=b", false, "<3 bytes, not shown>"},
		"NUL":                  {formType, "", "a=b\x00&password=c", false, "<15 bytes, not shown>"},
		"white space first":    {jsonType, "", " \r\n {\"token\":1}", false, " \r\n {\"token\":\"****\"}"},
		"cut form":             {formType, "", "a=b&passw", true, "a=b&****<cut after 9 bytes>"},
		"cut form value":       {formType, "", "a=b&password=hun", true, "a=b&password=****<cut after 16 bytes>"},
		"cut JSON":             {jsonType, "", `{"a":1,"password":"hun`, true, `{"a":1,"password":"****"<cut after 22 bytes>`},
		"incomplete JSON":      {jsonType, "", `{"a":1,"b":"hun`, false, `{"a":1,"b":<incomplete>`},
		"gzip, not gzip":       {jsonType, "gzip", `{"a":1}`, false, "<7 bytes, not shown>"},
		"brotli":               {jsonType, "br", `{"a":1}`, false, "<7 bytes, not shown>"},
		"two encodings":        {jsonType, "gzip, gzip", `{"a":1}`, false, "<7 bytes, not shown>"},
		"multipart, no bound":  {"multipart/form-data", "", "--x\r\n", false, "<5 bytes, not shown>"},
		"multipart, not so":    {"multipart/form-data; boundary=x", "", "password=hunter2", false, "<16 bytes, not shown>"},
		"multipart, broken":    {"multipart/form-data; boundary=\"", "", "--x\r\n", false, "<5 bytes, not shown>"},
		"form as multipart":    {"multipart/mixed; boundary=x", "", "a=b", false, "<3 bytes, not shown>"},
		"password unencoded":   {formType, "", "grant_type=password&username=u&password=a&b", false, "grant_type=password&username=u&password=****&****"},
		"empty pairs to the e": {formType, "", "username=u&&&&", false, "username=u&&&&"},
	} {
		t.Run(name, func(t *testing.T) {
			got := string(MaskBody([]byte("kept "), c.kind, c.encoding, []byte(c.in), c.cut))
			if got != "kept "+c.want {
				t.Errorf("%q\n got %q\nwant %q", c.in, got, "kept "+c.want)
			}
		})
	}
}

// wide encodes text as UTF-16, little endian.
func wide(text string, mark bool) string {
	var b []byte
	if mark {
		b = []byte{0xff, 0xfe}
	}
	for _, unit := range utf16.Encode([]rune(text)) {
		b = append(b, byte(unit), byte(unit>>8))
	}
	return string(b)
}

func gzipped(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestGzipIsUnpackedAndMasked(t *testing.T) {
	for in, want := range map[string]string{
		`{"token":"x","a":1}`:       `{"token":"****","a":1}`,
		"username=u&password=x":     "username=u&password=****",
		"some prose, not any value": "",
	} {
		body := gzipped(t, in)
		got := string(MaskBody(nil, jsonType, "GZIP", body, false))
		if want == "" && !strings.HasSuffix(got, notShown) || want != "" && got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

func TestUnpackingStopsAtItsLimitAndAtTheEndOfACutBody(t *testing.T) {
	bomb := gzipped(t, `{"a":"`+strings.Repeat("x", 10<<20)+`","password":"hunter2"}`)
	got := string(MaskBody(nil, jsonType, "gzip", bomb, false))
	if got != `{"a":<cut after 16384 bytes>` {
		t.Errorf("%.100s", got)
	}
	// Flushed after a part, as a client does that sends as it goes.
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	for _, part := range []string{`{"user":"u",`, `"password":"hunter2","x":1`} {
		_, _ = w.Write([]byte(part))
		_ = w.Flush()
	}
	got = string(MaskBody(nil, jsonType, "gzip", b.Bytes(), true))
	if !strings.HasPrefix(got, `{"user":"u","password":"****","x":1<cut after `) {
		t.Error(got)
	}
	for n := range b.Len() {
		if got := string(MaskBody(nil, jsonType, "gzip", b.Bytes()[:n], true)); strings.Contains(got, "hunter") {
			t.Errorf("cut after %d: %s", n, got)
		}
	}
}

func TestMultipartIsShownAsAForm(t *testing.T) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, field := range [][2]string{
		{"grant_type", "password"}, {"username", `LAB\svc`}, {"password", "c4n&4ry=2"}, {"note", `{"token":"x"}`},
	} {
		if err := w.WriteField(field[0], field[1]); err != nil {
			t.Fatal(err)
		}
	}
	file, err := w.CreateFormFile("key", "id_rsa")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = file.Write([]byte("hunter2"))
	_ = w.Close()
	got := string(MaskBody(nil, w.FormDataContentType(), "", b.Bytes(), false))
	if want := "grant_type=password&username=LAB%5Csvc&password=****&note=****&key=<7 bytes, not shown>"; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	for n := range b.Len() {
		got := string(MaskBody(nil, w.FormDataContentType(), "", b.Bytes()[:n], true))
		if strings.Contains(got, "c4") || strings.Contains(got, "4ry") {
			t.Errorf("cut after %d: %s", n, got)
		}
	}
}

func TestABodyCutAnywhereShowsNoPartOfASecret(t *testing.T) {
	for _, c := range []struct{ kind, body string }{
		{formType, "grant_type=password&username=u&password=c4n4ryc4n4ry&x=c4n4ry"},
		{formType, "x=otpauth%3A%2F%2Ftotp%2Fu%3Fsecret%3DC4N4RYC4N4RY"},
		{jsonType, `{"user":"u","password":"c4n4ryc4n4ry","n":{"scratchCodes":["c4n4ry"]},"m":"Bearer c4n4ry"}`},
		{jsonType, `{"m":"{\"password\":\"c4n4ry\"}","u":"otpauth://totp/u?secret=C4N4RY"}`},
	} {
		for n := range len(c.body) {
			got := strings.ToLower(string(MaskBody(nil, c.kind, "", []byte(c.body[:n]), true)))
			if strings.Contains(got, "c4") {
				t.Errorf("cut after %d: %s", n, got)
			}
		}
	}
}
