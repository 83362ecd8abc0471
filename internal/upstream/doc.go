// Package upstream has the sessions of accounts at Veeam servers: it gets from a
// request to a token, follows secrets that are replaced, and logs out in the end.
package upstream
