// Shape: the format of a server's answer, which the answers of veeam-auth repeat.

package veeam

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Shape describes the format of a successful token response of a server. It contains no
// secret and can be marshaled to JSON and back.
type Shape struct {
	// Keys are the known keys of the response, in its order and spelling.
	Keys []string `json:"keys,omitempty"`

	// TokenType is the value of token_type.
	TokenType string `json:"token_type,omitempty"`

	// Dates is the format of .issued and .expires. Nil if the response has no such
	// dates or they cannot be parsed.
	Dates *DateLayout `json:"dates,omitempty"`

	// Links is the prefix of the server's absolute links up to /api, for products with
	// such links.
	Links string `json:"links,omitempty"`

	// Extras are further values as JSON, by key in lower case without separators:
	// username, userid, rolename, usertype, latestnewsshown, mfaenabled, shortlived.
	Extras map[string]json.RawMessage `json:"extras,omitempty"`
}

// Equal reports whether two shapes are the same.
func (s *Shape) Equal(other *Shape) bool {
	if s == nil || other == nil {
		return s == other
	}
	sameDates := s.Dates == other.Dates || s.Dates != nil && other.Dates != nil && *s.Dates == *other.Dates
	return sameDates && s.TokenType == other.TokenType && s.Links == other.Links && slices.Equal(s.Keys, other.Keys) &&
		maps.EqualFunc(s.Extras, other.Extras, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) })
}

// Zone is the form of the time zone in a date.
type Zone int

// The zones.
const (
	ZoneNone   Zone = iota // 2020-06-10T10:29:39
	ZoneUTC                // 2021-10-04T14:57:38.1832163Z
	ZoneOffset             // 2025-04-24T15:24:18+02:00
	ZoneGMT                // Wed, 10 Jun 2020 10:29:39 GMT
)

// DateLayout is the format of a server's dates.
type DateLayout struct {
	// Fraction is the number of digits of fractional seconds.
	Fraction int `json:"fraction,omitempty"`

	// Zone is the form of the time zone.
	Zone Zone `json:"zone,omitempty"`

	// Offset is the offset of the server's time from UTC in seconds, for ZoneNone and
	// ZoneOffset.
	Offset int `json:"offset,omitempty"`
}

const dateSeconds = "2006-01-02T15:04:05"

// append writes t in this layout.
func (l DateLayout) append(dst []byte, t time.Time) []byte {
	if l.Zone == ZoneGMT {
		return t.UTC().AppendFormat(dst, http.TimeFormat)
	}
	if l.Zone == ZoneUTC {
		t = t.UTC()
	} else {
		t = t.In(time.FixedZone("", l.Offset))
	}
	dst = t.AppendFormat(dst, dateSeconds)
	if l.Fraction > 0 {
		nanos := strconv.Itoa(1_000_000_000 + t.Nanosecond())[1:]
		dst = append(dst, '.')
		dst = append(dst, nanos[:min(l.Fraction, len(nanos))]...)
	}
	switch l.Zone {
	case ZoneUTC:
		dst = append(dst, 'Z')
	case ZoneOffset:
		dst = t.AppendFormat(dst, "-07:00")
	}
	return dst
}

// readDateLayout returns the layout of a date. now serves to compute the offset from UTC
// of a server that writes no zone. Dates in the year one, which Azure writes for "none",
// and unknown forms have no layout.
func readDateLayout(text string, now time.Time) *DateLayout {
	if t, err := http.ParseTime(text); err == nil && t.Year() > 1 {
		return &DateLayout{Zone: ZoneGMT}
	}
	if len(text) < len(dateSeconds) {
		return nil
	}
	local, err := time.Parse(dateSeconds, text[:len(dateSeconds)])
	if err != nil || local.Year() <= 1 {
		return nil
	}
	l, rest := DateLayout{}, text[len(dateSeconds):]
	if len(rest) > 1 && rest[0] == '.' {
		rest = rest[1:]
		for len(rest) > 0 && '0' <= rest[0] && rest[0] <= '9' {
			l.Fraction, rest = l.Fraction+1, rest[1:]
		}
		if l.Fraction == 0 || l.Fraction > 9 {
			return nil
		}
	}
	switch rest {
	case "":
		l.Offset = guessOffset(local, now)
		return &l
	case "Z":
		l.Zone = ZoneUTC
		return &l
	}
	zoned, err := time.Parse("-07:00", rest)
	if err != nil {
		return nil
	}
	_, l.Offset = zoned.Zone()
	l.Zone = ZoneOffset
	return &l
}

// LooksLike returns the product whose token response t is. It is another product than p
// if the response has keys that only that product has, or if the response to a password
// has none of p's own keys and the other product has the same token path. Otherwise it
// is p.
func (t *Token) LooksLike(p *Product) *Product {
	if t.Shape == nil || len(t.Shape.Keys) == 0 {
		return p // an API key, or a session that was kept
	}
	for _, other := range products {
		if other != p && t.Shape.hasAny(other.ownKeys) && !t.Shape.hasAny(p.ownKeys) {
			return other
		}
	}
	if len(p.ownKeys) > 0 && t.Grant == GrantPassword && !t.Shape.hasAny(p.ownKeys) {
		for _, other := range products {
			if other != p && other.TokenPath == p.TokenPath && len(other.ownKeys) == 0 {
				return other
			}
		}
	}
	return p
}

func (s *Shape) hasAny(keys []string) bool {
	return slices.ContainsFunc(s.Keys, func(key string) bool { return slices.Contains(keys, fold(key)) })
}

// guessOffset returns the offset of a server's wall clock from UTC, rounded to a quarter
// of an hour. An offset that no zone has is a wrong clock.
func guessOffset(wall, now time.Time) int {
	offset := wall.Sub(now).Round(15 * time.Minute)
	if offset.Abs() > 14*time.Hour {
		return 0
	}
	return int(offset.Seconds())
}

// mirrored are the folded keys of values that an answer of this module may repeat.
var mirrored = map[string]bool{
	"user": true, "userrole": true, "username": true, "userid": true, "rolename": true, "usertype": true,
	"latestnewsshown": true, "mfaenabled": true, "shortlived": true,
}

// readShape describes a success answer.
func readShape(o object, now time.Time) *Shape {
	s := &Shape{TokenType: sanitise(o.text("tokentype"))}
	seen := map[string]bool{}
	for _, m := range o {
		key := fold(m.Key)
		if seen[key] {
			continue
		}
		known := mirrored[key]
		for _, k := range productKeys {
			known = known || k == key
		}
		if !known {
			continue
		}
		seen[key] = true
		s.Keys = append(s.Keys, m.Key)
		if mirrored[key] {
			if value := o.get(key); scalar(value) {
				if s.Extras == nil {
					s.Extras = map[string]json.RawMessage{}
				}
				s.Extras[key] = bytes.Clone(value) // the answer has the tokens, too
			}
		}
	}
	for _, key := range []string{"issued", "expires"} {
		if s.Dates == nil {
			s.Dates = readDateLayout(o.text(key), now)
		}
	}
	s.Keys = slices.Clip(s.Keys)
	return s
}

// scalar reports whether a JSON value is a short string, a number or a boolean.
func scalar(raw json.RawMessage) bool {
	return len(raw) > 0 && len(raw) <= 512 && raw[0] != '{' && raw[0] != '['
}
