// Package upstream manages the sessions of accounts at Veeam servers: it gets tokens
// for requests, follows secrets that are replaced, and logs out.
package upstream
