// The key pair of the public key grant.

package veeam

// Key is an RSA key pair.
type Key struct{}
