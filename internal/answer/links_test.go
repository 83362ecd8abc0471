package answer

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// rewritten reads a document through a linkReader, in pieces of every kind.
func rewritten(t *testing.T, links, text string) string {
	t.Helper()
	var first string
	for i, body := range []io.Reader{
		strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text)), iotest.HalfReader(strings.NewReader(text)), &pieces{text, 7},
	} {
		got, err := io.ReadAll(&linkReader{Reader: body, links: links, site: "http://site/api"})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = string(got)
		} else if string(got) != first {
			t.Fatalf("it depends on the pieces in which %q comes: %q, %q", text, first, got)
		}
	}
	return first
}

func TestLinksLeadHere(t *testing.T) {
	for text, want := range map[string]string{
		`<a Href="https://em01:9398/api/jobs"/>`:                                 `<a Href="http://site/api/jobs"/>`,
		`<a Href = 'HTTPS://EM01:9398/api/jobs'/>`:                               `<a Href = 'http://site/api/jobs'/>`,
		`{"Href":"https://em01:9398/api"}`:                                       `{"Href":"http://site/api"}`,
		`{"href" : "https:\/\/em01:9398\/api\/jobs"}`:                            `{"href" : "http://site/api\/jobs"}`,
		`<a Href="https://em01:9398/api?x"/><b Href="https://em01:9398/api#x"/>`: `<a Href="http://site/api?x"/><b Href="http://site/api#x"/>`,
		`<a Href="https://em01:9398/apis"/>`:                                     `<a Href="https://em01:9398/apis"/>`,
		`<a Href="https://em01:9398.evil/api/jobs"/>`:                            `<a Href="https://em01:9398.evil/api/jobs"/>`,
		`<a Name="https://em01:9398/api/jobs">https://em01:9398/api/jobs</a>`:    `<a Name="https://em01:9398/api/jobs">https://em01:9398/api/jobs</a>`,
		`{"Href":null,"Name":"Href=","x":"https://em01:9398/api/jobs"}`:          `{"Href":null,"Name":"Href=","x":"https://em01:9398/api/jobs"}`,
		`<a Href="`:                     `<a Href="`,
		`<a Href="https://em01:9398/ap`: `<a Href="https://em01:9398/ap`,
		`{"Href":"` + strings.Repeat("x", 2*longestLink) + `","href":"https://em01:9398/api/"}`: `{"Href":"` + strings.Repeat("x", 2*longestLink) + `","href":"http://site/api/"}`,
	} {
		if got := rewritten(t, "https://em01:9398/api", text); got != want {
			t.Errorf("%s became %s, not %s", text, got, want)
		}
	}
	root := `<EM Href="https://em01.lab:9398/api"><Link Href="https://em01.lab:9398/api/jobs"/><Link Href="https://other/api/jobs"/></EM>`
	if got := rewritten(t, "", root); got != `<EM Href="http://site/api"><Link Href="http://site/api/jobs"/><Link Href="https://other/api/jobs"/></EM>` {
		t.Errorf("without a login before: %s", got)
	}
}

func FuzzLinks(f *testing.F) {
	for _, seed := range []string{
		`<a Href="https://em01:9398/api/jobs"/>`, `{"href":"https:\/\/em01:9398\/api\/jobs"}`, `Href="`, `"Href" : '`, `<a Href='https://em01:9398/api'`,
	} {
		f.Add(seed, seed, 5, true)
		f.Add(seed, "", 1, false)
	}
	f.Fuzz(func(t *testing.T, before, after string, piece int, known bool) {
		links := ""
		if known {
			links = "https://em01:9398/api"
		}
		text := before + `<x Href="https://em01:9398/api/jobs"/>` + after
		read := func(body io.Reader) []byte {
			got, err := io.ReadAll(&linkReader{Reader: body, links: links, site: "http://site/api"})
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		whole, split := read(strings.NewReader(text)), read(&pieces{text, max(1, piece%64)})
		if !bytes.Equal(whole, split) {
			t.Errorf("it depends on the pieces in which %q comes: %q, %q", text, whole, split)
		}
		if known && bytes.Contains(whole, []byte(`<x Href="https://em01:9398/api/jobs"/>`)) && !strings.ContainsAny(before, `"'`) {
			t.Errorf("%q kept its link: %q", text, whole)
		}
		// Whatever is replaced, nothing else changes.
		unlinked := func(s string) string {
			for _, link := range []string{"http://site/api", "https://em01:9398/api", `https:\/\/em01:9398\/api`} {
				for at := strings.Index(strings.ToLower(s), link); at >= 0; at = strings.Index(strings.ToLower(s), link) {
					s = s[:at] + "!" + s[at+len(link):]
				}
			}
			return s
		}
		if known && isASCII(text) && !strings.EqualFold(unlinked(string(whole)), unlinked(text)) {
			t.Errorf("%q became %q", text, whole)
		}
	})
}

func isASCII(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r >= 0x80 })
}
