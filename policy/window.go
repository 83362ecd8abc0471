// Times of the week and ends, by the clock of a time zone.

package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Window is a time of the day on some days of the week, by the clock of a time zone. Of
// an hour that the clock skips there is nothing in it; an hour that the clock repeats is
// in it twice.
type Window struct {
	days     [7]bool // by time.Weekday: on which the window begins
	from, to int     // minutes after midnight; to is not in it
	zone     *time.Location
	text     string
}

// Windows are several windows. A time in any of them is in all.
type Windows []Window

var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// ParseWindow parses the days of the week, hours and a time zone: mon-fri 08:00-18:00
// Europe/Berlin. Days are separated by commas, and by default all. Hours whose end is not
// after their begin last until the next day; the day is that of the begin. The time zone
// is one of the IANA database and by default UTC.
func ParseWindow(words []string) (w Window, err error) {
	const usage = "write hours such as 08:00-18:00; days may come before them and a time zone after them: mon-fri 08:00-18:00 Europe/Berlin"
	w = Window{days: [7]bool{true, true, true, true, true, true, true}, zone: time.UTC, text: strings.Join(words, " ")}
	rest := words
	if len(rest) > 0 && !strings.ContainsAny(rest[0], ":0123456789") {
		if w.days, err = parseDays(rest[0]); err != nil {
			return Window{}, err
		}
		rest = rest[1:]
	}
	if len(rest) == 0 || len(rest) > 2 {
		return Window{}, errors.New(usage)
	}
	from, to, ok := strings.Cut(rest[0], "-")
	if !ok {
		return Window{}, errors.New(usage)
	}
	var fromOK, toOK bool
	w.from, fromOK = parseMinute(from)
	w.to, toOK = parseMinute(to)
	switch {
	case !fromOK || !toOK || w.from == minutesOfDay:
		return Window{}, fmt.Errorf("%q is not a range of hours: %s", rest[0], usage)
	case w.from == w.to:
		return Window{}, fmt.Errorf("the hours %s are empty: write 00:00-24:00 for the whole day", rest[0])
	}
	if len(rest) == 2 {
		if w.zone, err = parseZone(rest[1]); err != nil {
			return Window{}, err
		}
	}
	return w, nil
}

const minutesOfDay = 24 * 60

func parseMinute(text string) (minute int, ok bool) {
	hours, minutes, found := strings.Cut(text, ":")
	if !found || len(hours) != 2 || len(minutes) != 2 {
		return 0, false
	}
	h, errHours := strconv.ParseUint(hours, 10, 8)
	m, errMinutes := strconv.ParseUint(minutes, 10, 8)
	minute = int(h)*60 + int(m)
	return minute, errHours == nil && errMinutes == nil && m < 60 && minute <= minutesOfDay
}

func parseDays(text string) (days [7]bool, err error) {
	for part := range strings.SplitSeq(strings.ToLower(text), ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, to := slices.Index(dayNames, first), slices.Index(dayNames, last)
		if from < 0 || to < 0 {
			return days, fmt.Errorf("%q is not a list of days: write some of %s, such as mon-fri or sat,sun", text, strings.Join(dayNames, ", "))
		}
		for day := from; ; day = (day + 1) % 7 { // sat-mon goes over the end of the week
			days[day] = true
			if day == to {
				break
			}
		}
	}
	return days, nil
}

// parseZone returns a time zone of the IANA database. Local is none: it would depend on
// the machine.
func parseZone(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	if err != nil || name == "" || name == "Local" {
		return nil, fmt.Errorf("unknown time zone %q: write one such as Europe/Berlin or UTC", name)
	}
	return zone, nil
}

// Contains reports whether a time is in the window.
func (w Window) Contains(at time.Time) bool {
	at = at.In(w.zone)
	minute, day := at.Hour()*60+at.Minute(), at.Weekday()
	if w.from < w.to {
		return w.days[day] && w.from <= minute && minute < w.to
	}
	if minute >= w.from {
		return w.days[day]
	}
	return minute < w.to && w.days[(day+6)%7] // it has begun the day before
}

// String returns what ParseWindow has parsed.
func (w Window) String() string { return w.text }

// Contain reports whether a time is in any of the windows.
func (w Windows) Contain(at time.Time) bool {
	return slices.ContainsFunc(w, func(window Window) bool { return window.Contains(at) })
}

// String returns the windows, joined with commas.
func (w Windows) String() string {
	texts := make([]string, len(w))
	for i, window := range w {
		texts[i] = window.text
	}
	return strings.Join(texts, ", ")
}

// ParseUntil parses an end: a date, whose day is still before the end, or a date with a
// time, 2027-01-31T18:00, both by the clock of a time zone that may follow and is by
// default UTC; or a time in the form of RFC 3339, which has its zone.
func ParseUntil(words []string) (time.Time, error) {
	const usage = "write a date such as 2027-01-31 or a time such as 2027-01-31T18:00; a time zone may come after it"
	if len(words) != 1 && len(words) != 2 {
		return time.Time{}, errors.New(usage)
	}
	if at, err := time.Parse(time.RFC3339, words[0]); err == nil && len(words) == 1 {
		return at, nil
	}
	zone := time.UTC
	if len(words) == 2 {
		var err error
		if zone, err = parseZone(words[1]); err != nil {
			return time.Time{}, err
		}
	}
	if day, err := time.Parse(time.DateOnly, words[0]); err == nil {
		return firstAt(day.AddDate(0, 0, 1), zone), nil
	}
	if at, err := time.Parse("2006-01-02T15:04", words[0]); err == nil {
		return firstAt(at, zone), nil
	}
	return time.Time{}, fmt.Errorf("%q is not a date or time: %s", words[0], usage)
}

// firstAt returns when the clock of a zone first shows what clock shows in UTC. If the
// zone skips it, that is when it skips it.
func firstAt(clock time.Time, zone *time.Location) time.Time {
	const around = 36 * time.Hour // more than any zone is away from UTC, and than a jump of its clock
	before, after := clock.Add(-around).In(zone), clock.Add(around).In(zone)
	var first time.Time
	for _, near := range []time.Time{before, after} {
		_, offset := near.Zone()
		at := clock.Add(-time.Duration(offset) * time.Second).In(zone)
		if at.Format(time.DateTime) == clock.Format(time.DateTime) && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	if first.IsZero() {
		_, first = before.ZoneBounds()
	}
	return first
}

type timeKey struct{}

// WithTime has what is decided about requests of a context decided as at a time.
func WithTime(ctx context.Context, at time.Time) context.Context {
	return context.WithValue(ctx, timeKey{}, at)
}

// Now returns the time of WithTime, otherwise the current time.
func Now(ctx context.Context) time.Time {
	if at, ok := ctx.Value(timeKey{}).(time.Time); ok {
		return at
	}
	return time.Now()
}
