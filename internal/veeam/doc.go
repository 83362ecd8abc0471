// Package veeam holds what a Veeam server understands: its routes, the grants by
// which it gives out tokens, the shape of its answers and of its errors.
//
// It works in both directions. Towards the server, a [Client] logs an [Account]
// in, renews a [Token] and logs out. Towards the client, a [Product] reads a
// token request and writes the answers that clients of that product expect.
//
// What differs between products is a row of one table, see product.go. Facts
// come from the public REST API references at helpcenter.veeam.com and from the
// OpenAPI descriptions that the servers themselves publish.
package veeam
