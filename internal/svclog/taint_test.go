// This file holds the matrix of secrets: every kind, in every encoding a client
// may choose, in every place of a line.

package svclog

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/zap/zapcore"
)

// kinds are the secrets of the products and of veeam-auth by the name they travel
// under; each value is found again in any case.
var secretKinds = map[string]string{
	"password":      "Pw-c4n4ry!&=%+\"'\\",
	"totp_secret":   "JBSWY3DPC4N4RY23",
	"mfa_code":      "c4n4ry",
	"access_token":  "eyJhbGciOiJSUzUxMiJ9.eyJhIjoiYzRuNHJ5In0.c4n4rySig",
	"refresh_token": "c4n4ry-refresh/+==",
	"mfa_token":     "YzRuNHJ5-c4n4ry==",
	"clientSecret":  "c4n4ry~client",
	"X-Api-Key":     "c4n4ry.key",
	"apiKey":        "vak_c4n4ry012345678901234567890123456789",
	"privateKey":    "-----BEGIN PRIVATE KEY-----\nMIIc4n4ry\n-----END PRIVATE KEY-----\n",
	"passphrase":    "c4n4ry phrase",
	"encryptionKey": "c4n4ry+cache/key=",
	"scratchCodes":  "c4n4ry13433973",
}

// secretForms are the ways in which a secret may be written where its name
// stands before it.
var secretForms = map[string]func(string) string{
	"plain":     func(s string) string { return s },
	"upper":     strings.ToUpper,
	"lower":     strings.ToLower,
	"percent":   percent,
	"twice":     func(s string) string { return percent(percent(s)) },
	"query":     url.QueryEscape,
	"path":      url.PathEscape,
	"base64":    func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64url": func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
	"hex":       func(s string) string { return hex.EncodeToString([]byte(s)) },
	"HEX":       func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
	"basic":     func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte("u:"+s)) },
	"bearer":    func(s string) string { return "Bearer " + s },
	"otpauth":   func(s string) string { return "otpauth://totp/u?secret=" + s },
}

// inJSON writes a text as a JSON string, with escapes or without.
func inJSON(text string, escaped bool) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	if !escaped {
		return string(quoted)
	}
	return `"` + escapeAll(text) + `"`
}

// carried returns everything that is logged when a client sends or a server
// answers the secret under its name.
func carried(name, written string) map[string]string {
	line := func(r *Request) string { return string(AppendRequest(nil, r)) }
	body := func(kind, text string) string {
		return line(&Request{Path: "/x", Body: MaskBody(nil, kind, "", []byte(text), false)}) +
			line(&Request{Path: "/x", Body: MaskBody(nil, kind, "", []byte(text[:len(text)-1]), true)})
	}
	sent := url.QueryEscape(written)
	object := func(escaped bool) string {
		return `{"a":{"` + name + `":` + inJSON(written, escaped) + `},"` + name + `":[{"x":` + inJSON(written, escaped) + `}]}`
	}
	answer := func(status int, text string) string {
		return string(AppendResponse(nil, &Response{Path: "/x", Status: status, Body: MaskBody(nil, jsonType, "", []byte(text), false)}))
	}
	var l Renderer
	out := map[string]string{
		"form":              body(formType, "username=u&"+name+"="+sent+"&x=y"),
		"form as JSON":      body(jsonType, "username=u&"+name+"="+sent+"&x=y"),
		"form, twice":       body(formType, name+"="+sent+"&"+name+"="+sent),
		"form in a field":   body(formType, "data="+url.QueryEscape("a=b&"+name+"="+sent)),
		"JSON in a field":   body(formType, "data="+url.QueryEscape(object(false))),
		"JSON":              body(jsonType, object(false)),
		"JSON, escaped":     body(jsonType, object(true)),
		"JSON as form":      body(formType, object(false)),
		"JSON in JSON":      body(jsonType, `{"m":`+inJSON(object(false), false)+`}`),
		"form in JSON":      body(jsonType, `{"m":`+inJSON("a=b&"+name+"="+sent, false)+`}`),
		"text":              body("text/plain", name+": "+written),
		"query":             line(&Request{Path: "/x?a=b&" + name + "=" + sent + "&c=d"}),
		"query, response":   string(AppendResponse(nil, &Response{Path: "/x?" + name + "=" + sent, Status: 200})),
		"matrix parameter":  line(&Request{Path: "/x;" + name + "=" + sent + "/y"}),
		"encoded path":      line(&Request{Path: "/x" + percent("?"+name+"="+sent)}),
		"header":            line(&Request{Path: "/", Header: http.Header{http.CanonicalHeaderKey(name): {written}}}),
		"cookie":            line(&Request{Path: "/", Header: http.Header{"Cookie": {name + "=" + written}}}),
		"authorization":     line(&Request{Path: "/", Header: http.Header{"Authorization": {written}}}),
		"referer":           line(&Request{Path: "/", Header: http.Header{"Referer": {"https://h/?" + name + "=" + sent}}}),
		"good answer":       answer(200, object(false)),
		"bad answer":        answer(500, object(true)),
		"answer, problem":   answer(401, `{"detail":`+inJSON("refused "+name+"="+sent, false)+`}`),
		"sentence":          string(l.AppendSentence(nil, noon, zapcore.ErrorLevel, 1, "refused: "+name+"="+sent, nil)),
		"fields":            string(l.AppendSentence(nil, noon, zapcore.ErrorLevel, 1, "refused", []byte(object(false)))),
		"exception":         Exception("refused: {"+inJSON(name, false)+": "+inJSON(written, false)+"}", "T"),
		"entry as JSON":     entryAsJSON(&Request{Path: "/?" + name + "=" + sent, Header: http.Header{"X-A": {name + "=" + sent}}}),
		"record of a line":  asJSON(Parse("[03.10.2022 11:48:31.999] <36> Info         [POST /x?"+name+"="+sent+"]: [200] "+object(false), noon.Location())),
		"record of a text":  asJSON(Parse(name+"="+sent, noon.Location())),
		"record of a form":  asJSON(Parse("[03.10.2022 11:48:31.999] <36> Info         [User: a][POST] request to [/] deserialized. Message: [a=b&"+name+"="+sent+"]; Parameters: [].", noon.Location())),
		"sentence, user":    LoginFailed("u?" + name + "=" + sent),
		"sentence, request": Replayed("GET", "/x?"+name+"="+sent),
	}
	return out
}

func entryAsJSON(r *Request) string {
	enc := zapcore.NewMapObjectEncoder()
	if err := r.MarshalLogObject(enc); err != nil {
		return err.Error()
	}
	return asJSON(enc.Fields)
}

// traces are the texts by which a secret is recognised in a line.
func traces(secret string) []string {
	return []string{
		"c4n4ry", hex.EncodeToString([]byte("c4n4ry")),
		strings.ToLower(base64.StdEncoding.EncodeToString([]byte(secret))[:8]),
		strings.ToLower(base64.StdEncoding.EncodeToString([]byte("u:" + secret))[:8]),
	}
}

// recognised reports whether one of the traces is in a line, under whatever
// percent-encodings and escapes.
func recognised(line string, traces []string) bool {
	for wrapped := true; wrapped; line, wrapped = peel(line) {
		lower := strings.ToLower(line)
		for _, trace := range traces {
			if strings.Contains(lower, trace) {
				return true
			}
		}
	}
	return false
}

// leaks calls found for each place and form in which a secret can be recognised.
func leaks(found func(kind, form, place, line string)) (cases int) {
	for name, secret := range secretKinds {
		for form, write := range secretForms {
			for place, line := range carried(name, write(secret)) {
				cases++
				if recognised(line, traces(secret)) {
					found(name, form, place, line)
				}
			}
		}
	}
	return cases
}

func TestNoSecretIsPrintedInAnyEncodingAnywhere(t *testing.T) {
	cases := leaks(func(kind, form, place, line string) {
		t.Errorf("%s, %s, %s:\n%s", kind, form, place, line)
	})
	if cases < 5000 {
		t.Errorf("only %d cases", cases)
	}
}

func TestWithoutMaskingSecretsAreFoundInEveryPlace(t *testing.T) {
	unmask(t)
	kinds, forms, places := map[string]int{}, map[string]int{}, map[string]int{}
	found := 0
	cases := leaks(func(kind, form, place, _ string) {
		found++
		kinds[kind]++
		forms[form]++
		places[place]++
	})
	if len(kinds) != len(secretKinds) || len(forms) != len(secretForms) || len(places) != len(carried("a", "b")) {
		t.Errorf("%d of %d kinds, %d of %d forms, %d places: %v", len(kinds), len(secretKinds), len(forms), len(secretForms), len(places), places)
	}
	if found < cases*95/100 {
		t.Errorf("%d of %d found: the search misses too much", found, cases)
	}
}
