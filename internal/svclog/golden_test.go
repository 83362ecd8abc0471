// This file holds the comparison with the real log, byte for byte.

package svclog

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
)

// The one thing that differs from Veeam's line: the length of the body, from
// which that of the password follows.
func TestTheSevenPublicLinesAreWrittenByteForByte(t *testing.T) {
	want := seedLines(t)
	want[0] = strings.Replace(want[0], "Content-Length: 63", "Content-Length: ****", 1)
	at := func(clock string) time.Time {
		parsed, err := time.ParseInLocation(stampLayoutMilli, "03.10.2022 "+clock, time.Local)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	var l Renderer
	sentence := func(clock string, level zapcore.Level, message string) string {
		return string(l.AppendSentence(nil, at(clock), level, 36, message, nil))
	}
	got := []string{
		string(l.AppendRequest(nil, at("11:48:31.999"), zapcore.InfoLevel, postman())),
		sentence("11:48:32.008", zapcore.InfoLevel,
			"Current license edition is EnterprisePlus. Checking expiration and type..."),
		sentence("11:48:32.012", zapcore.InfoLevel, Authenticated("benyoung")),
		sentence("11:48:32.071", zapcore.ErrorLevel, LoginFailed("benyoung")),
		sentence("11:48:32.072", zapcore.ErrorLevel, TokenFailed),
		sentence("11:48:32.072", zapcore.ErrorLevel,
			Exception("Authentication failed", "System.Security.Authentication.AuthenticationException")),
		string(l.AppendResponse(nil, at("11:48:32.072"), zapcore.InfoLevel, denied())),
	}
	for i := range want {
		if got[i] != want[i]+"\n" {
			t.Errorf("line %d\n got %swant %s", i+1, got[i], want[i])
		}
	}
}

func TestFrameWritesTheSevenMessagesIntoTheirLines(t *testing.T) {
	for _, line := range seedLines(t) {
		m := frameLine().FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("not accepted: %s", line)
		}
		r := Parse(line, time.Local)
		if got := string(AppendFrame(nil, r.Time, r.Thread, r.Level, m[5], false)); got != line+"\n" {
			t.Errorf("\n got %swant %s", got, line)
		}
	}
}

func TestTheSevenPublicLinesAreReadAsWhatTheyAre(t *testing.T) {
	want := []Record{
		{
			Kind: KindRequest, Level: "Info", Thread: 36, User: "Anonymous", Method: "POST", Path: "/api/oauth2/token",
			Body: "grant_type=password&username=benyoung&password=****",
		},
		{
			Kind: KindText, Level: "Info", Thread: 36,
			Message: "Current license edition is EnterprisePlus. Checking expiration and type...",
		},
		{
			Kind: KindAuthenticated, Level: "Info", Thread: 36, User: `.\benyoung`,
			Message: `Authenticated user: [.\benyoung]`,
		},
		{
			Kind: KindLoginFailed, Level: "Error", Thread: 36, User: "benyoung",
			Message: "Login failed for user 'benyoung'.",
		},
		{Kind: KindText, Level: "Error", Thread: 36, Message: "Failed to create access token."},
		{
			Kind: KindException, Level: "Error", Thread: 36, Message: "Authentication failed",
			Type: "System.Security.Authentication.AuthenticationException",
		},
		{
			Kind: KindResponse, Level: "Info", Thread: 8, Method: "POST", Path: "/api/oauth2/token", Status: 401,
			Body: `{"errorCode":"AccessDenied","message":"Authentication failed","resourceId":null}`,
		},
	}
	for i, line := range seedLines(t) {
		got := Parse(line, time.Local)
		if i == 0 {
			names := make([]string, 0, len(got.Parameters))
			for _, p := range got.Parameters {
				names = append(names, p.Name)
			}
			order := "x-api-version Postman-Token Connection Content-Length Content-Type Accept Accept-Encoding Host User-Agent"
			if strings.Join(names, " ") != order {
				t.Errorf("parameters: %v", names)
			}
			if !got.Time.Equal(noon) {
				t.Errorf("time: %v", got.Time)
			}
			got.Parameters = nil
		}
		got.Time = time.Time{}
		if gotText, wantText := asJSON(got), asJSON(want[i]); gotText != wantText {
			t.Errorf("line %d\n got %s\nwant %s", i+1, gotText, wantText)
		}
	}
}
