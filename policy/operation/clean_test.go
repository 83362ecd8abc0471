// The normaliser, rule by rule, and fuzzed.

package operation_test

import (
	"net/url"
	"path"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

func TestEachPathHasOneSpelling(t *testing.T) {
	for _, c := range []struct{ raw, clean string }{
		{"/", "/"},
		{"/api/v1/jobs", "/api/v1/jobs"},
		{"/api/V1/Jobs", "/api/V1/Jobs"},
		{"/api/v1/jobs/", "/api/v1/jobs/"},
		// escapes that need not be
		{"/api/v1/%6aobs", "/api/v1/jobs"},
		{"/%61%70%69/v1/%4A%6F%62%73", "/api/v1/Jobs"},
		{"/a%7eb%2Dc%5fd%2Ee", "/a~b-c_d.e"},
		// slashes and dots
		{"//api///v1/jobs", "/api/v1/jobs"},
		{"/api/v1/jobs//", "/api/v1/jobs/"},
		{"/api/./v1/././jobs", "/api/v1/jobs"},
		{"/api/v1/x/../jobs", "/api/v1/jobs"},
		{"/api/v1/x/%2e%2E/jobs", "/api/v1/jobs"},
		{"/api/v1/x/.%2e/%2e/jobs", "/api/v1/jobs"},
		{"/api/v1/jobs/.", "/api/v1/jobs/"},
		{"/api/v1/jobs/x/..", "/api/v1/jobs/"},
		{"/a/..", "/"},
		{"//", "/"},
		{"/api/v1/.well-known/a.b..c", "/api/v1/.well-known/a.b..c"},
		// characters that stay as they came
		{"/a!$&'()*+,:=@b", "/a!$&'()*+,:=@b"},
		{"/a%21%24%26%27%28%29%2a%2b%2c%3a%3d%40b", "/a%21%24%26%27%28%29%2A%2B%2C%3A%3D%40b"},
		{"/tags/urn:vmomi:Tag:1:GLOBAL/x", "/tags/urn:vmomi:Tag:1:GLOBAL/x"},
		// what is escaped, however it came
		{"/a b", "/a%20b"},
		{"/a%20b", "/a%20b"},
		{"/caf\u00e9", "/caf%C3%A9"},
		{"/caf%c3%a9", "/caf%C3%A9"},
		{"/\u65e5\u672c", "/%E6%97%A5%E6%9C%AC"},
		{`/"<>^{|}` + "`", "/%22%3C%3E%5E%7B%7C%7D%60"},
		{"/100%25", "/100%25"},
		{"/100%25 of", "/100%25%20of"},
		{"/5%25g0", "/5%25g0"},
	} {
		got, ok := operation.Clean(c.raw)
		if !ok || got != c.clean {
			t.Errorf("%q is %q, %v; want %q", c.raw, got, ok, c.clean)
		}
		if again, ok := operation.Clean(got); !ok || again != got {
			t.Errorf("%q is %q, %v when cleaned again", got, again, ok)
		}
	}
}

func TestWhatServersReadInTwoWaysIsRefused(t *testing.T) {
	for rule, paths := range map[string][]string{
		"no path":                 {"", "api/v1/jobs", "*", "https://host/api/v1/jobs", `\api`, "%2fapi", "?a", "."},
		"above the root":          {"/..", "/../api", "/api/../..", "/api/%2e%2e/%2e%2e/x", "/a/../../b"},
		"another slash":           {`/api\v1`, `/api/v1\..\x`, "/api%2fv1", "/api%2Fv1", "/api%5cv1", "/api%5Cv1", "/%2f", `/\`},
		"path parameters":         {"/api;a=b/v1", "/api/v1/jobs;", "/api/v1/..;/x", "/api/v1/jobs%3b", "/;/"},
		"the path's end":          {"/api?x", "/api#x", "/api%3fx", "/api%3Fx", "/api%23x"},
		"no escape":               {"/%", "/a%2", "/a%zz", "/%u0041", "/a%g0b", "/% 41"},
		"two layers of escapes":   {"/%252f", "/%252e%252e/x", "/%25%32%66", "/a%2541b", "/%2525", "/%25252f"},
		"control characters":      {"/a\x00", "/a%00b", "/a\nb", "/a%0d%0ab", "/a\tb", "/a%7f", "/a%09", "/a%c2%85b", "/a\u0085"},
		"invisible characters":    {"/jobs\u200b", "/jobs%e2%80%8b", "/\u202ejobs", "/\ufeffjobs", "/jo\u00adbs"},
		"no UTF-8":                {"/\xff", "/%ff", "/a%c3", "/\xc3", "/%ed%a0%80", "/%f4%90%80%80"},
		"overlong forms":          {"/%c0%af", "/%c0%ae%c0%ae/", "/%c1%9c", "/%e0%80%af", "/\xc0\xaf"},
		"letters that fold":       {"/to\u212aen", "/%e2%84%aaeys", "/u\u017fers", "/l\u0131cense", "/l\u0130cense"},
		"compatible forms":        {"/api\uff0fv1", "/%ef%bc%8e%ef%bc%8e/", "/\uff41pi", "/a\u2215b", "/a\u2044b", "/a\u2216b", "/\u2025/x", "/a\u037eb", "/a\ufe68b", "/\u217dredentials", "/\u24d2redentials", "/\U0001d41credentials", "/\uff43redentials", "/a\u00bdb", "/\u2100", "/a%e2%85%bdb"},
		"dots that Windows drops": {"/api/v1/jobs.", "/api/v1/jobs./x", "/...", "/api/v1/.../x", "/jobs%2e"},
		"spaces at the edge":      {"/jobs ", "/jobs%20", "/ jobs/x", "/%20/x", "/jobs\u00a0", "/jobs%e3%80%80/x", "/.. /x"},
	} {
		for _, raw := range paths {
			if got, ok := operation.Clean(raw); ok || got != "" {
				t.Errorf("%s: %q is %q, %v", rule, raw, got, ok)
			}
		}
	}
}

func TestEveryByteIsEitherKeptEscapedOrRefused(t *testing.T) {
	const kept = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,:=@"
	for i := range 256 {
		c := byte(i)
		escaped := "%" + string("0123456789abcdef"[c>>4]) + string("0123456789abcdef"[c&15])
		fromRaw, rawOK := operation.Clean("/x" + string([]byte{c}) + "x")
		fromEscape, escapeOK := operation.Clean("/x" + escaped + "x")
		wantOK := c >= 0x20 && c < 0x7f && !strings.Contains(`/\;?#%`, string(rune(c)))
		if c == '/' { // a slash separates, an escaped one is refused
			if !rawOK || escapeOK {
				t.Errorf("slash: %v, %v", rawOK, escapeOK)
			}
			continue
		}
		if escapeOK != (wantOK || c == '%') || rawOK != wantOK {
			t.Errorf("%q: plain %v, escaped %v", c, rawOK, escapeOK)
			continue
		}
		if !wantOK {
			continue
		}
		want := "/x" + strings.ToUpper(escaped) + "x"
		if strings.IndexByte(kept, c) >= 0 {
			want = "/x" + string(rune(c)) + "x"
		}
		if fromRaw != want {
			t.Errorf("%q is %q", c, fromRaw)
		}
		if decoded, err := url.PathUnescape(fromEscape); err != nil || decoded != "/x"+string(rune(c))+"x" {
			t.Errorf("%q is %q", escaped, fromEscape)
		}
	}
}

// TestACharacterLikeOnesOfASCIIIsRefused holds over all characters, and the letters of
// people's names pass.
func TestACharacterLikeOnesOfASCIIIsRefused(t *testing.T) {
	for r := rune(utf8.RuneSelf); r <= unicode.MaxRune; r++ {
		if !utf8.ValidRune(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			continue
		}
		letter := string(r)
		like := false
		for _, form := range []string{letter, strings.ToLower(letter), strings.ToUpper(letter), strings.ToTitle(letter)} {
			for _, f := range []norm.Form{norm.NFC, norm.NFKC} {
				like = like || strings.ContainsFunc(f.String(form), func(c rune) bool { return c > ' ' && c < utf8.RuneSelf })
			}
		}
		_, inPath := operation.Clean("/a" + letter + "b")
		_, inName := operation.CleanQuery("a" + letter + "b=1")
		if like && (inPath || inName) {
			t.Errorf("%U %q passes: %v, %v", r, r, inPath, inName)
		}
		if !like && !inPath && !strings.ContainsRune("\u2044\u2215\u29f8\u2216\u29f5\u29f9", r) {
			t.Errorf("%U %q is refused", r, r)
		}
	}
	for _, name := range []string{"é", "ä", "ß", "ẞ", "Ø", "ł", "ñ", "Ž", "日本", "Ω", "я", "ا", "한", "e\u0301", "´"} {
		if _, ok := operation.Clean("/x" + name + "y"); !ok {
			t.Errorf("%s is refused", name)
		}
	}
}

func TestAnOrdinaryPathIsNotCopied(t *testing.T) {
	const raw = "/api/v1/jobs/57b3baab-6237-41bf-add7-db63d41d984c/start"
	if n := testing.AllocsPerRun(100, func() { operation.Clean(raw) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzClean(f *testing.F) {
	for _, seed := range []string{
		"/api/v1/jobs", "//a/./b/../c/", "/%2e%2e/a", "/%252f", "/a%20b", `/a\b`, "/a;b", "/caf%C3%A9", "/\u212a", "/a%",
		"/%c0%af", "/a/b/%2E./c", "/a. /b", "/100%25",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		clean, ok := operation.Clean(raw)
		if !ok {
			if clean != "" {
				t.Errorf("%q is refused and %q", raw, clean)
			}
			return
		}
		if again, ok := operation.Clean(clean); !ok || again != clean {
			t.Errorf("%q is %q, then %q, %v", raw, clean, again, ok)
		}
		decoded, err := url.PathUnescape(clean)
		if err != nil || !utf8.ValidString(decoded) || strings.ContainsAny(decoded, "\\;?#\x00") || decoded[0] != '/' {
			t.Errorf("%q is %q, which is %q decoded", raw, clean, decoded)
		}
		if path.Clean(decoded) != strings.TrimSuffix(decoded, "/") && decoded != "/" {
			t.Errorf("%q is %q, which is not resolved", raw, clean)
		}
		for i := range len(clean) {
			if c := clean[i]; c <= ' ' || c > '~' {
				t.Errorf("%q is %q, which is not fit for a request line", raw, clean)
			}
		}
		if u, err := url.ParseRequestURI("https://host" + clean); err != nil || u.EscapedPath() != clean || u.Path != decoded {
			t.Errorf("%q is %q, which net/url sends as %q (%v)", raw, clean, u.EscapedPath(), err)
		}
		want := readings[0].segments(raw)
		for _, reading := range readings[:3] {
			if got := reading.segments(clean); strings.Join(got, "/") != strings.Join(want, "/") {
				t.Errorf("%q is %q; read as %s it is %q, as it was received %q", raw, clean, reading.name, got, want)
			}
		}
	})
}
