// Tests of the search for the API version.

package veeam

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
)

// serving answers the probes of a server that serves these versions.
func serving(t *testing.T, versions ...string) []canned {
	t.Helper()
	var answers []canned
	for _, known := range lookup(t, "vbr").Version.Known {
		status := http.StatusNotFound
		for _, v := range versions {
			if v == known {
				status = http.StatusOK
			}
		}
		answers = append(answers, canned{status: status, body: strings.Repeat("x", 1<<20)})
		if status == http.StatusOK {
			break
		}
	}
	return answers
}

func TestAServerThatShowsNoVersionIsNotAsked(t *testing.T) {
	c, s := client(t, "gcp")
	found, err := c.FindVersion(t.Context())
	served, err2 := c.ServedVersions(t.Context())
	if found != "" || len(served) != 0 || err != nil || err2 != nil || len(s.seen) != 0 {
		t.Errorf("found %q, served %q, %v, %v, %d requests", found, served, err, err2, len(s.seen))
	}
}

func TestTheNewestServedVersionIsFound(t *testing.T) {
	for want, versions := range map[string][]string{
		"1.3-rev2": {"1.1-rev0", "1.3-rev2", "1.2-rev1"},
		"1.2-rev1": {"1.0-rev1", "1.2-rev1"},
		"1.0-rev1": {"1.0-rev1"},
		"":         nil,
	} {
		c, s := client(t, "vbr", serving(t, versions...)...)
		got, err := c.FindVersion(context.Background())
		if err != nil || got != want {
			t.Errorf("served %v: found %q, %v", versions, got, err)
		}
		if len(s.seen) > 12 {
			t.Errorf("%d requests", len(s.seen))
		}
		for i, r := range s.seen {
			version := c.Product.Version.Known[i]
			if r.method != http.MethodGet || !strings.HasSuffix(r.url, "/swagger/v"+version+"/swagger.json") || r.body != "" {
				t.Errorf("sent %s %s", r.method, r.url)
			}
			if r.header.Get("Authorization") != "" || r.header.Get("Cookie") != "" || r.header.Get("X-Api-Version") != version {
				t.Errorf("with %v", r.header)
			}
		}
	}
}

func TestTheSearchForAVersionEndsWithAFault(t *testing.T) {
	for _, tt := range []struct {
		answer canned
		want   Kind
	}{
		{canned{status: 503}, KindServerFault},
		{canned{err: errors.New("reset")}, KindUnavailable},
		{canned{err: context.DeadlineExceeded}, KindTimeout},
	} {
		c, s := client(t, "vbr", canned{status: 404}, tt.answer)
		version, err := c.FindVersion(context.Background())
		fault(t, err, tt.want)
		if version != "" || len(s.seen) != 2 {
			t.Errorf("found %q with %d requests", version, len(s.seen))
		}
	}
}

func TestAPageForEveryPathIsNoVersion(t *testing.T) {
	page := canned{status: 200, body: "<html>", header: http.Header{"Content-Type": {"text/html; charset=utf-8"}}}
	answers := make([]canned, len(lookup(t, "vbr").Version.Known))
	for i := range answers {
		answers[i] = page
	}
	c, _ := client(t, "vbr", answers...)
	if version, err := c.FindVersion(context.Background()); err != nil || version != "" {
		t.Errorf("found %q, %v", version, err)
	}
}

func TestProductsThatShowNoVersionsAreNotAsked(t *testing.T) {
	for _, name := range Names() {
		if p, _ := Lookup(name); p.Version.Known != nil {
			continue
		}
		c, s := client(t, name)
		if version, err := c.FindVersion(context.Background()); version != "" || err != nil || len(s.seen) != 0 {
			t.Errorf("%s: found %q, %v with %d requests", name, version, err, len(s.seen))
		}
	}
}

func TestKnownVersionsAreFewEnoughToAskForEach(t *testing.T) {
	if n := len(lookup(t, "vbr").Version.Known); n > 12 {
		t.Errorf("%d versions", n)
	}
	c, _ := client(t, "vbr")
	c.BaseURL = "\x7f"
	_, err := c.FindVersion(context.Background())
	fault(t, err, KindAccount)
}
