// Package veeam implements the protocols of Veeam servers: routes, grants, and the
// formats of responses and errors.
//
// It covers both directions. As a client, a [Client] logs an [Account] in, renews a
// [Token] and logs out. As a server, a [Product] reads a token request and writes the
// responses that clients of that product expect.
//
// Product differences are rows of one table, see product.go. Facts are from the public
// REST API references at helpcenter.veeam.com and from the OpenAPI descriptions that
// the servers publish.
package veeam
