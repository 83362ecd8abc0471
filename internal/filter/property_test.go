// What holds for every document: it is JSON afterwards if and only if it was
// before, it does not matter how it comes in, and no canary gets through.

package filter

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// pieces yields a document in pieces of random lengths.
type pieces struct {
	rest   []byte
	random *rand.Rand
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := min(1+p.random.IntN(9), len(p.rest), len(b))
	copy(b, p.rest[:n])
	p.rest = p.rest[n:]
	return n, nil
}

func FuzzFilter(f *testing.F) {
	for _, seed := range []string{
		`{"password":"x","a":[1,-2.5e+3,true,null,"\u00e4\n"],"secret":{"b":[{}]}}`, `{"name":"token","value":"x"}`, `[{"value":"x\u0061","name":"token"},{"value":[1,{"value":1}],"z":""}]`,
		`["otpauth:\/\/x","` + jwt + `","Bearer a1","-----BEGIN PRIVATE KEY-----\n"]`, " \r\n[[[]]]", "\xef\xbb\xbf1", `{"a":1`, `"\ud800"`, "",
	} {
		f.Add([]byte(seed), uint64(1))
	}
	f.Fuzz(func(t *testing.T, document []byte, split uint64) {
		out, err := io.ReadAll(JSON(bytes.NewReader(document)))
		body := bytes.TrimPrefix(document, []byte("\xef\xbb\xbf"))
		valid := json.Valid(body) || len(bytes.TrimLeft(body, " \t\r\n")) == 0
		if valid != (err == nil) {
			t.Fatalf("valid %v, error %v", valid, err)
		}
		kept := bytes.TrimPrefix(out, []byte("\xef\xbb\xbf"))
		if json.Valid(body) && !json.Valid(kept) {
			t.Fatalf("no JSON any more: %q", out)
		}
		if err == nil && shape(kept) != shape(body) {
			t.Fatalf("%q is built otherwise than %q", out, document)
		}
		again, pieceErr := io.ReadAll(JSON(&pieces{document, rand.New(rand.NewPCG(split, 0))}))
		if !bytes.Equal(again, out) || (pieceErr == nil) != (err == nil) {
			t.Fatalf("in pieces %q %v, as a whole %q %v", again, pieceErr, out, err)
		}
		if err == nil && !suspicious(body) && !bytes.Equal(out, document) {
			t.Fatalf("changed without need: %q", out)
		}
	})
}

// shape is the type of a document.
func shape(document []byte) string {
	d := json.NewDecoder(bytes.NewReader(document))
	d.UseNumber()
	var value any
	if d.Decode(&value) != nil {
		return ""
	}
	switch value.(type) {
	case map[string]any:
		return "object"
	case []any:
		return "array"
	case string:
		return "string"
	case json.Number:
		return "number"
	}
	return "word"
}

// suspicious reports whether a document has anything that could be a secret or the
// name of one.
func suspicious(document []byte) bool {
	if bytes.ContainsAny(document, `\%`) {
		return true
	}
	lower := bytes.ToLower(document)
	for _, c := range lower {
		if c >= 0x80 {
			return true
		}
	}
	for _, word := range []string{"bearer", "otpauth", "private", "putty", "exponent", "eyj", "eya", "ewo", "ew0", "://"} {
		if bytes.Contains(lower, []byte(word)) {
			return true
		}
	}
	// Every name that svclog knows has one of these in it, punctuation apart.
	letters := bytes.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return -1
	}, lower)
	for _, word := range []string{
		"pass", "pw", "pin", "psw", "token", "saml", "assertion", "code", "otp", "secret", "key", "certificate", "pfx",
		"pkcs", "qrstring", "mfa", "seed", "connectionstring", "auth", "cookie", "value", "val", "sas", "session", "signature", "sig", "credential",
	} {
		if bytes.Contains(letters, []byte(word)) {
			return true
		}
	}
	return false
}

// TestCanariesDoNotPass makes documents, with a canary in place of every secret
// and again with the mask, and compares.
func TestCanariesDoNotPass(t *testing.T) {
	const canary = "CANARY-7"
	rapid.Check(t, func(t *rapid.T) {
		m := &maker{T: t}
		m.value(0, false)
		document := strings.ReplaceAll(m.in.String(), "@", canary)
		got, err := io.ReadAll(JSON(&pieces{[]byte(document), rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "split"), 0))}))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(got, []byte(canary)) {
			t.Fatalf("a canary in %s", got)
		}
		if string(got) != m.want.String() {
			t.Fatalf("%s\nbecame %s\nnot    %s", document, got, m.want.String())
		}
	})
}

// maker writes a document as it comes in, with @ for each secret, and as it should
// go out.
type maker struct {
	*rapid.T
	in, want strings.Builder
}

func (m *maker) both(text string) { m.write(text, text) }

func (m *maker) write(in, want string) {
	m.in.WriteString(in)
	m.want.WriteString(want)
}

func (m *maker) pick(label string, from ...string) string {
	return rapid.SampledFrom(from).Draw(m.T, label)
}

func (m *maker) space() { m.both(m.pick("space", "", "", " ", "\n\t")) }

// value writes a value; of a hidden one, only what it was.
func (m *maker) value(depth int, secret bool) {
	kinds := []string{"string", "string", "number", "word", "revealing"}
	if depth < 5 {
		kinds = append(kinds, "object", "array")
	}
	kind := m.pick("kind", kinds...)
	if secret {
		inner := &maker{T: m.T}
		switch kind {
		case "string", "revealing":
			m.write(`"@`+m.pick("rest", "", `\"`, `\\`, `é\u00e9`)+`"`, `"****"`)
		case "number":
			m.write(m.pick("number", "17", "-0.5e3"), "0")
		case "word":
			m.both(m.pick("word", "true", "false", "null"))
		case "object":
			inner.value(depth+1, false)
			m.write(`{ "@": `+inner.in.String()+`, "b":"@" }`, "{}")
		case "array":
			inner.value(depth+1, true)
			m.write(`[`+inner.in.String()+`,"@"]`, "[]")
		}
		return
	}
	switch kind {
	case "string":
		m.both(strconv.Quote(m.pick("string", "", "a job", "2024-01-01T00:00:00Z", "6745a759-2205-4cd2-b172-8ec8f7e60ef8", "token", "Bearer token", "https://a/b?c=d")))
	case "number":
		m.both(m.pick("number", "0", "-1", "1.5", "2e10", "12345678901234567890"))
	case "word":
		m.both(m.pick("word", "true", "false", "null"))
	case "revealing":
		in, want, _ := strings.Cut(m.pick("secret", `Bearer @ x|Bearer **** x`, `otpauth://@|otpauth://****`, `x://u:@\u0040h/a|x://****\u0040h/a`, `https:\/\/u:@\u0040h|https:\/\/****\u0040h`, `a?sig=@&b=c|a?sig=****&b=c`,
			`s\u0069g\u003d@;x y|s\u0069g\u003d**** y`, `token = '@ x' y|token = '****' y`, `a eyJhbGciOiJSUzI1NiJ9.@ b|a eyJ**** b`, block+`\n@|`+block+`****`), "|")
		m.write(`"`+in+`"`, `"`+want+`"`)
	case "object":
		m.both("{")
		for i := range rapid.IntRange(0, 4).Draw(m.T, "fields") {
			if i > 0 {
				m.both(",")
			}
			m.space()
			if kind := m.pick("pair", "", "", "secret", "other"); kind != "" && depth < 5 {
				m.pair(depth, kind == "secret")
				continue
			}
			hidden := rapid.Bool().Draw(m.T, "hidden")
			if hidden {
				m.both(m.pick("secret name", `"password"`, `"Access_Token"`, `"backupAdminPassword"`, `"s\u0065cretKey"`, `"scratchCodes"`))
			} else {
				m.both(m.pick("other name", `"title"`, `"passwordId"`, `"items"`, `"é"`, `"a.b"`))
			}
			m.space()
			m.both(":")
			m.space()
			m.value(depth+1, hidden)
		}
		m.space()
		m.both("}")
	case "array":
		m.both("[")
		for i := range rapid.IntRange(0, 4).Draw(m.T, "items") {
			if i > 0 {
				m.both(",")
			}
			m.value(depth+1, false)
			m.space()
		}
		m.both("]")
	}
}

// pair writes a field with an object that names something and has its value, in
// either order.
func (m *maker) pair(depth int, secret bool) {
	names := []string{`"passwords"`, `"Access Token"`, `"/x/0/s\u0065cretKey"`}
	if !secret {
		names = []string{`"size"`, `"passwordHint"`, `""`}
	}
	name := m.pick("naming", `"name"`, `"displayName"`, `"key"`) + ":" + m.pick("named", names...)
	m.both(`"pair":{`)
	first := rapid.Bool().Draw(m.T, "name first")
	if first {
		m.both(name + ",")
	}
	m.both(m.pick("value", `"value"`, `"newValue"`) + ":")
	m.value(depth+1, secret)
	m.space()
	if !first {
		m.both(`,"z":[{}],` + name)
	}
	m.both("}")
}

func TestEveryDocumentThatIsCutOffSaysSo(t *testing.T) {
	whole := `{"a":["b\u00e4",-1.5e3,true,{"password":["x"]}],"otp":"1","c":"` + jwt + `"}`
	for n := 1; n < len(whole); n++ {
		out, err := io.ReadAll(JSON(strings.NewReader(whole[:n])))
		if !errors.Is(err, io.ErrUnexpectedEOF) || bytes.Contains(out, []byte("c2lnbmF0dXJl")) {
			t.Errorf("%q gives %q, %v", whole[:n], out, err)
		}
	}
}
