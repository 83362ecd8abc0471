package operation_test

// Classes, sets and presets.

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

func TestTheZeroClassIsUnknownAndTheStrictest(t *testing.T) {
	var zero operation.Class
	if zero != operation.Unknown {
		t.Error(zero)
	}
	classes := operation.Classes()
	for i, a := range classes {
		for j, b := range classes {
			if a.StricterThan(b) != (i > j) {
				t.Errorf("%v stricter than %v: %v", a, b, a.StricterThan(b))
			}
		}
	}
	if classes[len(classes)-1] != operation.Unknown {
		t.Error(classes)
	}
}

func TestClassesHaveNames(t *testing.T) {
	for _, c := range operation.Classes() {
		parsed, ok := operation.ParseClass(c.String())
		if !ok || parsed != c {
			t.Errorf("%v is parsed as %v, %v", c, parsed, ok)
		}
		text, err := json.Marshal(c)
		if err != nil || string(text) != `"`+c.String()+`"` {
			t.Errorf("%v is %s in JSON, %v", c, text, err)
		}
		var back operation.Class
		if err := json.Unmarshal(text, &back); err != nil || back != c {
			t.Errorf("%s is %v, %v", text, back, err)
		}
	}
	for _, name := range []string{"", "Read", "write", "invalid"} {
		if c, ok := operation.ParseClass(name); ok || c != operation.Unknown {
			t.Errorf("%q is %v", name, c)
		}
	}
	var c operation.Class
	if err := c.UnmarshalText([]byte("write")); err == nil || !strings.Contains(err.Error(), "secret") {
		t.Errorf("the error names no classes: %v", err)
	}
	if _, err := operation.Class(99).MarshalText(); err == nil || operation.Class(99).String() != "invalid" {
		t.Error("a class that does not exist has a name")
	}
}

func TestPresetsAllowWhatTheyPromise(t *testing.T) {
	for name, want := range map[string][]operation.Class{
		"monitor": {operation.Read},
		"report":  {operation.Read},
		"operate": {operation.Read, operation.Run},
	} {
		set, ok := operation.Preset(name)
		if !ok || !slices.Equal(set.Classes(), want) {
			t.Errorf("%s is %v, %v", name, set, ok)
		}
		for _, c := range operation.Classes() {
			if set.Has(c) != slices.Contains(want, c) {
				t.Errorf("%s and %v: %v", name, c, set.Has(c))
			}
		}
		if !slices.Contains(operation.Presets(), name) {
			t.Errorf("%s is not listed", name)
		}
	}
	if set, ok := operation.Preset("admin"); ok || set != 0 || set.Has(operation.Unknown) {
		t.Errorf("admin is %v", set)
	}
	if len(operation.Presets()) != 3 {
		t.Error(operation.Presets())
	}
}

func TestASetPrintsItsMembers(t *testing.T) {
	set := operation.SetOf(operation.Unknown, operation.Run, operation.Read)
	if got := set.String(); got != "read,run,unknown" {
		t.Error(got)
	}
	if got := operation.SetOf().String(); got != "" {
		t.Error(got)
	}
}
