// This file holds the tests of the frame and of what may not break out of it.

package svclog

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
)

func TestAppendFrame(t *testing.T) {
	utc := time.Date(2026, 1, 2, 3, 4, 5, 6_999_999, time.UTC)
	for name, c := range map[string]struct {
		at      time.Time
		thread  uint32
		level   string
		message string
		want    string
	}{
		"plain":           {utc, 36, LevelInfo, "a", "[02.01.2026 03:04:05.006] <36> Info         a\n"},
		"one digit":       {utc, 8, LevelError, "a", "[02.01.2026 03:04:05.006] <08> Error        a\n"},
		"no thread":       {utc, 0, LevelDebug, "a", "[02.01.2026 03:04:05.006] <00> Debug        a\n"},
		"large thread":    {utc, 4294967295, LevelWarning, "a", "[02.01.2026 03:04:05.006] <4294967295> Warning      a\n"},
		"no level":        {utc, 10, "", "a", "[02.01.2026 03:04:05.006] <10> Info         a\n"},
		"long level":      {utc, 10, "Unconditionally", "a", "[02.01.2026 03:04:05.006] <10> Unconditionally a\n"},
		"level of 13":     {utc, 10, "Thirteen_wide", "a", "[02.01.2026 03:04:05.006] <10> Thirteen_wide a\n"},
		"forged level":    {utc, 10, "I\n[x", "a", "[02.01.2026 03:04:05.006] <10> I__x         a\n"},
		"no message":      {utc, 10, LevelInfo, "", "[02.01.2026 03:04:05.006] <10> Info         \n"},
		"line ends":       {utc, 10, LevelInfo, "a\r\nb\nc\rd", "[02.01.2026 03:04:05.006] <10> Info         a\\r\\nb\\nc\\rd\n"},
		"controls":        {utc, 10, LevelInfo, "\x00\t\x1b[2J\x7f", "[02.01.2026 03:04:05.006] <10> Info         \\u0000\\t\\u001b[2J\\u007f\n"},
		"C1, separators":  {utc, 10, LevelInfo, "\u0085\u009b\u2028\u2029", "[02.01.2026 03:04:05.006] <10> Info         \\u0085\\u009b\\u2028\\u2029\n"},
		"direction":       {utc, 10, LevelInfo, "a\u202eb\u2066c\ufeff", "[02.01.2026 03:04:05.006] <10> Info         a\\u202eb\\u2066c\\ufeff\n"},
		"beyond 16 bits":  {utc, 10, LevelInfo, "\U000e0001\U0001f600", "[02.01.2026 03:04:05.006] <10> Info         \\udb40\\udc01\U0001f600\n"},
		"letters":         {utc, 10, LevelInfo, "Müller 山", "[02.01.2026 03:04:05.006] <10> Info         Müller 山\n"},
		"not UTF-8":       {utc, 10, LevelInfo, "M\xfcller\xe5\xb1", "[02.01.2026 03:04:05.006] <10> Info         M\\u00fcller\\u00e5\\u00b1\n"},
		"year 12345":      {time.Date(12345, 1, 2, 3, 4, 5, 0, time.UTC), 10, LevelInfo, "a", "[02.01.2345 03:04:05.000] <10> Info         a\n"},
		"before Christ":   {time.Date(-1, 1, 2, 3, 4, 5, 0, time.UTC), 10, LevelInfo, "a", "[02.01.0000 03:04:05.000] <10> Info         a\n"},
		"backslash stays": {utc, 10, LevelInfo, `LAB\new`, "[02.01.2026 03:04:05.006] <10> Info         LAB\\new\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := string(AppendFrame(nil, c.at, c.thread, c.level, c.message, true)); got != c.want {
				t.Errorf("\n got %q\nwant %q", got, c.want)
			}
			if got := string(AppendFrame([]byte("x"), c.at, c.thread, c.level, []byte(c.message), true)); got != "x"+c.want {
				t.Errorf("as bytes %q", got)
			}
		})
	}
}

func TestTimesAreLocalUnlessUTCIsAskedFor(t *testing.T) {
	zone := time.FixedZone("NZDT", 13*3600)
	previous := time.Local
	time.Local = zone
	defer func() { time.Local = previous }()
	at := time.Date(2022, 10, 2, 22, 48, 31, 0, time.UTC)
	for utc, want := range map[bool]string{false: "[03.10.2022 11:48:31.000] ", true: "[02.10.2022 22:48:31.000] "} {
		if got := string(AppendFrame(nil, at, 1, LevelInfo, "", utc)); !strings.HasPrefix(got, want) {
			t.Errorf("utc %v: %s", utc, got)
		}
	}
}

func TestLevelWords(t *testing.T) {
	for level, want := range map[zapcore.Level]string{
		zapcore.DebugLevel - 1: "Debug", zapcore.DebugLevel: "Debug", zapcore.InfoLevel: "Info",
		zapcore.WarnLevel: "Warning", zapcore.ErrorLevel: "Error", zapcore.DPanicLevel: "Error",
		zapcore.PanicLevel: "Error", zapcore.FatalLevel: "Error",
	} {
		if got := LevelWord(level); got != want {
			t.Errorf("%v: %s", level, got)
		}
	}
}

func TestASentenceIsNeverTakenForARequestOrAResponse(t *testing.T) {
	var l Renderer
	for _, message := range []string{
		"[User: a][GET] request to [/] deserialized. Message: []; Parameters: [].",
		"[POST /x]: [200] ",
		"a\n[03.10.2022 11:48:32.072] <08> Info         [POST /x]: [200] ",
		"\n[POST /x]: [200]",
		"\r[POST /x]: [200]",
	} {
		line := string(l.AppendSentence(nil, noon, zapcore.InfoLevel, 1, message, nil))
		if strings.Count(line, "\n") != 1 {
			t.Errorf("not one line: %q", line)
		}
		if r := Parse(strings.TrimSuffix(line, "\n"), time.Local); r.Kind != KindText {
			t.Errorf("%q was read as a %s", message, r.Kind)
		}
	}
}

func TestFieldsFollowASentenceMasked(t *testing.T) {
	var l Renderer
	got := string(l.AppendSentence(nil, noon, zapcore.WarnLevel, 5, "Held.", []byte(`{"account":"a","password":"x","n":{"token":1}}`)))
	want := `[03.10.2022 11:48:31.999] <05> Warning      Held. {"account":"a","password":"****","n":{"token":"****"}}` + "\n"
	if got != want {
		t.Errorf("\n got %swant %s", got, want)
	}
}

func TestAStackIsOneFramedLineForEachCall(t *testing.T) {
	stack := "main.run\n\t/src/main.go:10\nmain.main\n\t/src/main.go:5\nlast"
	got := string(Renderer{}.AppendStack(nil, noon, zapcore.ErrorLevel, 5, stack))
	want := ""
	for _, call := range []string{"main.run in /src/main.go:10", "main.main in /src/main.go:5", "last"} {
		want += "[03.10.2022 11:48:31.999] <05> Error           at " + call + "\n"
	}
	if got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	for line := range strings.Lines(got) {
		if r := Parse(strings.TrimSuffix(line, "\n"), time.Local); r.Kind != KindStack {
			t.Errorf("read as %s: %s", r.Kind, line)
		}
	}
}

func TestThread(t *testing.T) {
	if Thread("") != 0 {
		t.Error("no id has a number")
	}
	seen := make(map[uint32]int)
	for i := range 20000 {
		id := "0b9f1f2e-" + strings.Repeat("x", i%7) + time.Unix(int64(i), 0).String()
		n := Thread(id)
		if n != Thread(id) || n < 1 || n > threads {
			t.Fatalf("%s: %d", id, n)
		}
		seen[n]++
	}
	if len(seen) < 17000 {
		t.Errorf("only %d numbers for 20000 ids", len(seen))
	}
	if f := ThreadField(7); f.Key != "thread" || f.Integer != 7 {
		t.Errorf("%+v", f)
	}
}
