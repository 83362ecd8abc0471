// What each kind of option accepts, and how it says no.

package arguments

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func TestOptionsAreReadOrRefusedWithTheReason(t *testing.T) {
	var flag bool
	var text string
	var list []string
	var count int
	var duration caddy.Duration
	var size int64
	readers := map[string]func(*caddyfile.Dispenser) error{
		"flag":     func(d *caddyfile.Dispenser) error { return None(d, &flag) },
		"text":     func(d *caddyfile.Dispenser) error { return One(d, &text) },
		"choice":   func(d *caddyfile.Dispenser) error { return Choice(d, &text, "on", "off") },
		"list":     func(d *caddyfile.Dispenser) error { return List(d, &list) },
		"origins":  func(d *caddyfile.Dispenser) error { return Origins(d, &list) },
		"count":    func(d *caddyfile.Dispenser) error { return Count(d, &count) },
		"duration": func(d *caddyfile.Dispenser) error { return Duration(d, &duration) },
		"size":     func(d *caddyfile.Dispenser) error { return Size(d, &size) },
		"to":       func(d *caddyfile.Dispenser) error { return Upstreams(*d) },
	}
	for line, want := range map[string]string{
		"flag":                      "true",
		"flag on":                   "flag accepts no value",
		"flag {\nx\n}":              "flag accepts no block",
		"text a":                    "a",
		`text "a b"`:                "a b",
		"text":                      "text requires a value",
		`text ""`:                   "text requires a value that is not empty",
		"text a b":                  "put quotes around a value with blanks",
		"choice on":                 "on",
		"choice On":                 `choice: "On" is not allowed (allowed: on, off)`,
		"choice":                    "choice requires a value",
		"list a b":                  "[a b]",
		"list":                      "list requires a value",
		"origins https://a.b":       "[https://a.b]",
		"origins":                   "origins requires a value",
		"origins a.b":               "a.b",
		"origins https://a {\nx\n}": "origins accepts no block",
		"count 7":                   "7",
		"count 0":                   `count: "0" is not a number above zero`,
		"count -1":                  "above zero",
		"count many":                "above zero",
		"duration 90s":              "1m30s",
		"duration 1d":               "24h0m0s",
		"duration 0s":               "not a duration above zero, for example 90s",
		"duration 90":               "for example 90s, 5m or 1h",
		"to https://a.b [::1]:1":    "to",
		"to a unix/@sidecar":        "to",
		"to https://a u:p@b:1":      "has a user",
		"to a https://u:p@b":        "has a user: write user and password as account <name> <password>",
		"to https://":               "has no host: write it as in https://vbr01.lab.local:9419",
		"to https://:9419":          "has no host",
		"to https:///api":           "has no host",
		"to a :9419":                "has no host",
		"to /api":                   "has no host",
		"size 64KiB":                "65536",
		"size 0":                    "not a size between 1 byte and 2 GiB",
		"size 3GiB":                 "for example 64KiB or 1MiB",
		"size -1":                   "not a size",
	} {
		flag, text, list, count, duration, size = false, "", nil, 0, 0, 0
		name, _, _ := strings.Cut(line, " ")
		d := caddyfile.NewTestDispenser("\n" + line)
		d.Next()
		err := readers[name](d)
		got := ""
		switch {
		case err != nil:
			got = err.Error()
			if !strings.Contains(got, "at Testfile:2") && !strings.Contains(got, "at Testfile:3") {
				t.Errorf("%s: no line: %v", line, err)
			}
		case name == "flag":
			got = fmt.Sprint(flag)
		case name == "text", name == "choice":
			got = text
		case name == "list", name == "origins":
			got = fmt.Sprint(list)
		case name == "to":
			got = name
		case name == "count":
			got = fmt.Sprint(count)
		case name == "duration":
			got = fmt.Sprint(time.Duration(duration))
		case name == "size":
			got = fmt.Sprint(size)
		}
		if err == nil && got != want || err != nil && !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
}
