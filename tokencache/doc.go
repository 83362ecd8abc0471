// Package tokencache keeps one upstream session per account: it hands out the
// current access token without a lock, lets one grant at a time run whoever
// asks for it, renews ahead of expiry, and never tries a refused credential
// again before its hold has passed.
//
// The package knows no product and no web server. What asks a server for a
// token is a GrantFunc; what an error of it means is read from two optional
// methods, see [Session.Get].
package tokencache
