package operation

import (
	"net/url"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"
)

func TestCleanMethodKnowsOneSpelling(t *testing.T) {
	for method, want := range map[string]string{
		"GET": "GET", "get": "GET", "Post": "POST", "pUT": "PUT", "patch": "PATCH", "dElEtE": "DELETE", "head": "HEAD", "options": "OPTIONS",
		"": "", "TRACE": "", "trace": "", "TRACK": "", "CONNECT": "", "PROPFIND": "", "GETS": "", "DELETE ": "", "po\u017ft": "", "DELETE\x00": "",
	} {
		got, ok := CleanMethod(method)
		if got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", method, got, ok)
		}
	}
	if strings.Join(methodsSent[:], ", ") != AllowedMethods {
		t.Error(AllowedMethods)
	}
}

func TestCleanQuery(t *testing.T) {
	for raw, want := range map[string]string{
		"":                          "",
		"skip=0&limit=10":           "skip=0&limit=10",
		"a=1&a=2":                   "a=1&a=2",
		"Format=Secret":             "Format=Secret",
		"%46ormat=%73ecret":         "Format=secret",
		"a=x;b=y":                   "a=x%3Bb=y",
		"a=%3b":                     "a=%3B",
		`filter={"a":["b"]}`:        "filter=%7B%22a%22:%5B%22b%22%5D%7D",
		"a=\u00e9":                  "a=%C3%A9",
		"a=x#y":                     "a=x%23y",
		"a=%26b%3D":                 "a=%26b%3D",
		"a=b=c&&d":                  "a=b=c&&d",
		"a=%00":                     "a=%00",
		"a=1&b=2&a=3":               "a=1&b=2&a=3",
		"filter.name=x&filter[a]=y": "filter.name=x&filter%5Ba%5D=y",
		"method=GET&verb=a":         "method=GET&verb=a",
		"url=a&x_path=b&httpMethod": "url=a&x_path=b&httpMethod",
	} {
		if got, ok := CleanQuery(raw); got != want || !ok {
			t.Errorf("%q: %q, %v; want %q", raw, got, ok, want)
		}
	}
	for _, raw := range []string{
		"a=%zz", "a=%", "%=1", "a=%4",
		"format=x&Format=secret", "f%6frmat=x&FORMAT=secret", "\u00e9=1&\u00c9=2",
		"_method=DELETE", "%5Fmethod=DELETE", "_METHOD=delete", "a=1&X-HTTP-Method-Override=PUT", "x_http_method=put",
		"_http_method=PUT", "http_method_override=PUT", "x_method_override=PUT", "_method_override=PUT", "methodOverride=PUT", "method-override=PUT",
		"x-http-verb=PUT", "_verb=PUT", "overrideMethod=PUT", "-method=PUT",
		"%2566ormat=secret", "form\u200bat=x", "%00a=1", "a%00=1", "%ff=1", "+a=1", "a+=1", "\u212a=1", "\uff46ormat=secret",
	} {
		if got, ok := CleanQuery(raw); ok {
			t.Errorf("%q is taken for %q", raw, got)
		}
	}
}

func TestNamesOfALongQueryAreComparedToo(t *testing.T) {
	var query strings.Builder
	for i := range 3 * fewNames {
		query.WriteString("name" + strconv.Itoa(i) + "=1&")
	}
	for _, first := range []string{"NAME1", "NAME40"} {
		if _, ok := CleanQuery(query.String() + first + "=2"); ok {
			t.Errorf("%s passes", first)
		}
	}
	if _, ok := CleanQuery(query.String() + "name40=2&other=1"); !ok {
		t.Error("the same name twice is refused")
	}
	if !testing.Short() {
		if _, ok := CleanQuery(strings.Repeat("a&", 400_000)); !ok { // in no time
			t.Error("refused")
		}
	}
}

func TestAnOrdinaryQueryIsCleanedWithoutAllocating(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() {
		if _, ok := CleanQuery("skip=0&limit=100&orderColumn=Name&orderAsc=true"); !ok {
			t.Error("refused")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// querySpellings are pieces of queries in which readers differ.
var querySpellings = rapid.Custom(func(t *rapid.T) string {
	piece := rapid.SampledFrom([]string{
		"format", "Format", "skip", "=", "&", ";", "%", "+", "%26", "%3D", "%3b", "%41", "%66", "%25", "%2566", "%00", "#", "?", " ", "\u00e9", "\u0130", "\u03c2", "\u03a3",
		"%ff", "_method", "{", "}", `"`, "a", "A", "1", ".", "[", "]",
	})
	return strings.Join(rapid.SliceOfN(piece, 0, 12).Draw(t, "pieces"), "")
})

// checkQuery says what is wrong with the spelling of a query.
func checkQuery(raw string) string {
	query, ok := CleanQuery(raw)
	if !ok {
		return ""
	}
	if again, ok := CleanQuery(query); !ok || again != query {
		return "cleaned once more it is " + again
	}
	parsed, err := url.ParseQuery(query)
	if err != nil {
		return err.Error()
	}
	for name := range parsed {
		for other := range parsed {
			if name != other && Fold(name) == Fold(other) {
				return "two cases of " + name
			}
		}
	}
	folded := FoldQuery(query)
	swapped := swapNames(query)
	if cleaned, ok := CleanQuery(swapped); ok && FoldQuery(cleaned) != folded {
		return "with its names in another case it is " + FoldQuery(cleaned) + ", not " + folded
	}
	if _, err := url.ParseQuery(folded); err != nil || FoldQuery(folded) != folded {
		return "folded it is " + folded
	}
	return ""
}

// swapNames swaps the case of the letters of ASCII in the names.
func swapNames(query string) string {
	pairs := strings.Split(query, "&")
	for i, pair := range pairs {
		name, value, assigned := strings.Cut(pair, "=")
		var out []byte
		for j := 0; j < len(name); j++ {
			switch c := name[j]; {
			case escapeAt(name, j):
				out = append(out, name[j:j+3]...)
				j += 2
			case unicode.IsLetter(rune(c)) && c < 0x80:
				out = append(out, c^0x20)
			default:
				out = append(out, c)
			}
		}
		if pairs[i] = string(out); assigned {
			pairs[i] += "=" + value
		}
	}
	return strings.Join(pairs, "&")
}

func TestEveryQueryHasOneSpelling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := querySpellings.Draw(t, "query")
		if fault := checkQuery(raw); fault != "" {
			t.Fatalf("%q: %s", raw, fault)
		}
	})
}

func FuzzCleanQuery(f *testing.F) {
	for _, seed := range []string{"a=1&b=2", "format=x&Format=y", "a=x;b=y", "%5Fmethod=DELETE", "f%6frmat=%zz", "\u017f=1&S=2"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if fault := checkQuery(raw); fault != "" {
			t.Fatalf("%q: %s", raw, fault)
		}
	})
}

func TestFoldIsOneCase(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "/api/v1/jobs": "/api/v1/jobs", "/API/v1/BackupInfrastructure": "/api/v1/backupinfrastructure",
		"\u00c9": "\u00e9", "\u03c2\u03a3\u03c3": "\u03c3\u03c3\u03c3",
	} {
		if got := Fold(text); got != want || Fold(got) != got {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func TestASecondSpellingOfAVersionIsRefused(t *testing.T) {
	for path, ok := range map[string]bool{
		"/api/v8/users": true, "/api/v8.1/users": true, "/API/V8/users": true, "/v8/users": true, "/api/v10/x": true, "/api/v8.10/x": true, "/api/v1": true,
		"/api/version/x": true, "/api/v/x": true, "/swagger/v1.0-rev2/swagger.json": true, "/swagger/v1.0/x": true, "/api/v1/jobs/v08": true, "/api/v1/v08.0": true, "/": true,
		"/api/v08/users": false, "/api/v8.01/users": false, "/api/v8.0/users": false, "/api/V8.0": false, "/v08/token": false, "/v8.0/token": false, "/api/v8.1.0/x": false, "/Api/v%308/x": false,
		"/x/../api/v08/users": false, "/api/v0008": false, "/api//v08": false,
	} {
		if got, clean := Clean(path); clean != ok {
			t.Errorf("%s: %q, %v", path, got, clean)
		}
	}
}
