// Package issuer makes and checks the tokens that clients of veeam-auth hold:
// signed, short-lived, bound to one site, with refresh tokens that rotate and
// are good once. They name a client and never carry a token of a Veeam server.
package issuer
