// Package operation identifies the operations of the Veeam REST APIs and their classes.
//
// Clean must be applied to a path first. It refuses paths that servers interpret
// differently and normalizes the others. Lookup reads its result, and the same path
// must be sent to the server, so that the decision and the request cannot differ.
package operation

//go:generate go run ./gen

// Operation is one operation of a product's API.
type Operation struct {
	// Method is the HTTP method, in upper case.
	Method string

	// Path is the template of the path, with parameters in braces. {version} is the
	// version segment of products that have one.
	Path string

	// Query is the parameter that distinguishes the operation from others with the same
	// method and path, such as action=start. A value in braces matches any value. Empty
	// if there are no others.
	Query string

	// Name is the name in the product's API description, Group the area to which the
	// description assigns it. Names are not always unique.
	Name, Group string

	// Class is the class, the strictest one if API versions differ.
	Class Class

	// Versions are the indexed versions that have the operation, oldest first. The
	// slice is shared and must not be changed.
	Versions []string
}

// Template returns method and path of the operation with the names of parameters in
// place of their values, such as "GET /{version}/jobs/{id}". It is empty for an operation
// that is not in the index.
func (op Operation) Template() string {
	if op.Path == "" {
		return ""
	}
	return op.Method + " " + op.Target()
}

// Target returns Path, followed by a question mark and Query if there is one.
func (op Operation) Target() string {
	if op.Query == "" {
		return op.Path
	}
	return op.Path + "?" + op.Query
}
