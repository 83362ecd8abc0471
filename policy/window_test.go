package policy

import (
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the tests depend on no machine's zones

	"pgregory.net/rapid"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	moment, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return moment
}

func TestAWindowIsOpenByTheClockOfItsZone(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, window string
		open, closed []string
	}{
		{
			"the hours of a day", "08:00-18:00",
			[]string{"2027-01-31T08:00:00Z", "2027-01-31T17:59:59Z"},
			[]string{"2027-01-31T07:59:59Z", "2027-01-31T18:00:00Z", "2027-01-31T00:00:00Z"},
		},
		{"the whole day", "00:00-24:00", []string{"2027-01-31T00:00:00Z", "2027-01-31T23:59:59Z"}, nil},
		{
			"another zone, winter and summer", "08:00-18:00 Europe/Berlin",
			[]string{"2027-01-31T07:00:00Z", "2027-07-31T06:00:00Z", "2027-07-31T15:59:00Z"},
			[]string{"2027-01-31T06:59:00Z", "2027-07-31T05:59:00Z", "2027-07-31T16:00:00Z"},
		},
		{
			"days of the week, by the zone's calendar", "mon-fri 00:00-24:00 Pacific/Auckland", // 2027-01-31 is a Sunday
			[]string{"2027-01-31T11:00:00Z", "2027-02-05T10:59:00Z"},
			[]string{"2027-01-31T10:59:00Z", "2027-02-05T11:00:00Z"},
		},
		{
			"over the end of the week", "sat-mon 10:00-11:00",
			[]string{"2027-01-30T10:00:00Z", "2027-01-31T10:30:00Z", "2027-02-01T10:59:00Z"},
			[]string{"2027-01-29T10:30:00Z", "2027-02-02T10:30:00Z"},
		},
		{
			"over midnight, which belongs to the day of the begin", "fri 22:00-06:00",
			[]string{"2027-01-29T22:00:00Z", "2027-01-30T05:59:00Z"},
			[]string{"2027-01-29T05:00:00Z", "2027-01-30T06:00:00Z", "2027-01-30T22:30:00Z", "2027-01-29T21:59:00Z"},
		},
		{
			"over midnight of the last day", "sat,sun 23:00-01:00",
			[]string{"2027-01-30T23:30:00Z", "2027-01-31T00:30:00Z", "2027-01-31T23:30:00Z", "2027-02-01T00:30:00Z"},
			[]string{"2027-01-30T00:30:00Z", "2027-02-01T23:30:00Z"},
		},
		{
			// On 2027-03-28 the clock goes from 02:00 to 03:00 (01:00Z).
			"a gap cuts the window", "02:30-03:30 Europe/Berlin",
			[]string{"2027-03-28T01:00:00Z", "2027-03-28T01:29:00Z", "2027-03-27T01:30:00Z"},
			[]string{"2027-03-28T00:59:59Z", "2027-03-28T01:30:00Z"},
		},
		{
			"a window in a gap is never open that day", "02:00-03:00 Europe/Berlin",
			[]string{"2027-03-27T01:30:00Z", "2027-03-29T00:30:00Z"},
			[]string{"2027-03-28T00:30:00Z", "2027-03-28T00:59:59Z", "2027-03-28T01:00:00Z", "2027-03-28T01:30:00Z"},
		},
		{
			// On 2027-10-31 the clock goes from 03:00 back to 02:00 (01:00Z).
			"an hour that comes twice is open twice", "02:00-03:00 Europe/Berlin",
			[]string{"2027-10-31T00:00:00Z", "2027-10-31T00:59:59Z", "2027-10-31T01:00:00Z", "2027-10-31T01:59:59Z"},
			[]string{"2027-10-30T23:59:59Z", "2027-10-31T02:00:00Z"},
		},
		{
			// Lord Howe's clock changes by half an hour: on 2027-10-03 from 02:00 to 02:30.
			"half an hour is skipped", "02:00-02:30 Australia/Lord_Howe",
			[]string{"2027-10-01T15:30:00Z"},
			[]string{"2027-10-02T15:29:00Z", "2027-10-02T15:30:00Z"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, err := ParseWindow(strings.Fields(tt.window))
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range tt.open {
				if !w.Contains(at(t, text)) {
					t.Errorf("%s is closed at %s", tt.window, text)
				}
			}
			for _, text := range tt.closed {
				if w.Contains(at(t, text)) {
					t.Errorf("%s is open at %s", tt.window, text)
				}
			}
			if w.String() != tt.window {
				t.Errorf("%q", w)
			}
		})
	}
}

func TestWhatIsNoWindowIsRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                 "write hours such as",
		"mon-fri":                          "write hours such as",
		"8:00-18:00":                       "is not a range of hours",
		"08:00":                            "write hours such as",
		"8-18":                             "is not a range of hours",
		"mon-fri 8-18":                     "is not a range of hours",
		"08:60-18:00":                      "is not a range of hours",
		"08:00-24:01":                      "is not a range of hours",
		"24:00-08:00":                      "is not a range of hours",
		"+8:00-18:00":                      "is not a range of hours",
		"08:00-08:00":                      "are empty",
		"mo-fr 08:00-18:00":                "is not a list of days",
		"mon, 08:00-18:00":                 "is not a list of days",
		"08:00-18:00 Europe/Atlantis":      "unknown time zone",
		"08:00-18:00 Local":                "unknown time zone",
		"08:00-18:00 Europe/Berlin x":      "write hours such as",
		"mon 08:00-18:00 ../../etc/passwd": "unknown time zone",
	} {
		if w, err := ParseWindow(strings.Fields(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v", text, w, err)
		}
	}
}

func TestAnEndIsTheFirstMomentThatTheClockShowsIt(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"2027-01-31":                           "2027-02-01T00:00:00Z",
		"2027-01-31 Europe/Berlin":             "2027-01-31T23:00:00Z",
		"2027-07-31 Europe/Berlin":             "2027-07-31T22:00:00Z",
		"2027-12-31 Pacific/Kiritimati":        "2027-12-31T10:00:00Z",
		"2027-01-31T18:00":                     "2027-01-31T18:00:00Z",
		"2027-01-31T18:00 America/New_York":    "2027-01-31T23:00:00Z",
		"2027-01-31T18:00:05+02:00":            "2027-01-31T16:00:05Z",
		"2027-03-28T02:30 Europe/Berlin":       "2027-03-28T01:00:00Z", // is skipped
		"2027-10-31T02:30 Europe/Berlin":       "2027-10-31T00:30:00Z", // the first of two
		"2018-11-03 America/Sao_Paulo":         "2018-11-04T03:00:00Z", // midnight is skipped
		"2018-02-17 America/Sao_Paulo":         "2018-02-18T03:00:00Z", // the last hour of the day comes twice
		"2011-12-29 Pacific/Apia":              "2011-12-30T10:00:00Z", // the whole next day is skipped
		"2027-11-06 America/Havana":            "2027-11-07T04:00:00Z", // the first hour of the next day comes twice
		"2024-02-28 UTC":                       "2024-02-29T00:00:00Z",
		"2027-04-03T23:45 Antarctica/Troll":    "2027-04-03T21:45:00Z",
		"2027-10-03T02:15 Australia/Lord_Howe": "2027-10-02T15:30:00Z",
	} {
		got, err := ParseUntil(strings.Fields(text))
		if err != nil || !got.Equal(at(t, want)) {
			t.Errorf("%s: %v, want %s, %v", text, got.UTC(), want, err)
		}
	}
	for _, text := range []string{"", "tomorrow", "2027-02-30", "2027-01-31 Europe/Atlantis", "2027-01-31 UTC x", "2027-01-31T18:00:05+02:00 UTC"} {
		if got, err := ParseUntil(strings.Fields(text)); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// Whatever the zone does: before the end its clock has not shown it, and what is over
// does not begin again.
func TestTheClockOfNoZoneShowsAnEndBeforeIt(t *testing.T) {
	t.Parallel()
	zones := []string{"UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Beirut", "Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns", "Africa/Casablanca", "Asia/Tehran", "Antarctica/Troll"}
	rapid.Check(t, func(rt *rapid.T) {
		zone, err := time.LoadLocation(rapid.SampledFrom(zones).Draw(rt, "zone"))
		if err != nil {
			rt.Fatal(err)
		}
		clock := time.Unix(60*rapid.Int64Range(946684800/60, 2051222400/60).Draw(rt, "minute"), 0).UTC()
		end := firstAt(clock, zone)
		shows := func(moment time.Time) string { return moment.In(zone).Format(time.DateTime) }
		want := clock.Format(time.DateTime)
		if shows(end) < want {
			rt.Fatalf("%s: at %v the clock shows %s", want, end, shows(end))
		}
		for back := time.Minute; back < 48*time.Hour; back += 15 * time.Minute {
			if shows(end.Add(-back)) >= want {
				rt.Fatalf("%s: before %v the clock shows %s", want, end, shows(end.Add(-back)))
			}
		}
	})
}

func FuzzWindow(f *testing.F) {
	for _, seed := range []string{"mon-fri 08:00-18:00 Europe/Berlin", "22:00-06:00", "sat,sun 00:00-24:00 UTC", "2027-01-31"} {
		f.Add(seed, int64(1800000000))
	}
	f.Fuzz(func(t *testing.T, text string, seconds int64) {
		words := strings.Fields(text)
		w, err := ParseWindow(words)
		if err != nil {
			return
		}
		again, err := ParseWindow(strings.Fields(w.String()))
		moment := time.Unix(seconds%4102444800, 0)
		if err != nil || again.Contains(moment) != w.Contains(moment) {
			t.Errorf("%q is read back as %q, %v", text, again, err)
		}
	})
}

func TestAScopeOnlyNarrows(t *testing.T) {
	t.Parallel()
	var none Scope
	if none.DeniesAt(time.Now()) != "" || none.DeniesClass("secret") != "" || none.DeniesAccount("any") != "" || !none.From.Contain(Peer{Address: "anything"}) || none.String() != "" {
		t.Error("the zero value denies something")
	}
	sources, err := ParseSources([]string{"10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "unix"})
	if err != nil {
		t.Fatal(err)
	}
	s := Scope{Preset: "monitor", Classes: []string{"read"}, Account: "a", From: sources, Until: at(t, "2027-01-31T00:00:00Z")}
	if got, want := s.String(), "preset monitor, account a, from 10.0.0.0/8 192.0.2.7/32 2001:db8::/32 unix, until 2027-01-31T00:00:00Z"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if s.DeniesClass("read") != "" || s.DeniesClass("run") == "" || s.DeniesClass("unknown") == "" {
		t.Error("class")
	}
	if s.DeniesAccount("a") != "" || s.DeniesAccount("b") == "" || s.DeniesAccount("") == "" {
		t.Error("account")
	}
	if s.DeniesAt(s.Until.Add(-1)) != "" || s.DeniesAt(s.Until) == "" {
		t.Error("until")
	}
	for address, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "192.0.2.7": true, "2001:db8::5": true, "2001:db8::5%eth0": true,
		"11.0.0.1": false, "192.0.2.8": false, "2001:db9::": false, "": false, "@": false, "unix": false, "10.1.2.3:80": false,
	} {
		if s.From.Contain(Peer{Address: address}) != want {
			t.Errorf("from %s: %v", address, !want)
		}
	}
	if !s.From.Contain(Peer{Unix: true}) {
		t.Error("unix")
	}
	networks, err := ParseSources([]string{"0.0.0.0/0"})
	if err != nil || networks.Contain(Peer{Unix: true}) || networks.Contain(Peer{Address: "::1"}) || networks.Contain(Peer{}) {
		t.Errorf("networks contain a unix socket, %v", err)
	}
	if !slices.Equal(sources.Words(), []string{"10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "unix"}) {
		t.Errorf("%q", sources.Words())
	}
	for _, word := range []string{"", "10.0.0.1/8", "10.0.0", "localhost", "::ffff:10.0.0.1", "fe80::1%eth0", "10.0.0.0/33"} {
		if _, err := ParseSources([]string{word}); err == nil {
			t.Errorf("%q is accepted", word)
		}
	}
}
