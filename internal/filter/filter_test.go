// What is taken out, what stays, and where the stream ends.

package filter

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// through runs a document through the filter.
func through(tb testing.TB, document string) string {
	tb.Helper()
	out, err := io.ReadAll(JSON(strings.NewReader(document)))
	if err != nil {
		tb.Fatalf("%.200q: %v", document, err)
	}
	return string(out)
}

const (
	jwt   = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl-_x"
	block = `-----BEGIN RSA PRIVATE KEY-----`
)

func TestSecretsGoAndAllElseStays(t *testing.T) {
	long := strings.Repeat("YWJj", LookAhead/4+1)
	for _, c := range []struct{ name, in, want string }{
		{"string", `{"password":"x","user":"y"}`, `{"password":"****","user":"y"}`},
		{"spelling of names", `{"Access_Token":"x","refresh-token":"y","vbrAdminPassword":"z"}`, `{"Access_Token":"****","refresh-token":"****","vbrAdminPassword":"****"}`},
		{"name in escapes", `{"p\u0061ssword":"x"}`, `{"p\u0061ssword":"****"}`},
		{"number", `{"pin":-1.50e+3,"n":-1.50e+3}`, `{"pin":0,"n":-1.50e+3}`},
		{"object", `{"secret":{"a":[1,{"b":"c"}]},"z":{"a":1}}`, `{"secret":{},"z":{"a":1}}`},
		{"array", `{"scratchCodes":[ "1", "2" ] ,"z":[ "1" ]}`, `{"scratchCodes":[] ,"z":[ "1" ]}`},
		{"empty ones", `{"tokens":[],"secrets":{ },"password":""}`, `{"tokens":[],"secrets":{},"password":""}`},
		{"true, false and null", `{"password":null,"hasPassword":true,"changePassword":false}`, `{"password":null,"hasPassword":true,"changePassword":false}`},
		{"deep inside", `[[{"a":{"b":[{"password":"x"}]}}]]`, `[[{"a":{"b":[{"password":"****"}]}}]]`},
		{"twice", `{"password":"x","password":"y"}`, `{"password":"****","password":"****"}`},
		{"white space", "\r\n{\t\"password\" : \"x\" ,\n \"a\" : 1 }\n", "\r\n{\t\"password\" : \"****\" ,\n \"a\" : 1 }\n"},
		{"quotation marks in a secret", `{"password":"a\"b\\","x":"a\"b\\"}`, `{"password":"****","x":"a\"b\\"}`},
		{"status code", `{"errors":[{"code":429,"message":"m"}],"code":"123456"}`, `{"errors":[{"code":429,"message":"m"}],"code":"****"}`},
		{"public key", `{"privateKey":"x","publicKey":"y"}`, `{"privateKey":"****","publicKey":"y"}`},
		{"look-alikes", `{"tokenType":"a","encryptionPasswordId":"b","passwordHint":"c","keySize":1,"nextPageToken":"d"}`, `{"tokenType":"a","encryptionPasswordId":"b","passwordHint":"c","keySize":1,"nextPageToken":"d"}`},

		{"value of a name", `[{"name":"adminPassword","value":"x"},{"name":"size","value":"x"}]`, `[{"name":"adminPassword","value":"****"},{"name":"size","value":"x"}]`},
		{"value of a path", `{"op":"replace","path":"/credentials/0/password","value":{"x":1}}`, `{"op":"replace","path":"/credentials/0/password","value":{}}`},
		{"value inside", `{"name":"password","more":{"value":"x"},"value":1}`, `{"name":"password","more":{"value":"x"},"value":0}`},
		{"value of a sentence", `{"name":"The new password","value":"x"}`, `{"name":"The new password","value":"****"}`},
		{"value of another sentence", `{"name":"The password is too old","value":"x"}`, `{"name":"The password is too old","value":"x"}`},
		{"value of a display name", `{"displayName":"password","value":"x"}`, `{"displayName":"password","value":"****"}`},
		{"value of a secret key", `[{"name":"Secret Key","type":"string","value":"x"}]`, `[{"name":"Secret Key","type":"string","value":"****"}]`},
		{"value before its name", `[{"value":"x","name":"password"},{"value":"x","name":"size"}]`, `[{"value":"****","name":"password"},{"value":"x","name":"size"}]`},
		{
			"values before their name", `{"oldValue":"x","id":1,"newValue":-1.5 ,"value":{"a":["b"]},"defaultValue":"","rawValue":null,"label":"sshKey","z":1}`,
			`{"oldValue":"****","id":1,"newValue":0 ,"value":{},"defaultValue":"","rawValue":null,"label":"sshKey","z":1}`,
		},
		{"value between two names", `{"id":"7","value":"x","name":"password"}`, `{"id":"7","value":"****","name":"password"}`},
		{"values in values", `{"value":{"value":["x",{"value":"y","key":"token"}],"name":"a"},"key":"b"}`, `{"value":{"value":["x",{"value":"****","key":"token"}],"name":"a"},"key":"b"}`},
		{"values in values of a secret", `{"value":{"value":"x","name":"token"},"value":"y","key":"otp"}`, `{"value":{},"value":"****","key":"otp"}`},
		{"value with another secret in it", `{"value":"a Bearer abcdefghijklmnopq","name":"size"}`, `{"value":"a Bearer ****","name":"size"}`},
		{"value of the far name", `{"value":"x","z":"` + strings.Repeat("z", HoldBack) + `","name":"size"}`, `{"value":"****","z":"` + strings.Repeat("z", HoldBack) + `","name":"size"}`},
		{"value that is long", `{"value":"` + strings.Repeat(`z\n`, HoldBack) + `","name":"size"}`, `{"value":"****","name":"size"}`},
		{"number that is long", `{"value":1` + strings.Repeat("0", HoldBack) + `,"name":"size"}`, `{"value":0,"name":"size"}`},
		{"list that is long", `{"value":[0` + strings.Repeat(",0", HoldBack) + `],"name":"token"}`, `{"value":[0` + strings.Repeat(",0", HoldBack) + `],"name":"token"}`},
		{"long value of a name", `{"name":"a","value":"` + strings.Repeat("z", HoldBack) + `"}`, `{"name":"a","value":"` + strings.Repeat("z", HoldBack) + `"}`},
		{"many values", `[` + strings.Repeat(`{"value":`, 2*mostHeld) + `"x"` + strings.Repeat(`}`, 2*mostHeld) + `]`, `[` + strings.Repeat(`{"value":`, mostHeld) + `{"value":{}}` + strings.Repeat(`}`, mostHeld) + `]`},
		{
			"names of the form", `{"tokenValue":"x","passwordText":"x","sshKey":"x","recoveryKey":"x","licenseKey":"x","secretString":"x","privateKeyPem":"x","keyValue":"y","codeText":"y"}`,
			`{"tokenValue":"****","passwordText":"****","sshKey":"****","recoveryKey":"****","licenseKey":"****","secretString":"****","privateKeyPem":"****","keyValue":"y","codeText":"y"}`,
		},

		{"otpauth", `["otpauth://totp/a?secret=B32","see OTPAUTH:\/\/totp\/x now"]`, `["otpauth://****","see OTPAUTH:\/\/**** now"]`},
		{"otpauth in a URL", `["https://qr/?otpauth%3A%2F%2Ftotp%2Fa"]`, `["https://qr/?otpauth%3A%2F%2F****"]`},
		{"private key", `["` + block + `\nMIIE\n-----END RSA PRIVATE KEY-----\n"]`, `["` + block + `****"]`},
		{"private key in escapes", `["-----BEGIN\u0020PRIVATE \u004bEY-----MIIE"]`, `["-----BEGIN\u0020PRIVATE \u004bEY-----****"]`},
		{"user in a URL", `["https://u:p@h/a@b","git://u@[::1]:1?x","https:\/\/a:b\u0040c:d@h","x://@h"]`, `["https://****@h/a@b","git://****@[::1]:1?x","https:\/\/****@h","x://@h"]`},
		{"encoded user in a URL", `["https%3A%2F%2Fu%3Ap%40h","https%3A%2F%2Fh"]`, `["https%3A%2F%2F****%40h","https%3A%2F%2Fh"]`},
		{"no user in a URL", `["https://h/a@b","https://h?a@b","https://h, a@b","a://"]`, `["https://h/a@b","https://h?a@b","https://h, a@b","a://"]`},
		{"JWT in the user part", `["https://u:` + jwt + `@h/","https://` + jwt + `/x"]`, `["https://****/","https://****/x"]`},
		{"long user part", `["https://` + long + `@h/x y"]`, `["https://**** y"]`},
		{"parameters", `["/x?a=b&token=c&d=e","sig=a%26b&Sig=","X-Amz-Signature\u003da\u0026b=c","password=\"a b\" c","a%3Fsig%3Db&c"]`, `["/x?a=b&token=****&d=e","sig=****&Sig=","X-Amz-Signature\u003d****\u0026b=c","password=\"****\" c","a%3Fsig%3D****&c"]`},
		{"parameters with other names", `["tokenType=a&b==c","a => b","= x","\u003d"]`, `["tokenType=a&b==c","a => b","= x","\u003d"]`},
		{"parameter behind a user", `["jdbc:x://h:1433;user=sa;password=a@b;c d"]`, `["jdbc:x://**** d"]`},
		{"Bearer behind a parameter", `["token=Bearer abcdefghijklmnopq"]`, `["token=**** ****"]`},
		{"certificate", `["-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----"]`, `["-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----"]`},
		{"XML key", `["<RSAKeyValue><Modulus>m</Modulus><Exponent>AQAB</Exponent><P>p</P><D>d</D></RSAKeyValue>"]`, `["<RSAKeyValue><Modulus>m</Modulus><Exponent>AQAB</Exponent><P>****"]`},
		{"public XML key", `["<RSAKeyValue><Modulus>m</Modulus><Exponent>AQAB</Exponent></RSAKeyValue>"]`, `["<RSAKeyValue><Modulus>m</Modulus><Exponent>AQAB</Exponent></RSAKeyValue>"]`},
		{"JWT", `["` + jwt + `","a ` + jwt + ` b"]`, `["eyJ****","a eyJ**** b"]`},
		{"JWT in a URL", `["https://a/?t=` + jwt + `&b=c"]`, `["https://a/?t=eyJ****&b=c"]`},
		{"JWT in escapes", `["\u0065yJhbGciOiJSUzI1NiJ9\u002eeyJzdWIi\u003ab"]`, `["\u0065yJ****\u003ab"]`},
		{"no JWT", `["eyJ.a.b","eyJust.exe","eyJhbGciOiJSUzI1NiJ9","xeyJhbGciOiJSUzI1NiJ9.a"]`, `["eyJ.a.b","eyJust.exe","eyJhbGciOiJSUzI1NiJ9","xeyJhbGciOiJSUzI1NiJ9.a"]`},
		{"long JWT", `["eyJ` + long + `.x y"]`, `["eyJ**** y"]`},
		{"long string that could be one", `["eyJ` + long + `","` + long + `"]`, `["eyJ****","` + long + `"]`},
		{"key", `["vak_0123456789012345678901234567890VZhXu","a vak_0123456789012345678901234567890VZhXu, b","\u0076ak\u005f0123456789012345678901234567890VZhXu"]`, `["vak_****","a vak_****, b","\u0076ak\u005f****"]`},
		{"key in a URL", `["https://a/?k=vak_0123456789012345678901234567890VZhXu&b=c","https://vak_0123456789012345678901234567890VZhXu/x","vak_0123456789012345678901234567890VZhXu@h"]`, `["https://a/?k=vak_****&b=c","https://****/x","vak_****@h"]`},
		{"no key", `["vak_srv01","novak_012345678901234567890123456789","VAK_012345678901234567890123456789","vak_0123456789-abcdefghij"]`, `["vak_srv01","novak_012345678901234567890123456789","VAK_012345678901234567890123456789","vak_0123456789-abcdefghij"]`},
		{"bearer", `["Authorization: Bearer a1","Bearer abcdefghijklmnop, x","bearer\tx_y"]`, `["Authorization: ****","Bearer ****, x","bearer\t****"]`},
		{"bearer that is prose", `["Get a bearer token.","Bearer realm=\"x\"","Bearer令牌","Bearer "]`, `["Get a bearer token.","Bearer realm=\"x\"","Bearer令牌","Bearer "]`},
		{"secret in a key", `{"` + jwt + `":1,"x Bearer a1":{"password":"x"}}`, `{"eyJ****":1,"x Bearer ****":{"password":"****"}}`},
		{"secret at the end of a long string", `["` + long + ` Bearer a1"]`, `["` + long + ` Bearer ****"]`},

		{"letters", "[\"\xc3\xa4\\u00e4\\ud83d\\ude00\xff\"]", "[\"\xc3\xa4\\u00e4\\ud83d\\ude00\xff\"]"},
		{"numbers", `[0,-0,1.0,1e5,1E-5,123456789012345678901234567890,0.1e+1]`, `[0,-0,1.0,1e5,1E-5,123456789012345678901234567890,0.1e+1]`},
		{"no container", ` "Bearer a1" `, ` "Bearer ****" `},
		{"a number alone", `12`, `12`},
		{"byte order mark", "\xef\xbb\xbf{\"password\":\"x\"}", "\xef\xbb\xbf{\"password\":\"****\"}"},
		{"nothing", "", ""},
		{"white space only", " \n", " \n"},
		{"long name", `{"` + strings.Repeat("a", 5000) + `Password":"x","` + strings.Repeat("password", 700) + `s1z":"x"}`, `{"` + strings.Repeat("a", 5000) + `Password":"****","` + strings.Repeat("password", 700) + `s1z":"x"}`},
		{"long secret", `{"password":"` + long + long + `"}`, `{"password":"****"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := through(t, c.in)
			if got != c.want {
				t.Errorf("got  %.300q\nwant %.300q", got, c.want)
			}
			if again := through(t, got); again != got {
				t.Errorf("once more gives %.300q, not %.300q", again, got)
			}
			one, err := io.ReadAll(JSON(iotest.OneByteReader(strings.NewReader(c.in))))
			if err != nil || string(one) != got {
				t.Errorf("byte by byte: %v %.300q", err, one)
			}
		})
	}
}

func TestWhatCannotBeReadEndsTheStream(t *testing.T) {
	for _, c := range []struct {
		name, in, passed string
		want             error
	}{
		{"cut off in an object", `{"a":1,`, `{"a":1,`, io.ErrUnexpectedEOF},
		{"cut off in a string", `["abc`, `["abc`, io.ErrUnexpectedEOF},
		{"cut off in a secret", `{"password":"abc`, `{"password":"****`, io.ErrUnexpectedEOF},
		{"cut off in what may be one", `["eyJhbGci`, `["eyJ`, io.ErrUnexpectedEOF},
		{"cut off in a number", `-`, `-`, io.ErrUnexpectedEOF},
		{"cut off in a word", `[tru`, `[tru`, io.ErrUnexpectedEOF},
		{"cut off in a mark", "\xef\xbb", "\xef\xbb", io.ErrUnexpectedEOF},
		{"two documents", `{} {"password":"x"}`, `{} `, ErrSyntax},
		{"text", `password: x`, ``, ErrSyntax},
		{"single quotation marks", `{'password':'x'}`, `{`, ErrSyntax},
		{"comment", `{/*"*/"password":"x"}`, `{`, ErrSyntax},
		{"comma at the end", `{"a":1,}`, `{"a":1,`, ErrSyntax},
		{"wrong bracket", `[1}`, `[1`, ErrSyntax},
		{"raw line break", "[\"a\n\"]", `["a`, ErrSyntax},
		{"wrong escape", `["\x"]`, `["`, ErrSyntax},
		{"wrong number", `[01]`, `[0`, ErrSyntax},
		{"point without digits", `[1.]`, `[1.`, ErrSyntax},
		{"wrong word", `[nul]`, `[nul`, ErrSyntax},
		{"mark elsewhere", " \xef\xbb\xbf{}", ` `, ErrSyntax},
		{"white space in a mark", "\xef \xbb\xbf{}", "\xef", ErrSyntax},
		{"UTF-16", "\xff\xfe{\x00}\x00", ``, ErrEncoding},
		{"UTF-16, the other way", "\xfe\xff\x00{\x00}", ``, ErrEncoding},
		{"UTF-16 without a mark", "{\x00\"\x00", `{`, ErrEncoding},
		{"too deep", strings.Repeat("[", MaxDepth+1), strings.Repeat("[", MaxDepth), ErrDepth},
		{"too deep in a secret", `{"password":` + strings.Repeat("[", MaxDepth), `{"password":[`, ErrDepth},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in))} {
				passed, err := io.ReadAll(JSON(r))
				if !errors.Is(err, c.want) || string(passed) != c.passed {
					t.Errorf("passed %.80q, %v; want %.80q, %v", passed, err, c.passed, c.want)
				}
			}
		})
	}
}

func TestTheDeepestDocumentPasses(t *testing.T) {
	deep := strings.Repeat(`[`, MaxDepth) + strings.Repeat(`]`, MaxDepth)
	if through(t, deep) != deep {
		t.Error("changed")
	}
}

func TestAnErrorOfTheSourceIsPassedOnBehindWhatItGave(t *testing.T) {
	broken := errors.New("broken")
	passed, err := io.ReadAll(JSON(io.MultiReader(strings.NewReader(`{"password":"x","a`), iotest.ErrReader(broken))))
	if !errors.Is(err, broken) || string(passed) != `{"password":"****","a` {
		t.Errorf("%q %v", passed, err)
	}
	if _, err := JSON(idle{}).Read(make([]byte, 1)); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a source that yields nothing: %v", err)
	}
}

type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

// A client of a slow answer gets each part when it comes.
func TestReadWaitsForNoMoreThanItNeeds(t *testing.T) {
	from, to := io.Pipe()
	f := JSON(from)
	buf := make([]byte, 100)
	for _, part := range []struct{ in, out string }{{`{"a":"b`, `{"a":"b`}, {`c","password":"x`, `c","password":"****`}, {`yz","d":1}`, `","d":1}`}} {
		go func() { _, _ = io.WriteString(to, part.in) }()
		n, err := f.Read(buf)
		if err != nil || string(buf[:n]) != part.out {
			t.Errorf("%q %v, want %q", buf[:n], err, part.out)
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := to.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the source is still open: %v", err)
	}
}

func TestErrorsRepeatNothingOfTheStream(t *testing.T) {
	for _, document := range []string{`{"password":"canary`, `{"a":canary}`, "\"canary\x00"} {
		_, err := io.Copy(io.Discard, JSON(strings.NewReader(document)))
		if err == nil || strings.Contains(err.Error(), "canary") {
			t.Error(err)
		}
	}
}
