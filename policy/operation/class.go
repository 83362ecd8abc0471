// Classes of operations, sets of classes, and the presets that name such sets.

package operation

import (
	"fmt"
	"slices"
	"strings"
)

// Class is the effect of an operation on the server, or the sensitivity of its result.
// The zero value is Unknown.
type Class uint8

// The classes. Each operation has one class, the strictest that applies.
const (
	// Unknown is the class of operations that are not in the index.
	Unknown Class = iota

	// Read changes nothing, whatever its method.
	Read

	// Run starts, stops, retries, enables or disables configured work: jobs, policies,
	// rescans.
	Run

	// Change creates, edits, restores, moves or sends something.
	Change

	// Destroy removes objects or data.
	Destroy

	// Secret reveals, creates or replaces a credential, returns the content of backups,
	// or could let its caller evade the policy: users, roles, logins.
	Secret
)

var classNames = [...]string{"unknown", "read", "run", "change", "destroy", "secret"}

func (c Class) String() string {
	if int(c) >= len(classNames) {
		return "invalid"
	}
	return classNames[c]
}

// MarshalText returns the name of the class.
func (c Class) MarshalText() ([]byte, error) {
	if int(c) >= len(classNames) {
		return nil, fmt.Errorf("unknown class %d", c)
	}
	return []byte(c.String()), nil
}

// UnmarshalText accepts the result of MarshalText.
func (c *Class) UnmarshalText(text []byte) error {
	parsed, ok := ParseClass(string(text))
	if !ok {
		return fmt.Errorf("unknown class %q (allowed: %s)", text, strings.Join(classNames[1:], ", "))
	}
	*c = parsed
	return nil
}

// ParseClass returns the class with a name. The second result is false if there is
// none.
func ParseClass(name string) (Class, bool) {
	i := slices.Index(classNames[:], name)
	return Class(max(i, 0)), i >= 0
}

// Classes returns every class, from the mildest to the strictest.
func Classes() []Class { return []Class{Read, Run, Change, Destroy, Secret, Unknown} }

// StricterThan reports whether c requires more trust than other. Unknown requires the
// most.
func (c Class) StricterThan(other Class) bool { return c-1 > other-1 }

// Set is a set of classes. The zero value is the empty set.
type Set uint8

// SetOf returns the set of the given classes.
func SetOf(classes ...Class) Set {
	var s Set
	for _, c := range classes {
		s |= 1 << c
	}
	return s
}

// Has reports whether c is in the set.
func (s Set) Has(c Class) bool { return s>>c&1 != 0 }

// Classes returns the members, from the mildest to the strictest.
func (s Set) Classes() []Class {
	return slices.DeleteFunc(Classes(), func(c Class) bool { return !s.Has(c) })
}

// String returns the names of the members, joined with commas.
func (s Set) String() string {
	var names []string
	for _, c := range s.Classes() {
		names = append(names, c.String())
	}
	return strings.Join(names, ",")
}

var presets = []struct {
	name    string
	classes Set
}{
	{"monitor", SetOf(Read)},
	// Reports that are asked for by POST are reads, so a report needs no more.
	{"report", SetOf(Read)},
	{"operate", SetOf(Read, Run)},
}

// Preset returns the classes that a preset allows: monitor and report allow Read,
// operate allows Read and Run. The second result is false if there is no such preset.
func Preset(name string) (Set, bool) {
	for _, p := range presets {
		if p.name == name {
			return p.classes, true
		}
	}
	return 0, false
}

// UnknownPreset returns the error of a name that no preset has.
func UnknownPreset(name string) error {
	known := strings.Join(Presets(), ", ")
	if _, ok := ParseClass(name); ok {
		return fmt.Errorf("%s is a class, not a preset (allowed: %s)", name, known)
	}
	return fmt.Errorf("unknown preset %q (allowed: %s)", name, known)
}

// UnknownClass returns the error of a name that no class has.
func UnknownClass(name string) error {
	known := strings.ReplaceAll(SetOf(Classes()...).String(), ",", ", ")
	if _, ok := Preset(name); ok {
		return fmt.Errorf("%s is a preset, not a class (allowed: %s)", name, known)
	}
	return fmt.Errorf("unknown class %q (allowed: %s)", name, known)
}

// Presets returns the names of the presets, in a fixed order.
func Presets() []string {
	names := make([]string, len(presets))
	for i, p := range presets {
		names[i] = p.name
	}
	return names
}
