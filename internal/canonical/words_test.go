package canonical

import (
	"net/http"
	"testing"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// watching are the words of a rule about the parameter format.
func watching() Words {
	words := make(Words)
	words.Add(`query {"Format":["secret"]}`)
	words.Add(`expression "{http.request.uri.query.größe} == 'x'"`)
	return words
}

// A value that a rule looks at has one reading: no server takes it for another one than the
// rule does.
func TestAValueThatARuleLooksAtHasOneReading(t *testing.T) {
	t.Parallel()
	for _, value := range []string{
		"secret%20", "%20secret", "+secret", "secret+", "secret%00", "%00secret", "sec%00ret", "secret%09", "%0dsecret", "secret%0a", "secret%C2%A0",
		"%E2%80%8Bsecret", "secret%EF%BB%BF", "%EF%BD%93ecret", "%E2%93%A2ecret", "%F0%9D%90%ACecret", "\u017fecret", "%ff", "%2573ecret",
	} {
		for _, query := range []string{"format=" + value, "FORMAT=" + value, "skip=1&f%6Frmat=" + value, "gr%C3%B6%C3%9Fe=" + value} {
			if _, refusal := Make(arrived(http.MethodGet, "/api/v1/jobs?"+query), watching()); refusal == nil || refusal.Reason != veeam.ReasonBadRequest {
				t.Errorf("%s passes: %v", query, refusal)
			}
		}
		for _, query := range []string{"name=" + value, "formats=" + value} {
			if _, refusal := Make(arrived(http.MethodGet, "/api/v1/jobs?"+query), watching()); refusal != nil {
				t.Errorf("%s is refused: %+v", query, refusal)
			}
		}
		if _, refusal := Make(arrived(http.MethodGet, "/api/v1/jobs?format="+value), nil); refusal != nil {
			t.Errorf("%s is refused without a rule: %+v", value, refusal)
		}
	}
	for _, value := range []string{"", "secret", "Geheim%20Gr%C3%B6%C3%9Fe", "a+b", "100%25", "%E6%97%A5", "%7B%22a%22:1%7D"} {
		if _, refusal := Make(arrived(http.MethodGet, "/api/v1/jobs?format="+value), watching()); refusal != nil {
			t.Errorf("%s is refused: %+v", value, refusal)
		}
	}
}

// A name with an index or a prefix is no way around a rule about the name.
func TestANameWithinAnotherIsNoWayAroundARule(t *testing.T) {
	t.Parallel()
	for query, refused := range map[string]bool{
		"format[0]=secret": true, "FORMAT[]=secret": true, "format%5B0%5D=secret": true, "filter.format=secret": true, "f%2Eformat=secret": true,
		"skip=1&filter[format]=secret": true, "format.value=secret": true, "?format=secret": true, "%5B0%5D=secret": true, "[0]=secret": true,
		"name[0]=secret": false, "filter.name=secret": false, "format=a.b": false, "formats.y=1": false, "$format=a": false, "name=format[0]": false, "name=a?format": false,
	} {
		if _, refusal := Make(arrived(http.MethodGet, "/api/v1/jobs?"+query), watching()); (refusal != nil) != refused {
			t.Errorf("%s: %+v", query, refusal)
		}
		if _, refusal := Make(arrived(http.MethodGet, "/api/v1/jobs?"+query), nil); refusal != nil {
			t.Errorf("%s is refused without a rule: %+v", query, refusal)
		}
	}
}

func TestWordsOfConditions(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"format": true, "FORMAT": true, "$format": true, "query.format": true, "format2": false, "x-format": false, "name": false, "größe": true, "größen": false,
		"日本": true, // it has no word, so that nobody knows
	} {
		if got := watching().Has(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if Words(nil).Has("日本") || !Words(nil).agree("a=%00") {
		t.Error("without rules there is nothing to look at")
	}
}
