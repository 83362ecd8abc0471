// What counts as sent for a page of another site.

package browser

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

func TestARequestCountsAsItsSitesOnlyIfTheBrowserSaysSo(t *testing.T) {
	const chromium = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"
	browser := []string{"User-Agent", chromium, "Accept-Language", "en"}
	site := Site{Hosts: []string{"sidecar.lab.local"}}
	var err error
	if site.Origins, err = ReadOrigins([]string{"https://Tools.lab.local:443", "http://tools.lab.local:8080", "http://plain.lab.local:9419"}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		method  string // default GET
		url     string // default http://localhost:9419/
		anon    bool   // no account is used
		headers []string
		want    bool // cross-site
	}{
		{name: "a program"},
		{name: "a program's POST", method: "POST"},
		{name: "a program that names a browser", headers: []string{"User-Agent", "Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1"}},
		{name: "a program that speaks languages", headers: []string{"User-Agent", "node", "Accept-Language", "*", "Sec-Fetch-Mode", "cors"}},
		{name: "a program that names the origin", headers: []string{"Origin", "http://localhost:9419"}},
		{name: "the site's own page", headers: []string{"Sec-Fetch-Site", "same-origin"}},
		{name: "the site's own POST", method: "POST", headers: []string{"Sec-Fetch-Site", "same-origin", "Origin", "http://localhost:9419"}},
		{name: "the site's own websocket", headers: append(browser, "Origin", "http://localhost:9419")},
		{name: "behind an end of TLS", url: "http://sidecar.lab.local/", headers: []string{"Sec-Fetch-Site", "same-origin", "Origin", "https://sidecar.lab.local"}},

		{name: "another site", headers: []string{"Sec-Fetch-Site", "cross-site"}, want: true},
		{name: "another port", headers: []string{"Sec-Fetch-Site", "same-site"}, want: true},
		{name: "a word of the future", headers: []string{"Sec-Fetch-Site", "cross-planet"}, want: true},
		{name: "an empty word", headers: []string{"Sec-Fetch-Site", ""}, want: true},
		{name: "two words", headers: []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Site", "cross-site"}, want: true},
		{name: "another origin", headers: []string{"Origin", "http://elsewhere.test"}, want: true},
		{name: "another origin that claims to be the same", headers: []string{"Origin", "http://elsewhere.test", "Sec-Fetch-Site", "same-origin"}, want: true},
		{name: "another port's origin", headers: []string{"Origin", "http://localhost:9420"}, want: true},
		{name: "another scheme's origin", headers: []string{"Origin", "https://localhost:9419"}, want: true},
		{name: "plain HTTP's origin at TLS", url: "https://localhost:9419/", headers: []string{"Origin", "http://localhost:9419"}, want: true},
		{name: "a sandbox", headers: []string{"Origin", "null"}, want: true},
		{name: "a sandbox that claims to be the same", headers: []string{"Origin", "null", "Sec-Fetch-Site", "same-origin"}, want: true},
		{name: "no origin", headers: []string{"Origin", ""}, want: true},
		{name: "two origins", headers: []string{"Origin", "http://localhost:9419", "Origin", "http://elsewhere.test"}, want: true},

		{name: "typed", headers: []string{"Sec-Fetch-Site", "none"}, want: true},
		{name: "typed, no account used", anon: true, headers: []string{"Sec-Fetch-Site", "none"}},
		{name: "typed POST, no account used", method: "POST", anon: true, headers: []string{"Sec-Fetch-Site", "none"}, want: true},
		{name: "another site, no account used", anon: true, headers: []string{"Sec-Fetch-Site", "cross-site"}, want: true},

		{name: "a browser that says nothing", headers: browser, want: true},
		{name: "a browser without TLS", url: "http://192.0.2.7:9419/", headers: browser, want: true},
		{name: "a browser that an empty language does not hide", headers: []string{"User-Agent", chromium, "Accept-Language", ""}, want: true},
		{name: "a name that somebody has pointed here", url: "http://rebound.test/", headers: append(browser, "Origin", "http://rebound.test"), want: true},
		{name: "a page there that names another program", method: "POST", url: "http://rebound.test/", headers: []string{"User-Agent", "curl/8", "Origin", "http://rebound.test"}, want: true},
		{name: "a page there that names no program", method: "POST", url: "http://rebound.test/", headers: []string{"User-Agent", "", "Accept-Language", "en", "Origin", "http://rebound.test"}, want: true},
		{name: "a name of this machine", url: "http://sidecar.lab.local/", headers: append(browser, "Origin", "http://sidecar.lab.local")},
		{name: "a name with a certificate", url: "https://sidecar.test/", headers: append(browser, "Origin", "https://sidecar.test")},

		{name: "an allowed origin", method: "POST", headers: append(browser, "Sec-Fetch-Site", "cross-site", "Origin", "https://tools.lab.local")},
		{name: "an allowed origin without TLS", headers: append(browser, "Origin", "http://tools.lab.local:8080")},
		{name: "the site's own name, allowed", url: "http://plain.lab.local:9419/", headers: append(browser, "Origin", "http://plain.lab.local:9419")},
		{name: "the other scheme of an allowed origin", headers: []string{"Origin", "http://tools.lab.local"}, want: true},
		{name: "another port of an allowed origin", headers: []string{"Origin", "https://tools.lab.local:8443"}, want: true},
		{name: "below an allowed origin", headers: []string{"Origin", "https://evil.tools.lab.local"}, want: true},
		{name: "without a word of its origin", headers: []string{"Sec-Fetch-Site", "cross-site", "Referer", "https://tools.lab.local/"}, want: true},
	} {
		method, url := c.method, c.url
		if method == "" {
			method = http.MethodGet
		}
		if url == "" {
			url = "http://localhost:9419/"
		}
		r := httptest.NewRequest(method, url, nil)
		if r.TLS = nil; strings.HasPrefix(url, "https:") {
			r.TLS = new(tls.ConnectionState)
		}
		for pair := range slices.Chunk(c.headers, 2) {
			r.Header.Add(pair[0], pair[1])
		}
		if got := site.CrossSite(r, c.anon); got != c.want {
			t.Errorf("%s: %v, not %v", c.name, got, c.want)
		}
	}
}

func TestAnAllowedOriginIsOneOrigin(t *testing.T) {
	for _, text := range []string{
		"", "*", "null", "tools.lab.local", "https://", "https://*", "https://*.lab.local", "ftp://tools.lab.local", "https://tools.lab.local/",
		"https://tools.lab.local/x", "https://tools.lab.local?x", "https://tools.lab.local#x", "https://u@tools.lab.local", "https://tools.lab.local:",
		"https://:443", "//tools.lab.local", "https:tools.lab.local", "https://tools.lab.local:x", " https://tools.lab.local", "chrome-extension://abc",
	} {
		if origin, err := readOrigin(text); err == nil {
			t.Errorf("%q is taken for %q", text, origin)
		}
	}
	for text, want := range map[string]string{
		"https://tools.lab.local": "https://tools.lab.local", "HTTPS://Tools.Lab.Local:443": "https://tools.lab.local", "http://[::1]:80": "http://[::1]",
		"http://localhost:3000": "http://localhost:3000", "https://tools.lab.local:80": "https://tools.lab.local:80",
	} {
		if origin, err := readOrigin(text); err != nil || origin != want {
			t.Errorf("%q: %q, %v", text, origin, err)
		}
	}
}
