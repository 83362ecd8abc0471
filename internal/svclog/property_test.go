// This file holds the properties of every line: the public expressions accept
// it, it is one line, and it is read as what was written.

package svclog

import (
	"bytes"
	"context"
	"encoding/hex"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
	"pgregory.net/rapid"
)

// The expressions as they were made for the public lines, apart from the
// reader's own.
var (
	acceptFrame    = regexp.MustCompile(`^\[(\d{2}\.\d{2}\.\d{4} \d{2}:\d{2}:\d{2}(?:\.\d{3})?)\] <(\d{2,})> (\w+) +(.*)$`)
	acceptRequest  = regexp.MustCompile(`^\[User: ([^\]]*)\]\[([A-Z]+)\] request to \[([^\]]*)\] deserialized\. Message: \[(.*)\]; Parameters: \[(.*?)\]\.$`)
	acceptResponse = regexp.MustCompile(`^\[([A-Z]+) (\S+)\]: \[(\d{3})\] ?(.*)$`)
)

// hostile draws text with what could break a line in it.
func hostile() *rapid.Generator[string] {
	piece := rapid.OneOf(
		rapid.SampledFrom([]string{
			"\n", "\r", "\r\n", "\x00", "\x1b", "\u0085", "\u2028", "\u202e", "\xff", "]", "[", "]; Parameters: [", "; ",
			"; Host: x", ": ", ";", "]: [200] ", " deserialized. Message: [", "[User: a][GET] request to [/] ", "%", "%0a",
			"\n[03.10.2022 11:48:32.072] <08> Info         [POST /x]: [200] ", "a", "/", "?", "=", "&", `\`, `"`, "'", "<",
			"].", "Parameters: [", " [Request-id: x]", "é", "<cut after 1 bytes>", "password=", "token:", "Bearer ", "****", "session=", "&key=", "?sig=", "/u:p@h", "//u:", "@",
		}),
		rapid.String(),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
	)
	return rapid.Map(rapid.SliceOfN(piece, 0, 5), func(pieces []string) string { return strings.Join(pieces, "") })
}

func drawRequest(t *rapid.T) *Request {
	r := &Request{
		User:      hostile().Draw(t, "user"),
		Method:    rapid.OneOf(rapid.SampledFrom([]string{"GET", "POST", "delete"}), hostile()).Draw(t, "method"),
		Path:      hostile().Draw(t, "path"),
		Host:      hostile().Draw(t, "host"),
		RequestID: rapid.OneOf(rapid.Just(""), hostile()).Draw(t, "id"),
		Thread:    rapid.Uint32().Draw(t, "thread"),
		Header:    make(http.Header),
	}
	if rapid.Bool().Draw(t, "traced") {
		copy(r.TraceID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "trace"))
	}
	body := rapid.OneOf(hostile(), rapid.SampledFrom([]string{
		"grant_type=password&username=u&password=p", `{"a":[1,{"password":"x"}]}`, "{\n\t\"a\": \"]; Parameters: [\"\n}",
	})).Draw(t, "body")
	r.Body = MaskBody(nil, "", "", []byte(body), rapid.Bool().Draw(t, "cut"))
	if rapid.Bool().Draw(t, "raw body") {
		r.Body = []byte(body) // what a caller must not do, and still no line breaks
	}
	names := rapid.OneOf(rapid.SampledFrom([]string{
		"Accept", "Host", "Content-Length", "X-Api-Version", "Authorization", "Parameters", "Request-id", "Trace-id", "Trace-Id", "More", "X-A",
	}), hostile())
	maps.Copy(r.Header, rapid.MapOfN(names, rapid.SliceOfN(hostile(), 0, 3), 0, 6).Draw(t, "header"))
	return r
}

func drawResponse(t *rapid.T) *Response {
	return &Response{
		Method:    rapid.OneOf(rapid.SampledFrom([]string{"GET", "POST"}), hostile()).Draw(t, "method"),
		Path:      hostile().Draw(t, "path"),
		Status:    rapid.OneOf(rapid.IntRange(100, 599), rapid.Int()).Draw(t, "status"),
		Body:      []byte(hostile().Draw(t, "body")),
		RequestID: rapid.OneOf(rapid.Just(""), hostile()).Draw(t, "id"),
		Thread:    rapid.Uint32().Draw(t, "thread"),
	}
}

func drawRenderer(t *rapid.T) Renderer {
	return Renderer{UTC: rapid.Bool().Draw(t, "utc"), RequestID: rapid.Bool().Draw(t, "request_id")}
}

func drawTime(t *rapid.T) time.Time {
	return time.UnixMilli(rapid.Int64Range(0, 4e12).Draw(t, "time"))
}

func (l Renderer) zone() *time.Location {
	if l.UTC {
		return time.UTC
	}
	return time.Local
}

// message takes the frame off a line, which must be one.
func message(t *rapid.T, line []byte) string {
	if bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' || bytes.ContainsAny(line, "\r\x00\x1b\u0085\u2028\u2029") {
		t.Fatalf("not one line: %q", line)
	}
	m := acceptFrame.FindSubmatch(line[:len(line)-1])
	if m == nil {
		t.Fatalf("the frame is not accepted: %q", line)
	}
	return string(m[4])
}

func TestEveryRequestLineIsAcceptedAndReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, at, r := drawRenderer(t), drawTime(t), drawRequest(t)
		line := l.AppendRequest(nil, at, zapcore.InfoLevel, r)
		text := message(t, line)
		if !acceptRequest.MatchString(text) || acceptResponse.MatchString(text) {
			t.Fatalf("not accepted as a request: %q", text)
		}
		got := parse(strings.TrimSuffix(string(line), "\n"), l.zone())
		user, target := string(cleanTail(appendUser(nil, r.User), 0)), string(appendTarget(nil, r.Path))
		method := string(appendMethod(nil, r.Method))
		if got.Kind != KindRequest || got.User != user || got.Path != target || got.Method != method || got.Thread != r.Thread {
			t.Fatalf("read %+v\nfrom %s", got, line)
		}
		if !got.Time.Equal(at) && !l.UTC {
			if got.Time.Format(stampLayoutMilli) != at.Format(stampLayoutMilli) { // but for an hour set back
				t.Fatalf("time %v, not %v", got.Time, at)
			}
		}
		if body := string(appendBody(nil, r.Body, loginPath(r.Path))); got.Body != string(appendClean(nil, body)) {
			t.Fatalf("body %q, not %q", got.Body, body)
		}
		names, values := printedHeaders(r)
		if r.TraceID != [16]byte{} {
			if len(got.TraceID) != 32 {
				t.Fatalf("the trace is %q: %s", got.TraceID, line)
			}
			names = append([]string{traceIDName}, names...)
			values = append([]string{hex.EncodeToString(r.TraceID[:])}, values...)
		}
		if got.TraceID != "" {
			got.Parameters = append(Parameters{{traceIDName, got.TraceID}}, got.Parameters...)
		}
		if l.RequestID && r.RequestID != "" {
			names = append([]string{requestIDName}, names...)
			values = append([]string{string(MaskText(nil, r.RequestID))}, values...)
		}
		if got.RequestID != "" {
			got.Parameters = append(Parameters{{requestIDName, got.RequestID}}, got.Parameters...)
		}
		if len(got.Parameters) != len(names) {
			t.Fatalf("%d parameters, not %d: %s", len(got.Parameters), len(names), line)
		}
		for i, p := range got.Parameters {
			value := []byte(values[i])
			if p.Name != names[i] || p.Value != string(cleanTail(guardList(value, 0), 0)) {
				t.Fatalf("parameter %q: %q\nnot %q: %q", p.Name, p.Value, names[i], values[i])
			}
		}
	})
}

// printedHeaders returns the headers of r by the names in the line.
func printedHeaders(r *Request) (names, values []string) {
	list := sortHeaders(r.Header, nil)
	if r.Host != "" {
		list.known[slices.Index(sysOrder[:], "Host")] = []string{r.Host}
	}
	add := func(name string, value []string) {
		row, ok := knownHeaders().rows[name]
		if !ok {
			row.printed = strings.TrimSuffix(string(appendHeaderName(nil, name)), ": ")
		}
		names = append(names, row.printed)
		if name == "Content-Length" && hidesLength(r, loginPath(r.Path)) {
			value = []string{Mask}
		}
		values = append(values, string(appendHeaderValues(nil, name, value, judgeHeader(name))))
	}
	for _, name := range list.unknown {
		add(name, r.Header[name])
	}
	for rank, value := range list.known {
		if value != nil {
			add(http.CanonicalHeaderKey(sysOrder[rank]), value)
		}
	}
	return names, values
}

func TestEveryResponseLineIsAcceptedAndReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, at, r := drawRenderer(t), drawTime(t), drawResponse(t)
		line := l.AppendResponse(nil, at, zapcore.ErrorLevel, r)
		text := message(t, line)
		if !acceptResponse.MatchString(text) || acceptRequest.MatchString(text) {
			t.Fatalf("not accepted as a response: %q", text)
		}
		got := parse(strings.TrimSuffix(string(line), "\n"), l.zone())
		status := r.Status
		if status < 0 || status > 999 {
			status = 0
		}
		if got.Kind != KindResponse || got.Status != status || got.Path != string(appendTarget(nil, r.Path)) ||
			got.Method != string(appendMethod(nil, r.Method)) || got.Thread != r.Thread || got.Level != LevelError {
			t.Fatalf("read %+v\nfrom %s", got, line)
		}
	})
}

func TestEverySentenceIsOneLineAndNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, at := drawRenderer(t), drawTime(t)
		said, fields := hostile().Draw(t, "message"), hostile().Draw(t, "fields")
		line := l.AppendSentence(nil, at, zapcore.WarnLevel, 7, said, []byte(fields))
		text := message(t, line)
		if acceptRequest.MatchString(text) || acceptResponse.MatchString(text) {
			t.Fatalf("a sentence passes for more: %q", text)
		}
		if got := parse(strings.TrimSuffix(string(line), "\n"), l.zone()); got.Kind == KindRequest || got.Kind == KindResponse || got.Kind == KindUnframed {
			t.Fatalf("read as %s: %q", got.Kind, line)
		}
	})
}

func TestMaskingIsDoneAfterTheFirstTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := hostile().Draw(t, "text")
		if hides, masked := PathHides(text), string(MaskPath(nil, text)); hides != (masked != text) {
			t.Fatalf("a secret in %q: %t, masked: %q", text, hides, masked)
		}
		for name, mask := range map[string]func(string) string{
			"text":  func(s string) string { return string(MaskText(nil, s)) },
			"form":  func(s string) string { return string(MaskForm(nil, []byte(s))) },
			"query": func(s string) string { return string(MaskQuery(nil, s)) },
			"path":  func(s string) string { return string(MaskPath(nil, s)) },
		} {
			once := mask(text)
			if twice := mask(once); twice != once {
				t.Fatalf("%s: %q, then %q, then %q", name, text, once, twice)
			}
		}
	})
}

// The reader masks what another program wrote without a mask.
func TestWhatIsReadIsMasked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		form := drawSecretForm(t)
		line := "[03.10.2022 11:48:31.999] <36> Info         [User: a][POST] request to [/x?" + form +
			"] deserialized. Message: [" + form + "]; Parameters: [Authorization: Bearer c4n4ry; X-A: " + form + "; ]."
		var records []Record
		err := Read(context.Background(), strings.NewReader(line), Filter{}, func(r Record) error {
			records = append(records, r)
			return nil
		})
		if err != nil || len(records) != 1 || records[0].Kind != KindRequest {
			t.Fatalf("%v from %s", records, line)
		}
		if text := asJSON(records[0]); strings.Contains(text, "c4n4ry") {
			t.Fatalf("%s\ngave %s", line, text)
		}
	})
}

// drawSecretForm draws a form with a canary under a secret name.
func drawSecretForm(t *rapid.T) string {
	name := rapid.SampledFrom(documented).Draw(t, "name")
	name = rapid.SampledFrom(spellings(name)).Draw(t, "spelling")
	pair := name + "=" + rapid.SampledFrom([]string{"c4n4ry", "ac4n4ry%26b", "%22c4n4ry", "c4n4ry+c4n4ry"}).Draw(t, "value")
	around := rapid.SampledFrom([]string{"", "a=b", "username=u", "&&", "x"})
	return around.Draw(t, "before") + "&" + pair + "&" + around.Draw(t, "after")
}

// A header of the client that has the name of an id is no id behind one that was written here.
func TestTheIDOfAClientIsNoIDBehindTheTrace(t *testing.T) {
	r := &Request{Method: "GET", Path: "/", TraceID: [16]byte{15: 1}, Header: http.Header{requestIDName: {"made up"}}}
	got := parse(strings.TrimSuffix(string(Renderer{}.AppendRequest(nil, time.Now(), zapcore.InfoLevel, r)), "\n"), time.Local)
	if got.RequestID != "" || got.TraceID != strings.Repeat("0", 31)+"1" || !slices.Contains(got.Parameters, Parameter{requestIDName, "made up"}) {
		t.Errorf("%+v", got)
	}
}

// What is rendered once and copied is what would have been rendered again, in every form of
// the line, and whatever has become of the request.
func TestAMessageThatIsCopiedIsTheOneThatIsRendered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first, other, at := drawRenderer(t), drawRenderer(t), drawTime(t)
		entry := zapcore.Entry{Level: zapcore.InfoLevel, Time: at}
		request, response := drawRequest(t), drawResponse(t)
		wanted := other.AppendResponse(other.AppendRequest(nil, at, zapcore.InfoLevel, request), at, zapcore.InfoLevel, response)
		plain := Renderer{UTC: first.UTC}
		for _, s := range []*Subject{{Request: request}, {Response: response}, {Request: request, Response: response}} {
			want := strings.TrimSuffix(string(plain.AppendSubject(nil, entry, s, nil)), "\n")
			if got := first.Line(entry, s); got != want {
				t.Fatalf("%q\nis not\n%q", got, want)
			}
		}
		request.Header, request.User, response.Body = http.Header{"X-Later": {"x"}}, "later", []byte("later")
		if got := other.AppendResponse(other.AppendRequest(nil, at, zapcore.InfoLevel, request), at, zapcore.InfoLevel, response); !bytes.Equal(got, wanted) {
			t.Fatalf("%q\nis not\n%q", got, wanted)
		}
		sentence := zapcore.Entry{Level: zapcore.WarnLevel, Time: at, Message: hostile().Draw(t, "message")}
		s := &Subject{Thread: 7}
		if got, want := first.Line(sentence, s), strings.TrimSuffix(string(plain.AppendSubject(nil, sentence, s, nil)), "\n"); got != want {
			t.Fatalf("%q\nis not\n%q", got, want)
		}
	})
}
