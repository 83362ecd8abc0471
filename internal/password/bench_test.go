package password

import "testing"

// BenchmarkKnownPassword is a login with a password that was right before.
func BenchmarkKnownPassword(b *testing.B) {
	const hash = "$2a$04$X3ulqf/iGxnf1k6oMZ.RZeJUoqI9PX2PM4rS5lkIKJXduLGXGPrt6"
	c := New(Options{Compare: func(string, string) bool { return true }})
	a := Attempt{Site: "vbr", Name: "grafana", Password: "right", Hash: hash, Source: "192.0.2.7", Connection: "192.0.2.7:1"}
	for b.Loop() {
		if err := c.Check(b.Context(), a); err != nil {
			b.Fatal(err)
		}
	}
}
