// Package secret holds the type for passwords, seeds and tokens, and reads the files
// and environment variables that contain them.
package secret

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
)

// Mask is the printed form of every Value.
const Mask = "****"

// Value is a secret text. All its printed forms are Mask: every fmt verb, JSON, text,
// slog, and zap through fmt.Stringer. The text is behind a pointer, so that printing a
// struct with an unexported Value shows an address and not the text: fmt cannot call
// methods on unexported fields.
//
// The zero Value is empty. Values are compared with Equal, not with ==.
type Value struct {
	text *string
}

// New returns a Value with text. An empty text gives the zero Value.
func New(text string) Value {
	if text == "" {
		return Value{}
	}
	return Value{text: &text}
}

// Reveal returns the text. Call it only where the secret is used.
func (v Value) Reveal() string {
	if v.text == nil {
		return ""
	}
	return *v.text
}

// IsZero reports whether the secret is empty.
func (v Value) IsZero() bool { return v.text == nil }

// Equal compares two secrets in a time that depends only on their lengths.
func (v Value) Equal(other Value) bool {
	return subtle.ConstantTimeCompare([]byte(v.Reveal()), []byte(other.Reveal())) == 1
}

// String returns Mask.
func (Value) String() string { return Mask }

// GoString returns Mask.
func (Value) GoString() string { return Mask }

// Format writes Mask for every verb.
func (Value) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(Mask)) }

// MarshalJSON returns Mask as a JSON string.
func (Value) MarshalJSON() ([]byte, error) { return []byte(`"` + Mask + `"`), nil }

// MarshalText returns Mask.
func (Value) MarshalText() ([]byte, error) { return []byte(Mask), nil }

// LogValue returns Mask.
func (Value) LogValue() slog.Value { return slog.StringValue(Mask) }
