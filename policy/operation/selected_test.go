package operation_test

// Operations that a parameter selects: nothing reaches one of them but the parameter
// itself, and what is not in the index is unknown.

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

func TestAParameterSelectsTheOperation(t *testing.T) {
	em := index(t, "em")
	for target, want := range map[string]string{
		"POST /api/jobs/7?action=start":                  "/api/jobs/{ID}?action=start",
		"POST /api/jobs/7?ACTION=Start":                  "/api/jobs/{ID}?action=start",
		"POST /api/jobs/7?%61ction=st%61rt":              "/api/jobs/{ID}?action=start",
		"POST /api/jobs/7?x=1&action=stop&y=2":           "/api/jobs/{ID}?action=stop",
		"POST /api/jobs/7?transaction=5&action=stop":     "/api/jobs/{ID}?action=stop",
		"POST /api/jobs/7/?action=toggleScheduleEnabled": "/api/jobs/{ID}?action=toggleScheduleEnabled",
		"GET /api/query?type=vmrestorepoint&page=1":      "/api/query?type=VmRestorePoint",
		"HEAD /api/query?type=Job":                       "/api/query?type=Job",
		"GET /api/lookup?hierarchyRef=urn:VMware:x.y":    "/api/lookup?hierarchyRef={hierarchyRef}",
		"GET /api/jobs?format=Entity":                    "/api/jobs",
		"GET /api/jobs/7?actions=start":                  "/api/jobs/{ID}",

		"POST /api/jobs/7":                                 "",
		"POST /api/jobs/7?action":                          "",
		"POST /api/jobs/7?action=":                         "",
		"POST /api/jobs/7?action=delete":                   "",
		"POST /api/jobs/7?action=start&action=start":       "",
		"POST /api/jobs/7?action=start&action=clone":       "",
		"POST /api/jobs/7?action=start&Action=clone":       "", // refused as ambiguous
		"POST /api/jobs/7?action=start&type=Job":           "",
		"POST /api/jobs/7?action=start&action%5B%5D=clone": "",
		"POST /api/jobs/7?action=start&model.action=clone": "",
		"POST /api/jobs/7?action=start&%3Faction=clone":    "",
		"POST /api/jobs/7?action=start&?action=clone":      "",
		"POST /api/jobs/7?action=start,clone":              "",
		"POST /api/jobs/7?action=start%20":                 "",
		"POST /api/jobs/7?action=start%00":                 "",
		"GET /api/jobs/7?action=start":                     "",
		"DELETE /api/jobs/7?action=start":                  "",
		"GET /api/jobs?action=start":                       "",
		"GET /api/jobs?action[]=start":                     "",
		"GET /api/query":                                   "",
		"GET /api/query?type=Nothing":                      "",
		"GET /api/query?type=Job&type=Credentials":         "",
		"GET /api/query?type=Job&type[0]=Credentials":      "",
		"GET /api/lookup":                                  "",
		"GET /api/lookup?hierarchyRef=":                    "",
		"GET /api/lookup?hierarchyRef=x&hierarchyRef=y":    "",
		"POST /api/jobs/7/includes?action=start":           "",
	} {
		method, target, _ := strings.Cut(target, " ")
		path, query, _ := strings.Cut(target, "?")
		op, _ := em.LookupRaw(method, path, query)
		if got := op.Target(); got != want {
			t.Errorf("%s %s is %q, want %q", method, target, got, want)
		}
	}
	// Where no parameter selects, none is looked at.
	if op, _ := index(t, "vbr").Lookup("GET", "/api/v1/jobs", "action=delete&type=x"); op.Class != operation.Read {
		t.Errorf("%+v", op)
	}
}

// However a query is spelled: if net/url, without regard to case, finds a selecting
// parameter in it, then the operation has exactly that one, or is unknown.
func TestNoQueryReachesAnotherOperation(t *testing.T) {
	em := index(t, "em")
	names := []string{"action", "Action", "ACTION", "type", "tYpe", "hierarchyRef", "%61ction", "action%5B0%5D", "x.type", "format", "", "+action", "transaction"}
	given := []string{"start", "STOP", "clone", "restore", "Job", "credentials", "Credentials", "", "x", "st%61rt", "start,stop", "%00", "a%26action=clone"}
	rapid.Check(t, func(t *rapid.T) {
		op := rapid.SampledFrom(em.All()).Draw(t, "operation")
		var pairs []string
		for range rapid.IntRange(0, 4).Draw(t, "parameters") {
			pairs = append(pairs, rapid.SampledFrom(names).Draw(t, "name")+rapid.SampledFrom([]string{"=", "=", "=", ""}).Draw(t, "sign")+rapid.SampledFrom(given).Draw(t, "value"))
		}
		query, ok := operation.CleanQuery(strings.Join(pairs, rapid.SampledFrom([]string{"&", "&&", ";"}).Draw(t, "separator")))
		if !ok {
			return
		}
		found, known := em.Lookup(op.Method, concrete(op.Path), query)
		if !known {
			return
		}
		var read []string
		values, _ := url.ParseQuery(query)
		for name, all := range values {
			name = strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(name), "x."), "[0]"))
			if slices.Contains([]string{"action", "type", "hierarchyref"}, name) {
				for _, value := range all {
					read = append(read, name+"="+strings.ToLower(value))
				}
			}
		}
		name, value, _ := strings.Cut(strings.ToLower(found.Query), "=")
		switch {
		case found.Query == "" && len(read) == 0:
		case len(read) == 1 && (read[0] == name+"="+value || value != "" && value[0] == '{' && strings.HasPrefix(read[0], name+"=") && !strings.HasSuffix(read[0], "=")):
		default:
			t.Fatalf("%s %s?%s is taken for %q, a server reads %q", op.Method, op.Path, query, found.Target(), read)
		}
	})
}

func TestSelectingLeavesOutTheOthers(t *testing.T) {
	for query, want := range map[string]string{
		"": "", "skip=0&limit=1": "", "a=1&Action=start&b=2": "Action=start", "type=Job&filter=x&hierarchyRef=urn": "type=Job&hierarchyRef=urn",
	} {
		if got := operation.Selecting(query); got != want {
			t.Errorf("%q: %q", query, got)
		}
	}
	for _, product := range operation.Products() {
		for _, op := range index(t, product).All() {
			if operation.Selecting(op.Query) != op.Query {
				t.Errorf("%s %s: the parameter is not known to Selecting", product, op.Target())
			}
		}
	}
}

func TestAdviceNamesTheOperationAndTheRule(t *testing.T) {
	for target, want := range map[string]string{
		"GET /extension/57b3baab-6237-41bf-add7-db63d41d984c/api/v1/x y/7": "GET /extension/*/api/v1/*/* is not in the index, so no preset allows it; to allow it, write before the other rules: allow `method('GET') && path('/extension/*/api/v1/*/*')`",
		"POST /api/jobs/7?a=b&action=frob":                                 "POST /api/jobs/* with action=frob is not in the index, so no preset allows it; to allow it, write before the other rules: allow `method('POST') && path('/api/jobs/*') && query({'action': 'frob'})`",
		`GET /a/?action="`:                                                 "GET /a is not in the index, so no preset allows it; to allow it, write before the other rules: allow `method('GET') && path('/a')`",
	} {
		method, target, _ := strings.Cut(target, " ")
		path, query, _ := strings.Cut(target, "?")
		if got := operation.Advice(operation.Operation{}, method, path, query); got != "; the operation "+want {
			t.Errorf("%s", got)
		}
	}
	if got := operation.Advice(operation.Operation{Class: operation.Destroy}, "DELETE", "/x", ""); got != "" {
		t.Error(got)
	}
	if got := operation.Advice(operation.Operation{Path: "/x"}, "POST", "/x", ""); !strings.Contains(got, "POST /x has no class,") {
		t.Error(got)
	}
}
