package policy

import (
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func request(method, path string) *http.Request {
	return httptest.NewRequest(method, path, nil)
}

type broken struct{}

func (broken) MatchWithError(*http.Request) (bool, error) { return false, errors.New("broken") }

func rule(effect Effect, shadow bool, matchers ...Matcher) Rule {
	return Rule{Effect: effect, Shadow: shadow, Matchers: matchers, Source: "Caddyfile:7"}
}

func TestTheFirstRuleThatMatchesDecides(t *testing.T) {
	get, jobs := Methods{"GET"}, Paths{"/api/v1/jobs*"}
	for name, c := range map[string]struct {
		rules    []Rule
		fallback Effect
		method   string
		path     string
		want     Decision
	}{
		"no rule, no word":           {nil, "", "DELETE", "/x", Decision{Allowed: true}},
		"no rule, default deny":      {nil, Deny, "GET", "/x", Decision{}},
		"allow makes the rest deny":  {[]Rule{rule(Allow, false, get)}, "", "POST", "/x", Decision{}},
		"deny leaves the rest":       {[]Rule{rule(Deny, false, get)}, "", "POST", "/x", Decision{Allowed: true}},
		"first of two":               {[]Rule{rule(Deny, false, jobs), rule(Allow, false, get)}, "", "GET", "/api/v1/jobs/7", Decision{Rule: 1}},
		"second of two":              {[]Rule{rule(Deny, false, jobs), rule(Allow, false, get)}, "", "GET", "/api/v1/x", Decision{Allowed: true, Rule: 2}},
		"any of several matchers":    {[]Rule{rule(Allow, false, jobs, get)}, "", "GET", "/x", Decision{Allowed: true, Rule: 1}},
		"all of one set":             {[]Rule{rule(Allow, false, All{jobs, get})}, "", "GET", "/x", Decision{}},
		"no matcher matches all":     {[]Rule{rule(Deny, false)}, Allow, "GET", "/x", Decision{Rule: 1}},
		"a shadow is not obeyed":     {[]Rule{rule(Deny, true)}, "", "GET", "/x", Decision{Allowed: true, Shadow: 1}},
		"a shadow of one mind":       {[]Rule{rule(Allow, true)}, Allow, "GET", "/x", Decision{Allowed: true}},
		"a shadow allow is no allow": {[]Rule{rule(Allow, true, get)}, "", "POST", "/x", Decision{Allowed: true}},
		"a shadow behind the rule":   {[]Rule{rule(Allow, false, get), rule(Deny, true)}, "", "GET", "/x", Decision{Allowed: true, Rule: 1}},
		"the first shadow counts":    {[]Rule{rule(Allow, true), rule(Deny, true), rule(Deny, false)}, "", "GET", "/x", Decision{Rule: 3, Shadow: 1}},
	} {
		rules, err := NewRules(c.rules, c.fallback)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got, err := rules.Decide(request(c.method, c.path), true); got != c.want || err != nil {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
}

func TestABrokenConditionIsDecidedForSafety(t *testing.T) {
	for effect, allowed := range map[Effect]bool{Allow: false, Deny: false} {
		rules, err := NewRules([]Rule{rule(effect, false, broken{})}, map[Effect]Effect{Allow: Deny, Deny: Allow}[effect])
		if err != nil {
			t.Fatal(err)
		}
		got, err := rules.Decide(request("GET", "/x"), true)
		if got.Allowed != allowed || err == nil || !strings.Contains(err.Error(), "Caddyfile:7") {
			t.Errorf("%s: %+v, %v", effect, got, err)
		}
	}
}

func TestWhoIsNotKnownPassesOnlyByARuleThatSaysSo(t *testing.T) {
	get := Methods{"GET"}
	open := rule(Allow, false, get)
	open.Unknown = true
	for name, c := range map[string]struct {
		rules    []Rule
		fallback Effect
		want     Decision
	}{
		"default allow":              {nil, Allow, Decision{}},
		"an ordinary rule":           {[]Rule{rule(Allow, false, get)}, Allow, Decision{}},
		"a rule that says so":        {[]Rule{rule(Allow, false), open}, "", Decision{Allowed: true, Rule: 2}},
		"a denial before it":         {[]Rule{rule(Deny, false, get), open}, "", Decision{Rule: 1}},
		"a shadow rule that says so": {[]Rule{{Effect: Allow, Shadow: true, Unknown: true}}, "", Decision{Shadow: 1}},
	} {
		rules, err := NewRules(c.rules, c.fallback)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := rules.Decide(request("GET", "/x"), false); got != c.want || err != nil {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
}

func TestWrongRulesAreRefused(t *testing.T) {
	if _, err := NewRules([]Rule{{Effect: "perhaps"}}, ""); err == nil {
		t.Error("an unknown effect is taken")
	}
	if _, err := NewRules(nil, "perhaps"); err == nil {
		t.Error("an unknown default is taken")
	}
}

func TestPathPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"/api/v1/jobs", "/api/v1/jobs", true},
		{"/api/v1/jobs", "/API/V1/Jobs", true},
		{"/api/v1/jobs", "/api/v1/jobs/", false},
		{"/api/v1/jobs*", "/api/v1/jobs/7/start", true},
		{"/api/v1/jobs*", "/api/v1/job", false},
		{"*/start", "/api/v1/jobs/7/START", true},
		{"*/start", "/start/x", false},
		{"*jobs*", "/api/v1/Jobs/7", true},
		{"*jobs*", "/api/v1/job", false},
		{"*", "/anything", true},
		{"/x*", "/", false},
	} {
		if got := matchPath(c.pattern, c.path); got != c.want {
			t.Errorf("%s on %s: %v", c.pattern, c.path, got)
		}
	}
	for pattern, want := range map[string]bool{"/a": true, "/a*": true, "*a*": true, "/a/*/b": false, "/a?": false, "/%61": false, "/{x}": false, "/a//b": false} {
		if SimplePath(pattern) != want {
			t.Errorf("%s: simple %v", pattern, !want)
		}
	}
}

// The decision is that of the first rule that matches, however the rules are
// arranged, and a shadow rule never changes it.
func TestShadowRulesNeverChangeADecision(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var all, obeyed []Rule
		for range rapid.IntRange(0, 12).Draw(rt, "rules") {
			r := rule(
				rapid.SampledFrom([]Effect{Allow, Deny}).Draw(rt, "effect"),
				rapid.Bool().Draw(rt, "shadow"),
				rapid.SampledFrom([]Matcher{Methods{"GET"}, Paths{"/a*"}, Paths{"/b"}, All{Methods{"POST"}, Paths{"/a"}}}).Draw(rt, "matcher"),
			)
			all = append(all, r)
			if !r.Shadow {
				obeyed = append(obeyed, r)
			}
		}
		fallback := rapid.SampledFrom([]Effect{Allow, Deny, ""}).Draw(rt, "default")
		with, err := NewRules(all, fallback)
		if err != nil {
			rt.Fatal(err)
		}
		without, err := NewRules(obeyed, fallback)
		if err != nil {
			rt.Fatal(err)
		}
		req := request(rapid.SampledFrom([]string{"GET", "POST"}).Draw(rt, "method"), rapid.SampledFrom([]string{"/a", "/ab", "/b", "/c"}).Draw(rt, "path"))
		got, _ := with.Decide(req, true)
		want, _ := without.Decide(req, true)
		if got.Allowed != want.Allowed {
			rt.Fatalf("%+v with shadow rules, %+v without", got, want)
		}
	})
}

func BenchmarkDecideHundredRules(b *testing.B) {
	var list []Rule
	for i := range 100 {
		list = append(list, rule(Allow, false, All{Methods{"GET"}, Paths{"/api/v1/backupInfrastructure/" + strconv.Itoa(i) + "/*"}}))
	}
	rules, err := NewRules(list, "")
	if err != nil {
		b.Fatal(err)
	}
	req := request("GET", "/api/v1/backupInfrastructure/99/repositories/states")
	b.ReportAllocs()
	for b.Loop() {
		if d, _ := rules.Decide(req, true); d.Rule != 100 {
			b.Fatal(d)
		}
	}
}

func TestIdle_RulesBehindOneThatMatchesEverythingAreFound(t *testing.T) {
	some := []Matcher{Methods{"GET"}}
	for name, c := range map[string]struct {
		rules []Rule
		want  map[int]string
	}{
		"nothing":               {nil, map[int]string{}},
		"the last one":          {[]Rule{{Effect: Deny, Matchers: some}, {Effect: Allow}}, map[int]string{}},
		"behind deny *":         {[]Rule{{Effect: Deny, Source: "Caddyfile:3"}, {Effect: Allow, Matchers: some}, {Effect: Allow, Unknown: true}}, map[int]string{2: "rule 1 at Caddyfile:3 before it matches every request", 3: "rule 1 at Caddyfile:3 before it matches every request"}},
		"behind allow *":        {[]Rule{{Effect: Allow}, {Effect: Deny, Matchers: some}, {Effect: Approve}, {Effect: Allow, Shadow: true}}, map[int]string{2: "rule 1 before it matches every request", 3: "rule 1 before it matches every request", 4: "rule 1 before it matches every request"}},
		"behind approve *":      {[]Rule{{Effect: Approve}, {Effect: Allow, Matchers: some}}, map[int]string{2: "rule 1 before it matches every request"}},
		"for unknown callers":   {[]Rule{{Effect: Allow}, {Effect: Deny, Matchers: some}, {Effect: Allow, Unknown: true, Matchers: some}, {Effect: Deny, Matchers: some}}, map[int]string{4: "rule 1 before it matches every request"}},
		"for everybody":         {[]Rule{{Effect: Allow, Unknown: true}, {Effect: Deny, Matchers: some}}, map[int]string{2: "rule 1 before it matches every request"}},
		"a shadow in front":     {[]Rule{{Effect: Deny, Shadow: true}, {Effect: Allow, Matchers: some}}, map[int]string{}},
		"a condition":           {[]Rule{{Effect: Deny, Matchers: some}, {Effect: Allow, Matchers: some}}, map[int]string{}},
		"an end that is past":   {[]Rule{{Effect: Allow, Matchers: some, Ended: true}, {Effect: Allow}}, map[int]string{1: "its until is in the past"}},
		"both, the former once": {[]Rule{{Effect: Deny}, {Effect: Allow, Matchers: some, Ended: true}}, map[int]string{2: "rule 1 before it matches every request"}},
	} {
		rules, err := NewRules(c.rules, "")
		if err != nil {
			t.Fatal(err)
		}
		if got := maps.Collect(rules.Idle()); !maps.Equal(got, c.want) {
			t.Errorf("%s: %v, not %v", name, got, c.want)
		}
	}
}

// What is idle decides about nothing: without it, all decisions are the same.
func TestIdle_WithoutIdleRulesDecisionsAreTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all, kept Rules
		for range rapid.IntRange(0, 6).Draw(t, "rules") {
			rule := Rule{Effect: rapid.SampledFrom([]Effect{Allow, Deny, Approve}).Draw(t, "effect"), Shadow: rapid.Bool().Draw(t, "shadow")}
			rule.Unknown = rule.Effect != Approve && rapid.Bool().Draw(t, "unknown")
			if rapid.Bool().Draw(t, "condition") {
				rule.Matchers = []Matcher{Methods{rapid.SampledFrom([]string{"GET", "PUT"}).Draw(t, "method")}}
			}
			all.Rules = append(all.Rules, rule)
		}
		all.Default = rapid.SampledFrom([]Effect{Allow, Deny}).Draw(t, "default")
		idle := maps.Collect(all.Idle())
		kept.Default = all.Default
		for i, rule := range all.Rules {
			if idle[i+1] == "" {
				kept.Rules = append(kept.Rules, rule)
			}
		}
		for _, method := range []string{"GET", "PUT", "POST"} {
			for _, known := range []bool{true, false} {
				before, _ := all.Decide(request(method, "/"), known)
				after, _ := kept.Decide(request(method, "/"), known)
				if before.Effect() != after.Effect() {
					t.Fatalf("%s, known %t: %s with all rules, %s without %v of %+v", method, known, before.Effect(), after.Effect(), idle, all.Rules)
				}
			}
		}
	})
}
