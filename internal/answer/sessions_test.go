package answer

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

const (
	ownID   = "44cfbdbe-5a95-4465-a7b4-520eea4fc219"
	otherID = "E7b5c1a0-0d3f-4f1e-9c55-7a1f0a2b3c4d"
)

var ownNames = []string{"aGVhZGVyIHRoYXQgaXMgbm8gaWQ=", ownID, base64.StdEncoding.EncodeToString([]byte(ownID))}

// masked reads a document through a sessionReader, in pieces of every kind.
func masked(t *testing.T, own []string, text string) string {
	t.Helper()
	var first string
	for i, body := range []io.Reader{
		strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text)), iotest.HalfReader(strings.NewReader(text)), iotest.DataErrReader(strings.NewReader(text)),
	} {
		got, err := io.ReadAll(&sessionReader{ReadCloser: io.NopCloser(body), mask: sessionMask{own: own}, text: true})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = string(got)
		}
		if string(got) != first || len(got) != len(text) {
			t.Fatalf("it depends on the pieces in which %q comes: %q, %q", text, first, got)
		}
	}
	return first
}

func TestIDsOfSessionsAreMaskedInAnswers(t *testing.T) {
	for _, text := range []string{
		`<Ref UID="urn:veeam:LogonSession:@" Name="x" Href="https://em01:9398/api/logonSessions/@?format=Entity" Type="LogonSessionReference">`,
		`<SessionId>@</SessionId>`, "<SessionId>\r\n  @</SessionId>", `<e:SessionId xmlns:e="urn:x">@</e:SessionId>`, `<Entity SessionId='@'/>`,
		`{"SessionId":"@"}`, `{"sessionId" : "@"}`, `{"LogonSessionId":"@"}`,
		`{"Href":"https:\/\/em01:9398\/api\/logonSessions\/@"}`, `{"next":"/api%2FlogonSessions%2F@"}`, `/api/LOGONSESSIONS/@`, `sessionId=@`,
	} {
		for _, id := range []string{ownID, otherID} {
			got := masked(t, ownNames, strings.ReplaceAll(text, "@", id))
			if !strings.Contains(got, "00000000-0000-0000-0000-000000000000") || strings.Contains(got, id[9:18]) {
				t.Errorf("%s became %s", text, got)
			}
		}
	}
	for _, text := range []string{ownID, strings.ToUpper(ownID), ownNames[0], ownNames[2], "x" + ownNames[0] + ownNames[2] + "-" + ownID + ownID} {
		if got := masked(t, ownNames, `{"Message":"`+text+`"}`); strings.Trim(got, `{}"Mesag:0-=x`) != "" {
			t.Errorf("%s became %s", text, got)
		}
	}
}

func TestOtherIDsPassUnchanged(t *testing.T) {
	for _, text := range []string{
		`<Ref UID="urn:veeam:Job:@" Href="https://em01:9398/api/jobs/@?format=Entity">`, `{"JobSessionId":"@"}`, `<BackupSessionId>@</BackupSessionId>`,
		`<Link Href="https://em01:9398/api/logonSessions" Type="LogonSessionList"/><Link Href="/api/jobs/@"/>`, `{"SessionId":null,"Id":"@"}`, "@", "@-@", "",
		`{"SessionId":"44cfbdbe-5a95"}`, `{"sessionId":"44cfbdbe-5a95-4465-a7b4-520eea4fc21z"}`,
	} {
		text = strings.ReplaceAll(text, "@", otherID)
		if got := masked(t, ownNames, text); got != text {
			t.Errorf("%s became %s", text, got)
		}
	}
}

func TestADocumentThatIsNotUTF8IsNotPassed(t *testing.T) {
	body := io.NopCloser(bytes.NewReader([]byte("\xff\xfe<\x00S\x00e\x00")))
	if got, err := io.ReadAll(&sessionReader{ReadCloser: body, text: true}); !errors.Is(err, errNotUTF8) || len(got) > 0 {
		t.Errorf("%q, %v", got, err)
	}
}

// What is kept back comes as soon as it cannot become an id any more.
func TestAPieceThatEndsWithADocumentIsPassedAtOnce(t *testing.T) {
	for _, text := range []string{`{"Id":"` + otherID + `"}`, `<a>` + otherID + `</a>`} {
		more, write := io.Pipe()
		go func() { _, _ = write.Write([]byte(text)) }()
		r := &sessionReader{ReadCloser: more, mask: sessionMask{own: ownNames}}
		if n, err := io.ReadFull(r, make([]byte, len(text))); err != nil || n != len(text) {
			t.Errorf("%d, %v", n, err)
		}
		_ = more.Close()
	}
}

func FuzzSessionsAreMasked(f *testing.F) {
	for _, seed := range []string{`<SessionId>`, `/logonSessions/`, `44cfbdbe-5a95-`, `"sessionId":"`, `-`, ``} {
		f.Add(seed, seed, 3)
	}
	f.Fuzz(func(t *testing.T, before, after string, piece int) {
		text := before + ownID + after + ownNames[0]
		r := &sessionReader{ReadCloser: io.NopCloser(&pieces{text, max(1, piece%64)}), mask: sessionMask{own: ownNames}}
		got, err := io.ReadAll(r)
		whole := []byte(text)
		sessionMask{own: ownNames}.apply(nil, whole)
		if err != nil || !bytes.Equal(got, whole) || bytes.Contains(bytes.ToLower(got), []byte(ownID)) || bytes.Contains(got, []byte(ownNames[0])) {
			t.Errorf("%q became %q, %v", text, got, err)
		}
	})
}

// pieces gives a text in pieces of one length.
type pieces struct {
	text   string
	length int
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.text == "" {
		return 0, io.EOF
	}
	n := copy(b, p.text[:min(p.length, len(p.text))])
	p.text = p.text[n:]
	return n, nil
}
