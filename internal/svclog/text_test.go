// This file holds the tests of the masking of running text.

package svclog

import (
	"strings"
	"testing"
	"time"
)

const (
	someJWT = "eyJhbGciOiJSUzUxMiIsInR5cCI6IkpXVCJ9.eyJ1bmlxdWVfbmFtZSI6ImEifQ.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
	somePEM = "-----BEGIN RSA PRIVATE KEY-----\r\nMIIEhunter2==\r\n-----END RSA PRIVATE KEY-----"
)

func TestMaskText(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"nothing":            {"", ""},
		"a sentence":         {"Login failed for user 'benyoung'.", "Login failed for user 'benyoung'."},
		"a license":          {"Checking expiration and type...", "Checking expiration and type..."},
		"bearer":             {"got Bearer abc.DEF-_~+/= today", "got Bearer **** today"},
		"bearer, any case":   {"bEaReR   abc", "bEaReR   ****"},
		"bearer, tab":        {"Bearer\tabc", "Bearer\t****"},
		"bearer, quoted":     {`"Bearer abc", "x"`, `"Bearer ****", "x"`},
		"bearer null":        {"Bearer null", "Bearer ****"},
		"bearer, masked":     {"Bearer ****", "Bearer ****"},
		"bearer, nothing":    {"Bearer ", "Bearer "},
		"Veeam's own text":   {"Unauthorized. Get bearer JWT token at /api/login", "Unauthorized. Get bearer JWT token at /api/login"},
		"the grant":          {"vb365 jwt-bearer failed: timeout", "vb365 jwt-bearer failed: timeout"},
		"bearer, word":       {"forbearer abc", "forbearer abc"},
		"basic":              {"Basic dXNlcjpwYXNz", "Basic ****"},
		"basic, prose":       {"Basic authentication failed", "Basic authentication failed"},
		"challenge, token":   {`Bearer token="abc", error="x"`, `Bearer ****", error="x"`},
		"bearer, padded":     {`{"a":"Bearer YWJj=","b":"c"}`, `{"a":"Bearer ****","b":"c"}`},
		"challenge":          {"Basic Realm=RestSvc", "Basic Realm=RestSvc"},
		"JWT":                {"token is " + someJWT + ".", "token is ****"},
		"JWT, cut":           {someJWT[:60], "****"},
		"JWT, with prefix":   {"veeam_" + someJWT, "veeam_****"},
		"JWT, spaced header": {"x eyAiYWxnIjoibm9uZSJ9.eyB9.x", "x ****"},
		"JWT, lined header":  {"x ewogImFsZyI6MX0.eyB9.x", "x ****"},
		"no JWT":             {"eyewitness.example.com 10.0.0.1 a.b.c", "eyewitness.example.com 10.0.0.1 a.b.c"},
		"key":                {"key vak_0123456789012345678901234567890VZhXu.", "key ****."},
		"key, cut":           {"vak_01234567890123456789", "****"},
		"key, any case":      {"x-VAK_0123456789ABCDEFGHIJ-y", "x-****-y"},
		"no key":             {"vak_srv01 novak_peter vak_ _ vak_0123456789-0123456789", "vak_srv01 novak_peter vak_ _ vak_0123456789-0123456789"},
		"otpauth":            {"scan otpauth://totp/A:b?secret=JBSWY3DP&issuer=A now", "scan otpauth://**** now"},
		"otpauth, any case":  {"OTPAUTH://totp/A", "OTPAUTH://****"},
		"otpauth migration":  {"otpauth-migration://offline?data=abc", "otpauth-migration://****"},
		"PEM":                {"key " + somePEM + " end", "key **** end"},
		"PEM, escaped":       {`a -----BEGIN EC PRIVATE KEY-----\nMHc\n-----END EC PRIVATE KEY-----\n`, `a ****\n`},
		"PEM, no end":        {"x " + somePEM[:50], "x ****"},
		"SSH2":               {"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nx\n---- END SSH2 ENCRYPTED PRIVATE KEY ----", "****"},
		"PuTTY":              {"a PuTTY-User-Key-File-2: ssh-rsa\nhunter2", "a ****"},
		"dashes":             {"--- a - b -- c", "--- a - b -- c"},
		"RSA as XML":         {"<RSAKeyValue><D>x</D></RSAKeyValue>", "<RSAKeyValue>****</RSAKeyValue>"},
		"element":            {"<a><Password>x</Password><b>y</b></a>", "<a><Password>****</Password><b>y</b></a>"},
		"element, prefix":    {`<d:Password i:type="s">x</d:Password>`, `<d:Password i:type="s">****</d:Password>`},
		"element, no end":    {"<token>x y", "<token>****"},
		"element, empty":     {"<token/><token></token><a>b</a>", "<token/><token></token><a>b</a>"},
		"user of a URL":      {"https://admin:hunter2@host/x and http://host/", "https://****@host/x and http://host/"},
		"at in a path":       {"https://host/a@b", "https://host/a@b"},

		"query":             {"GET /x?token=abc&a=b", "GET /x?token=****&a=b"},
		"assignment":        {"password=hunter2 user=u", "password=**** user=u"},
		"spaced":            {"password = hunter2, ok", "password = **** ok"},
		"Go":                {`password := "a b", x`, `password := "****", x`},
		"Go struct":         {`{Password:hunter2 User:u}`, `{Password:**** User:u}`},
		"Go quoted struct":  {`{Password:"hun ter2", User:"u"}`, `{Password:"****", User:"u"}`},
		"JSON":              {`{"password": "a\"b", "u": 1}`, `{"password": "****", "u": 1}`},
		"JSON number":       {`{"code": 123456}`, `{"code": ****`},
		"JSON list":         {`{"scratchCodes": ["1", "2"]} x`, `{"scratchCodes": ****`},
		"JSON, no end":      {`{"password": "hun`, `{"password": "****`},
		"escaped JSON":      {`{\"password\":\"a\\\"b\",\"u\":1}`, `{\"password\":\"****\",\"u\":1}`},
		"single quotes":     {`{'password': 'x', 'a': 'b'}`, `{'password': '****', 'a': 'b'}`},
		"arrow":             {`"password" => "x"`, `"password" => "****"`},
		"prose with colon":  {"Error code: 5. Invalid token: expired", "Error code: 5. Invalid token: expired"},
		"strong with colon": {"password: hunter2", "password: ****"},
		"header":            {"Authorization: Custom a b\r\nHost: h", "Authorization: ****\r\nHost: h"},
		"cookie":            {"Cookie: a=b; c=d", "Cookie: ****"},
		"look-alike":        {"encryptionPasswordId=5 token_type=bearer", "encryptionPasswordId=5 token_type=bearer"},
		"blank":             {"password=&x=1", "password=&x=1"},

		"percent-encoded":       {"see https%3A%2F%2Fh%2F%3Ftoken%3Dabc", "****"},
		"percent, harmless":     {"100% of a%20b", "100% of a%20b"},
		"percent name":          {"pass%77ord=x", "pass%77ord=****"},
		"escaped in the middle": {`p\u0061ssword=x`, `p\u0061ssword=****`},
		"surrogates, harmless":  {`a \ud83d\ude00 b`, `a \ud83d\ude00 b`},
	} {
		t.Run(name, func(t *testing.T) {
			got := string(MaskText([]byte("kept "), c.in))
			if got != "kept "+c.want {
				t.Errorf("%s\n got %s\nwant kept %s", c.in, got, c.want)
			}
			if again := string(MaskText(nil, c.want)); again != c.want {
				t.Errorf("masked again: %s", again)
			}
		})
	}
}

// inProportion returns the time that f takes for two texts, and whether that is about in
// proportion to their length. The collector of garbage may disturb one comparison, but not
// all: only what is slow each time fails.
func inProportion(t *testing.T, short, long string, f func(text string)) (small, large time.Duration, fair bool) {
	t.Helper()
	timed := func(text string) time.Duration { return cpuTime(t, func() { f(text) }) }
	// The best of some tries. In proportion is 16 times where by the square is 256 times.
	small, large = timed(short), timed(long)
	most := 8*small*time.Duration(len(long)/len(short)) + 5*time.Millisecond
	for try := 0; try < 20 && large > most; try++ {
		large = min(large, timed(long))
	}
	return small, large, large <= most
}

// A text that is sixteen times as long takes about sixteen times as long.
func TestMaskingTakesTimeInProportionToTheText(t *testing.T) {
	const short, long = 4 << 10, 64 << 10
	for _, piece := range []string{
		"://", "a:", "<a", "<a>", "=", " = ", "Bearer ", "ey", "eyJ", "eyJ.", "-----", "%25", `\u0025`, `\`, `"`, "a.",
		"<token/>", "password=", `"password":"`, "otpauth", "%", "x@://", "a_b-c", "  ", "<token", "+", "-----BEGIN ",
		`{"value":`, `[{"value":1,`, `{"value":1},`, "; ", "; a: ", "&", "a=b&", "password&", `{"a":"`, "cookie:", `\"`,
		`'a':`, "<a ",
	} {
		for name, mask := range map[string]func(dst []byte, s string){
			"text":  func(dst []byte, s string) { MaskText(dst, s) },
			"form":  func(dst []byte, s string) { MaskForm(dst, []byte(s)) },
			"path":  func(dst []byte, s string) { MaskPath(dst, "/?"+s) },
			"JSON":  func(dst []byte, s string) { MaskJSON(dst, []byte(s)) },
			"list":  func(dst []byte, s string) { guardList(append(dst, s...), 0) },
			"frame": func(dst []byte, s string) { AppendFrame(dst, noon, 0, "", s, false) },
		} {
			for kind, text := range map[string]func(size int) string{
				name:              func(size int) string { return strings.Repeat(piece, size/len(piece)) },
				name + " of JSON": func(size int) string { return inJSON(strings.Repeat(piece, size/len(piece)/2), false) },
			} {
				dst := make([]byte, 0, 16*long)
				small, large, fair := inProportion(t, text(short), text(long), func(text string) { mask(dst, text) })
				if !fair {
					t.Errorf("%q as a %s: %d bytes take %v, %d bytes %v", piece, kind, short, small, long, large)
				}
			}
		}
	}
}
