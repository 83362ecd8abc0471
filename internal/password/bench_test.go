package password

import "testing"

// What a check costs: the hashes that `caddy hash-password` makes, and one of bcrypt
// with the least cost that Go's package takes by default.
func BenchmarkCompare(b *testing.B) {
	for name, hash := range map[string]string{
		"bcrypt 14": "$2a$14$X3ulqf/iGxnf1k6oMZ.RZeJUoqI9PX2PM4rS5lkIKJXduLGXGPrt6",
		"bcrypt 10": "$2a$10$X3ulqf/iGxnf1k6oMZ.RZeJUoqI9PX2PM4rS5lkIKJXduLGXGPrt6",
		"argon2id":  "$argon2id$v=19$m=47104,t=1,p=1$P2nzckEdTZ3bxCiBCkRTyA$xQL3Z32eo5jKl7u5tcIsnEKObYiyNZQQf5/4sAau6Pg",
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				Compare(hash, "guess")
			}
		})
	}
}

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
