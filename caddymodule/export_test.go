// What the tests of other packages see of this one beyond its interface.

package caddymodule

// Uncanonical switches the one spelling of requests off until restore is called,
// for a test that has to find what it prevents.
func Uncanonical() (restore func()) {
	canonicalising = false
	return func() { canonicalising = true }
}
