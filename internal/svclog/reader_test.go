// This file holds the tests of reading a file: what is read, what is chosen, and
// which response belongs to which user.

package svclog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// read returns all records of a text, its times read as UTC.
func read(t *testing.T, text string, filter Filter) []Record {
	t.Helper()
	filter.Zone = time.UTC
	var records []Record
	err := Read(t.Context(), strings.NewReader(text), filter, func(r Record) error {
		records = append(records, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return records
}

const anHour = `[03.10.2022 10:00:00.000] <36> Info         [User: LAB\svc][GET] request to [/api/v1/jobs?skip=0] deserialized. Message: []; Parameters: [Host: h; ].
[03.10.2022 10:00:00.100] <36> Info         [GET /api/v1/jobs?skip=0]: [200]
[03.10.2022 10:30:00.000] <07> Info         [User: Anonymous][POST] request to [/api/oauth2/token] deserialized. Message: [username=bob]; Parameters: [].
[03.10.2022 10:30:00.010] <07> Error        Login failed for user 'bob'.
[03.10.2022 10:30:00.020] <07> Info         [POST /api/oauth2/token]: [401] {"errorCode":"AccessDenied"}
[03.10.2022 11:00:00.000] <11> Info         [User: LAB\svc][DELETE] request to [/API/v1/Jobs/5] deserialized. Message: []; Parameters: [].
[03.10.2022 11:00:00.500] <11> Info         [DELETE /API/v1/Jobs/5]: [503]
`

func TestFilterChooses(t *testing.T) {
	at := func(clock string) time.Time {
		parsed, err := ParseSince("03.10.2022 "+clock, noon, time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	for name, c := range map[string]struct {
		filter Filter
		want   string // the first letters of the kinds
	}{
		"everything":         {Filter{}, "rrrlrrr"},
		"user":               {Filter{User: "SVC"}, "rrrr"},
		"user with domain":   {Filter{User: `lab\svc`}, "rrrr"},
		"other domain":       {Filter{User: `.\svc`}, ""},
		"login":              {Filter{User: "bob"}, "l"},
		"anonymous":          {Filter{User: "anonymous"}, "rr"},
		"path":               {Filter{Path: "/api/v1/jobs"}, "rrrr"},
		"pattern":            {Filter{Path: "/api/*/jobs"}, "rr"},
		"pattern to the end": {Filter{Path: "/api/*/jobs/*"}, "rr"},
		"any path":           {Filter{Path: "*"}, ""},
		"broken pattern":     {Filter{Path: "/api/[*"}, ""},
		"status":             {Filter{Status: []StatusRange{{401, 401}}}, "r"},
		"classes":            {Filter{Status: []StatusRange{{400, 499}, {500, 599}}}, "rr"},
		"since":              {Filter{Since: at("10:30:00")}, "rlrrr"},
		"all of them":        {Filter{User: "svc", Path: "/api", Status: []StatusRange{{200, 599}}, Since: at("10:30:00")}, "r"},
	} {
		var kinds []string
		for _, r := range read(t, anHour, c.filter) {
			kinds = append(kinds, string(r.Kind[:1]))
		}
		if got := strings.Join(kinds, ""); got != c.want {
			t.Errorf("%s: %q, not %q", name, got, c.want)
		}
	}
}

func TestAResponseHasTheUserOfItsRequest(t *testing.T) {
	ask := func(thread int, user, path string) string {
		return fmt.Sprintf("[03.10.2022 10:00:00.000] <%02d> Info         [User: %s][GET] request to [%s] deserialized. Message: []; Parameters: [].\n", thread, user, path)
	}
	answer := func(thread int, path string) string {
		return fmt.Sprintf("[03.10.2022 10:00:00.000] <%02d> Info         [GET %s]: [200]\n", thread, path)
	}
	for name, c := range map[string]struct{ text, want string }{
		"by thread":              {ask(1, "a", "/x") + ask(2, "b", "/x") + answer(2, "/x") + answer(1, "/x"), "b a"},
		"oldest first":           {ask(1, "a", "/x") + ask(1, "b", "/x") + answer(1, "/x") + answer(1, "/x"), "a b"},
		"by path, other thread":  {ask(1, "a", "/x") + ask(2, "b", "/y") + answer(9, "/y") + answer(8, "/x"), "b a"},
		"in doubt, nobody":       {ask(1, "a", "/x") + ask(2, "b", "/x") + answer(9, "/x"), ""},
		"answered once":          {ask(1, "a", "/x") + answer(1, "/x") + answer(1, "/x"), "a "},
		"no request before":      {answer(1, "/x"), ""},
		"what is left is unique": {ask(1, "a", "/x") + ask(2, "b", "/x") + answer(1, "/x") + answer(9, "/x"), "a b"},
	} {
		var users []string
		for _, r := range read(t, c.text, Filter{}) {
			if r.Kind == KindResponse {
				users = append(users, r.User)
			}
		}
		if got := strings.Join(users, " "); got != c.want {
			t.Errorf("%s: %q, not %q", name, got, c.want)
		}
	}
}

func TestRequestsWithoutAnswerDoNotFillTheMemory(t *testing.T) {
	p := make(pending)
	for i := range 3 * pendingLimit {
		p.asked(&Record{Method: "GET", Path: fmt.Sprint("/", i)})
		p.asked(&Record{Method: "GET", Path: "/same"})
	}
	if len(p) > pendingLimit || len(p["GET /same"]) > pendingLimit {
		t.Errorf("%d paths, %d requests to one", len(p), len(p["GET /same"]))
	}
}

func TestRelativesOfTheFormatAreRead(t *testing.T) {
	text := "\ufeff[25.01.2019 10:00:00] <126> Error    Failed to deserialize [POST] request to [/a] due to an exception.\r\n" +
		"[25.01.2019 10:00:00] <126> Error    Access is denied (System.UnauthorizedAccessException)\r\n" +
		"[25.01.2019 10:00:00] <126> Error       at Veeam.A.B() in c.cs:line 5\r\n" +
		"   at Veeam.C.D()\r\n" +
		"\r\n" +
		"...removed the error stack...\n" +
		"[32.13.2022 25:61:61.000] <36> Info         no date\n" +
		"[03.10.2022 11:48:31.999] <99999999999> Info         large thread\n" +
		"[03.10.2022 11:48:31.999] <36> Warning      [GET /a]: [200] no JSON, password=hunter2\n" +
		"[03.10.2022 11:48:31.999] <36> Info         the last line has no end"
	want := []Record{
		{Level: "Error", Thread: 126, Kind: KindText, Message: "Failed to deserialize [POST] request to [/a] due to an exception."},
		{Level: "Error", Thread: 126, Kind: KindException, Message: "Access is denied", Type: "System.UnauthorizedAccessException"},
		{Level: "Error", Thread: 126, Kind: KindText, Message: "at Veeam.A.B() in c.cs:line 5"},
		{Level: "Error", Thread: 126, Kind: KindUnframed, Message: "   at Veeam.C.D()"},
		{Level: "Error", Thread: 126, Kind: KindUnframed, Message: "...removed the error stack..."},
		{Level: "Error", Thread: 126, Kind: KindUnframed, Message: "[32.13.2022 25:61:61.000] <36> Info         no date"},
		{Level: "Info", Kind: KindText, Message: "large thread"},
		{Level: "Warning", Thread: 36, Kind: KindResponse, Method: "GET", Path: "/a", Status: 200, Body: "no JSON, password=****"},
		{Level: "Info", Thread: 36, Kind: KindText, Message: "the last line has no end"},
	}
	got := read(t, text, Filter{})
	if len(got) != len(want) {
		t.Fatalf("%d records: %+v", len(got), got)
	}
	for i := range want {
		if got[i].Time.IsZero() {
			t.Errorf("record %d has no time", i)
		}
		got[i].Time = time.Time{}
		if asJSON(got[i]) != asJSON(want[i]) {
			t.Errorf("record %d\n got %s\nwant %s", i, asJSON(got[i]), asJSON(want[i]))
		}
	}
}

func TestARecordAsJSON(t *testing.T) {
	line := string(Renderer{UTC: true}.AppendRequest(nil, time.Date(2022, 10, 3, 11, 48, 31, 999_000_000, time.UTC), 0, postman()))
	got := asJSON(read(t, line, Filter{})[0])
	want := `{"time":"2022-10-03T11:48:31.999Z","thread":36,"level":"Info","kind":"request","user":"Anonymous","method":"POST",` +
		`"path":"/api/oauth2/token","body":"grant_type=password\u0026username=benyoung\u0026password=****",` +
		`"parameters":{"x-api-version":"1.0-rev1","Postman-Token":"bb753b8d-214b-4f4a-8ab6-fa8e57a110c8",` +
		`"Connection":"keep-alive","Content-Length":"****","Content-Type":"application/x-www-form-urlencoded",` +
		`"Accept":"*/*","Accept-Encoding":"gzip, deflate, br","Host":"172.30.6.5:9419","User-Agent":"PostmanRuntime/7.28.3"}}`
	if got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestNotesStandAsTheyWereWritten(t *testing.T) {
	for _, body := range []string{
		"<17 bytes, not shown>", "<**** bytes, not shown>", "a=b<cut after 4096 bytes>", `{"a":1,<cut after 22 bytes>`,
		`{"a":<incomplete>`, `{"password":"****"<incomplete>`, "grant_type=password&password=****&****", "",
	} {
		line := "[03.10.2022 11:48:31.999] <36> Info         [User: a][PUT] request to [/a] deserialized. Message: [" + body + "]; Parameters: []."
		if got := Parse(line, time.UTC); got.Body != body {
			t.Errorf("%s became %s", body, got.Body)
		}
	}
}

func TestLongLinesAreCutAndNotLost(t *testing.T) {
	long := "[03.10.2022 11:48:31.999] <36> Info         " + strings.Repeat("x", 3<<20) + "\n"
	got := read(t, long+strings.Split(anHour, "\n")[1], Filter{})
	if len(got) != 2 || len(got[0].Message) > lineLimit || len(got[0].Message) < lineLimit-100 || got[1].Status != 200 {
		t.Errorf("%d records", len(got))
	}
}

func TestReadingEndsWithItsContextOrAnError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	seen := 0
	err := Read(ctx, strings.NewReader(anHour), Filter{}, func(Record) error {
		if seen++; seen == 2 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || seen != 2 {
		t.Errorf("%d records, error %v", seen, err)
	}
	wrong := errors.New("wrong")
	if err := Read(t.Context(), strings.NewReader(anHour), Filter{}, func(Record) error { return wrong }); !errors.Is(err, wrong) {
		t.Error(err)
	}
	broken := io.MultiReader(strings.NewReader(anHour[:40]), iotest.ErrReader(wrong))
	if err := Read(t.Context(), broken, Filter{}, func(Record) error { return nil }); !errors.Is(err, wrong) {
		t.Error(err)
	}
	if err := Read(t.Context(), bytes.NewReader(nil), Filter{}, func(Record) error { return wrong }); err != nil {
		t.Error(err)
	}
}

func TestParseStatus(t *testing.T) {
	got, err := ParseStatus("401, 5XX,200")
	if err != nil || fmt.Sprint(got) != "[{401 401} {500 599} {200 200}]" {
		t.Error(got, err)
	}
	for _, text := range []string{"", "x", "99", "1000", "0xx", "xx", "4x", "401,", "-200", "44xx"} {
		if got, err := ParseStatus(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestParseSince(t *testing.T) {
	now := time.Date(2022, 10, 3, 12, 0, 0, 0, time.UTC)
	zone := time.FixedZone("", 2*3600)
	for text, want := range map[string]time.Time{
		"90m":                       now.Add(-90 * time.Minute),
		"-90m":                      now.Add(-90 * time.Minute),
		"2d":                        now.AddDate(0, 0, -2),
		"03.10.2022 11:48:31":       time.Date(2022, 10, 3, 11, 48, 31, 0, zone),
		"03.10.2022 11:48:31.999":   time.Date(2022, 10, 3, 11, 48, 31, 999_000_000, zone),
		"03.10.2022 11:48":          time.Date(2022, 10, 3, 11, 48, 0, 0, zone),
		"03.10.2022":                time.Date(2022, 10, 3, 0, 0, 0, 0, zone),
		"2022-10-03":                time.Date(2022, 10, 3, 0, 0, 0, 0, zone),
		"2022-10-03 11:48":          time.Date(2022, 10, 3, 11, 48, 0, 0, zone),
		"2022-10-03 11:48:31":       time.Date(2022, 10, 3, 11, 48, 31, 0, zone),
		"2022-10-03T11:48":          time.Date(2022, 10, 3, 11, 48, 0, 0, zone),
		"2022-10-03T11:48:31":       time.Date(2022, 10, 3, 11, 48, 31, 0, zone),
		"2022-10-03T11:48:31Z":      time.Date(2022, 10, 3, 11, 48, 31, 0, time.UTC),
		"2022-10-03T11:48:31+05:00": time.Date(2022, 10, 3, 6, 48, 31, 0, time.UTC),
	} {
		if got, err := ParseSince(text, now, zone); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v %v", text, got, err)
		}
	}
	for _, text := range []string{"", "x", "d", "-2d", "10/03/2022", "99999999d"} {
		if got, err := ParseSince(text, now, zone); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}
