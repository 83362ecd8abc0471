// This file holds the tests of the masking of forms, queries and paths.

package svclog

import (
	"bytes"
	"net/url"
	"strings"
	"testing"
)

func TestMaskForm(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"nothing":           {"", ""},
		"the seed's":        {"grant_type=password&username=benyoung&password=a", "grant_type=password&username=benyoung&password=****"},
		"first field":       {"password=a&username=b", "password=****&username=b"},
		"case and dash":     {"Username=b&PassWord=a&Mfa-Token=c", "Username=b&PassWord=****&Mfa-Token=****"},
		"nothing secret":    {"a=b&c=d", "a=b&c=d"},
		"empty pairs":       {"grant_type=password&username=u&password=p&&&&&&&", "grant_type=password&username=u&password=****&&&&&&&"},
		"empty pairs first": {"&&&a=b", "&&&a=b"},
		"blank fields":      {"refresh_token=&code=&vbr_token=", "refresh_token=&code=&vbr_token="},
		"a name alone":      {"username=u&password", "username=u&password"},
		"a word alone":      {"grant_type=password&hunter2", "grant_type=password&****"},
		"duplicates":        {"password=a&password=b&username=u&password=", "password=****&password=****&username=u&password="},
		"percent in value":  {"password=%41%2642&username=a%5Cb", "password=****&username=a%5Cb"},
		"plus in value":     {"password=a+b+c", "password=****"},
		"equals in value":   {"password=a=b==&username=u", "password=****&username=u"},
		"broken percent":    {"password=%zz%&username=%zz", "password=****&username=%zz"},
		"broken UTF-8":      {"password=\xff\xfe&username=\xff", "password=****&username=\xff"},
		"NUL in value":      {"password=a%00b&username=u%00", "password=****&username=u%00"},
		"encoded name":      {"p%61ssword=a", "p%61ssword=****"},
		"twice encoded":     {"pass%2577ord=a", "pass%2577ord=****"},
		"NUL in name":       {"pass%00word=a&%00password=b", "pass%00word=****&%00password=****"},
		"plus in name":      {"pass+word=a", "pass+word=****"},
		"brackets":          {"user[password]=a&tokens[0]=b", "user[password]=****&tokens[0]=****"},

		// a password that was sent as it is
		"bare ampersand":       {"grant_type=password&password=ab&cd", "grant_type=password&password=****&****"},
		"bare ampersands":      {"password=a&b=c&&d&username=u&x=y", "password=****&****&&****&username=u&x=y"},
		"then a known field":   {"password=ab&cd=ef&grant_type=password", "password=****&****&grant_type=password"},
		"bare percent and all": {"password=50% off & more=x", "password=****&****"},

		// secrets in the values of other fields
		"form in a value":  {"data=a%3D1%26password%3Dx", "data=****"},
		"JSON in a value":  {"data=%7B%22password%22%3A%22x%22%7D", "data=****"},
		"spaced JSON":      {"data=%7B%22password%22+%3A+%22x%22%7D", "data=****"},
		"bare JSON":        {`data={"password":"x","a":1}`, `data={"password":"****","a":1}`},
		"harmless JSON":    {"data=%7B%22name%22%3A%22x%22%7D", "data=%7B%22name%22%3A%22x%22%7D"},
		"URL with a token": {"u=https%3A%2F%2Fh%2F%3Faccess_token%3Dx", "u=****"},
		"bare URL":         {"u=https://h/?access_token=x", "u=https://h/?access_token=****"},
		"bearer":           {"h=Bearer+abc.def", "h=Bearer+****"},
		"encoded bearer":   {"h=Bearer%20abc", "h=****"},
		"otpauth":          {"x=otpauth%3A%2F%2Ftotp%2Fa%3Fsecret%3DJBSWY3DP", "x=****"},
		"JWT":              {"x=eyJhbGciOiJub25lIn0.eyJhIjoxfQ.", "x=****"},
		"secret in a name": {"Bearer%20abc=1&x=2", "****&x=2"},
		"joined pair":      {"a=1;password=x", "a=1;password=****"},
		"encoded too deep": {"a=" + deep("x", 9), "a=****"},
		"encoded harmless": {"a=" + deep("x", 3), "a=" + deep("x", 3)},
		"grants":           {"grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=eyJ", "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=****"},
	} {
		t.Run(name, func(t *testing.T) {
			got := string(MaskForm([]byte("kept "), []byte(c.in)))
			if got != "kept "+c.want {
				t.Errorf("%s\n got %s\nwant kept %s", c.in, got, c.want)
			}
			if again := string(MaskForm(nil, []byte(c.want))); again != c.want {
				t.Errorf("masked again: %s", again)
			}
		})
	}
}

// deep percent-encodes a text that often.
func deep(text string, times int) string {
	for range times {
		text = percent(text)
	}
	return text
}

func TestEverySecretFieldIsMaskedWhateverItsValue(t *testing.T) {
	const canary = "c4n4ry&=+%;\"'<>{}[]\\é"
	for _, name := range documented {
		form := "username=u&" + url.Values{name: {canary}}.Encode() + "&grant_type=x"
		got := string(MaskForm(nil, []byte(form)))
		if strings.Contains(got, "c4n4ry") || !strings.HasPrefix(got, "username=u&") || !strings.HasSuffix(got, "&grant_type=x") {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestLookalikeFieldsKeepTheirValues(t *testing.T) {
	for _, name := range lookalikes {
		form := "x=y&" + url.QueryEscape(name) + "=a1%40b2&z=1"
		if got := string(MaskForm(nil, []byte(form))); got != form {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestMaskQuery(t *testing.T) {
	for in, want := range map[string]string{
		"subject=CN%3Da&keySize=2048&password=pfx": "subject=CN%3Da&keySize=2048&password=****",
		"password=pfx&subject=CN%3Da":              "password=****&subject=CN%3Da",
		"v=latest":                                 "v=latest",
		"debug&verbose":                            "debug&verbose",
		"filter[name]=a&sort=-x":                   "filter[name]=a&sort=-x",
		"secretUrl=otpauth%3A%2F%2Ftotp&code=123456&description=d": "secretUrl=****&code=****&description=d",
		"eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.c2ln":                     "****",
		"a=1&password=x&b=2&select=y&c=3":                          "a=1&password=****&****&select=y&c=3",
	} {
		if got := string(MaskQuery(nil, in)); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
}

func TestMaskPath(t *testing.T) {
	const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.c2lnbmF0dXJl"
	for in, want := range map[string]string{
		"/api/v1/jobs":                      "/api/v1/jobs",
		"/api/v1/jobs?skip=0&limit=10":      "/api/v1/jobs?skip=0&limit=10",
		"/api/v1/jobs?":                     "/api/v1/jobs?",
		"/a?password=x?y&skip=1":            "/a?password=****&****",
		"/a%20b/c":                          "/a%20b/c",
		"/t/" + jwt + "/x":                  "/t/****/x",
		"/t/" + percent(jwt) + "/x":         "/t/****/x",
		"/a;password=x":                     "/a;password=****",
		"/a%3Bpassword%3Dx/b":               "/****/b",
		"/a%3Fpassword=x":                   "/a%3Fpassword=****",
		"/a%3Fpassword%3Dx":                 "/****",
		"https://u:p@h/a":                   "https://****@h/a",
		"":                                  "",
		"*":                                 "*",
		"/a?x=https%3A%2F%2Fu%3Ap%40h%2F&b": "/a?x=****&b",
	} {
		got := string(MaskPath(nil, in))
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
		if hides := PathHides(in); hides != (in != want) {
			t.Errorf("%s hides a secret: %t", in, hides)
		}
		if again := MaskPath(nil, got); !bytes.Equal(again, []byte(got)) {
			t.Errorf("%s masked again: %s", got, again)
		}
	}
}
