// Package issuer issues and verifies the tokens of veeam-auth's clients: signed,
// short-lived, bound to one site, with single-use refresh tokens. They name a client
// and never contain a token of a Veeam server.
package issuer
