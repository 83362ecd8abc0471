// The table of rules: nothing is left over, nothing is dead, nothing that holds
// a secret is mild.

package build

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// all calls f for every operation of every list.
func all(t *testing.T, f func(p Product, version string, row Row)) {
	t.Helper()
	for _, p := range products {
		lists, err := p.lists(os.DirFS("../data"))
		if err != nil {
			t.Fatal(err)
		}
		for _, list := range lists {
			for _, row := range list.Rows {
				f(p, list.Version, row)
			}
		}
	}
}

func TestEveryOperationHasARuleThatWasMeantForIt(t *testing.T) {
	count := 0
	all(t, func(p Product, version string, row Row) {
		count++
		class, why, ok := Classify(p, row)
		if !ok {
			t.Errorf("%s %s: %s", p.Name, version, why)
		}
		if ok && (class == operation.Unknown || why == "") {
			t.Errorf("%s %s: class %v, because %q", row.Method, row.Path, class, why)
		}
	})
	t.Logf("%d operations", count)
}

func TestEveryRuleDecidesSomething(t *testing.T) {
	used := make([]bool, len(rules))
	all(t, func(p Product, _ string, row Row) {
		s := subjectOf(p, row)
		if i := slices.IndexFunc(rules, func(r rule) bool { return r.fits(&s) }); i >= 0 {
			used[i] = true
		}
	})
	for i, r := range rules {
		if !used[i] {
			t.Errorf("no operation is left for %+v", r)
		}
	}
}

func TestEveryRuleSaysWhyAndNamesWhatExists(t *testing.T) {
	methods := []string{"GET", "POST", "PUT", "PATCH", "DELETE"}
	for _, r := range rules {
		if r.why == "" || r.class == operation.Unknown {
			t.Errorf("%+v gives no reason, or no class", r)
		}
		if r.path == "" && r.name == "" && r.method != "DELETE" && r.unless == "" && !r.fields {
			t.Errorf("%+v is for everything", r)
		}
		for method := range strings.FieldsSeq(r.method) {
			if !slices.Contains(methods, method) {
				t.Errorf("%+v: no method %s", r, method)
			}
		}
		for product := range strings.FieldsSeq(r.product) {
			if _, err := Lookup(product); err != nil {
				t.Errorf("%+v: %v", r, err)
			}
		}
	}
}

func TestAnAnswerWithASecretIsNeverMilderThanSecret(t *testing.T) {
	all(t, func(p Product, version string, row Row) {
		class, _, _ := Classify(p, row)
		if slices.ContainsFunc(row.Fields, isSecret) && class != operation.Secret {
			t.Errorf("%s %s: %s %s is %v and answers with %v", p.Name, version, row.Method, row.Path, class, row.Fields)
		}
	})
}

func TestMethodsBoundClasses(t *testing.T) {
	all(t, func(p Product, version string, row Row) {
		class, why, _ := Classify(p, row)
		switch row.Method {
		case http.MethodGet:
			if class != operation.Read && class != operation.Secret {
				t.Errorf("%s: GET %s is %v", p.Name, row.Path, class)
			}
		case http.MethodDelete:
			if class == operation.Read {
				t.Errorf("%s: DELETE %s is %v", p.Name, row.Path, class)
			}
		case http.MethodPut, http.MethodPatch:
			if class == operation.Run || class == operation.Read && why != checks {
				t.Errorf("%s: %s %s is %v", p.Name, row.Method, row.Path, class)
			}
		}
	})
}

// What a new version may bring must not be taken for harmless by the sound of
// its method.
func TestWhatSoundsLikeACredentialNeedsARowOfItsOwn(t *testing.T) {
	vbr, err := Lookup("vbr")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []Row{
		{Method: "GET", Path: "/api/v1/newThings/{id}/password", Name: "GetNewThing"},
		{Method: "GET", Path: "/api/v1/newThings", Name: "GetApiKeys"},
		{Method: "GET", Path: "/api/v1/newThings/{id}/download", Name: "GetNewThing"},
		{Method: "GET", Path: "/api/v1/newThings/generate", Name: "GetNewThing"},
		{Method: "GET", Path: "/api/v1/newThings", Name: "RotateNewThings"},
		{Method: "POST", Path: "/api/v1/newThings", Name: "FrobNewThings"},
		{Method: "POST", Path: "/api/v1/newUsers", Name: "CreateNewUser"},
		{Method: "PUT", Path: "/api/v1/newThings/{id}/permissions", Name: "UpdateNewThing"},
		{Method: "POST", Path: "/api/v1/newThings/{id}/enable", Name: "EnableNewThing"},
		{Method: "PROPFIND", Path: "/api/v1/newThings", Name: "GetNewThings"},
	} {
		if class, why, ok := Classify(vbr, row); ok || class != operation.Unknown {
			t.Errorf("%s %s %s is %v: %s", row.Method, row.Path, row.Name, class, why)
		}
	}
	for class, row := range map[operation.Class]Row{
		operation.Read:    {Method: "GET", Path: "/api/v1/newThings/{id}", Name: "GetNewThing"},
		operation.Change:  {Method: "PUT", Path: "/api/v1/newThings/{id}", Name: "UpdateNewThing"},
		operation.Run:     {Method: "POST", Path: "/api/v1/newThings/{id}/start", Name: "StartNewThing"},
		operation.Destroy: {Method: "DELETE", Path: "/api/v1/newUsers/{id}", Name: "DeleteNewUser"},
		operation.Secret:  {Method: "GET", Path: "/api/v1/newThings/{id}", Name: "GetNewThing", Fields: []string{"sharedKey"}},
	} {
		if got, why, _ := Classify(vbr, row); got != class {
			t.Errorf("%s %s is %v: %s; want %v", row.Method, row.Path, got, why, class)
		}
	}
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"jobs", "/api/v1/jobs", true},
		{"Jobs", "/api/v1/jobs/", true},
		{"jobs", "/api/v1/jobs/states", false},
		{"jobs/{}", "/api/v1/jobs/{id}", true},
		{"jobs/{}", "/api/v1/jobs/states", false},
		{"jobs/*", "/api/v1/jobs/states", true},
		{"jobs/**", "/api/v1/jobs", true},
		{"jobs/**", "/api/v1/jobs/{id}/start", true},
		{"**/start|stop", "/api/v1/jobs/{id}/stop", true},
		{"**/start|stop", "/api/v1/jobs/{id}/stopAll", false},
		{"**/start*", "/api/v1/jobs/{id}/startAll", true},
		{"**/*Start*", "/api/v1/jobs/{id}/reStartAll", true},
		{"jobs|tasks/**/logs", "/api/v1/tasks/{id}/x/logs", true},
		{"jobs|tasks/**/logs", "/api/v1/sessions/{id}/logs", false},
		{"/api/oauth2/token", "/api/oauth2/token", true},
		{"token", "/api/oauth2/token", false},
	} {
		r, s := rule{path: c.pattern}, subjectOf(products[0], Row{Method: "GET", Path: c.path})
		if got := r.fits(&s); got != c.want {
			t.Errorf("%q and %q: %v", c.pattern, c.path, got)
		}
	}
}
