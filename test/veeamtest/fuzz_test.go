// Fuzzing of what reads input of strangers: paths and forms.

package veeamtest

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func FuzzRoute(f *testing.F) {
	for _, path := range []string{"/api/v1/jobs/x/start", `/api\\v1%5Cjobs/./x;y/../start/`, "/%", "..;/api", "//", "/api/v1/jobs/%2e%2e%2fecho?q"} {
		f.Add(path)
	}
	s := New(VBR13)
	f.Fuzz(func(t *testing.T, path string) {
		if strings.Contains(path, "%") {
			return // a path that was decoded once may have escapes left, which a second reading decodes
		}
		plain := "/" + strings.Join(normalize(path), "/")
		if got, want := s.Route("POST", path), s.Route("POST", plain); got != want {
			t.Errorf("%q is %q, %q is %q", path, got, plain, want)
		}
	})
}

func FuzzForm(f *testing.F) {
	f.Add("grant_type", "password", "a+b c%zz&=")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		want := url.Values{a: {b, c}, "x": {c}}
		if got := parseForm(want.Encode()); !maps.EqualFunc(got, want, slices.Equal) {
			t.Errorf("%q: %q, want %q", want.Encode(), got, want)
		}
	})
}
