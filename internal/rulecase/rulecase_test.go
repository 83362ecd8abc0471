package rulecase

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestAnExpressionKeepsItsName(t *testing.T) {
	for written, want := range map[string]string{
		`"{http.request.uri.path} == '/Jobs'"`:                     `"ph(req, \"http.request.uri.path\") == \"/jobs\""`,
		`{"expr":"{http.request.method} == 'GET'","name":"reads"}`: `{"expr":"ph(req, \"http.request.method\") == 'GET'","name":"reads"}`,
		`{"expr":"method('get')"}`:                                 `"method(\"GET\")"`,
		`{"expr":1}`:                                               "",
		`{`:                                                        "",
	} {
		folded, err := Set(map[string]json.RawMessage{"expression": json.RawMessage(written)})
		if got := string(folded["expression"]); got != want || (err == nil) != (want != "") {
			t.Errorf("%s becomes %s, %v", written, got, err)
		}
	}
}

// A condition that no request meets makes a rule that denies nothing.
func TestAPathBeginsWithASlash(t *testing.T) {
	for written, matches := range map[string]bool{
		`{"path":["/api/v1/jobs"]}`: true, `{"path":["*/jobs","?api","[/]x","{http.vars.path}","%2fapi","\\/api"]}`: true, `{"path":null}`: true,
		`{"path":["/api","api/v1/jobs"]}`: false, `{"path":[""]}`: false, `{"not":[{"path":["api*"]}]}`: false,
		`{"expression":"path('/api/v1/jobs', '*.json') || path({http.vars.path})"}`: true,
		`{"expression":"!path('/api', 'api/v1/jobs')"}`:                             false, `{"expression":"path(['api/v1/jobs'])"}`: false,
	} {
		var set map[string]json.RawMessage
		if err := json.Unmarshal([]byte(written), &set); err != nil {
			t.Fatal(err)
		}
		_, err := Set(set)
		if (err == nil) != matches || err != nil && !strings.Contains(err.Error(), `every path begins with a slash: write "/`) {
			t.Errorf("%s: %v", written, err)
		}
	}
}

func FuzzFoldExpression(f *testing.F) {
	for _, expr := range []string{
		`{http.request.uri.path}.startsWith("/api/v1/backupInfrastructure")`, `{http.request.uri.path} in ["/api/v1/Jobs", "/api/v1/Backups"]`,
		`{http.request.uri.path}.matches(r"^/api/v1/Jobs/\D+$")`, `path_regexp('name', '^/api/v1/Jobs')`, `query({'nameFilter': ['X', 'y']})`,
		`["/api/v1/Jobs"].exists(p, {http.request.uri.path}.startsWith(p))`, `!({http.request.uri.path}.contains('''Backup'''))`,
		`{http.request.uri.query.nameFilter} in ['Secret'] || {http.request.uri.query.format}.matches('^S')`,
	} {
		f.Add(expr)
	}
	f.Add(`"\{x}" == {http.request.uri.path}`)
	f.Fuzz(func(t *testing.T, expr string) {
		folded, err := foldExpression(expr)
		if err != nil {
			return
		}
		if _, err := foldExpression(folded); err != nil {
			t.Fatalf("%q becomes %q: %v", expr, folded, err)
		}
	})
}
