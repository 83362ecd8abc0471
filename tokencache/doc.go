// Package tokencache keeps one upstream session per account. It returns the current
// access token without a lock, runs one grant at a time for all callers, renews tokens
// before they expire, and does not try a refused credential again before its hold has
// ended.
//
// The package is independent of products and web servers. A GrantFunc gets a token from
// the server. Two optional methods of its error tell what it means, see [Session.Get].
package tokencache
