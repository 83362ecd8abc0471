// This file holds the choice of the records that a reader wants to see.

package svclog

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Filter selects records. A field that is not set matches every record. A field that is
// set does not match a record without the value. The zero Filter selects all records.
type Filter struct {
	// User is a user with or without domain, in any case: "benyoung" matches
	// LAB\benyoung and .\benyoung, "LAB\benyoung" matches only that one.
	User string
	// Path is the beginning of a path, or a pattern with * for the whole path, in any
	// case. The query of a record is ignored.
	Path string
	// Status are ranges. The status of a record must be in one of them.
	Status []StatusRange
	// Since is the earliest time of a record.
	Since time.Time
	// Zone is the time zone of the file. Default: local.
	Zone *time.Location
}

// StatusRange is a range of HTTP statuses, including both ends.
type StatusRange struct{ From, To int }

// ParseStatus parses statuses and classes of statuses, separated by commas: "401",
// "4xx,500".
func ParseStatus(text string) ([]StatusRange, error) {
	var ranges []StatusRange
	for item := range strings.SplitSeq(text, ",") {
		item = strings.ToLower(strings.TrimSpace(item))
		if class, ok := strings.CutSuffix(item, "xx"); ok && len(class) == 1 && "1" <= class && class <= "9" {
			from := int(class[0]-'0') * 100
			ranges = append(ranges, StatusRange{from, from + 99})
			continue
		}
		status, err := strconv.Atoi(item)
		if err != nil || status < 100 || status > 999 {
			return nil, fmt.Errorf("status %q is neither like 401 nor like 4xx", item)
		}
		ranges = append(ranges, StatusRange{status, status})
	}
	return ranges, nil
}

// ParseSince parses a point in time: a duration before now ("90m", "2d"), or a date
// with or without a time, as in the log ("03.10.2022 11:48:31") or in ISO 8601 order
// ("2022-10-03T11:48:31"). It is in the given zone if the text has no zone.
func ParseSince(text string, now time.Time, zone *time.Location) (time.Time, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if ago, err := time.ParseDuration(text); err == nil {
		return now.Add(-ago.Abs()), nil
	}
	for _, layout := range [...]string{
		time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04",
		time.DateOnly, stampLayout, "02.01.2006 15:04", "02.01.2006",
	} {
		if at, err := time.ParseInLocation(layout, text, zone); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is neither a duration like 90m nor a time like 2006-01-02T15:04", text)
}

// matches reports whether f chooses r.
func (f *Filter) matches(r *Record) bool {
	return (f.User == "" || matchUser(f.User, r.User)) &&
		(f.Path == "" || matchPath(f.Path, r.Path)) &&
		(len(f.Status) == 0 || slices.ContainsFunc(f.Status, func(s StatusRange) bool {
			return r.Kind == KindResponse && s.From <= r.Status && r.Status <= s.To
		})) &&
		(f.Since.IsZero() || !r.Time.Before(f.Since))
}

func matchUser(wanted, user string) bool {
	if !strings.Contains(wanted, `\`) {
		user = user[strings.LastIndexByte(user, '\\')+1:]
	}
	return strings.EqualFold(wanted, user)
}

func matchPath(wanted, got string) bool {
	got, _, _ = strings.Cut(strings.ToLower(got), "?")
	wanted = strings.ToLower(wanted)
	if got == "" {
		return false
	}
	if strings.ContainsRune(wanted, '*') {
		fits, err := path.Match(wanted, got)
		return fits && err == nil
	}
	return strings.HasPrefix(got, wanted)
}
