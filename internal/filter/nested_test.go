// JSON in strings: in any number of them, whole, cut off and too long.

package filter

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/caddy-veeam/veeam-auth/internal/svclog"
)

// inString is a document as a string of another one.
func inString(document string) string {
	return string(appendEscaped([]byte(`"`), []byte(document))) + `"`
}

func TestJSONInAStringIsFiltered(t *testing.T) {
	long := strings.Repeat(`{"a":"b"},`, MaxNested/10)
	for name, c := range map[string]struct{ in, want string }{
		"named":              {`{"x":"{\"password\":\"x\",\"a\":1}"}`, `{"x":"{\"password\":\"****\",\"a\":1}"}`},
		"list":               {`["[{\"pin\":17,\"hasPassword\":true,\"code\":429,\"publicKey\":\"k\"}]"]`, `["[{\"pin\":0,\"hasPassword\":true,\"code\":429,\"publicKey\":\"k\"}]"]`},
		"pair":               {`{"x":"{\"name\":\"password\",\"value\":\"x\"}"}`, `{"x":"{\"name\":\"password\",\"value\":\"****\"}"}`},
		"turned pair":        {`{"x":"{\"value\":\"x\",\"name\":\"password\"}"}`, `{"x":"{\"value\":\"****\",\"name\":\"password\"}"}`},
		"in itself":          {inString(inString(`{"token":"x"}`)), inString(inString(`{"token":"****"}`))},
		"in its field":       {`{"a":` + inString(`{"b":`+inString(`{"value":["x"],"key":"otp"}`)+`}`) + `}`, `{"a":` + inString(`{"b":`+inString(`{"value":[],"key":"otp"}`)+`}`) + `}`},
		"in a name":          {`{"{\"name\":\"pin\",\"value\":\"x\"}":1}`, `{"{\"name\":\"pin\",\"value\":\"****\"}":1}`},
		"with escapes":       {`["\u007b\u0022name\u0022:\"\u0070in\",\"value\":\"x\",\"e\":\"\ud83d\ude00\u00e9\\n\"\n}"]`, `["{\"name\":\"pin\",\"value\":\"****\",\"e\":\"\\ud83d\\ude00é\\n\"\n}"]`},
		"no secret":          {`["\u007b\"name\":\"\/a\",\"value\":\"\ud83d\ude00\\n\"}"]`, `["\u007b\"name\":\"\/a\",\"value\":\"\ud83d\ude00\\n\"}"]`},
		"behind blanks":      {`[" \r\n\t{\"name\":\"pin\",\"value\":\"x\"}"]`, `[" \r\n\t{\"name\":\"pin\",\"value\":\"****\"}"]`},
		"behind a mark":      {"[\"\ufeff{\\\"name\\\":\\\"pin\\\",\\\"value\\\":\\\"x\\\"}\"]", "[\"\ufeff{\\\"name\\\":\\\"pin\\\",\\\"value\\\":\\\"****\\\"}\"]"},
		"cut off":            {`["{\"name\":\"pin\",\"value\":\"x"]`, `["****"]`},
		"cut off earlier":    {`["{\"value\":\"x\""]`, `["****"]`},
		"cut off, no secret": {`["{\"name\":\"a\",\"x\":\"x"]`, `["{\"name\":\"a\",\"x\":\"x"]`},
		"text behind it":     {`["{\"name\":\"pin\",\"value\":\"x\"} was sent"]`, `["****"]`},
		"text before it":     {`["sent {\"password\":\"x\",\"a\":1}"]`, `["sent {\"password\":\"****\",\"a\":1}"]`},
		"text":               {`["[03.10.2022 11:48] <01> a: b","{6745a759-2205-4cd2-b172-8ec8f7e60ef8}","[1] \"a\"","{","\"a\" is b"]`, `["[03.10.2022 11:48] <01> a: b","{6745a759-2205-4cd2-b172-8ec8f7e60ef8}","[1] \"a\"","{","\"a\" is b"]`},
		"too long":           {`["[` + strings.ReplaceAll(long, `"`, `\"`) + `0]"]`, `["****"]`},
		"long text":          {`["[` + strings.Repeat(`\"a\",`, MaxNested/10) + ` text","x"]`, `["[` + strings.Repeat(`\"a\",`, MaxNested/10) + ` text","x"]`},
		"held itself":        {`[{"value":"{\"password\":\"x\"}","name":"size"},{"value":"{\"a\":\"x\"}","name":"pin"}]`, `[{"value":"{\"password\":\"****\"}","name":"size"},{"value":"****","name":"pin"}]`},
		"behind a held one":  {`{"value":"a long one","x":"{\"password\":\"x\"}","name":"pin"}`, `{"value":"****","x":"{\"password\":\"****\"}","name":"pin"}`},
	} {
		t.Run(name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in))} {
				got, err := io.ReadAll(JSON(r))
				if err != nil || string(got) != c.want || !json.Valid(got) {
					t.Fatalf("%v\ngot  %.300s\nwant %.300s", err, got, c.want)
				}
			}
		})
	}
}

func TestStringsInTooManyStringsAreLeftOut(t *testing.T) {
	deep := `{"value":"x"}`
	for range mostNested {
		deep = inString(deep)
	}
	if got := through(t, "["+deep+"]"); got != "["+deep+"]" {
		t.Errorf("%s is changed to %s", deep, got)
	}
	got := through(t, "["+inString(deep)+"]")
	if strings.Contains(got, "x") || !strings.Contains(got, Mask) || !json.Valid([]byte(got)) {
		t.Errorf("%s", got)
	}
}

// carriers draws documents that carry a secret, which is @, wherever a string can
// carry one.
type carriers struct{ *rapid.T }

func (c carriers) pick(label string, from ...string) string {
	return rapid.SampledFrom(from).Draw(c.T, label)
}

func (c carriers) document(depth int) string {
	name := func() string {
		return c.pick("name", "password", "Access_Token", "vbrAdminPassword", "secretKey", "mfaCode", "privateKey")
	}
	other := func() string {
		if depth == 0 {
			return `"a"`
		}
		return c.pick("other", `1`, `{}`, `["a"]`, `"2024-01-01T00:00:00Z"`, `"{id}"`)
	}
	switch kind := rapid.IntRange(0, 9).Draw(c.T, "kind"); {
	case depth > 0 && kind < 2:
		return `{"a":` + other() + `,"b":` + c.document(depth-1) + `}`
	case depth > 0 && kind < 3:
		return `[` + other() + `,` + c.document(depth-1) + `]`
	case depth > 0 && kind < 6:
		return c.quoted(c.pick("blank", "", " ", "\n") + c.document(depth-1))
	case kind < 7:
		return c.quoted(c.text(name()))
	case kind < 8:
		return `{"name":` + c.quoted(name()) + `,"x":` + other() + `,"value":` + c.secret() + `}`
	case kind < 9:
		return `{"newValue":` + c.secret() + `,"x":` + other() + `,"key":` + c.quoted(name()) + `}`
	}
	return `{"x":` + other() + `,` + c.quoted(name()) + `:` + c.secret() + `}`
}

func (c carriers) secret() string {
	return c.pick("secret", `"@"`, `["@"]`, `{"a":"@"}`, `"\"@\\"`, `"{\"a\":\"@\"}"`)
}

// text is running text with a secret in it.
func (c carriers) text(name string) string {
	secret := c.pick("form", "@", "@;a", "9@")
	pair := `{"` + name + `":"` + secret + `","a":"b"}`
	text := c.pick("text", name+"="+secret, name+": "+secret, name+` = "`+secret+`"`, `'`+name+`': '`+secret+`'`, pair, "x=1&"+name+"="+secret,
		"Authorization: Bearer "+secret, "Authorization: Basic "+secret, "Basic "+secret, "Bearer "+secret, "otpauth://totp/"+secret,
		"https%3A%2F%2Fu%3A"+secret+"%40h", "https://h/?q="+url.QueryEscape(pair), "?q="+url.QueryEscape(name+"="+secret), url.QueryEscape(url.QueryEscape(pair)),
		"<"+name+">"+secret+"</"+name+">", "<a:"+name+" b='c'>\n"+secret+"</a:"+name+">", block+"\n"+secret)
	return c.pick("before", "", "Request: ", "[08] ", "{a} ", "\u00e9\n") + text + c.pick("after", "", " (a)", "\n")
}

// quoted writes a text as a string, in one of the ways to do so.
func (c carriers) quoted(text string) string {
	quoted := inString(text)
	for from, to := range map[string]string{`\"`: `\u0022`, `:`: `\u003a`, `/`: `\/`, `{`: `\u007b`} {
		if rapid.IntRange(0, 4).Draw(c.T, "escape "+from) == 0 {
			quoted = replaceInside(quoted, from, to)
		}
	}
	return quoted
}

// replaceInside replaces what is not behind a backslash of a string.
func replaceInside(s, from, to string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		switch {
		case strings.HasPrefix(s[i:], from):
			b.WriteString(to)
			i += len(from)
		case s[i] == '\\':
			b.WriteString(s[i : i+2])
			i += 2
		default:
			b.WriteByte(s[i])
			i++
		}
	}
	return b.String()
}

const carried = "CANARY7"

// agree holds for every document: neither the filter nor the log lets a secret through.
func agree(t *rapid.T) {
	document := carriers{t}.document(rapid.IntRange(0, 5).Draw(t, "depth"))
	if !json.Valid([]byte(document)) {
		t.Fatalf("not JSON: %s", document)
	}
	document = strings.ReplaceAll(document, "@", carried)
	filtered, err := io.ReadAll(JSON(&pieces{[]byte(document), rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "split"), 0))}))
	if err != nil || !json.Valid(filtered) {
		t.Fatalf("%s\nbecame %s, %v", document, filtered, err)
	}
	if bytes.Contains(filtered, []byte(carried)) {
		t.Errorf("%s\nis filtered to %s", document, filtered)
	}
	if again, err := io.ReadAll(JSON(bytes.NewReader(filtered))); err != nil || !bytes.Equal(again, filtered) {
		t.Errorf("%s\nis filtered to %s,\nthat to    %s, %v", document, filtered, again, err)
	}
	if logged := svclog.MaskJSON(nil, []byte(document)); bytes.Contains(logged, []byte(carried)) || !json.Valid(logged) {
		t.Errorf("%s\nis logged as %s", document, logged)
	}
}

func TestFilterAndLogAgreeWhereverASecretIsCarried(t *testing.T) { rapid.Check(t, agree) }

func FuzzFilterAndLogAgree(f *testing.F) { f.Fuzz(rapid.MakeFuzz(agree)) }
