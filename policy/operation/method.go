// The normaliser of methods.

package operation

// methodsSent are the methods that are passed on at all.
var methodsSent = [...]string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}

// CleanMethod returns the normalized method, for the decision and for the server: in
// upper case, because the servers ignore the case of methods. The second result is
// false for unsupported methods, such as TRACE and CONNECT.
func CleanMethod(method string) (string, bool) {
	for _, known := range methodsSent {
		if known == method {
			return known, true
		}
	}
	for _, known := range methodsSent {
		if sameASCII(known, method) {
			return known, true
		}
	}
	return "", false
}

// sameASCII compares without regard to the case of letters of ASCII, and of no
// others: ſ is no S in a method.
func sameASCII(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower[a[i]] != lower[b[i]] {
			return false
		}
	}
	return true
}

// AllowedMethods contains the methods that CleanMethod accepts, as the value of an
// Allow header.
const AllowedMethods = "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"
